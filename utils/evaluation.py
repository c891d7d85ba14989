"""Scores of a classifier, how sure they are, and what moves a single prediction.

Class 1 is controversial (논쟁), class 0 is not. Explained in notebook 05.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import precision_recall_fscore_support, roc_auc_score

FloatArray = NDArray[np.float64]


def classification_metrics(label: ArrayLike, probability: ArrayLike, *, threshold: float = 0.5) -> dict[str, float]:
    """Score one model's probabilities against the true labels.

    Parameters
    ----------
    label : array_like of int or bool, shape (N,)
        True classes, 0 or 1. Drop undecided comments (-1) first.
    probability : array_like of float, shape (N,)
        Probability of class 1, in [0, 1]: ``predict_proba(texts)[:, 1]``.
    threshold : float
        A comment counts as class 1 where its probability is at least this.

    Returns
    -------
    dict of str to float
        ``accuracy``; ``precision_k``, ``recall_k``, ``f1_k`` for both classes k; ``macro_f1``, the plain mean of the
        two F1; ``auroc``, the chance that a comment of class 1 gets the higher probability than one of class 0 (ties
        count half); ``brier``, the mean squared error of the probability; ``ece``, see `expected_calibration_error`;
        ``prevalence``, the share of class 1 in `label`; ``comments``, N.
        A ratio whose denominator is 0 (a class never predicted) is 0.0. ``auroc`` is NaN where `label` has one class.

    Raises
    ------
    TypeError
        If `label` is not integer or `probability` is not numeric.
    ValueError
        If the arguments are empty, not 1-dimensional, of unequal length, or hold a value that is out of range.
    """
    y, p = check_label_and_probability(label, probability)
    if not 0.0 <= threshold <= 1.0:
        raise ValueError(f"threshold must lie in [0, 1], got {threshold!r}")
    predicted = (p >= threshold).astype(np.int64)
    precision, recall, f1, _ = precision_recall_fscore_support(y, predicted, labels=[0, 1], zero_division=0)
    scores = {"accuracy": np.mean(predicted == y)}
    for k in (0, 1):
        scores |= {f"precision_{k}": precision[k], f"recall_{k}": recall[k], f"f1_{k}": f1[k]}
    scores["macro_f1"] = np.mean(f1)
    scores["auroc"] = roc_auc_score(y, p) if y.min() != y.max() else np.nan
    scores["brier"] = np.mean((p - y) ** 2)
    scores["ece"] = expected_calibration_error(y, p)
    scores["prevalence"] = np.mean(y)
    scores["comments"] = len(y)
    return {name: float(value) for name, value in scores.items()}


def expected_calibration_error(label: ArrayLike, probability: ArrayLike, *, bins: int = 10) -> float:
    """Mean gap between stated and observed rate of class 1, over bins that hold about equally many comments.

    Parameters
    ----------
    label, probability : array_like, shape (N,)
        As in `classification_metrics`.
    bins : int
        How many quantile bins; equal probabilities always share one, so there may be fewer.

    Returns
    -------
    float
        Sum over bins of (comments in bin / N) x |mean probability - share of class 1|, in [0, 1].
        Source: Naeini, Cooper and Hauskrecht (2015), with equal-mass bins as in Nguyen and O'Connor (2015).
    """
    y, p = check_label_and_probability(label, probability)
    bin_of = _bin_numbers(p, _quantile_edges(p, bins))
    gap = np.bincount(bin_of, weights=p - y)
    return float(np.abs(gap).sum() / len(y))


def check_label_and_probability(label: ArrayLike, probability: ArrayLike) -> tuple[NDArray[np.int64], FloatArray]:
    """Return both as 1-dimensional arrays, or raise an error that names the argument and the first bad index."""
    y, p = np.asarray(label), np.asarray(probability)
    if y.dtype.kind not in "iub":
        raise TypeError(f"label must be integers 0 or 1, got dtype {y.dtype}")
    if p.dtype.kind not in "fiu":
        raise TypeError(f"probability must be numbers, got dtype {p.dtype}")
    for name, values in (("label", y), ("probability", p)):
        if values.ndim != 1:
            hint = ": take predict_proba(texts)[:, 1]" if name == "probability" and values.ndim == 2 else ""
            raise ValueError(f"{name} must be 1-dimensional, got shape {values.shape}{hint}")
    if len(y) != len(p):
        raise ValueError(f"label and probability must be equally long, got {len(y)} and {len(p)}")
    if len(y) == 0:
        raise ValueError("label is empty: there is nothing to score")
    _refuse("label", y, (y == 0) | (y == 1), "must be 0 or 1 (drop undecided comments, -1)")
    # A float32 softmax may exceed 1 by rounding.
    _refuse("probability", p, (p >= -1e-6) & (p <= 1 + 1e-6), "must lie in [0, 1]")
    return y.astype(np.int64), np.clip(p.astype(np.float64), 0.0, 1.0)


def _refuse(name: str, values: NDArray, good: NDArray[np.bool_], rule: str) -> None:
    if not good.all():
        first = int(np.argmin(good))
        raise ValueError(f"{name}[{first}] is {values[first]!s}: {name} {rule}")


def _quantile_edges(probability: FloatArray, bins: int) -> FloatArray:
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    return np.unique(np.quantile(probability, np.linspace(0.0, 1.0, bins + 1)))


def _bin_numbers(probability: FloatArray, edges: FloatArray) -> NDArray[np.int64]:
    """Bin of each probability: bins are half open, (edge, next edge], and the first one holds its lower edge too."""
    inner = edges[1:-1]
    return np.searchsorted(inner, probability, side="left").astype(np.int64)
