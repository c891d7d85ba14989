"""Cleaning, Korean morphemes, vocabulary and token ids.

Explained in notebook 02.
"""

import functools
import hashlib
import json
import os
import sys
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import regex
from kiwipiepy import Kiwi
from numpy.typing import NDArray
from tqdm import tqdm

from utils.files import atomic_path, shown

PAD, UNKNOWN = 0, 1
RESERVED_TOKENS = ("[PAD]", "[UNK]")
_COMMENTS_A_WRITE = 50_000  # half a minute of Kiwi's work: what a run that is broken off loses at most
_CACHE_SCHEMA = pa.schema([("comment", pa.binary(16)), ("tokens", pa.list_(pa.string()))])

# KcBERT lists its emoji one by one with the `emoji` package; that set is Unicode's Emoji property, plus what joins
# emoji together: zero-width joiner, variation selector 16, the keycap and the tags of regional flags.
_NOT_ALLOWED = regex.compile(r"[^ .,?!/@$%~％·∼()\x00-\x7Fㄱ-ㅣ가-힣\p{Emoji}\u200d\ufe0f\u20e3\U000e0020-\U000e007f]+")
_URL = regex.compile(
    r"https?://(www\.)?[-a-zA-Z0-9@:%._+~#=]{1,256}\.[a-zA-Z0-9()]{1,6}\b([-a-zA-Z0-9()@:%_+.~#?&/=]*)"
)
_REPEATED = regex.compile(r"(\w)\1{2,}")
_SPACES = regex.compile(r"\s+")


def check_texts(texts: Iterable[str], name: str = "texts") -> list[str]:
    """Return `texts` as a list after making sure that it holds strings only.

    Raises
    ------
    TypeError
        `texts` is one bare string, or an item is not a string (its index is named).
    """
    if isinstance(texts, str):
        raise TypeError(f"{name} must be a list of strings, not one string: write [{name}]")
    checked = list(texts)
    for index, text in enumerate(checked):
        if not isinstance(text, str):
            raise TypeError(f"{name}[{index}] must be a string, not {type(text).__name__}: {text!r}")
    return checked


def clean_comment(text: str) -> str:
    r"""Clean a comment the way the pretraining text of KcBERT was cleaned.

    Keeps ASCII, Hangul and emoji, drops links, shortens letters repeated three times or more to two
    (`ㅋㅋㅋㅋㅋ` to `ㅋㅋ`, and `1000` to `100` as KcBERT does too) and joins white space. Decomposed Hangul, as macOS
    writes it in file names and some exports, is composed first (Unicode NFC); KcBERT's cleaning would drop it.

    Parameters
    ----------
    text : str

    Returns
    -------
    str
        May be empty.

    References
    ----------
    "Preprocessing" in the README of github.com/Beomi/KcBERT (the version of 2020, which keeps emoji);
    `repeat_normalize(text, num_repeats=2)` of soynlp 0.0.493 for the repeats.
    """
    if not isinstance(text, str):
        raise TypeError(f"text must be a string, not {type(text).__name__}: {text!r}")
    text = _NOT_ALLOWED.sub(" ", unicodedata.normalize("NFC", text))
    text = _URL.sub("", text)
    text = _REPEATED.sub(r"\1\1", text)
    return _SPACES.sub(" ", text).strip()


@functools.cache
def kiwi() -> Kiwi:
    """Return the one Kiwi analyser of this process (loading it takes about two seconds)."""
    return Kiwi(num_workers=-1)


def tokenize(texts: Iterable[str], *, progress: bool = False) -> list[list[str]]:
    """Clean comments and cut them into Korean morphemes with Kiwi.

    Parameters
    ----------
    texts : iterable of str
        Raw comments; `clean_comment` is applied here.
    progress : bool, optional
        Print a progress bar.

    Returns
    -------
    list of list of str
        One list a comment, of `form/TAG` with the tags of the Sejong corpus, such as `재미있/VA`. Verbs and
        adjectives lose the mark of their irregular kind (`VV-I` becomes `VV`). Empty for an empty comment.

    Raises
    ------
    TypeError
        An item is not a string.
    """
    cleaned = [clean_comment(text) for text in check_texts(texts)]
    distinct = list(dict.fromkeys(cleaned))
    # One string object per morpheme, however often it occurs: millions of tokens stay small in memory.
    names: dict[tuple[str, str], str] = {}
    morphemes = {}
    analysed = kiwi().tokenize(distinct, compatible_jamo=True)
    bar = tqdm(analysed, "Kiwi", len(distinct), mininterval=10, file=sys.stdout, disable=not progress, unit=" comments")
    for text, tokens in zip(distinct, bar, strict=True):
        pairs = [(token.form, token.tag.partition("-")[0]) for token in tokens]
        morphemes[text] = [names.setdefault(pair, f"{pair[0]}/{pair[1]}") for pair in pairs]
    return [list(morphemes[text]) for text in cleaned]


def tokenizer_settings() -> dict[str, str | bool]:
    """Return what besides the cleaned comment decides the answer of `tokenize`: Kiwi's versions, how it is asked."""
    versions = {package: metadata.version(package) for package in ("kiwipiepy", "kiwipiepy_model")}
    return {**versions, "compatible_jamo": True, "tokens": "form/TAG"}


