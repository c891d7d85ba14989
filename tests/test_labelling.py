"""Labels from votes, held against scipy, statsmodels and cases worked out by hand."""

import math
from random import Random

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binomtest
from statsmodels.stats.proportion import proportion_confint

from utils.labelling import band_probability, label_controversy, sympathy_ratio, wilson_interval

COUNTS = st.integers(min_value=0, max_value=100_000)
LEVELS = st.floats(min_value=0.5, max_value=0.999)


def label_of(likes: int, dislikes: int, **settings: object) -> int:
    return int(label_controversy([likes], [dislikes], **settings)["label"][0])


@pytest.mark.parametrize(
    ("likes", "dislikes", "label"),
    [(5, 5, -1), (50, 50, 1), (30, 0, 0), (0, 30, 0), (10, 0, -1), (0, 0, -1), (11, 11, 1), (10, 10, -1)],
)
def test_labels_are_those_of_the_design(likes: int, dislikes: int, label: int) -> None:
    assert label_of(likes, dislikes) == label


def test_the_smallest_controversial_vote_count_is_22() -> None:
    likes, dislikes = np.indices((40, 40)).reshape(2, -1)
    labels = label_controversy(likes, dislikes)
    assert labels.loc[labels["label"] == 1, "votes"].min() == 22


def test_no_votes_give_no_ratio_and_the_widest_interval() -> None:
    row = label_controversy([0], [0]).iloc[0]
    assert math.isnan(row["ratio"])
    assert (row["ci_low"], row["ci_high"], row["votes"]) == (0.0, 1.0, 0)


@pytest.fixture(scope="module")
def scipy_results() -> dict:
    """SciPy's result for every 0 <= k <= n <= 200 with a trial (SciPy refuses n = 0).

    The tested share is k / n: its p-value takes SciPy no time, and the interval does not depend on it.
    """
    return {(k, n): binomtest(k, n, p=k / n) for n in range(1, 201) for k in range(n + 1)}


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_wilson_interval_agrees_with_scipy_for_every_count_up_to_200(scipy_results: dict, level: float) -> None:
    successes, trials = np.array(list(scipy_results)).T
    low, high = wilson_interval(successes, trials, confidence_level=level)
    peer = [result.proportion_ci(confidence_level=level, method="wilson") for result in scipy_results.values()]
    assert len(peer) == 20_300
    np.testing.assert_allclose(low, [interval.low for interval in peer], atol=1e-12, rtol=0)
    np.testing.assert_allclose(high, [interval.high for interval in peer], atol=1e-12, rtol=0)


def test_wilson_interval_agrees_with_statsmodels_for_every_count_up_to_200() -> None:
    successes, trials = np.array([(k, n) for n in range(1, 201) for k in range(n + 1)]).T
    low, high = wilson_interval(successes, trials)
    peer_low, peer_high = proportion_confint(successes, trials, alpha=0.05, method="wilson")
    np.testing.assert_allclose(low, peer_low, atol=1e-12, rtol=0)
    np.testing.assert_allclose(high, peer_high, atol=1e-12, rtol=0)


@settings(deadline=None)
@given(COUNTS, COUNTS, LEVELS)
def test_labels_and_intervals_are_symmetric_in_likes_and_dislikes(likes: int, dislikes: int, level: float) -> None:
    one = label_controversy([likes], [dislikes], confidence_level=level).iloc[0]
    other = label_controversy([dislikes], [likes], confidence_level=level).iloc[0]
    assert one["label"] == other["label"]
    assert one["ci_low"] == pytest.approx(1 - other["ci_high"], abs=1e-12)
    assert one["band_probability"] == pytest.approx(other["band_probability"], abs=1e-9)


