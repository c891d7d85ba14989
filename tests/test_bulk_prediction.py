"""A folder of Parquet files is predicted batch by batch, here or by Dask, as its texts are in memory."""

import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from utils import bulk_prediction
from utils.bulk_prediction import predict_parquet_folder
from utils.classifier import BertClassifier, ClassifierFolderError, TfidfClassifier, character_ngrams, load_classifier
from utils.comment_files import CommentDataError
from utils.files import ROOT

WORDS = ["배송", "가격", "비싸요", "빨라요", "버스", "노선", "모르겠다", "만족", "왜", "😀"]


def invented(rows: int, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    texts = [" ".join(random.choice(WORDS, size=random.integers(0, 9))) for _ in range(rows)]
    return pd.DataFrame({"article": np.arange(rows) // 7, "text": texts})


def save_tfidf(folder: Path, labels: list[int]) -> Path:
    vectorizer = TfidfVectorizer(analyzer=functools.partial(character_ngrams, shortest=2, longest=3))
    weights = vectorizer.fit_transform([f"{word} {label}" for word in WORDS for label in labels])
    regression = LogisticRegression(C=10).fit(weights, [*labels[:-1], labels[0]] * 5 + [*labels] * 5)
    TfidfClassifier.from_sklearn(vectorizer, regression, ngrams=(2, 3)).save(folder)
    return folder


@pytest.fixture(scope="module")
def classifier(tmp_path_factory) -> Path:
    """The folder of a classifier of two classes."""
    return save_tfidf(tmp_path_factory.mktemp("classifiers") / "two", [0, 1, 1])


def write_parts(comments: pd.DataFrame, folder: Path, parts: int, **how) -> list[Path]:
    folder.mkdir(parents=True)
    paths = [folder / f"part-{number:03}.parquet" for number in range(parts)]
    for path, rows in zip(paths, np.array_split(np.arange(len(comments)), parts), strict=True):
        comments.iloc[rows].to_parquet(path, index=False, **how)
    return paths


def read_parts(folder: Path) -> pd.DataFrame:
    return pd.concat([pd.read_parquet(path) for path in sorted(folder.rglob("*.parquet"))], ignore_index=True)


def predicted_in_memory(comments: pd.DataFrame, classifier: Path) -> pd.DataFrame:
    return comments.assign(probability=load_classifier(classifier).predict_proba(comments["text"])[:, 1])


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


# ------------------------------------------------------------------------------- equal results


def test_probabilities_and_columns_are_those_of_the_table_in_memory(classifier, tmp_path):
    comments = invented(1_000)
    write_parts(comments, tmp_path / "in", 3)
    rows = predict_parquet_folder(tmp_path / "in", tmp_path / "out", classifier, batch_rows=150)
    assert rows == 1_000
    predicted = read_parts(tmp_path / "out")
    assert predicted["probability"].dtype == np.float32 and predicted["probability"].std() > 0.05
    pd.testing.assert_frame_equal(predicted, predicted_in_memory(comments, classifier), check_exact=True)


def test_two_workers_of_which_one_is_killed_predict_what_one_process_does(
    client, killing_a_worker, classifier, tmp_path
):
    comments = invented(40 * 200)
    parts = write_parts(comments, tmp_path / "in", 40)
    with killing_a_worker(tmp_path / "out") as killed:
        predict_parquet_folder(tmp_path / "in", tmp_path / "out", classifier, client, batch_rows=60)
    assert killed["done"] < len(parts)
    assert names(tmp_path / "out") == [path.name for path in parts]
    predict_parquet_folder(tmp_path / "in", tmp_path / "here", classifier, batch_rows=60)
    predicted = read_parts(tmp_path / "out")
    pd.testing.assert_frame_equal(predicted, read_parts(tmp_path / "here"), check_exact=True)
    pd.testing.assert_frame_equal(predicted, predicted_in_memory(comments, classifier), check_exact=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "in", "out"]


def test_a_bert_predicts_the_same_here_on_the_workers_and_in_memory(client, kcbert_shaped_checkpoint, tmp_path):
    from utils.bert import build_bert_classifier, load_backbone, load_tokenizer
    from utils.training import set_seeds

    set_seeds(0)
    model = build_bert_classifier(load_backbone(kcbert_shaped_checkpoint))
    BertClassifier(model, load_tokenizer(kcbert_shaped_checkpoint), 20).save(tmp_path / "bert")
    comments = invented(60)
    write_parts(comments, tmp_path / "in", 2)
    predict_parquet_folder(tmp_path / "in", tmp_path / "here", tmp_path / "bert", batch_rows=20)
    predict_parquet_folder(tmp_path / "in", tmp_path / "there", tmp_path / "bert", client, batch_rows=20)
    here, there = read_parts(tmp_path / "here"), read_parts(tmp_path / "there")
    expected = predicted_in_memory(comments, tmp_path / "bert")
    assert expected["probability"].std() > 1e-4
    pd.testing.assert_frame_equal(here, there, check_exact=False, rtol=0, atol=1e-6)
    pd.testing.assert_frame_equal(here, expected, check_exact=False, rtol=0, atol=1e-6)


def test_columns_bear_the_names_of_the_classes(tmp_path):
    classifier = load_classifier(save_tfidf(tmp_path / "unnamed", [0, 1, 2]))
    classifier.class_names = ("부정", "중립", "긍정")
    classifier.save(tmp_path / "named")
    write_parts(invented(5), tmp_path / "in", 1)
    predict_parquet_folder(tmp_path / "in", tmp_path / "out", tmp_path / "named")
    columns = read_parts(tmp_path / "out").columns.tolist()
    assert columns[2:] == ["probability_부정", "probability_중립", "probability_긍정"]


def test_three_classes_get_a_column_each(tmp_path):
    folder = save_tfidf(tmp_path / "three", [0, 1, 2])
    comments = invented(50)
    write_parts(comments, tmp_path / "in", 1)
    predict_parquet_folder(tmp_path / "in", tmp_path / "out", folder)
    predicted = read_parts(tmp_path / "out")
    assert predicted.columns.tolist() == ["article", "text", "probability_0", "probability_1", "probability_2"]
    expected = load_classifier(folder).predict_proba(comments["text"])
    np.testing.assert_array_equal(predicted.iloc[:, 2:].to_numpy(), expected)


def test_subfolders_empty_files_and_types_are_kept(classifier, tmp_path):
    table = pa.table(
        {
            "text": pa.array(["배송 왜", ""], pa.large_string()),
            "article": pa.array(["가", "나"]).dictionary_encode(),
            "day": pa.array([1, None], pa.date32()),
        }
    )
    (tmp_path / "in" / "2020").mkdir(parents=True)
    pq.write_table(table, tmp_path / "in" / "2020" / "a.parquet")
    pq.write_table(table.slice(0, 0), tmp_path / "in" / "none.parquet")
    encoded = table.set_column(0, "text", table["text"].cast(pa.string()).dictionary_encode())
    pq.write_table(encoded, tmp_path / "in" / "repeated.parquet")
    (tmp_path / "in" / "_half.parquet").write_bytes(b"not to be read")
    predict_parquet_folder(tmp_path / "in", tmp_path / "out", classifier, batch_rows=1)
    assert names(tmp_path / "out") == ["2020", "2020/a.parquet", "none.parquet", "repeated.parquet"]
    predicted = pq.read_table(tmp_path / "out" / "2020" / "a.parquet", partitioning=None)
    assert predicted.select(table.column_names).equals(table.unify_dictionaries())
    repeated = pq.read_table(tmp_path / "out" / "repeated.parquet")
    assert repeated["probability"].equals(predicted["probability"])
    empty = pq.read_table(tmp_path / "out" / "none.parquet")
    assert empty.num_rows == 0 and empty.schema.types == predicted.schema.types


def test_another_column_of_texts_can_be_named(classifier, tmp_path):
    comments = invented(20)
    write_parts(comments.rename(columns={"text": "댓글"}), tmp_path / "in", 1)
    predict_parquet_folder(tmp_path / "in", tmp_path / "out", classifier, text_column="댓글")
    expected = predicted_in_memory(comments, classifier).rename(columns={"text": "댓글"})
    pd.testing.assert_frame_equal(read_parts(tmp_path / "out"), expected, check_exact=True)


# ------------------------------------------------------------------------------- memory


def test_a_file_of_one_row_group_is_predicted_in_batches(classifier, tmp_path, monkeypatch):
    (path,) = write_parts(invented(1_000), tmp_path / "in", 1)
    assert pq.read_metadata(path).num_row_groups == 1
    asked = []
    ours = TfidfClassifier.predict_proba
    monkeypatch.setattr(TfidfClassifier, "predict_proba", lambda self, texts: asked.append(texts) or ours(self, texts))
    predict_parquet_folder(tmp_path / "in", tmp_path / "out", classifier, batch_rows=64)
    assert max(len(texts) for texts in asked) == 64
    assert sum(len(texts) for texts in asked) == 1_000


MOST_MEMORY = """
import sys
import numpy as np, pyarrow
from utils.bulk_prediction import predict_parquet_folder
from utils.classifier import TfidfClassifier

TfidfClassifier.predict_proba = lambda self, texts: np.full((len(texts), 2), 0.5, np.float32)
predict_parquet_folder(*sys.argv[1:], batch_rows=200, progress=False)
print(pyarrow.default_memory_pool().max_memory())
"""


def test_memory_does_not_grow_with_the_row_group(classifier, tmp_path):
    random = np.random.default_rng(0)

    def most_memory(rows: int) -> int:
        texts = [random.bytes(500).hex() for _ in range(rows)]  # 1,000 characters that do not compress away
        (path,) = write_parts(pd.DataFrame({"text": texts}), tmp_path / f"{rows}", 1, row_group_size=rows)
        assert pq.read_metadata(path).num_row_groups == 1
        arguments = [str(tmp_path / f"{rows}"), str(tmp_path / f"out of {rows}"), str(classifier)]
        ended = subprocess.run(
            [sys.executable, "-c", MOST_MEMORY, *arguments], cwd=ROOT, check=True, capture_output=True, text=True
        )
        return int(ended.stdout)

    small, large = most_memory(2_000), most_memory(20_000)
    assert large < 1.5 * small
    assert large < 0.75 * 20_000 * 1_000


def test_the_classifier_is_loaded_once_and_again_when_it_was_replaced(classifier, tmp_path, monkeypatch):
    loaded = []
    monkeypatch.setattr(bulk_prediction, "load_classifier", lambda path: loaded.append(path) or load_classifier(path))
    folder = save_tfidf(tmp_path / "classifier", [0, 1, 1])
    write_parts(invented(20), tmp_path / "in", 4)
    for out in ("first", "second"):
        predict_parquet_folder(tmp_path / "in", tmp_path / out, folder)
    assert loaded == [folder]
    for path in folder.iterdir():
        path.unlink()
    save_tfidf(folder, [1, 0, 1])
    predict_parquet_folder(tmp_path / "in", tmp_path / "third", folder)
    assert loaded == [folder, folder]
    assert not read_parts(tmp_path / "third").equals(read_parts(tmp_path / "first"))


# ------------------------------------------------------------------------------- whole or not at all


def test_a_process_that_is_killed_leaves_no_folder_of_half_the_files(classifier, tmp_path):
    write_parts(invented(20_000), tmp_path / "in", 50)
    program = "import sys; from utils.bulk_prediction import *; predict_parquet_folder(*sys.argv[1:], batch_rows=100)"
    arguments = [str(tmp_path / "in"), str(tmp_path / "out"), str(classifier)]
    process = subprocess.Popen([sys.executable, "-c", program, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL)
    while len(list(tmp_path.glob(".out.*/part-*.parquet"))) < 3:
        assert process.poll() is None
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out").exists()


def with_texts(path: Path, texts: pa.Array) -> None:
    pq.write_table(pq.read_table(path).slice(0, len(texts)).set_column(1, "text", texts), path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


NOT_UTF8 = pa.Array.from_buffers(
    pa.string(), 2, [None, pa.py_buffer(np.array([0, 1, 2], "i4").tobytes()), pa.py_buffer(b"a\xff")]
)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (cut, "cannot be read as Parquet .*: write it again"),
        (lambda path: with_texts(path, pa.array(["가"] * 7 + [None])), ".*'text': the text in row 7 .* is missing"),
        (lambda path: with_texts(path, NOT_UTF8), ".*'text': the text in row 1 is not UTF-8: write it again"),
        (lambda path: with_texts(path, pa.array([1.5])), "column 'text' holds double, not strings"),
        (lambda path: with_texts(path, pa.array([b"a"])), "column 'text' holds binary, not strings"),
        (lambda path: with_texts(path, pa.nulls(3)), "column 'text' holds null, not strings"),
        (
            lambda path: pq.write_table(pq.read_table(path).drop(["text"]), path),
            r"has 0 columns 'text' \(article\): write it with one",
        ),
        (
            lambda path: pq.write_table(pq.read_table(path).rename_columns(["probability", "text"]), path),
            "has a column 'probability', which predicting adds: drop or rename it",
        ),
    ],
)
@pytest.mark.parametrize("workers", [False, True], ids=["here", "on workers"])
def test_a_file_that_cannot_be_predicted_is_named_and_nothing_is_written(
    spoil, said, workers, client, classifier, tmp_path
):
    spoil(write_parts(invented(40), tmp_path / "in", 4)[1])
    with pytest.raises(CommentDataError, match=f"part-001.parquet[:,]? {said}"):
        predict_parquet_folder(tmp_path / "in", tmp_path / "out", classifier, client if workers else None, batch_rows=5)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_target_inside_the_source_or_in_use_is_refused(classifier, tmp_path):
    write_parts(invented(10), tmp_path / "in", 1)
    with pytest.raises(CommentDataError, match="lies in .*, which is read: name a folder outside it"):
        predict_parquet_folder(tmp_path / "in", tmp_path / "in" / "out", classifier)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(CommentDataError, match="out is there already and not an empty folder: remove it or name"):
        predict_parquet_folder(tmp_path / "in", tmp_path / "out", classifier)
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"


def test_a_folder_without_a_classifier_and_batches_of_nothing_are_refused(classifier, tmp_path):
    write_parts(invented(10), tmp_path / "in", 1)
    with pytest.raises(ClassifierFolderError, match="classifier.json is missing"):
        predict_parquet_folder(tmp_path / "in", tmp_path / "out", tmp_path)
    with pytest.raises(ValueError, match="batch_rows must be at least 1, got 0"):
        predict_parquet_folder(tmp_path / "in", tmp_path / "out", classifier, batch_rows=0)
