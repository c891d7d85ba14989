import functools
import json
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from utils.bert import CommentBatches, build_bert_classifier, load_backbone, load_tokenizer
from utils.classifier import (
    BertClassifier,
    ClassifierFolderError,
    TextClassifier,
    TextCnnClassifier,
    TfidfClassifier,
    character_ngrams,
    load_classifier,
)
from utils.files import ROOT
from utils.text import build_vocabulary, clean_comment, tokenize, tokenizer_settings
from utils.text_cnn import VARIANTS, build_text_cnn

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


def text_cnn(variant: str = "rand") -> TextCnnClassifier:
    keras.utils.set_random_seed(0)
    vocabulary = build_vocabulary(tokenize(COMMENTS), min_count=1)
    table = np.random.default_rng(0).normal(size=(len(vocabulary), 8)).astype(np.float32)
    start = {"embedding_dim": 8} if variant == "rand" else {"embeddings": table}
    model = build_text_cnn(len(vocabulary), max_length=12, maps=4, variant=variant, **start)
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


@pytest.fixture(scope="module")
def bert(kcbert_shaped_checkpoint: Path) -> BertClassifier:
    model = build_bert_classifier(load_backbone(kcbert_shaped_checkpoint))
    return BertClassifier(model, load_tokenizer(kcbert_shaped_checkpoint), 300)


def test_a_bert_gives_odd_comments_the_same_probability_alone_and_among_others(bert: BertClassifier) -> None:
    odd = [
        *HARD,
        "\t\n\r",
        "\x01\x1b\x7f\u200b",
        "ㅋㅎㅠㅜ",
        "ㅏㅏ ㄱ",
        "\u1112",
        "[CLS] [SEP] [MASK] [PAD]",
        "😀" * 10_000,
    ]
    together = bert.predict_proba(odd)
    assert np.isfinite(together).all() and (together > 0).all()
    np.testing.assert_allclose(together.sum(axis=1), 1, atol=1e-6)
    alone = np.concatenate([bert.predict_proba([text]) for text in odd])  # batches of one
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_array_equal(together[odd.index("")], together[odd.index("   ")])


def test_a_bert_learns_from_batches_of_one_class_and_of_one_odd_comment(bert: BertClassifier) -> None:
    bert.model.compile(keras.optimizers.Adam(1e-4), "sparse_categorical_crossentropy", jit_compile=False)
    options = {"tokenizer": bert.tokenizer, "max_length": 12}
    for texts, size in ((COMMENTS, 6), (["", "[MASK]", "😀"], 1)):
        batches = CommentBatches([clean_comment(text) for text in texts], [1] * len(texts), batch_size=size, **options)
        losses = bert.model.fit(batches, epochs=1, verbose=0).history["loss"]
        assert np.isfinite(losses).all()
    assert np.isfinite(bert.predict_proba(COMMENTS)).all()


@pytest.mark.parametrize("hidden_act", ["gelu", "gelu_pytorch_tanh"])
def test_a_loaded_bert_computes_gelu_by_the_formula_of_its_checkpoint(
    kcbert_shaped_checkpoint: Path, tmp_path: Path, hidden_act: str
) -> None:
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(kcbert_shaped_checkpoint, checkpoint)
    config = json.loads((checkpoint / "config.json").read_text()) | {"hidden_act": hidden_act}
    (checkpoint / "config.json").write_text(json.dumps(config))
    model = build_bert_classifier(load_backbone(checkpoint))
    dense = model.get_layer("bert_backbone").transformer_layers[0]._feedforward_intermediate_dense
    dense.kernel.assign(dense.kernel * 20)  # far from 0, where the formulas differ
    saved = BertClassifier(model, load_tokenizer(checkpoint), 300)
    saved.save(tmp_path / "saved")
    loaded = load_classifier(tmp_path / "saved")
    assert loaded.settings()["hidden_act"] == hidden_act
    np.testing.assert_array_equal(loaded.predict_proba(COMMENTS), saved.predict_proba(COMMENTS))


def test_a_bare_string_is_refused(classifier: TextClassifier) -> None:
    with pytest.raises(TypeError, match=r"write \[texts\]"):
        classifier.predict_proba("배송이 늦어서")


def test_what_is_not_a_string_is_named(classifier: TextClassifier) -> None:
    with pytest.raises(TypeError, match=r"texts\[1\] must be a string, not float: nan"):
        classifier.predict_proba(["배송", float("nan")])  # type: ignore[list-item]


def test_a_fresh_process_gives_identical_probabilities(classifier: TextClassifier, tmp_path: Path) -> None:
    texts = [*COMMENTS, "배송이 왜 이래요", *HARD]
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


def test_class_names_are_saved_and_loaded_in_a_fresh_process(tmp_path: Path) -> None:
    labels, names = [0, 1, 2, 0, 1, 2], ("긍정", "부정", "중립")
    TfidfClassifier.from_sklearn(*fitted(labels), ngrams=(2, 3), class_names=names).save(tmp_path / "tfidf")
    vocabulary = build_vocabulary(tokenize(COMMENTS), min_count=1)
    model = build_text_cnn(len(vocabulary), max_length=12, maps=4, variant="rand", embedding_dim=8, num_classes=3)
    TextCnnClassifier(model, vocabulary, class_names=names).save(tmp_path / "cnn")
    program = (
        "import sys; from utils.classifier import load_classifier\n"
        "for folder in sys.argv[1:]:\n"
        "    loaded = load_classifier(folder); probability = loaded.predict_proba(['배송', ''])\n"
        "    print(*loaded.class_names, probability.dtype, probability.shape)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "tfidf"), str(tmp_path / "cnn")]
    result = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True)
    assert result.stdout.splitlines() == ["긍정 부정 중립 float32 (2, 3)"] * 2