@settings(deadline=None)
@given(COUNTS, COUNTS, LEVELS)
def test_interval_holds_the_ratio_and_widens_with_the_confidence_level(likes: int, dislikes: int, level: float) -> None:
    votes = likes + dislikes
    (low,), (high,) = wilson_interval([likes], [votes], confidence_level=level)
    (wider_low,), (wider_high,) = wilson_interval([likes], [votes], confidence_level=(1 + level) / 2)
    assert 0 <= wider_low <= low <= high <= wider_high <= 1
    if votes:
        assert low - 1e-12 <= likes / votes <= high + 1e-12


@settings(deadline=None)
@given(st.integers(1, 1_000), st.integers(1, 1_000), st.integers(2, 50))
def test_interval_narrows_when_every_vote_is_repeated(likes: int, dislikes: int, times: int) -> None:
    (low, low_repeated), (high, high_repeated) = wilson_interval(
        [likes, likes * times], [likes + dislikes, (likes + dislikes) * times]
    )
    assert high_repeated - low_repeated < high - low


@settings(deadline=None)
@given(st.lists(st.tuples(COUNTS, COUNTS), min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_labels_do_not_depend_on_the_order_or_company_of_rows(pairs: list[tuple[int, int]], random: Random) -> None:
    together = label_controversy(*np.array(pairs).T)
    order = random.sample(range(len(pairs)), len(pairs))
    shuffled = label_controversy(*np.array(pairs)[order].T)
    pd.testing.assert_frame_equal(shuffled, together.iloc[order].reset_index(drop=True))
    first = label_controversy([pairs[0][0]], [pairs[0][1]])
    pd.testing.assert_frame_equal(first, together.head(1))


def test_band_probability_is_the_mass_of_the_beta_posterior() -> None:
    likes, dislikes = np.array([0, 5, 50, 30, 700]), np.array([0, 5, 50, 0, 300])
    posterior = beta(likes + 0.5, dislikes + 0.5)
    np.testing.assert_allclose(band_probability(likes, dislikes), posterior.cdf(0.7) - posterior.cdf(0.3), atol=1e-12)


def test_ratio_of_three_likes_and_one_dislike_is_three_quarters() -> None:
    assert sympathy_ratio([3], [1]).tolist() == [0.75]


def test_labels_keep_the_index_of_a_series() -> None:
    likes = pd.Series([50, 5], index=["a", "b"])
    labels = label_controversy(likes, pd.Series([50, 5], index=["a", "b"]))["label"]
    assert labels.to_dict() == {"a": 1, "b": -1}


def test_counts_beyond_the_square_root_of_int64_do_not_overflow() -> None:
    row = label_controversy([4_000_000_000], [4_000_000_000]).iloc[0]
    assert row["label"] == 1
    assert row["ci_low"] == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize("bad", [[True], [1.0], [None], ["3"], pd.Series([1, None], dtype="Int64")])
def test_counts_that_are_not_integers_are_a_type_error_naming_the_argument(bad: object) -> None:
    with pytest.raises(TypeError, match="likes"):
        label_controversy(bad, [1] * len(bad))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"likes": [1, -2], "dislikes": [1, 1]}, "likes: value -2 at index 1"),
        ({"likes": [1], "dislikes": [1, 1]}, "dislikes: 2 values"),
        ({"likes": [[1]], "dislikes": [[1]]}, "1-dimensional"),
        ({"likes": [1], "dislikes": [1], "band": (0.7, 0.3)}, "band"),
        ({"likes": [1], "dislikes": [1], "band": (0.0, 0.7)}, "band"),
        ({"likes": [1], "dislikes": [1], "confidence_level": 1.0}, "confidence_level"),
        ({"likes": [1], "dislikes": [1], "min_votes": 0}, "min_votes"),
    ],
)
def test_values_out_of_range_are_a_value_error_saying_where(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        label_controversy(**arguments)


def test_more_successes_than_trials_are_refused_with_their_index() -> None:
    with pytest.raises(ValueError, match="successes: 3 at index 1"):
        wilson_interval([1, 3], [2, 2])
