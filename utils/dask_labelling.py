"""Labels for a folder of Parquet files that is larger than one machine, with Dask. Optional: requirements-dask.txt."""

import functools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from utils.comment_files import CommentDataError
from utils.files import atomic_path
from utils.labelling import label_controversy
from utils.parquet_folder import check_columns, readable, rewrite_parquet_folder

if TYPE_CHECKING:
    from distributed import Client

COUNTS = ("likes", "dislikes")


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
        Whether to show a bar of the comments that are done.

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
    settings: dict[str, Any] = {"band": tuple(band), "confidence_level": confidence_level, "min_votes": min_votes}
    added = label_controversy([], [], **settings).columns.tolist()
    return rewrite_parquet_folder(
        source,
        target,
        functools.partial(_label_file, **settings),
        client,
        check_file=functools.partial(check_columns, needed=COUNTS, added=added, step="labelling"),
        step="labelling",
        progress=progress,
    )


def _label_file(source: Path, target: Path, **settings: Any) -> Iterator[int]:
    """Write a Parquet file with its labels and yield its number of rows."""
    with readable(source), pq.ParquetFile(source) as file:
        table = file.read()
    try:
        labels = label_controversy(*(table[name].to_pandas() for name in COUNTS), **settings)
    except (TypeError, ValueError) as error:
        raise CommentDataError(f"{source}: {error}") from error
    for name, column in labels.items():
        table = table.append_column(name, pa.Array.from_pandas(column))
    with atomic_path(target) as temporary:
        pq.write_table(table, temporary)
    yield len(table)
