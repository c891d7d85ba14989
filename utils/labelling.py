"""From votes to labels: the sympathy ratio, its Wilson interval, and the controversial / not / undecided rule."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import betainc, ndtri


def sympathy_ratio(likes: ArrayLike, dislikes: ArrayLike) -> NDArray[np.float64]:
    """Return the share of likes among all votes (공감률).

    Explained in notebook 01.

    Parameters
    ----------
    likes, dislikes : array-like of int, shape (N,)
        Vote counts, 0 or more.

    Returns
    -------
    ndarray of float64, shape (N,)
        likes / (likes + dislikes) in [0, 1]; NaN where there are no votes.

    Raises
    ------
    TypeError, ValueError
        As in `check_votes`.
    """
    likes, dislikes = check_votes(likes=likes, dislikes=dislikes)
    votes = likes + dislikes
    return np.divide(likes, votes, out=np.full(votes.shape, np.nan), where=votes > 0)


def wilson_interval(
    successes: ArrayLike, trials: ArrayLike, *, confidence_level: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the Wilson score interval of a binomial proportion.

    Explained in notebook 01.

    Parameters
    ----------
    successes, trials : array-like of int, shape (N,)
        Likes, and likes + dislikes; 0 <= successes <= trials.
    confidence_level : float
        Chance in (0, 1) that such an interval holds the true proportion.

    Returns
    -------
    low, high : ndarray of float64, shape (N,)
        In [0, 1]; (0, 1) where trials is 0.

    Raises
    ------
    TypeError, ValueError
        As in `check_trials` and `check_confidence_level`.

    References
    ----------
    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927) 209-212.
    """
    successes, trials = check_trials(successes, trials)
    check_confidence_level(confidence_level)
    z = ndtri((1 + confidence_level) / 2)
    n = np.maximum(trials, 1).astype(np.float64)
    p = successes / n
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    margin = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    low = np.where(successes == 0, 0.0, centre - margin)
    high = np.where(successes == trials, 1.0, centre + margin)
    return low, high


def band_probability(
    likes: ArrayLike,
    dislikes: ArrayLike,
    *,
    band: tuple[float, float] = (0.3, 0.7),
    prior: tuple[float, float] = (0.5, 0.5),
) -> NDArray[np.float64]:
    """Return how probable it is that the true ratio lies in the band, given the votes.

    The posterior of a proportion under a Beta prior is Beta(a + likes, b + dislikes); this is its mass between the
    band's ends. Explained in notebook 01.

    Parameters
    ----------
    likes, dislikes : array-like of int, shape (N,)
        Vote counts, 0 or more.
    band : (float, float)
        0 < low < high < 1.
    prior : (float, float)
        a and b of the Beta prior, both above 0; (0.5, 0.5) is Jeffreys'.

    Returns
    -------
    ndarray of float64, shape (N,)
        Probabilities in [0, 1].

    Raises
    ------
    TypeError, ValueError
        As in `check_votes` and `check_band`; ValueError for a prior that is not two positive numbers.
    """
    likes, dislikes = check_votes(likes=likes, dislikes=dislikes)
    check_band(band)
    check_prior(prior)
    a, b = prior[0] + likes, prior[1] + dislikes
    return betainc(a, b, band[1]) - betainc(a, b, band[0])


