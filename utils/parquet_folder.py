"""A folder of Parquet files written anew, file by file, by this process or by the workers of Dask."""

import functools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from utils.comment_files import CommentDataError
from utils.files import atomic_path

if TYPE_CHECKING:
    from distributed import Client

READ_BYTES = 1 << 20  # at a time and column


def rewrite_parquet_folder(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    write_file: Callable[[Path, Path], Iterator[int]],
    client: "Client | None" = None,
    *,
    check_file: Callable[[Path, pa.Schema], None],
    step: str,
    progress: bool = True,
) -> int:
    """Write every Parquet file of a folder anew to another folder, all of them or nothing.

    Parameters
    ----------
    source : str or path-like
        Folder, with or without subfolders, of .parquet files. Names that begin with `.` or `_` are passed over.
    target : str or path-like
        Folder to make, with the same file names. It is there when all files are, or not at all.
    write_file : callable
        Reads its first argument, writes its second (with `atomic_path`) and yields numbers of comments as they are
        done. It is sent to the workers, so it must be picklable.
    client : distributed.Client, optional
        Whose workers do the work, one file a task; a worker that dies takes nothing with it, another gets its files.
        None: this process does it, one file after the other.
    check_file : callable
        Called with every file and its schema before anything is written; raises CommentDataError.
    step : str
        What is done, for the bar: "labelling".
    progress : bool
        Whether to show a bar of the comments that are done, which moves on with every file that a worker has
        finished or with every number that `write_file` yields here.

    Returns
    -------
    int
        Number of comments.

    Raises
    ------
    CommentDataError
        As `parquet_files`, `check_target` and `check_file`, or a file that is damaged.
    distributed.KilledWorker
        Four workers died over the same file.
    """
    source, target = Path(source).resolve(), Path(target).resolve()
    check_target(target, source)
    files = parquet_files(source)
    comments = 0
    for path in files:
        with readable(path), pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            comments += file.metadata.num_rows
        check_file(path, schema)
    with atomic_path(target) as staging:
        parts = [staging / path.relative_to(source) for path in files]
        written = _write_here if client is None else functools.partial(_write_on_workers, client)
        with tqdm(None, step, comments, mininterval=10, file=sys.stdout, disable=not progress, unit=" comments") as bar:
            for rows in written(write_file, files, parts):
                bar.update(rows)
        for leftover in set(staging.rglob("*.parquet")) - set(parts):  # of workers that died
            leftover.unlink()
    return comments


def _write_here(
    write_file: Callable[[Path, Path], Iterator[int]], files: Sequence[Path], parts: Sequence[Path]
) -> Iterator[int]:
    for path, part in zip(files, parts, strict=True):
        yield from write_file(path, part)


def _write_on_workers(
    client: "Client",
    write_file: Callable[[Path, Path], Iterator[int]],
    files: Sequence[Path],
    parts: Sequence[Path],
) -> Iterator[int]:
    from distributed import as_completed

    tasks = client.map(functools.partial(_count_written, write_file), files, parts, pure=False)
    # An error waits until all tasks have ended, so that none writes into a folder that is being removed.
    for task in as_completed(tasks):
        if task.status == "finished":
            yield task.result()
    client.gather(tasks)


def _count_written(write_file: Callable[[Path, Path], Iterator[int]], source: Path, target: Path) -> int:
    """Write one file to its end and return its number of comments; runs on a worker."""
    return sum(write_file(source, target))


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


def check_columns(path: Path, schema: pa.Schema, *, needed: Sequence[str], added: Sequence[str], step: str) -> None:
    """Raise CommentDataError unless a file has each column of `needed` once and none that the `step` adds."""
    names = schema.names
    for name in needed:
        if names.count(name) != 1:
            raise CommentDataError(
                f"{path} has {names.count(name)} columns {name!r} ({', '.join(names)}): write it with one"
            )
    taken = [name for name in added if name in names]
    if taken:
        raise CommentDataError(f"{path} has a column {taken[0]!r}, which {step} adds: drop or rename it")


def read_batches(path: Path, rows: int) -> Iterator[pa.RecordBatch]:
    """Yield a Parquet file in pieces of at most `rows` rows; a larger row group is never in memory as a whole.

    Raises
    ------
    CommentDataError
        The file is damaged.
    """
    # By default pyarrow fetches a row group as a whole before it gives out the first batch.
    with readable(path), pq.ParquetFile(path, buffer_size=READ_BYTES, pre_buffer=False) as file:
        yield from file.iter_batches(rows)


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn the errors of reading a Parquet file into a CommentDataError that names it."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        reason = str(error).partition("\n")[0]
        raise CommentDataError(f"{path} cannot be read as Parquet ({reason}): write it again") from error
