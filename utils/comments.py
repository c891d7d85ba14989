"""A file of comments, as a table with our column names and counts that are counts."""

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

READERS = (".csv", ".tsv", ".parquet", ".json", ".jsonl")
ENCODINGS = ("utf-8-sig", "cp949")
LARGEST_COUNT = 2**31 - 1
ALIASES = {
    "id": ("id", "comment_id", "commentid", "commentno", "review_id", "댓글번호", "아이디"),
    "text": ("text", "comment", "comments", "contents", "content", "review", "document", "댓글", "내용", "댓글내용"),
    "likes": ("likes", "like", "like_count", "upvotes", "sympathycount", "sympathy", "공감", "공감수", "좋아요"),
    "dislikes": ("dislikes", "dislike", "dislike_count", "downvotes", "antipathycount", "비공감", "비공감수", "싫어요"),
    "group": ("group", "article_id", "article", "movie_id", "movie", "objectid", "기사", "기사번호", "영화", "그룹"),
    "rating": ("rating", "score", "stars", "평점", "별점"),
}
REQUIRED = ("text", "likes", "dislikes")

_COUNT = re.compile(r"\s*([+-]?\d+(?:\.\d+)?)\s*([천만억]?)\s*")
_UNITS = {"": 1, "천": 1_000, "만": 10_000, "억": 100_000_000}


class CommentDataError(ValueError):
    """A file of comments cannot be used as it is; the message names file, column, rows and the remedy."""


def load_comments(
    path: str | os.PathLike[str], *, columns: Mapping[str, str] | None = None, encoding: str | None = None
) -> pd.DataFrame:
    """Read a file of comments with their vote counts.

    Parameters
    ----------
    path : str or path-like
        A .csv, .tsv, .parquet, .json (list of records) or .jsonl file.
    columns : mapping, optional
        Our column name -> the file's, such as `{"group": "movie_id"}`, for names not found by themselves.
    encoding : str, optional
        Of a text file; by default UTF-8 (with or without BOM), then cp949.

    Returns
    -------
    DataFrame
        `id` str, `text` str, `likes` and `dislikes` int64, `group` str and `rating` where the file has them, then
        every other column as it is. Rows without text are left out and rows with the id of an earlier one too;
        `attrs["repairs"]` holds a line for each such repair.

    Raises
    ------
    CommentDataError
        The file is missing, empty, unreadable or of an unknown kind, a column is missing or ambiguous, or counts
        are not whole numbers from 0 to 2^31 - 1. The message names file, column, first bad rows and the remedy.
    """
    path = Path(path)
    table = _rename(_read(path, encoding), dict(columns or {}), path)
    repairs: list[str] = []
    table = _with_text(table, repairs)
    for name in ("likes", "dislikes"):
        table[name] = _counts(table[name], name, path)
    if "group" in table:
        table["group"] = _filled(table["group"], "group", path).astype(str)
    table["id"] = _filled(table["id"], "id", path).astype(str) if "id" in table else comment_ids(table)
    repeated = table["id"].duplicated()
    if repeated.any():
        repairs.append(f"{int(repeated.sum()):,} rows with the id of an earlier row were left out")
        table = table[~repeated]
    if table.empty:
        raise CommentDataError(f"{path}: no row has a comment's text; nothing can be labelled")
    first = [name for name in ALIASES if name in table]
    table = table[first + [name for name in table if name not in first]].reset_index(drop=True)
    table.attrs["repairs"] = repairs
    return table


def comment_ids(comments: pd.DataFrame) -> pd.Series:
    """Return 16 hex digits of SHA-256 over group, text, likes, dislikes and occurrence number of each row.

    Parameters
    ----------
    comments : DataFrame
        `text`, `likes`, `dislikes` and, where there is one, `group`.
    """
    key_columns = [name for name in ("group", "text", "likes", "dislikes") if name in comments]
    occurrence = comments.groupby(key_columns, sort=False).cumcount()
    keys = zip(*(comments[name] for name in key_columns), occurrence, strict=True)
    digests = [
        hashlib.sha256("\0".join(map(str, key)).encode("utf-8", "surrogatepass")).hexdigest()[:16] for key in keys
    ]
    return pd.Series(digests, index=comments.index, name="id")


def _read(path: Path, encoding: str | None) -> pd.DataFrame:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise CommentDataError(f"{path} {what}: set DATASET to a file ({', '.join(READERS)}) or to 'sample'")
    if path.suffix.lower() not in READERS:
        raise CommentDataError(f"{path}: unknown kind {path.suffix!r}; save it as one of {', '.join(READERS)}")
    if path.stat().st_size == 0:
        raise CommentDataError(f"{path} is empty: export it again")
    try:
        table = pd.read_parquet(path) if path.suffix.lower() == ".parquet" else _read_text(path, encoding)
    except (ValueError, OSError, RecursionError) as error:
        raise CommentDataError(f"{path} cannot be read as {path.suffix[1:]}: {str(error).splitlines()[0]}") from error
    if table.empty:
        raise CommentDataError(f"{path} has no rows: export it again with its comments")
    return table