def each_pair_once(label: Callable[..., pd.DataFrame]) -> Callable[..., pd.DataFrame]:
    """Let a labelling function see each distinct pair of votes once, and give every comment the row of its pair.

    Of millions of comments most share their pair with others, so that this saves most of the computing.

    Parameters
    ----------
    label : callable
        From likes, dislikes (int64, shape (N,)) and settings by name to a table of N rows.

    Returns
    -------
    callable
        The same function for any votes; the index of its table is that of `likes` where it is a Series.
    """

    @wraps(label)
    def label_distinct(likes: ArrayLike, dislikes: ArrayLike, **settings: Any) -> pd.DataFrame:
        index = likes.index if isinstance(likes, pd.Series) else None
        checked = check_votes(likes=likes, dislikes=dislikes)
        (likes_codes, distinct_likes), (dislikes_codes, distinct_dislikes) = map(pd.factorize, checked)
        width = max(len(distinct_dislikes), 1)
        codes, pairs = pd.factorize(likes_codes * width + dislikes_codes)
        table = label(distinct_likes[pairs // width], distinct_dislikes[pairs % width], **settings)
        return pd.DataFrame({name: column.to_numpy()[codes] for name, column in table.items()}, index=index)

    return label_distinct


@each_pair_once
def label_controversy(
    likes: ArrayLike,
    dislikes: ArrayLike,
    *,
    band: tuple[float, float] = (0.3, 0.7),
    confidence_level: float = 0.95,
    min_votes: int = 20,
) -> pd.DataFrame:
    """Label comments 1 (controversial), 0 (non-controversial) or -1 (undecided) from their votes.

    Fewer than `min_votes` votes: undecided. Wilson interval inside the band: controversial. Interval wholly outside
    the band: non-controversial. Otherwise undecided. Explained in notebook 01.

    Parameters
    ----------
    likes, dislikes : array-like of int, shape (N,)
        Vote counts, 0 or more.
    band : (float, float)
        0 < low < high < 1: ratios that count as split.
    confidence_level : float
        In (0, 1), of the Wilson interval.
    min_votes : int
        1 or more.

    Returns
    -------
    DataFrame, N rows
        `label` int8, `ratio`, `ci_low`, `ci_high`, `band_probability` float64, `votes` int64; the index is that of
        `likes` where it is a Series.

    Raises
    ------
    TypeError, ValueError
        As in `check_votes`, `check_band`, `check_confidence_level` and `check_min_votes`.
    """
    likes, dislikes = check_votes(likes=likes, dislikes=dislikes)
    check_band(band)
    check_min_votes(min_votes)
    votes = likes + dislikes
    low, high = wilson_interval(likes, votes, confidence_level=confidence_level)
    enough = votes >= min_votes
    inside = enough & (band[0] <= low) & (high <= band[1])
    outside = enough & ((high < band[0]) | (band[1] < low))
    columns = {
        "label": np.select([inside, outside], [1, 0], default=-1).astype(np.int8),
        "ratio": sympathy_ratio(likes, dislikes),
        "ci_low": low,
        "ci_high": high,
        "band_probability": band_probability(likes, dislikes, band=band),
        "votes": votes,
    }
    return pd.DataFrame(columns)


def check_votes(**counts: ArrayLike) -> list[NDArray[np.int64]]:
    """Return vote counts as int64 arrays of shape (N,).

    Parameters
    ----------
    **counts : array-like of int, shape (N,)
        By argument name, which the errors repeat.

    Raises
    ------
    TypeError
        Counts that are bool, float, object or missing.
    ValueError
        Not 1-dimensional, of unequal lengths, or negative; the first bad index is named.
    """
    arrays = {name: _whole_numbers(name, values) for name, values in counts.items()}
    first = next(iter(arrays))
    for name, values in arrays.items():
        if len(values) != len(arrays[first]):
            raise ValueError(f"{name}: {len(values)} values, but {first} has {len(arrays[first])}")
        if (values < 0).any():
            bad = int(np.argmax(values < 0))
            raise ValueError(f"{name}: value {values[bad]} at index {bad} is negative; counts must be 0 or more")
    return list(arrays.values())


def check_trials(successes: ArrayLike, trials: ArrayLike) -> list[NDArray[np.int64]]:
    """Return successes and trials as int64 arrays of shape (N,).

    Raises
    ------
    TypeError, ValueError
        As in `check_votes`; ValueError also for more successes than trials.
    """
    successes, trials = check_votes(successes=successes, trials=trials)
    if (successes > trials).any():
        bad = int(np.argmax(successes > trials))
        raise ValueError(f"successes: {successes[bad]} at index {bad} is more than its {trials[bad]} trials")
    return [successes, trials]


def check_band(band: tuple[float, float]) -> None:
    """Raise ValueError unless 0 < low < high < 1."""
    if len(band) != 2 or not 0 < band[0] < band[1] < 1:
        raise ValueError(f"band: {band!r} must be two numbers with 0 < low < high < 1")


def check_prior(prior: tuple[float, float]) -> None:
    """Raise ValueError unless both parameters of the Beta prior are positive."""
    if len(prior) != 2 or not (prior[0] > 0 and prior[1] > 0):
        raise ValueError(f"prior: {prior!r} must be two positive numbers")


def check_confidence_level(confidence_level: float) -> None:
    """Raise ValueError unless the confidence level lies between 0 and 1."""
    if not 0 < confidence_level < 1:
        raise ValueError(f"confidence_level: {confidence_level!r} must lie between 0 and 1, such as 0.95")


def check_min_votes(min_votes: int) -> None:
    """Raise ValueError for a least number of votes below 1."""
    if not min_votes >= 1:
        raise ValueError(f"min_votes: {min_votes!r} must be 1 or more")


def _whole_numbers(name: str, values: Any) -> NDArray[np.int64]:
    if isinstance(values, pd.Series) and values.isna().any():
        raise TypeError(f"{name}: missing value at index {int(np.argmax(values.isna()))}; drop or fill it first")
    array = np.asarray(values)
    if array.size == 0 and array.ndim == 1:
        return np.zeros(0, dtype=np.int64)
    if isinstance(values, pd.Series) and pd.api.types.is_integer_dtype(values.dtype):
        array = values.to_numpy(dtype=np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name}: counts must be integers, not {array.dtype}; convert them first")
    if array.ndim != 1:
        raise ValueError(f"{name}: must be 1-dimensional, not of shape {array.shape}")
    return array.astype(np.int64)