def tokenize_cached(texts: Iterable[str], folder: str | os.PathLike[str], *, progress: bool = False) -> list[list[str]]:
    """Return what `tokenize` returns, and remember it in a folder: no comment is cut twice.

    One Parquet file holds the tokens under the hash of the cleaned comment; the hash of `tokenizer_settings` is part of
    its name. It is replaced as a whole, every 50,000 comments, so that a run that was broken off goes on near where it
    was; and its pages carry checksums: a file that cannot be read, or not as it was written, is reported in one line
    and made anew.

    Parameters
    ----------
    texts : iterable of str
        Raw comments.
    folder : str or path-like
        Where the file lies; made if need be.
    progress : bool, optional
        Print a progress bar for the comments that are new.

    Returns
    -------
    list of list of str
        As from `tokenize`.

    Raises
    ------
    TypeError
        An item is not a string.
    """
    checked = check_texts(texts)
    keys = [_digest(clean_comment(text))[:16] for text in checked]
    path = Path(folder) / f"kiwi-{_digest(json.dumps(tokenizer_settings(), sort_keys=True))[:4].hex()}.parquet"
    table = _read_cache(path)
    known = set(table["comment"].to_pylist())
    new = {key: text for key, text in zip(keys, checked, strict=True) if key not in known}
    for first in range(0, len(new), _COMMENTS_A_WRITE):
        part = list(new)[first : first + _COMMENTS_A_WRITE]
        tokens = tokenize([new[key] for key in part], progress=progress)
        table = pa.concat_tables([table, pa.table([part, tokens], schema=_CACHE_SCHEMA)])
        with atomic_path(path) as temporary:
            pq.write_table(table, temporary, write_page_checksum=True)
    rows = pc.index_in(pa.array(keys, pa.binary(16)), value_set=table["comment"])
    return _token_lists(table["tokens"].take(rows))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _read_cache(path: Path) -> pa.Table:
    if path.exists():
        try:
            table = pq.read_table(path, page_checksum_verification=True)
            if table.schema.equals(_CACHE_SCHEMA):
                return table
            reason = "it has other columns"
        except (pa.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0].rstrip(".")
        print(f"Tokens in {shown(path)} cannot be used ({reason}): they are made anew.")
    return _CACHE_SCHEMA.empty_table()


def _token_lists(column: pa.ChunkedArray) -> list[list[str]]:
    """Return a column of token lists as Python lists, with one string object per distinct token."""
    array = column.combine_chunks()
    encoded = array.flatten().dictionary_encode()
    names = np.array(encoded.dictionary.to_pylist(), dtype=object)
    tokens = names[encoded.indices.to_numpy()].tolist()
    ends = np.cumsum(pc.list_value_length(array).to_numpy(zero_copy_only=False)).tolist()
    return [tokens[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def build_vocabulary(
    sentences: Iterable[Sequence[str]], *, min_count: int = 2, max_size: int | None = None
) -> dict[str, int]:
    """Number the tokens, the most frequent first; equally frequent ones in order of their code points.

    Parameters
    ----------
    sentences : iterable of sequence of str
        Tokens of the training split. Nothing else belongs here: a token of validation or test must stay unknown.
    min_count : int, optional
        Rarer tokens get no number and become `[UNK]`.
    max_size : int, optional
        Most rows the table may have, the two reserved ones included.

    Returns
    -------
    dict of str to int
        `{"[PAD]": 0, "[UNK]": 1, ...}`.
    """
    if min_count < 1:
        raise ValueError(f"min_count must be at least 1, not {min_count}")
    if max_size is not None and max_size < len(RESERVED_TOKENS):
        raise ValueError(f"max_size must be at least {len(RESERVED_TOKENS)}, not {max_size}")
    counts = Counter(token for sentence in sentences for token in sentence)
    kept = [token for token, count in counts.items() if count >= min_count and token not in RESERVED_TOKENS]
    kept.sort(key=lambda token: (-counts[token], token))
    return {token: index for index, token in enumerate([*RESERVED_TOKENS, *kept][:max_size])}


def encode_tokens(
    sentences: Collection[Sequence[str]], vocabulary: Mapping[str, int], *, max_length: int
) -> NDArray[np.int32]:
    """Turn tokens into ids: cut after `max_length` tokens, fill up with 0 on the right.

    Parameters
    ----------
    sentences : collection of sequence of str
        N sentences.
    vocabulary : mapping of str to int
        As `build_vocabulary` returns it.
    max_length : int
        Tokens to keep of each sentence.

    Returns
    -------
    ndarray of int32, shape (N, max_length)
        0 is padding, 1 a token that the vocabulary does not have.
    """
    if max_length < 1:
        raise ValueError(f"max_length must be at least 1, not {max_length}")
    ids = np.full((len(sentences), max_length), PAD, dtype=np.int32)
    for row, sentence in enumerate(sentences):
        found = [max(vocabulary.get(token, UNKNOWN), UNKNOWN) for token in sentence[:max_length]]
        ids[row, : len(found)] = found
    return ids
