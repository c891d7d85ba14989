"""The public archive of Naver movie reviews, read into a typed table.

The reviews are other people's texts under no licence: they are downloaded to the user's machine, never shipped.
Within a movie's file the reviews stand in order of likes minus dislikes, so **a row's position tells its label**:
never use it as a feature, and shuffle before anything that depends on order.
"""

import io
import json
import os
import re
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from utils.comment_files import CommentDataError
from utils.files import atomic_path
from utils.movie_archive import TreeId, download_movie_reviews, raw_files, raw_tree_id, stamped_tree_id

__all__ = ["download_movie_reviews", "read_movie_reviews"]

BATCH_BYTES = 32 << 20
CACHE_VERSION = 1

_SCHEMA = pa.schema(
    {
        "id": pa.large_string(),
        "text": pa.large_string(),
        "likes": pa.int64(),
        "dislikes": pa.int64(),
        "group": pa.large_string(),
        "rating": pa.int64(),
    }
)
_NUMBERS = ("id", "group", "rating", "likes", "dislikes")
# (comment id,movie id,rating,likes,dislikes,'text') where '' in the text is a quote; texts hold line breaks.
_RECORD = re.compile(
    rb"\(([0-9]{1,18},[0-9]{1,18},[0-9]{1,9},[0-9]{1,9},[0-9]{1,9}),'([^']*(?:''[^']*)*)'\)(?:\r?\n|\Z)"
)


def read_movie_reviews(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read every review of the archive.

    The table is kept beside the archive as `movie-reviews-<tree id>.parquet` and read from there the next time.

    Parameters
    ----------
    path : str or path-like
        The archive .zip, or an unpacked `raw/` folder.

    Returns
    -------
    DataFrame
        One row a review, in the order of file names and, within a file, **of likes minus dislikes: row order leaks
        the label**. `id` (review) str, `text` str, `likes` and `dislikes` int64, `group` (movie) str, `rating`
        int64 from 1 to 10. `attrs["repairs"]` says where bytes that are not UTF-8 were replaced.

    Raises
    ------
    CommentDataError
        The archive is missing or damaged, or a file holds something that is not a record; the file is named.
    """
    path = Path(path).resolve()
    tree_id = stamped_tree_id(path)
    if tree_id is None and any(path.parent.glob(_cache_name("*"))):
        tree_id = raw_tree_id(path)
    table = _cached(path.parent / _cache_name(tree_id)) if tree_id else None
    if table is None:
        table, tree_id = _parsed(path)
        _keep(table, path.parent / _cache_name(tree_id))
    # Pandas 2 would make a Python object of every string.
    old = pd.__version__.startswith("2.")
    frame = table.to_pandas(types_mapper={pa.large_string(): pd.StringDtype("pyarrow")}.get if old else None)
    frame.attrs["repairs"] = json.loads((table.schema.metadata or {}).get(b"repairs", b"[]"))
    return frame


def _cache_name(tree_id: str) -> str:
    return f"movie-reviews-{tree_id}-{CACHE_VERSION}.parquet"


def _parsed(path: Path) -> tuple[pa.Table, str]:
    """Return all records and the tree id of the files they are from."""
    tree = TreeId()
    batches: list[pa.Table] = []
    repairs: list[str] = []
    heads: list[bytes] = []
    texts: list[bytes] = []
    size = 0
    for name, content in raw_files(path):
        tree.add(name, content)
        if not name.endswith(".txt"):
            continue
        file_heads, file_texts = _records(content, f"{path}: {name!r}", repairs)
        heads += file_heads
        texts += file_texts
        size += len(content)
        if size > BATCH_BYTES:
            batches.append(_typed(heads, texts))
            heads, texts, size = [], [], 0
    table = pa.concat_tables([*batches, _typed(heads, texts)])
    if not table.num_rows:
        raise CommentDataError(f"{path} has no reviews: download the archive again")
    return table.replace_schema_metadata({"repairs": json.dumps(repairs, ensure_ascii=False)}), tree.hexdigest()


def _records(content: bytes, place: str, repairs: list[str]) -> tuple[list[bytes], list[bytes]]:
    """Return the five numbers and the text of each record in a file, still as bytes.

    The records must cover the file: whatever stands between two of them is an error, so none is passed over.
    """
    pieces = _RECORD.split(content.removeprefix(b"\xef\xbb\xbf"))
    between, heads, texts = pieces[0::3], pieces[1::3], pieces[2::3]
    if b"".join(between).strip():
        number, gap = next((number, gap) for number, gap in enumerate(between) if gap.strip())
        raise CommentDataError(
            f"{place}: {len(gap):,} bytes after record {number} are not a whole record (comment id,movie id,rating,"
            "likes,dislikes,'text'): the file is damaged; download the archive again"
        )
    try:
        content.decode()
    except UnicodeDecodeError:
        texts = [text.decode("utf-8", "replace").encode() for text in texts]
        repairs.append(f"{place}: bytes that are not UTF-8 were replaced by U+FFFD")
    return heads, texts


def _typed(heads: list[bytes], texts: list[bytes]) -> pa.Table:
    """Return the records as a table with the columns of a comments table."""
    if not heads:
        return _SCHEMA.empty_table()
    options = pyarrow.csv.ReadOptions(column_names=list(_NUMBERS), use_threads=False)
    types = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(_NUMBERS, pa.int64()))
    numbers = pyarrow.csv.read_csv(io.BytesIO(b"\n".join(heads)), read_options=options, convert_options=types)
    quoted = pa.array([text.replace(b"''", b"'") for text in texts], pa.large_binary())
    text = quoted.view(pa.large_string())  # `_records` has made sure that it is UTF-8
    columns = {name: numbers[name].cast(_SCHEMA.field(name).type) for name in _NUMBERS} | {"text": text}
    return pa.table({name: columns[name] for name in _SCHEMA.names}, schema=_SCHEMA)


def _cached(cache: Path) -> pa.Table | None:
    try:
        table = pq.read_table(cache, page_checksum_verification=True)
    except (OSError, ValueError, pa.ArrowException):
        return None  # absent, or cut short: parsed again and replaced
    return table if table.schema.equals(_SCHEMA) else None


def _keep(table: pa.Table, cache: Path) -> None:
    """Write the cache; where that is not possible the table is simply parsed again the next time."""
    try:
        with atomic_path(cache) as path:
            pq.write_table(table, path, compression="zstd", write_page_checksum=True)
    except OSError as error:
        print(f"{cache} could not be written ({error.strerror or error}): the reviews are parsed anew each time")