def test_without_names_the_classes_are_called_by_their_codes(classifier: TextClassifier) -> None:
    assert classifier.class_names == ("0", "1")


def test_names_for_another_number_of_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="are not 2 different names"):
        TfidfClassifier.from_sklearn(*fitted(), ngrams=(2, 3), class_names=["긍정", "부정", "중립"])


def test_a_folder_saved_before_there_were_names_still_loads(tmp_path: Path) -> None:
    tfidf().save(tmp_path)
    path = tmp_path / "classifier.json"
    manifest = json.loads(path.read_text())
    del manifest["class_names"], manifest["sha256"]
    path.write_text(json.dumps(manifest))
    assert load_classifier(tmp_path).class_names == ("0", "1")


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_loaded_text_cnn_gives_odd_comments_the_same_probability_alone_and_among_others(
    variant: str, tmp_path: Path
) -> None:
    text_cnn(variant).save(tmp_path)
    loaded = load_classifier(tmp_path)
    together = loaded.predict_proba(HARD)
    assert np.isfinite(together).all() and (together > 0).all()
    np.testing.assert_allclose(together.sum(axis=1), 1, atol=1e-6)
    alone = np.concatenate([loaded.predict_proba([text]) for text in HARD])
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_a_text_cnn_sees_the_beginning_of_a_long_comment_and_nothing_in_an_unseen_word() -> None:
    classifier = text_cnn()
    assert len(tokenize(["배송 " * 10_000])[0]) == 10_000
    long, cut, unseen, other = classifier.predict_proba(["배송 " * 10_000, "배송 " * 12, "zxqj", "qqqj"])
    np.testing.assert_array_equal(long, cut)
    np.testing.assert_array_equal(unseen, other)


def saved_files(classifier: TextClassifier, folder: Path) -> list[Path]:
    classifier.save(folder / "whole")
    return sorted((folder / "whole").iterdir())


def test_each_missing_file_is_named(classifier: TextClassifier, tmp_path: Path) -> None:
    files = saved_files(classifier, tmp_path)
    assert len(files) == 3
    for file in files:
        folder = Path(shutil.copytree(tmp_path / "whole", tmp_path / f"without {file.name}"))
        (folder / file.name).unlink()
        with pytest.raises(ClassifierFolderError, match=f"{file.name} is missing"):
            load_classifier(folder)


def test_each_altered_weight_or_vocabulary_file_is_named(classifier: TextClassifier, tmp_path: Path) -> None:
    for file in saved_files(classifier, tmp_path):
        if file.name == "classifier.json":
            continue
        folder = Path(shutil.copytree(tmp_path / "whole", tmp_path / f"other {file.name}"))
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        (folder / file.name).write_bytes(content)
        with pytest.raises(ClassifierFolderError, match=f"{file.name} was altered"):
            load_classifier(folder)


def test_altered_settings_are_noticed(classifier: TextClassifier, tmp_path: Path) -> None:
    classifier.save(tmp_path)
    path = tmp_path / "classifier.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["settings"]["more"] = 1
    path.write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(ClassifierFolderError, match="classifier.json was altered"):
        load_classifier(tmp_path)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("kiwipiepy", "0.1"), ("kiwipiepy_model", "0.1"), ("compatible_jamo", False), ("tokens", "form")],
)
def test_loading_a_text_cnn_under_another_tokenizer_warns_and_names_what_differs(
    setting: str, value: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = text_cnn()
    monkeypatch.setattr(
        TextCnnClassifier, "settings", lambda self: {"tokenizer": "kiwi", **tokenizer_settings(), setting: value}
    )
    trained.save(tmp_path)
    with pytest.warns(
        UserWarning, match=f"trained with {setting} {value}, here is {tokenizer_settings()[setting]}: some"
    ):
        load_classifier(tmp_path)


def test_loading_a_text_cnn_under_its_own_tokenizer_does_not_warn(tmp_path: Path) -> None:
    text_cnn().save(tmp_path)
    assert json.loads((tmp_path / "classifier.json").read_text())["settings"] == {
        "tokenizer": "kiwi",
        **tokenizer_settings(),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
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
    with pytest.raises(FileExistsError, match="is a file"):
        tfidf().save(tmp_path / "notes.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_classifier_takes_the_place_of_the_one_saved_before(classifier: TextClassifier, tmp_path: Path) -> None:
    tfidf([0, 1, 2, 0, 1, 2]).save(tmp_path / "saved")
    classifier.save(tmp_path / "saved")
    assert type(load_classifier(tmp_path / "saved")) is type(classifier)
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


def test_a_disk_that_fills_up_while_saving_leaves_the_classifier_saved_before(
    classifier: TextClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier.save(tmp_path / "saved")
    before = classifier.predict_proba(COMMENTS)

    def fill_up(path: Path, content: object) -> None:
        path.write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("utils.classifier.write_json", fill_up)
    with pytest.raises(OSError, match="No space left"):
        classifier.save(tmp_path / "saved")
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]
    np.testing.assert_array_equal(load_classifier(tmp_path / "saved").predict_proba(COMMENTS), before)


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
