"""Labels for a folder of Parquet files that is larger than one machine, with Dask. Optional: requirements-dask.txt."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from utils.comment_files import CommentDataError
from utils.files import atomic_path
from utils.labelling import label_controversy

if TYPE_CHECKING:
    from distributed import Client


def label_parquet_folder(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    client: "Client",
    *,
    band: Sequence[float] = (0.3, 0.7),
    confidence_level: float = 0.95,
    min_votes: int = 20,
    progress: bool = True,
) -> int:
    """Label every Parquet file of a folder, one file a task, and write the files with their labels to a new folder.

    A comment's label depends on its own votes alone, so the labels are those of `label_controversy` on the whole
    table. A worker that dies takes nothing with it: Dask gives its files to another. Explained in notebook 01.

    Parameters
    ----------
    source : str or path-like
        Folder, with or without subfolders, of .parquet files with the whole numbers `likes` and `dislikes`. Names
        that begin with `.` or `_` are passed over. Each file must fit into a worker's memory.
    target : str or path-like
        Folder to make: the same file names, rows and columns, and behind them the columns of `label_controversy`.
        It is there when all files are, or not at all. Workers on other machines must see both folders under the
        same path, and have this project on their Python path.
    client : distributed.Client
        `Client()` for a cluster on this machine, `Client("tcp://host:8786")` for a scheduler elsewhere.
    band, confidence_level, min_votes
        As for `label_controversy`.
    progress : bool
        Whether to show a bar of the files that are done.

    Returns
    -------
    int
        Number of comments.

    Raises
    ------
    CommentDataError
        No Parquet files in `source`; one that is damaged, lacks a count, holds counts that are missing, negative or
        not whole, or is labelled already; a `target` that is not empty or lies in `source`.
    ValueError
        As in `label_controversy`, for the settings.
    distributed.KilledWorker
        Four workers died over the same file: it needs more memory than they have.
    """
    from distributed import as_completed

    source, target = Path(source).resolve(), Path(target).resolve()
    settings: dict[str, Any] = {"band": tuple(band), "confidence_level": confidence_level, "min_votes": min_votes}
    label_columns = label_controversy([], [], **settings).columns.tolist()
    check_target(target, source)
    files = parquet_files(source)
    for file in files:
        check_columns(file, label_columns)
    with atomic_path(target) as staging:
        parts = [staging / file.relative_to(source) for file in files]
        tasks = client.map(_label_file, files, parts, pure=False, **settings)
        # An error waits until all tasks have ended, so that none writes into a folder that is being removed.
        ended = as_completed(tasks)
        for _ in tqdm(
            ended, "labelling", len(tasks), mininterval=10, file=sys.stdout, disable=not progress, unit=" files"
        ):
            pass
        comments = sum(client.gather(tasks))
        for leftover in set(staging.rglob("*.parquet")) - set(parts):  # of workers that died
            leftover.unlink()
    return comments


def parquet_files(folder: Path) -> list[Path]:
    """Return the .parquet files in a folder and its subfolders, by name.

    Raises
    ------
    CommentDataError
        The folder is not there, is a file, or holds none.
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise CommentDataError(f"{folder} {what}: name a folder of .parquet files")
    found = sorted(path for path in folder.rglob("*.parquet") if path.is_file())
    files = [path for path in found if not any(part[0] in "._" for part in path.relative_to(folder).parts)]
    if not files:
        raise CommentDataError(f"{folder} holds no .parquet files: name the folder that does")
    return files


def check_target(target: Path, source: Path) -> None:
    """Raise CommentDataError if `target` holds anything or lies in `source`."""
    if target.is_relative_to(source):
        raise CommentDataError(f"{target} lies in {source}, which is read: name a folder outside it")
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise CommentDataError(f"{target} is there already and not an empty folder: remove it or name another")


def check_columns(path: Path, label_columns: Sequence[str]) -> None:
    """Raise CommentDataError unless a Parquet file has both counts once and no column of `label_columns`."""
    with _readable(path):
        names = pq.read_schema(path).names
    for name in ("likes", "dislikes"):
        if names.count(name) != 1:
            raise CommentDataError(
                f"{path} has {names.count(name)} columns {name!r} ({', '.join(names)}): write it with one"
            )
    taken = [name for name in label_columns if name in names]
    if taken:
        raise CommentDataError(f"{path} has a column {taken[0]!r}, which labelling adds: drop or rename it")


def _label_file(source: Path, target: Path, **settings: Any) -> int:
    """Write a Parquet file with its labels and return its number of rows; runs on a worker."""
    with _readable(source), pq.ParquetFile(source) as file:
        table = file.read()
    try:
        labels = label_controversy(table["likes"].to_pandas(), table["dislikes"].to_pandas(), **settings)
    except (TypeError, ValueError) as error:
        raise CommentDataError(f"{source}: {error}") from error
    for name, column in labels.items():
        table = table.append_column(name, pa.Array.from_pandas(column))
    with atomic_path(target) as temporary:
        pq.write_table(table, temporary)
    return len(table)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        reason = str(error).partition("\n")[0]
        raise CommentDataError(f"{path} cannot be read as Parquet ({reason}): write it again") from error
