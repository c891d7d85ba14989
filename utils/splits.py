"""Splits that keep whole groups together, and near-duplicate comments in one split."""

import hashlib
import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components

from utils.classes import CONTROVERSY

SHINGLE_LENGTH = 4
BANDS, BAND_SIZE = 12, 6
SHORTEST_COMPARED = 20
FEWEST_LABELS = {"train": 30, "validation": 5, "test": 5}

_NOT_TEXT = re.compile(r"[\W_ㄱ-ㅎㅏ-ㅣ]+")


class TooFewLabelsError(ValueError):
    """A split has too few labelled comments of a class; the message says how many and what would give more."""


def hash_position(seed: int | str, name: str) -> float:
    """Return a number in [0, 1) that follows from seed and name alone, evenly spread over names."""
    digest = hashlib.sha256(f"{seed}\0{name}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def cluster_names(comments: pd.DataFrame) -> pd.Series:
    """Return each row's cluster named by its smallest text hash, so that the order of rows does not matter."""
    texts = comments["text"].map(lambda text: hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest())
    return texts.groupby(comments["cluster"]).transform("min")


def split_by_group(comments: pd.DataFrame, *, fractions: Sequence[float] = (0.8, 0.1, 0.1), seed: int = 0) -> pd.Series:
    """Return each comment's split, whole groups at a time.

    A group's split follows from the SHA-256 of seed and group alone, so neither the order of rows nor other rows
    move it. Where a near-duplicate cluster spans splits, the copies outside the split of its lowest-hash group are
    `"dropped"`. Without a `group` column the cluster is the unit. Explained in notebook 01.

    Parameters
    ----------
    comments : DataFrame
        `cluster` (int, from `near_duplicate_clusters`), `text`, and `group` where there is one.
    fractions : three floats
        Shares of groups for train, validation and test; positive, adding up to 1.
    seed : int
        Another seed gives another split.

    Returns
    -------
    Series of str
        `"train"`, `"validation"`, `"test"` or `"dropped"`, with the index of `comments`.

    Raises
    ------
    ValueError
        `fractions` are not three positive numbers that add up to 1.
    """
    check_fractions(fractions)
    unit = comments["group"].astype(str) if "group" in comments else cluster_names(comments)
    position = unit.map({name: hash_position(seed, name) for name in unit.unique()})
    place = np.searchsorted(np.cumsum(fractions)[:2], position, side="right")
    split = pd.Series(np.array(["train", "validation", "test"], dtype=object)[place], comments.index)
    first = position.reset_index(drop=True).groupby(comments["cluster"].to_numpy()).idxmin()
    home = pd.Series(split.to_numpy()[first], first.index)
    return split.where(split == comments["cluster"].map(home), "dropped").rename("split")


def group_folds(comments: pd.DataFrame, *, folds: int = 5, seed: int = 0) -> pd.Series:
    """Return each comment's fold 0 to folds - 1, whole groups at a time; -1 for test and dropped rows.

    Parameters
    ----------
    comments : DataFrame
        `group`, `cluster` and `split`.
    folds : int
        2 or more.
    seed : int
        Another seed gives other folds.

    Returns
    -------
    Series of int8
        Folds. A near-duplicate whose cluster stands in another fold as well is -1 outside its lowest-hash group's.

    Raises
    ------
    ValueError
        `folds` is below 2.
    """
    if folds < 2:
        raise ValueError(f"folds: {folds!r} must be 2 or more")
    unit = comments["group"].astype(str)
    position = unit.map({name: hash_position(f"fold {seed}", name) for name in unit.unique()})
    fold = (position * folds).astype("int8")
    usable = comments["split"].isin(["train", "validation"])
    first = position.where(usable, np.inf).reset_index(drop=True).groupby(comments["cluster"].to_numpy()).idxmin()
    home = pd.Series(fold.to_numpy()[first], first.index)
    return fold.where(usable & (fold == comments["cluster"].map(home)), -1).astype("int8").rename("fold")


def label_subset(rows: pd.DataFrame, budget: int | None, *, seed: int) -> pd.DataFrame:
    """Return `budget` rows in random order with the class shares of all rows; a larger budget adds to a smaller.

    Explained in notebook 04.

    Parameters
    ----------
    rows : DataFrame
        Labelled comments with a `label` column.
    budget : int or None
        How many; None or more than there are: all of them, None in the order they are in.
    seed : int
        Another seed draws others.
    """
    if budget is None:
        return rows
    order = rows.sample(frac=1, random_state=seed)
    classes = order.groupby("label")["label"]
    place = (classes.cumcount() + 0.5) / classes.transform("size")  # of a row within its class, from 0 to 1
    return order.loc[place.sort_values(kind="stable").index[:budget]]


def near_duplicate_clusters(texts: Sequence[str] | pd.Series) -> NDArray[np.int64]:
    """Return a cluster number for each text; near-duplicates share one.

    Texts are compared by their sets of 4-character shingles after letters, digits and syllables alone are kept
    (case, spaces, punctuation, ㅋㅋㅋ and emoji do not count). MinHash signatures of 12 bands with 6 hashes: two
    texts that agree in a whole band are joined, which happens to 96 % of pairs with a Jaccard similarity of 0.8 and
    to 1 % of those with 0.3. Clusters are the connected components. Texts under 20 such characters are joined only
    where they are equal as they stand. More texts never part a cluster, and their order does not matter.
    Explained in notebook 01.

    Parameters
    ----------
    texts : sequence of str, length N
        Comments.

    Returns
    -------
    ndarray of int64, shape (N,)
        Numbers from 0; a text's number is that of its cluster's first text.

    References
    ----------
    A. Broder, "On the resemblance and containment of documents", SEQUENCES 1997.
    """
    numbers: dict[str, int] = {}
    codes = np.array([numbers.setdefault(_compared(text), len(numbers)) for text in texts], dtype=np.int64)
    unique = list(numbers)
    long_ones = np.flatnonzero([not text.startswith(" ") for text in unique])
    left, right = _same_band_pairs(_minhash([unique[i] for i in long_ones]))
    edges = coo_matrix((np.ones(len(left)), (long_ones[left], long_ones[right])), shape=(len(unique), len(unique)))
    component = connected_components(csr_matrix(edges), directed=False)[1][codes]
    first = pd.Series(np.arange(len(component))).groupby(component).min()
    return first.loc[component].to_numpy(dtype=np.int64)


def check_fractions(fractions: Sequence[float]) -> None:
    """Raise ValueError unless there are three positive shares that add up to 1."""
    if len(fractions) != 3 or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-9:
        raise ValueError(f"fractions: {fractions!r} must be three positive numbers that add up to 1")


def check_enough_labels(comments: pd.DataFrame, *, class_names: Sequence[str] = CONTROVERSY) -> None:
    """Raise TooFewLabelsError unless each split has enough labelled comments of every class.

    Parameters
    ----------
    comments : DataFrame
        `label` and `split`.
    class_names : sequence of str
        The name of each class, in the order of the codes in `label`.
    """
    counts = comments.groupby(["split", "label"]).size()
    for split, fewest in FEWEST_LABELS.items():
        for label, name in reversed(list(enumerate(class_names))):
            count = int(counts.get((split, label), 0))
            if count >= fewest:
                continue
            if tuple(class_names) == CONTROVERSY:
                raise TooFewLabelsError(
                    f"the {split} split has {count} {name} comments and {fewest} are needed: more comments, "
                    "a lower MIN_VOTES, a wider BAND or a lower CONFIDENCE_LEVEL in notebook 01 give more"
                )
            labelled = int((comments["label"] == label).sum())
            raise TooFewLabelsError(
                f"the {split} split has {count} comments with label {name!r} and {fewest} are needed (the file has "
                f"{labelled}): label more of them, give the class another one's label or none, or, if they stand in "
                "few groups, try another SEED"
            )


def _compared(text: str) -> str:
    """Return what is compared of a text; a short one stands whole behind a space, which no other one has."""
    bare = _NOT_TEXT.sub("", text.lower())
    return bare if len(bare) >= SHORTEST_COMPARED else " " + text


def _minhash(texts: Sequence[str]) -> NDArray[np.uint32]:
    """Return MinHash signatures, shape (N, 72): for each of 72 hash functions the least hash of a text's shingles."""
    generator = np.random.default_rng(0)
    multipliers = generator.integers(1, 2**63, BANDS * BAND_SIZE, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    signatures = np.empty((len(texts), len(multipliers)), dtype=np.uint32)
    for start in range(0, len(texts), 4096):
        batch = texts[start : start + 4096]
        lengths = np.array([len(text) for text in batch])
        points = np.frombuffer("".join(batch).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        rolling = _rolling_hash(points)
        first = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        inside = np.arange(len(points)) - np.repeat(first, lengths) <= np.repeat(lengths, lengths) - SHINGLE_LENGTH
        begins = np.concatenate([[0], np.cumsum(lengths - SHINGLE_LENGTH + 1)[:-1]])
        for column, multiplier in enumerate(multipliers):
            hashes = (rolling[inside] * multiplier) >> np.uint64(32)
            signatures[start : start + len(batch), column] = np.minimum.reduceat(hashes, begins)
    return signatures


def _rolling_hash(points: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """Hash the shingle that begins at each character; the last few wrap round and are not used."""
    hashes = np.zeros(len(points), dtype=np.uint64)
    for offset in range(SHINGLE_LENGTH):
        hashes = hashes * np.uint64(1_000_003) + np.roll(points, -offset)
    hashes ^= hashes >> np.uint64(31)
    return hashes * np.uint64(0x9E3779B97F4A7C15)


def _same_band_pairs(signatures: NDArray[np.uint32]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return pairs of rows that join all rows agreeing in a whole band: each with the next of its bucket."""
    lefts, rights = [], []
    for start in range(0, BANDS * BAND_SIZE, BAND_SIZE):
        band = np.ascontiguousarray(signatures[:, start : start + BAND_SIZE])
        keys = band.view([("", band.dtype)] * BAND_SIZE).ravel()
        order = np.argsort(keys, kind="stable")
        same = keys[order][1:] == keys[order][:-1]
        lefts.append(order[:-1][same])
        rights.append(order[1:][same])
    return np.concatenate(lefts), np.concatenate(rights)
