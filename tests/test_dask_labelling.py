"""A folder of Parquet files is labelled by Dask exactly as its table is in memory, whole or not at all."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from utils.comment_files import CommentDataError
from utils.dask_labelling import label_parquet_folder
from utils.labelling import label_controversy

LABELS = ["label", "ratio", "ci_low", "ci_high", "band_probability", "votes"]


def invented(rows: int, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    votes = np.minimum(random.geometric(0.02, rows) - 1, 300)
    likes = random.binomial(votes, random.uniform(size=rows))
    return pd.DataFrame({"text": [f"댓글 {row}" for row in range(rows)], "likes": likes, "dislikes": votes - likes})


def write_parts(comments: pd.DataFrame, folder: Path, parts: int) -> list[Path]:
    folder.mkdir(parents=True)
    paths = [folder / f"part-{number:03}.parquet" for number in range(parts)]
    for path, rows in zip(paths, np.array_split(np.arange(len(comments)), parts), strict=True):
        comments.iloc[rows].to_parquet(path, index=False)
    return paths


def read_parts(folder: Path) -> pd.DataFrame:
    return pd.concat([pd.read_parquet(path) for path in sorted(folder.rglob("*.parquet"))], ignore_index=True)


def labelled_in_memory(comments: pd.DataFrame, **settings) -> pd.DataFrame:
    return pd.concat([comments, label_controversy(comments["likes"], comments["dislikes"], **settings)], axis=1)


def contents(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_labels_and_columns_are_those_of_the_table_in_memory(client, tmp_path):
    comments = invented(3_000)
    write_parts(comments, tmp_path / "in", 5)
    settings = {"band": (0.35, 0.65), "confidence_level": 0.9, "min_votes": 10}
    rows = label_parquet_folder(tmp_path / "in", tmp_path / "out", client, **settings)
    assert rows == 3_000
    expected = labelled_in_memory(comments, **settings)
    assert set(expected["label"]) == {-1, 0, 1}
    pd.testing.assert_frame_equal(read_parts(tmp_path / "out"), expected, check_exact=True)


def test_a_worker_killed_on_the_way_changes_nothing(client, killing_a_worker, tmp_path):
    comments = invented(40 * 5_000)
    parts = write_parts(comments, tmp_path / "in", 40)
    with killing_a_worker(tmp_path / "out") as killed:
        label_parquet_folder(tmp_path / "in", tmp_path / "out", client)
    assert killed["done"] < len(parts)
    pd.testing.assert_frame_equal(read_parts(tmp_path / "out"), labelled_in_memory(comments), check_exact=True)
    assert contents(tmp_path / "out") == [path.name for path in parts]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_subfolders_empty_files_and_types_are_kept(client, tmp_path):
    table = pa.table(
        {
            "likes": pa.array([50, 0], pa.uint16()),
            "dislikes": pa.array([50, 0], pa.int8()),
            "article": pa.array(["가", "나"]).dictionary_encode(),
            "day": pa.array([1, None], pa.date32()),
        }
    )
    (tmp_path / "in" / "2020").mkdir(parents=True)
    pq.write_table(table, tmp_path / "in" / "2020" / "a.parquet")
    pq.write_table(table.slice(0, 0), tmp_path / "in" / "none.parquet")
    (tmp_path / "in" / "_half.parquet").write_bytes(b"not to be read")
    label_parquet_folder(tmp_path / "in", tmp_path / "out", client)
    assert contents(tmp_path / "out") == ["2020", "2020/a.parquet", "none.parquet"]
    labelled = pq.read_table(tmp_path / "out" / "2020" / "a.parquet", partitioning=None)
    assert labelled.select(table.column_names).equals(table)
    assert labelled["label"].to_pylist() == [1, -1]
    empty = pq.read_table(tmp_path / "out" / "none.parquet")
    assert (empty.num_rows, empty.column_names[-6:]) == (0, LABELS)
    assert empty.schema.types == labelled.schema.types


# ------------------------------------------------------------------------------- bad input


def damage(path: Path, **columns) -> None:
    """Write a Parquet file again with other columns; None drops one."""
    table = pd.read_parquet(path).assign(**columns)
    table.drop(columns=[name for name, values in columns.items() if values is None]).to_parquet(path, index=False)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def spoil_a_page(path: Path) -> None:
    """Leave the footer as it is and the values of the first column in ruins."""
    raw = bytearray(path.read_bytes())
    raw[4:40] = b"\xff" * 36
    path.write_bytes(raw)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (cut, "cannot be read as Parquet .*: write it again"),
        (spoil_a_page, "cannot be read as Parquet .*: write it again"),
        (lambda path: path.write_bytes(b""), "cannot be read as Parquet"),
        (lambda path: damage(path, dislikes=None), r"has 0 columns 'dislikes' \(text, likes\): write it with one"),
        (lambda path: damage(path, label=1), "has a column 'label', which labelling adds: drop or rename it"),
        (lambda path: damage(path, likes=[-1, *[1] * 9]), "likes: value -1 at index 0 is negative"),
        (lambda path: damage(path, likes=[1, None, *[1] * 8]), "likes: missing value at index 1; drop or fill it"),
        (lambda path: damage(path, dislikes=0.5), "dislikes: counts must be integers, not float64; convert them"),
        (lambda path: damage(path, dislikes="1"), "dislikes: counts must be integers"),
    ],
)
def test_a_file_that_cannot_be_labelled_is_named_and_nothing_is_written(spoil, said, client, tmp_path):
    second = write_parts(invented(40), tmp_path / "in", 4)[1]
    spoil(second)
    with pytest.raises(CommentDataError, match=f"part-001.parquet:? {said}"):
        label_parquet_folder(tmp_path / "in", tmp_path / "out", client)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_file_put_right_is_labelled_by_the_same_workers(client, tmp_path):
    comments = invented(40)
    second = write_parts(comments, tmp_path / "in", 4)[1]
    damage(second, likes=-1)
    with pytest.raises(CommentDataError):
        label_parquet_folder(tmp_path / "in", tmp_path / "out", client)
    comments.iloc[10:20].to_parquet(second, index=False)
    label_parquet_folder(tmp_path / "in", tmp_path / "out", client)
    pd.testing.assert_frame_equal(read_parts(tmp_path / "out"), labelled_in_memory(comments), check_exact=True)


def test_a_source_without_parquet_files_is_refused(client, tmp_path):
    with pytest.raises(CommentDataError, match="in does not exist: name a folder of .parquet files"):
        label_parquet_folder(tmp_path / "in", tmp_path / "out", client)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "comments.csv").touch()
    with pytest.raises(CommentDataError, match="in holds no .parquet files: name the folder that does"):
        label_parquet_folder(tmp_path / "in", tmp_path / "out", client)
    with pytest.raises(CommentDataError, match="comments.csv is a file: name a folder"):
        label_parquet_folder(tmp_path / "in" / "comments.csv", tmp_path / "out", client)


def test_a_target_that_holds_something_stays_as_it_was(client, tmp_path):
    write_parts(invented(10), tmp_path / "in", 1)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(CommentDataError, match="out is there already and not an empty folder: remove it or name"):
        label_parquet_folder(tmp_path / "in", tmp_path / "out", client)
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"
    for target in ("in", "in/labelled"):
        with pytest.raises(CommentDataError, match="which is read: name a folder outside it"):
            label_parquet_folder(tmp_path / "in", tmp_path / target, client)


def test_bad_settings_are_refused_before_any_work(client, tmp_path):
    with pytest.raises(ValueError, match="band"):
        label_parquet_folder(tmp_path / "nowhere", tmp_path / "out", client, band=(0.7, 0.3))
