"""Predictions for a folder of Parquet files larger than memory, here or with Dask (optional: requirements-dask.txt)."""

import functools
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from utils.classes import probability_columns
from utils.classifier import ClassifierFolderError, TextClassifier, load_classifier, manifest_digest, read_manifest
from utils.comment_files import CommentDataError
from utils.files import atomic_path
from utils.parquet_folder import check_columns, read_batches, readable, rewrite_parquet_folder

if TYPE_CHECKING:
    from distributed import Client

# A worker of Dask has several threads, but neither Keras' `predict` nor a GPU's memory is meant for more than one.
_ONE_AT_A_TIME = threading.Lock()


def predict_parquet_folder(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    classifier: str | os.PathLike[str],
    client: "Client | None" = None,
    *,
    text_column: str = "text",
    batch_rows: int = 10_000,
    progress: bool = True,
) -> int:
    """Predict every comment in a folder of Parquet files and write the files with the probabilities to a new folder.

    Every file is read, predicted and written in batches, so memory is bounded by a batch, whatever the sizes of the
    files and of their row groups. With a `client` each file is a task and a worker that dies takes nothing with it:
    Dask gives its files to another. Both ways predict the very same batches.

    Parameters
    ----------
    source : str or path-like
        Folder, with or without subfolders, of .parquet files with a column of texts. Names that begin with `.` or
        `_` are passed over.
    target : str or path-like
        Folder to make: the same file names, rows and columns, and behind them, float32, `probability` (of class 1,
        controversial) where the classifier has two classes, else `probability_<name>` for each of its `class_names`.
        It is there when all files are, or not at all; only a process that is killed outright leaves a hidden folder
        `.<target>.<number>.tmp` beside it, to be deleted.
    classifier : str or path-like
        Folder of a saved classifier, of any kind that `load_classifier` reads. Each process loads it once.
    client : distributed.Client, optional
        `Client()` for a cluster on this machine, `Client("tcp://host:8786")` for a scheduler elsewhere, whose
        workers must see the three folders under the same paths and have this project on their Python path.
    text_column : str
        Name of the column of texts.
    batch_rows : int
        Most comments in memory at once, for each file that is being worked on; the files written have row groups of
        this size.
    progress : bool
        Whether to show a bar of the comments that are done.

    Returns
    -------
    int
        Number of comments.

    Raises
    ------
    CommentDataError
        No Parquet files in `source`; one that is damaged, lacks `text_column`, holds another type or a missing text
        in it, or has a column of the name that would be added; a `target` that is not empty or lies in `source`.
    ClassifierFolderError
        As in `load_classifier`; or the classifier was replaced while it was being used.
    ValueError
        `batch_rows` is less than 1.
    distributed.KilledWorker
        Four workers died over the same file: a batch needs more memory than they have.
    """
    if batch_rows < 1:
        raise ValueError(f"batch_rows must be at least 1, got {batch_rows}")
    folder = Path(classifier).resolve()
    digest = manifest_digest(read_manifest(folder))
    with _ONE_AT_A_TIME:
        added = probability_columns(_load_once(folder, digest).class_names)
    return rewrite_parquet_folder(
        source,
        target,
        functools.partial(
            _predict_file, folder=folder, digest=digest, added=added, text_column=text_column, batch_rows=batch_rows
        ),
        client,
        check_file=functools.partial(_check_file, text_column=text_column, added=added),
        step="predicting",
        progress=progress,
    )


def _check_file(path: Path, schema: pa.Schema, *, text_column: str, added: list[str]) -> None:
    check_columns(path, schema, needed=[text_column], added=added, step="predicting")
    kind = schema.field(text_column).type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
        raise CommentDataError(f"{path}: column {text_column!r} holds {kind}, not strings: write it with strings")


def _predict_file(
    source: Path, target: Path, *, folder: Path, digest: str, added: list[str], text_column: str, batch_rows: int
) -> Iterator[int]:
    """Write a Parquet file with its probabilities and yield the number of rows of each batch."""
    with readable(source):
        schema = pq.read_schema(source)
    for name in added:
        schema = schema.append(pa.field(name, pa.float32()))
    first = 0
    with atomic_path(target) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        for batch in read_batches(source, batch_rows):
            texts = _texts(batch[text_column], f"{source}, column {text_column!r}", first)
            with _ONE_AT_A_TIME:
                probability = _load_once(folder, digest).predict_proba(texts)
            columns = probability[:, -len(added) :].T  # the last of two, or all
            arrays = [*batch.columns, *(pa.array(column) for column in columns)]
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
            first += len(texts)
            yield len(texts)


def _texts(column: pa.Array, where: str, first: int) -> list[str]:
    """Return the texts of a batch whose first row is row `first` of its file."""
    texts = []
    for row, value in enumerate(column, first):
        try:
            text = value.as_py()
        except UnicodeDecodeError as error:
            raise CommentDataError(f"{where}: the text in row {row} is not UTF-8: write it again") from error
        if text is None:
            raise CommentDataError(f"{where}: the text in row {row} (from 0) is missing: drop or fill it")
        texts.append(text)
    return texts


@functools.lru_cache(maxsize=1)
def _load_once(folder: Path, digest: str) -> TextClassifier:
    """Return the classifier whose manifest has this digest."""
    loaded = load_classifier(folder)
    if manifest_digest(read_manifest(folder)) != digest:
        raise ClassifierFolderError(f"{folder} was replaced while it was being used: predict again")
    return loaded
