"""A file of comments, as a table with our column names, clean text and counts that are counts."""

import hashlib
import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping
from numbers import Number
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from utils.comment_files import CommentDataError, read_comment_file

__all__ = ["ALIASES", "CommentDataError", "comment_ids", "load_comments"]

LARGEST_COUNT = 2**31 - 1
MOST_CLASSES = 100
# Compared without case, spaces, `_` and `-`. Naver's `sympathy` is a flag, whether *you* pressed; it is no count.
ALIASES = {
    "id": "id commentid commentno reviewid 댓글번호 댓글id 아이디",
    "text": "text comment comments commenttext contents content review reviewtext document body message "
    "댓글 내용 댓글내용 본문 리뷰 리뷰내용",
    "likes": "likes like likecount likescount upvotes upvote ups thumbsup sympathycount sympathies "
    "공감 공감수 추천 추천수 좋아요 좋아요수",
    "dislikes": "dislikes dislike dislikecount dislikescount downvotes downvote downs thumbsdown antipathycount "
    "antipathies 비공감 비공감수 비추천 비추천수 반대 반대수 싫어요 싫어요수",
    "label": "label labels labelname class classname target 라벨 라벨명 레이블 레이블명 분류 정답 클래스",
    "group": "group groupid articleid article newsid movieid movie objectid postid videoid "
    "기사 기사번호 기사id 영화 영화번호 영화id 그룹",
    "rating": "rating score stars 평점 별점",
}
# Beside votes only these are taken for labels unasked: a column `분류` may well be the section of a newspaper.
PLAIN_LABELS = ("label", "labels", "라벨", "레이블")

