import functools
import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from utils.classifier import (
    ClassifierFolderError,
    TextClassifier,
    TextCnnClassifier,
    TfidfClassifier,
    character_ngrams,
    load_classifier,
)
from utils.files import ROOT
from utils.text import build_vocabulary, clean_comment, tokenize
from utils.text_cnn import build_text_cnn

COMMENTS = [
    "가격이 또 올랐네요 너무 비싸요",
    "이 가격이면 살 만하죠 저는 만족합니다",
    "배송이 늦어서 화가 났어요ㅠㅠ",
    "배송이 빨라서 좋았어요ㅋㅋㅋㅋ",
    "버스 노선을 왜 바꾸는지 모르겠다",
    "버스 노선 바꾼 건 잘한 일 같다 😀",
]
LABELS = [1, 0, 1, 0, 1, 0]
HARD = ["", "   ", "😀😀😀", "가" * 10_000, "배송 " * 10_000, "\x00", "\ud800 배송", "zxqj", "[MASK] <b>", "버스\n노선"]


def fitted(labels: list[int] = LABELS) -> tuple[TfidfVectorizer, LogisticRegression]:
    analyzer = functools.partial(character_ngrams, shortest=2, longest=3)
    vectorizer = TfidfVectorizer(analyzer=analyzer, sublinear_tf=True)
    return vectorizer, LogisticRegression(C=10).fit(vectorizer.fit_transform(COMMENTS), labels)


def tfidf(labels: list[int] = LABELS) -> TfidfClassifier:
    return TfidfClassifier.from_sklearn(*fitted(labels), ngrams=(2, 3))


def text_cnn() -> TextCnnClassifier:
    keras.utils.set_random_seed(0)
    vocabulary = build_vocabulary(tokenize(COMMENTS), min_count=1)
    model = build_text_cnn(len(vocabulary), max_length=12, embedding_dim=8, maps=4, variant="rand")
    model.compile("adam", "sparse_categorical_crossentropy")
    return TextCnnClassifier(model, vocabulary)


@pytest.fixture(scope="module", params=[tfidf, text_cnn])
def classifier(request: pytest.FixtureRequest) -> TextClassifier:
    return request.param()


def test_probabilities_are_float32_rows_that_sum_to_one(classifier: TextClassifier) -> None:
    probability = classifier.predict_proba(COMMENTS)
    assert probability.dtype == np.float32 and probability.shape == (6, 2)
    np.testing.assert_allclose(probability.sum(axis=1), 1, atol=1e-6)


def test_no_comments_give_no_rows(classifier: TextClassifier) -> None:
    probability = classifier.predict_proba([])
    assert probability.shape == (0, 2) and probability.dtype == np.float32


@pytest.mark.parametrize("text", HARD, ids=lambda text: ascii(text[:6]))
def test_odd_comments_get_a_probability(classifier: TextClassifier, text: str) -> None:
    probability = classifier.predict_proba([text])
    assert np.isfinite(probability).all() and probability.sum() == pytest.approx(1, abs=1e-6)


def test_a_bare_string_is_refused(classifier: TextClassifier) -> None:
    with pytest.raises(TypeError, match=r"write \[texts\]"):
        classifier.predict_proba("배송이 늦어서")


def test_what_is_not_a_string_is_named(classifier: TextClassifier) -> None:
    with pytest.raises(TypeError, match=r"texts\[1\] must be a string, not float: nan"):
        classifier.predict_proba(["배송", float("nan")])  # type: ignore[list-item]