def _read_text(path: Path, encoding: str | None) -> pd.DataFrame:
    for attempt in (encoding,) if encoding else ENCODINGS:
        try:
            return _parse(path, attempt)
        except UnicodeDecodeError:
            continue
    tried = encoding or " nor ".join(ENCODINGS)
    raise CommentDataError(f"{path} is not text in {tried}: name its encoding, such as encoding='utf-16'")


def _parse(path: Path, encoding: str) -> pd.DataFrame:
    kind = path.suffix.lower()
    if kind in (".json", ".jsonl"):
        return pd.read_json(path, lines=kind == ".jsonl", encoding=encoding, dtype=False, convert_dates=False)
    separator = "\t" if kind == ".tsv" else ","
    return pd.read_csv(
        path,
        sep=separator,
        encoding=encoding,
        dtype={"text": str},
        keep_default_na=False,
        na_values=[""],
        low_memory=False,
    )


def _rename(table: pd.DataFrame, columns: dict[str, str], path: Path) -> pd.DataFrame:
    table = table.rename(columns=str)
    for ours, theirs in columns.items():
        if ours not in ALIASES or theirs not in table:
            known = f"our names are {', '.join(ALIASES)}; the file has {', '.join(map(repr, table.columns[:20]))}"
            raise CommentDataError(f"{path}: COLUMNS asks for {ours!r} from column {theirs!r}; {known}")
    found = dict(columns)
    for ours, aliases in ALIASES.items():
        fitting = [name for name in table if name.strip().lower() in aliases and name not in columns.values()]
        if ours in found or not fitting:
            continue
        exact = [name for name in fitting if name == ours]
        if len(fitting) > 1 and not exact:
            raise CommentDataError(
                f"{path}: columns {' and '.join(map(repr, fitting))} both look like {ours}: choose with COLUMNS = "
                f"{{{ours!r}: {fitting[0]!r}}}"
            )
        found[ours] = (exact or fitting)[0]
    missing = [name for name in REQUIRED if name not in found]
    if missing:
        raise CommentDataError(
            f"{path}: no column for {', '.join(missing)}; the file has {', '.join(map(repr, table.columns[:20]))}: "
            f"name it with COLUMNS = {{{missing[0]!r}: 'your column'}}, or check the delimiter"
        )
    unused = [name for name in found if name in table and name != found[name]]
    return table.drop(columns=unused).rename(columns={theirs: ours for ours, theirs in found.items()})


def _with_text(table: pd.DataFrame, repairs: list[str]) -> pd.DataFrame:
    has_text = table["text"].map(lambda text: isinstance(text, str) and bool(text.strip()))
    if not has_text.all():
        repairs.append(f"{int((~has_text).sum()):,} rows without text were left out")
    return table[has_text].copy()


def _filled(values: pd.Series, name: str, path: Path) -> pd.Series:
    if values.isna().any():
        raise CommentDataError(
            f"{path}: column {name!r} is missing in {_rows(values.isna())}: fill it in or leave those out"
        )
    return values


def _counts(values: pd.Series, name: str, path: Path) -> NDArray[np.int64]:
    numbers = values if pd.api.types.is_numeric_dtype(values) else values.map(_count)
    numbers = pd.to_numeric(numbers, errors="coerce").astype("float64")
    problems = {
        "is not a number": ~np.isfinite(numbers),
        "is negative": numbers < 0,
        "is not a whole number": numbers != np.floor(numbers),
        "is over 2^31 - 1": numbers > LARGEST_COUNT,
    }
    for problem, bad in problems.items():
        if bad.any():
            shown = ", ".join(repr(value) for value in values[bad].head(3))
            raise CommentDataError(
                f"{path}: column {name!r} {problem} in {_rows(bad)} ({shown}): correct or leave out those rows"
            )
    return numbers.to_numpy(dtype=np.int64)


def _count(value: Any) -> float:
    """Read "1,234" and "1.2만" as the numbers they are; anything else that is no number becomes NaN."""
    match = _COUNT.fullmatch(str(value).replace(",", ""))
    return round(float(match[1]) * _UNITS[match[2]], 6) if match else np.nan


def _rows(bad: pd.Series) -> str:
    rows = [str(row) for row in bad.index[bad][:3]]
    return f"{int(bad.sum()):,} rows, first at row {', '.join(rows)} (counted from 0 after the header)"