_COUNT = re.compile(r"\s*([+-]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?)\s*([천만억kKmM]?)\s*")
_UNITS = {"": 1, "천": 10**3, "k": 10**3, "만": 10**4, "m": 10**6, "억": 10**8}
_CLEANING = {
    "NUL characters were removed": (re.compile("\0"), ""),
    "direction marks were removed": (re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"), ""),
    "lone surrogates were replaced by U+FFFD": (re.compile("[\ud800-\udfff]"), "\ufffd"),
}
_UNCLEAN = re.compile("|".join(pattern.pattern for pattern, _ in _CLEANING.values()))
_BLANK = re.compile("[\\s\u200b\u2060\ufeff]*")
_LEADING_ZERO = re.compile(r"\s*[+-]?0\d")
_DECIMAL = re.compile(r"([+-]?\d*)\.(\d+)")


def load_comments(
    path: str | os.PathLike[str], *, columns: Mapping[str, str | None] | None = None, encoding: str | None = None
) -> pd.DataFrame:
    """Read a file of comments with their vote counts, or with labels in place of votes.

    A label column wins over votes beside it, and that is said in `attrs["repairs"]`: one that `columns` names, or one
    called label, labels, 라벨 or 레이블. Where there are no votes, class, target, 분류, 정답 and 클래스 are known too.

    Parameters
    ----------
    path : str or path-like
        A .csv, .tsv, .parquet, .json or .jsonl file (also .csv.gz and so on). JSON is a list of records, a table by
        columns, or the comment pages that Naver exports (`result.commentList[]`).
    columns : mapping, optional
        Our column name -> the file's, such as `{"group": "movie_id"}`, for names not found by themselves; None for a
        column that shall not be looked for: `{"label": None}` reads votes although there are labels.
    encoding : str, optional
        Of a text file; by default what its byte order mark says, else UTF-8, else cp949.

    Returns
    -------
    DataFrame
        `id` str, `text` str, `likes` and `dislikes` int64 or `label` str (the name of the class, missing where there
        is none or -1), `group` str and `rating` where the file has them, then every other column (nested values as
        JSON text; votes beside labels are such columns). Text is never cut or unescaped: escape it before showing it
        as HTML. `attrs["repairs"]` holds a line for each thing that was put right or left out, with its rows.

    Raises
    ------
    CommentDataError
        The file is missing, empty, unreadable or of an unknown kind, a column is missing or ambiguous, counts are not
        whole numbers from 0 to 2^31 - 1, or labels are fractions, nested values, all of one class, or of more than
        100. The message names file, column, first bad rows and the remedy.
    """
    path = Path(path)
    table, repairs = read_comment_file(path, encoding)
    try:
        table = _our_columns(table, dict(columns or {}), path, repairs)
        table = _typed(table, path, repairs)
    except RecursionError as error:
        raise CommentDataError(f"{path}: a value nests too deep: leave that column out") from error
    table = _without_repeats(table, repairs)
    if "label" in table:
        _check_classes(table["label"], path, repairs)
    if "group" not in table:
        repairs.append(
            "no group column (article, movie): comments are split one by one, only near-duplicates together, so "
            "training and test share their articles and scores come out too good"
        )
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
    seen: Counter[str] = Counter()
    digests = []
    for row in zip(*(comments[name] for name in key_columns), strict=True):
        key = "\0".join(map(str, row))
        numbered = f"{key}\0{seen[key]}"
        seen[key] += 1
        digests.append(hashlib.sha256(numbered.encode("utf-8", "surrogatepass")).hexdigest()[:16])
    return pd.Series(digests, index=comments.index, name="id", dtype="str")


def _our_columns(table: pd.DataFrame, columns: dict[str, str | None], path: Path, repairs: list[str]) -> pd.DataFrame:
    """Rename the file's columns to ours: those asked for, then those known by an alias."""
    names = [str(name) for name in table.columns]
    has = "the file has " + ", ".join(f"{name!r:.80}" for name in names[:20])
    found = {ours: theirs for ours, theirs in columns.items() if theirs is not None}
    _check_asked(columns, found, names, has, path)
    for ours in ALIASES.keys() - columns.keys():
        fitting = [name for name in names if _looks_like(name, ours) and name not in columns.values()]
        if fitting:
            found[ours] = _chosen(fitting, ours, path, repairs)
    _choose_labels_or_votes(found, columns, repairs)
    missing = [name for name in ("text", "likes", "dislikes") if name not in found]
    if "label" in found:
        missing = [name for name in missing if name == "text"]
    if missing:
        raise CommentDataError(
            f"{path}: no column for {', '.join(missing)}; {has}: name it with COLUMNS = "
            f"{{{missing[0]!r}: 'your column'}}, or check the delimiter"
            + ("" if "text" in missing else "; labels in place of votes are COLUMNS = {'label': 'your column'}")
        )
    ours_by_name = {name for name in found if name not in found.values()} | (columns.keys() - found.keys())
    hidden = [name for name in names if name in ours_by_name]
    for name in hidden:
        instead = f"{name} is read from {found[name]!r}" if name in found else f"COLUMNS has {name!r}: None"
        repairs.append(f"the file's column {name!r} was left out: {instead}")
    return table.drop(columns=hidden).rename(columns={theirs: ours for ours, theirs in found.items()})


def _check_asked(columns: dict[str, str | None], asked: dict[str, str], names: list[str], has: str, path: Path) -> None:
    for ours, theirs in columns.items():
        if ours not in ALIASES or (ours in asked and theirs not in names):
            known = f"our names are {', '.join(ALIASES)}; {has}"
            raise CommentDataError(f"{path}: COLUMNS asks for {ours!r} from column {theirs!r}; {known}")
        if list(asked.values()).count(str(theirs)) > 1:
            raise CommentDataError(f"{path}: COLUMNS uses column {theirs!r} more than once: name one for each")


def _choose_labels_or_votes(found: dict[str, str], columns: dict[str, str | None], repairs: list[str]) -> None:
    """Where there are both, take the labels if they are called so, and say what else could be done."""
    if not {"label", "likes", "dislikes"} <= found.keys():
        return
    theirs = found["label"]
    if "label" in columns or re.sub(r"\.\d+$|[\s_-]", "", theirs).lower() in PLAIN_LABELS:
        repairs.append(
            f"labels are taken from column {theirs!r} and the votes are not used; COLUMNS = {{'label': None}} makes "
            "labels from the votes"
        )
    else:
        del found["label"]
        repairs.append(f"labels are made from the votes; COLUMNS = {{'label': {theirs!r}}} takes them from that column")


def _looks_like(name: str, ours: str) -> bool:
    return re.sub(r"\.\d+$|[\s_-]", "", name).lower() in ALIASES[ours].split()


def _chosen(fitting: list[str], ours: str, path: Path, repairs: list[str]) -> str:
    exact = [name for name in fitting if re.sub(r"\.\d+$", "", name) == ours]
    if len(fitting) > 1 and len(exact) != 1:
        raise CommentDataError(
            f"{path}: columns {' and '.join(map(repr, fitting))} both look like {ours}: choose with COLUMNS = "
            f"{{{ours!r}: {fitting[0]!r}}}"
        )
    if len(fitting) > 1:
        others = ", ".join(repr(name) for name in fitting if name not in exact)
        repairs.append(f"{ours} is read from column {exact[0]!r}, though {others} looks like it too")
    return (exact or fitting)[0]


def _typed(table: pd.DataFrame, path: Path, repairs: list[str]) -> pd.DataFrame:
    """Return the rows that have text, each column with its type."""
    text = _clean(_texts(table["text"], path, repairs), repairs)
    blank = _each(text, _is_blank)
    if blank.all():
        raise CommentDataError(f"{path}: column 'text' is empty in every row: choose the comments' column with COLUMNS")
    if blank.any():
        repairs.append(f"{row_count(blank.sum())} without text left out")
    table, text = table[~blank], text[~blank]
    typed: dict[str, pd.Series] = {"text": text.astype("str")}
    if "label" in table:
        typed["label"] = _labels(table["label"], path, repairs)
    else:
        typed |= {name: _counts(table[name], path, repairs) for name in ("likes", "dislikes")}
    for name in [name for name in ("id", "group") if name in table]:
        typed[name] = _keys(table[name], path, repairs)
    if "rating" in table:
        typed["rating"] = _ratings(table["rating"], repairs)
    for name in [str(name) for name in table if name not in typed]:
        typed[name] = _carried(table[name], repairs)
    return pd.DataFrame(typed)


def row_count(count: int) -> str:
    """Return "1 row" or "2 rows"."""
    return f"{count:,} row{'' if count == 1 else 's'}"


def _without_repeats(table: pd.DataFrame, repairs: list[str]) -> pd.DataFrame:
    if "id" in table:
        repeated = table["id"].duplicated()
        if repeated.any():
            differing = int(repeated.sum()) - int(table.duplicated().sum())
            also = f" ({differing:,} of them differ from it)" if differing else ""
            repairs.append(f"{row_count(repeated.sum())} with the id of an earlier row left out{also}")
        return table[~repeated]
    copies = int(table.duplicated().sum())
    if copies:
        repairs.append(f"{row_count(copies)} equal to an earlier row kept: without an id it may be someone else's")
    return table.assign(id=comment_ids(table))


def _texts(values: pd.Series, path: Path, repairs: list[str]) -> pd.Series:
    """Return the texts as Python strings, None where there is none; a number someone wrote is a text too."""
    values = values.astype(object)
    other = _each(values, lambda value: not isinstance(value, str) and not _is_missing(value))
    numbers = other & _each(values, _is_number)
    _refuse(other & ~numbers, values, "is not text", path)
    if numbers.any():
        repairs.append(f"column 'text': {int(numbers.sum()):,} numbers were taken as text")
    texts = [None if _is_missing(value) else str(value) for value in values]
    return pd.Series(texts, index=values.index, name=values.name, dtype=object)


def _clean(values: pd.Series, repairs: list[str]) -> pd.Series:
    """Take out of strings what breaks files and displays; `values` are strings or None."""
    if not _each(values, _holds(_UNCLEAN)).any():
        return values
    for what, (pattern, replacement) in _CLEANING.items():
        hits = int(_each(values, _holds(pattern)).sum())
        if hits:
            cleaned = [pattern.sub(replacement, value) if isinstance(value, str) else value for value in values]
            values = pd.Series(cleaned, index=values.index, name=values.name, dtype=object)
            repairs.append(f"column {values.name!r}: {what} in {row_count(hits)}")
    return values


def _counts(values: pd.Series, path: Path, repairs: list[str]) -> pd.Series:
    numbers = _numbers(values)
    written = _each(values, lambda value: isinstance(value, str) and not value.strip().isdecimal())
    _refuse(_each(values, _is_blank), values, "is missing", path)
    _refuse(np.isnan(numbers), values, "is not a number", path)
    _refuse(np.isinf(numbers), values, "is infinite", path)
    _refuse(numbers < 0, values, "is negative", path)
    _refuse(numbers != np.floor(numbers), values, "is not a whole number", path)
    _refuse(numbers > LARGEST_COUNT, values, "is over 2^31 - 1", path)
    if written.any():
        example = values[written].iloc[0]
        repairs.append(
            f"column {values.name!r}: {int(written.sum()):,} counts such as {example!r:.40} were read as numbers"
        )
    return pd.Series(numbers.astype(np.int64), index=values.index)


def _numbers(values: pd.Series) -> NDArray[np.float64]:
    """Return a number for each value, NaN where there is none; a truth value is no number."""
    if pd.api.types.is_integer_dtype(values) or pd.api.types.is_float_dtype(values):
        return values.to_numpy(dtype=np.float64, na_value=np.nan)
    return np.array([_number(value) for value in values], dtype=np.float64)


def _number(value: Any) -> float:
    """Read 12, "1,234" and "1.2만" as the numbers they are; anything else becomes NaN."""
    if _is_number(value):
        try:
            return float(value)
        except OverflowError:
            return np.finfo(np.float64).max
    match = _COUNT.fullmatch(value) if isinstance(value, str) else None
    if match:
        return round(float(match[1].replace(",", "")) * _UNITS[match[2].lower()], 6)
    infinite = isinstance(value, str) and value.strip().lower().lstrip("+-") in ("inf", "infinity")
    return np.inf if infinite else np.nan


def _keys(values: pd.Series, path: Path, repairs: list[str]) -> pd.Series:
    """Return ids or groups as strings; 12.0 is 12, as spreadsheets write it."""
    values = values.astype(object)
    _refuse(_each(values, lambda value: not pd.api.types.is_scalar(value)), values, "is a nested value", path)
    whole = _each(values, lambda value: isinstance(value, float) and value.is_integer())
    texts = [str(int(value)) if is_whole else str(value) for value, is_whole in zip(values, whole, strict=True)]
    keys = _clean(pd.Series(texts, index=values.index, name=values.name, dtype=object), repairs)
    _refuse(_each(values, _is_missing) | _each(keys, _is_blank), values, "is missing", path)
    return keys.astype("str")


def _labels(values: pd.Series, path: Path, repairs: list[str]) -> pd.Series:
    """Return the names of the classes, missing where there is none; 1.0 is 1, as spreadsheets write it."""
    values = values.astype(object)
    _refuse(_each(values, lambda value: not pd.api.types.is_scalar(value)), values, "is a nested value", path)
    texts = ["" if _is_missing(value) else unicodedata.normalize("NFC", str(value)).strip() for value in values]
    clean = _clean(pd.Series(texts, index=values.index, name=values.name, dtype=object), repairs)
    decimals = [_DECIMAL.fullmatch(text) for text in clean]
    fraction = np.array([match is not None and match[2].strip("0") != "" for match in decimals], dtype=bool)
    infinite = _each(values, lambda value: isinstance(value, float) and np.isinf(value))
    _refuse(fraction | infinite, values, "is a fraction and no class", path)
    names = [(match[1] or "0") if match else text for match, text in zip(decimals, clean, strict=True)]
    labels = pd.Series(names, index=values.index, name="label", dtype="str")
    return labels.mask(labels.isin(["", "-1"]) | _each(labels, _is_blank))


def _check_classes(labels: pd.Series, path: Path, repairs: list[str]) -> None:
    """Raise unless there are two classes or more, and not too many, in the rows that are kept."""
    sizes = labels.value_counts()
    if len(sizes) < 2:
        only = f"one class only, {sizes.index[0]!r:.40} in {row_count(sizes.iloc[0])}" if len(sizes) else ""
        raise CommentDataError(
            f"{path}: column 'label' has {only or 'no label in any row'}: two classes or more are needed; choose "
            "another column with COLUMNS, or label comments of another class too"
        )
    if len(sizes) > MOST_CLASSES:
        some = ", ".join(f"{name!r:.40}" for name in sizes.index[:3])
        raise CommentDataError(
            f"{path}: column 'label' has {len(sizes):,} different values ({some}, ...), {MOST_CLASSES} classes are the "
            "most: choose the column of the classes with COLUMNS"
        )
    if labels.isna().any():
        repairs.append(f"{row_count(labels.isna().sum())} without a label: the text is used, to learn words from")


def _ratings(values: pd.Series, repairs: list[str]) -> pd.Series:
    numbers = pd.Series(_numbers(values), index=values.index).replace([np.inf, -np.inf], np.nan)
    lost = int((numbers.isna() & ~_each(values, _is_blank)).sum())
    if lost:
        repairs.append(f"column 'rating': {lost:,} values that are not numbers count as missing")
    whole = not numbers.isna().any() and (numbers == np.floor(numbers)).all() and (numbers.abs() <= LARGEST_COUNT).all()
    return numbers.astype(np.int64) if whole else numbers


def _carried(values: pd.Series, repairs: list[str]) -> pd.Series:
    """Return a column that we do not use so that it can be written to Parquet: numbers, else clean text."""
    if values.dtype == object and not _each(values, lambda value: isinstance(value, str)).any():
        values = values.infer_objects()
    if values.dtype != object and not pd.api.types.is_string_dtype(values):
        return values
    texts = [None if _is_missing(value) else _as_text(value) for value in values]
    clean = _clean(pd.Series(texts, index=values.index, name=values.name, dtype=object), repairs)
    if not any(text is not None and _LEADING_ZERO.match(text) for text in clean):
        numbers = pd.to_numeric(clean, errors="coerce")
        if numbers.dtype.kind in "if" and (numbers.notna() == clean.notna()).all():
            return numbers
    return clean.astype("str").where(clean.notna())


def _each(values: pd.Series, test: Callable[[Any], bool]) -> NDArray[np.bool_]:
    """Return what `test` says of each value."""
    return np.fromiter(map(test, values), dtype=bool, count=len(values))


def _holds(pattern: re.Pattern[str]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and pattern.search(value) is not None


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _is_missing(value: Any) -> bool:
    return not isinstance(value, str) and pd.api.types.is_scalar(value) and bool(pd.isna(value))


def _is_blank(value: Any) -> bool:
    return _BLANK.fullmatch(value) is not None if isinstance(value, str) else _is_missing(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, Number) and not isinstance(value, bool | np.bool_ | complex)


def _refuse(bad: NDArray[np.bool_], values: pd.Series, problem: str, path: Path) -> None:
    """Raise where any value is bad, naming the first rows and values."""
    if not bad.any():
        return
    rows = ", ".join(str(row) for row in values.index[bad][:3])
    shown = ", ".join(f"{value!r:.40}" for value in values[bad].head(3))
    raise CommentDataError(
        f"{path}: column {values.name!r} {problem} in {row_count(bad.sum())}, first at row {rows} (counted from 0 "
        f"after the header; {shown}): correct those rows or leave them out"
    )