def test_a_fresh_process_gives_identical_probabilities(classifier: TextClassifier, tmp_path: Path) -> None:
    texts = COMMENTS + ["배송이 왜 이래요", ""]
    classifier.save(tmp_path / "saved")
    np.save(tmp_path / "here.npy", classifier.predict_proba(texts))
    (tmp_path / "texts.json").write_text(json.dumps(texts))
    program = (
        "import json, sys, numpy as np; from utils.classifier import load_classifier; folder = sys.argv[1]; "
        "texts = json.load(open(folder + '/texts.json')); "
        "np.save(folder + '/there.npy', load_classifier(folder + '/saved').predict_proba(texts))"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, cwd=ROOT, capture_output=True)
    np.testing.assert_array_equal(np.load(tmp_path / "there.npy"), np.load(tmp_path / "here.npy"))


def test_a_missing_file_is_named(classifier: TextClassifier, tmp_path: Path) -> None:
    classifier.save(tmp_path)
    (tmp_path / "vocabulary.json").unlink()
    with pytest.raises(ClassifierFolderError, match="vocabulary.json is missing"):
        load_classifier(tmp_path)


def test_an_altered_file_is_named(classifier: TextClassifier, tmp_path: Path) -> None:
    classifier.save(tmp_path)
    path = next(path for path in tmp_path.iterdir() if path.suffix in (".keras", ".safetensors"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ClassifierFolderError, match=f"{path.name} was altered"):
        load_classifier(tmp_path)


def test_a_folder_without_a_classifier_says_so(tmp_path: Path) -> None:
    with pytest.raises(ClassifierFolderError, match="classifier.json is missing"):
        load_classifier(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "tfidf-svm"}, "kind 'tfidf-svm', not one of"),
        ({"format_version": 99}, "format_version 99, this code reads 1"),
        ({"files": None}, "lacks kind, format_version, settings or files"),
    ],
)
def test_a_manifest_of_another_form_is_refused(change: dict, message: str, tmp_path: Path) -> None:
    tfidf().save(tmp_path)
    path = tmp_path / "classifier.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ClassifierFolderError, match=message):
        load_classifier(tmp_path)


def test_a_manifest_that_is_not_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "classifier.json").write_text('{"kind": "tfidf')
    with pytest.raises(ClassifierFolderError, match="classifier.json is not JSON"):
        load_classifier(tmp_path)


def test_nothing_is_saved_over_other_files(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="is not empty"):
        tfidf().save(tmp_path)


@pytest.mark.parametrize("labels", [LABELS, [0, 1, 2, 0, 1, 2]], ids=["two classes", "three classes"])
def test_tfidf_gives_the_probabilities_of_scikit_learn(labels: list[int]) -> None:
    vectorizer, regression = fitted(labels)
    texts = [*COMMENTS, "처음 보는 말뿐이다", "", "배송 배송 배송이 배송이"]
    expected = regression.predict_proba(vectorizer.transform(texts))
    np.testing.assert_allclose(tfidf(labels).predict_proba(texts), expected, atol=1e-6)


@pytest.mark.parametrize("text", ["가격이 또 올랐네", "a", "가 나다 라마바 사아자차카", ""])
def test_character_ngrams_are_those_of_scikit_learn(text: str) -> None:
    analyzer = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4)).build_analyzer()
    assert sorted(character_ngrams(text)) == sorted(analyzer(text))


def test_character_ngrams_mark_the_ends_of_words() -> None:
    assert character_ngrams("Ab", shortest=2, longest=3) == [" a", "ab", "b ", " ab", "ab "]
    assert character_ngrams("a", shortest=2, longest=4) == [" a", "a ", " a "]


def test_character_ngrams_see_the_cleaned_comment() -> None:
    assert character_ngrams("ㅋㅋㅋㅋㅋ http://a.com") == character_ngrams("ㅋㅋ")
    assert clean_comment("ㅋㅋㅋㅋㅋ http://a.com") == "ㅋㅋ"


def test_the_saved_text_cnn_leaves_the_optimizer_behind(tmp_path: Path) -> None:
    trained = text_cnn()
    trained.model.fit(np.ones((4, 12), np.int32), np.array([0, 1, 0, 1]), verbose=0)
    trained.save(tmp_path)
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert getattr(loaded, "optimizer", None) is None
