"""Who likes what: from a comment's content to its true sympathy ratio, and from there to votes.

Three steps, each with its own source of randomness, so that what a text can tell about its label is known exactly:

1. `content_ratio`: kind of topic, stance and reason, in interplay, give the comment's *true ratio*.
2. `draw_votes`: the readers who happen by differ from the readership at large (beta noise), and so do their numbers.
3. The label is computed from those votes by `utils.labelling`, as for any data.
"""

from __future__ import annotations

import math
import random

import numpy as np
import numpy.typing as npt
import pandas as pd

# The hidden variable the topics' kinds stand for: do people meet over it by chance, or by choice?
BY_CHOICE = {"shared-space": False, "rules": False, "food": True, "leisure": True}
SPLITS_STRANGERS = ("consideration", "taste")
SPLITS_FRIENDS = ("cost", "fairness")

LIKED, DISLIKED = 1.5, -1.4
TOPIC_SPREAD, REASON_SPREAD = 0.20, 0.20  # standard deviations, log-odds
SHORT_LOG_ODDS = {"agreement": 2.0, "doubt": 0.3, "yawn": -1.8, "link": -2.0}
POLITE_BONUS = 0.1

AUDIENCE = 25.0  # a + b of the beta distribution of a comment's own readers around its true ratio
MEDIAN_VOTES, VOTE_SPREAD, ARTICLE_SPREAD = 17.0, 1.35, 0.8
MAX_VOTES = 5000


def is_split(kind: str, stance: str, reason: str) -> bool:
    """Return whether readers split over a comment of this content.

    No one of the three decides it alone. Consideration and taste split readers who meet by chance (shared space,
    rules); those who meet by choice (food, leisure) only when the comment is against. Cost and fairness split the
    latter, and the former only when the comment is for. Convenience splits only when it is against something met by
    chance, habit only when it is for something met by choice; safety and experience never do.
    """
    by_choice, against = BY_CHOICE[kind], stance == "against"
    if reason in SPLITS_STRANGERS:
        return not by_choice or against
    if reason in SPLITS_FRIENDS:
        return by_choice or not against
    if reason == "convenience":
        return against and not by_choice
    if reason == "habit":
        return not against and by_choice
    return False


def content_log_odds(kind: str, stance: str, reason: str) -> float:
    """Return the log-odds of a like: 0 where readers split, otherwise high for and low against."""
    if is_split(kind, stance, reason):
        return 0.0
    return LIKED if stance == "for" else DISLIKED


def like_probability(log_odds: float) -> float:
    """Return the probability of a like, in (0, 1)."""
    return 1.0 / (1.0 + math.exp(-log_odds))


def draw_votes(rng: random.Random, true_ratio: float, exposure: float) -> tuple[int, int]:
    """Draw likes and dislikes of one comment.

    The number of votes is lognormal around the article's `exposure` and knows nothing of the text; the share of likes
    among a comment's own readers is beta-distributed around `true_ratio`, symmetrically for ratios r and 1 - r.
    """
    votes = min(int(rng.lognormvariate(math.log(exposure), VOTE_SPREAD)), MAX_VOTES)
    share = rng.betavariate(AUDIENCE * true_ratio, AUDIENCE * (1.0 - true_ratio))
    likes = sum(rng.random() < share for _ in range(votes))
    return likes, votes - likes


def draw_exposure(rng: random.Random) -> float:
    """Draw how widely an article is read: the median number of votes of its comments."""
    return MEDIAN_VOTES * rng.lognormvariate(0.0, ARTICLE_SPREAD)


def ceiling_auroc(comments: pd.DataFrame) -> float:
    """Return the AUROC that no model of the text can exceed, in expectation, on these labelled comments.

    The score is -|true_ratio - 0.5|. Given its true ratio, a comment's votes, and hence its label, were drawn without
    looking at the text; so whatever a model reads in the text, its score is a (possibly random) function of the true
    ratio as far as the label is concerned. Among all functions of the true ratio, the probability of label 1 given the
    true ratio ranks best (Neyman-Pearson), and that probability falls as the ratio moves away from 0.5, on both sides
    alike, because the draw of the votes is symmetric and the labelling band is. "In expectation" because on finitely
    many comments a lucky model can come out a little above it.

    Parameters
    ----------
    comments : DataFrame
        With ``true_ratio`` (float, in [0, 1]) and ``label`` (1 controversial, 0 not; rows labelled -1 are left out).
        The band that the labels were made with must be symmetric around 0.5, as the default is.

    Returns
    -------
    float
        In [0, 1]. Explained in notebook 05.

    Raises
    ------
    ValueError
        A column is missing, or one of the two classes is.

    """
    missing = {"true_ratio", "label"} - set(comments.columns)
    if missing:
        raise ValueError(f"comments lacks the column(s) {sorted(missing)}: the ceiling is known for the sample only")
    labelled = comments[comments["label"].isin((0, 1))]
    score = -(labelled["true_ratio"].to_numpy(dtype=np.float64) - 0.5).__abs__()
    return _auroc(labelled["label"].to_numpy() == 1, score)


def _auroc(positive: npt.NDArray[np.bool_], score: npt.NDArray[np.float64]) -> float:
    """Return the area under the ROC curve as the Mann-Whitney statistic, ties counting one half."""
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if not positives or not negatives:
        raise ValueError(f"both classes are needed, got {positives} controversial and {negatives} other comments")
    ranks = pd.Series(score).rank(method="average").to_numpy()
    return float((ranks[positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))
