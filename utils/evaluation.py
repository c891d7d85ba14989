"""Scores of a classifier, and how sure they are.

Where labels come from votes class 1 is controversial (논쟁), class 0 is not. Explained in notebook 05.

Tables of predictions are those of `utils.run_folder.read_predictions`: one row per comment and setting, with the
columns ``model, seed, label_budget, tuning, fold, id, group, split, label`` and the probabilities: ``probability``,
that of class 1, where there are two classes, else ``probability_<name>`` for each, in the order of the codes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import precision_recall_fscore_support, roc_auc_score

from utils.labelling import wilson_interval

FloatArray = NDArray[np.float64]


def classification_metrics(label: ArrayLike, probability: ArrayLike, *, threshold: float = 0.5) -> dict[str, float]:
    """Score one model's probabilities against the true labels.

    Parameters
    ----------
    label : array_like of int or bool, shape (N,)
        True classes, 0 to K - 1. Drop undecided comments (-1) first.
    probability : array_like of float, shape (N, K) or (N,)
        Probability of each class, in [0, 1], as `predict_proba` gives it; of two classes that of class 1 is enough.
    threshold : float
        Of two classes: a comment counts as class 1 where its probability is at least this. Of more the most probable
        one is called.

    Returns
    -------
    dict of str to float
        ``accuracy``; ``precision_k``, ``recall_k``, ``f1_k`` for every class k; ``macro_f1``, the plain mean of the F1;
        ``auroc``, the chance that a comment of class 1 gets the higher probability than one of class 0 (ties count
        half), of more than two classes the plain mean of each class against the rest (macro one-vs-rest);
        for two classes ``brier``, the mean squared error of the probability, ``ece``, see
        `expected_calibration_error`, and ``prevalence``, the share of class 1 in `label`; for more ``prevalence_k``,
        the share of class k; ``comments``, N.
        A ratio whose denominator is 0 (a class never predicted) is 0.0. ``auroc`` is NaN where `label` lacks a class.

    Raises
    ------
    TypeError
        If `label` is not integer or `probability` is not numeric.
    ValueError
        If the arguments are empty, of another shape, of unequal length, or hold a value that is out of range.
    """
    y, p = check_label_and_probability(label, probability)
    predicted = called_class(p, threshold=threshold)
    classes = range(2 if p.ndim == 1 else p.shape[1])
    precision, recall, f1, _ = precision_recall_fscore_support(y, predicted, labels=list(classes), zero_division=0)
    scores = {"accuracy": np.mean(predicted == y)}
    for k in classes:
        scores |= {f"precision_{k}": precision[k], f"recall_{k}": recall[k], f"f1_{k}": f1[k]}
    scores["macro_f1"] = np.mean(f1)
    share = np.bincount(y, minlength=len(classes)) / len(y)
    if p.ndim == 1:
        scores["auroc"] = roc_auc_score(y, p) if share.all() else np.nan
        scores["brier"] = np.mean((p - y) ** 2)
        scores["ece"] = expected_calibration_error(y, p)
        scores["prevalence"] = share[1]
    else:
        scores["auroc"] = np.mean([roc_auc_score(y == k, p[:, k]) for k in classes]) if share.all() else np.nan
        scores |= {f"prevalence_{k}": share[k] for k in classes}
    scores["comments"] = len(y)
    return {name: float(value) for name, value in scores.items()}


def called_class(probability: FloatArray, *, threshold: float = 0.5) -> NDArray[np.int64]:
    """Return the class that each comment is called, shape (N,).

    Parameters
    ----------
    probability : ndarray of float, shape (N,) or (N, K)
        Of class 1, or of every class, the most probable of which is called.
    threshold : float
        For shape (N,): class 1 from this probability on.
    """
    if not 0.0 <= threshold <= 1.0:
        raise ValueError(f"threshold must lie in [0, 1], got {threshold!r}")
    return (probability >= threshold).astype(np.int64) if probability.ndim == 1 else probability.argmax(axis=1)


def probability_of(label: NDArray[np.int64], probability: FloatArray) -> FloatArray:
    """Return the probability that each comment's true class got, shape (N,).

    Parameters
    ----------
    label : ndarray of int, shape (N,)
        0 to K - 1.
    probability : ndarray of float, shape (N,) or (N, K)
        Of class 1, or of every class.
    """
    if probability.ndim == 1:
        return np.where(label == 1, probability, 1 - probability)
    return probability[np.arange(len(label)), label]


def stated_probability(predictions: pd.DataFrame) -> FloatArray:
    """Return the probabilities in a table of predictions: shape (N,), of class 1, or (N, K) of K > 2 classes."""
    if "probability" in predictions:
        return predictions["probability"].to_numpy(dtype=np.float64)
    return predictions.filter(regex="^probability_").to_numpy(dtype=np.float64)


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
    y, p = _two_classes(label, probability)
    gap = np.bincount(_quantile_bins(p, bins), weights=p - y)
    return float(np.abs(gap).sum() / len(y))


def reliability_curve(
    label: ArrayLike, probability: ArrayLike, *, bins: int = 10, confidence_level: float = 0.95
) -> pd.DataFrame:
    """Hold the stated probability of class 1 against the share of class 1, in bins of about equally many comments.

    Parameters
    ----------
    label, probability : array_like, shape (N,)
        As in `classification_metrics`.
    bins : int
        How many quantile bins; equal probabilities always share one, so there may be fewer.
    confidence_level : float
        Of the Wilson interval around each share. It takes the comments as independent, so where comments of one
        article resemble each other the true uncertainty is larger.

    Returns
    -------
    DataFrame
        One row per bin: ``probability`` (mean), ``share`` (of class 1), ``ci_low``, ``ci_high``, ``comments``.
    """
    y, p = _two_classes(label, probability)
    table = pd.DataFrame({"bin": _quantile_bins(p, bins), "probability": p, "label": y})
    curve = table.groupby("bin").agg(
        probability=("probability", "mean"), positive=("label", "sum"), comments=("label", "size")
    )
    low, high = wilson_interval(
        curve["positive"].to_numpy(), curve["comments"].to_numpy(), confidence_level=confidence_level
    )
    curve = curve.assign(share=curve["positive"] / curve["comments"], ci_low=low, ci_high=high)
    return curve.reset_index(drop=True)[["probability", "share", "ci_low", "ci_high", "comments"]]


def choose_threshold(label: ArrayLike, probability: ArrayLike) -> float:
    """Return the threshold with the best macro F1 on these comments; of equally good ones, the nearest to 0.5.

    Choose it on validation comments and use it once on test comments; on the test comments themselves it would be tuned
    to them.

    Parameters
    ----------
    label, probability : array_like, shape (N,)
        As in `classification_metrics`.

    Returns
    -------
    float
        Midway between two neighbouring probabilities, in [0, 1].
    """
    y, p = _two_classes(label, probability)
    values = np.unique(p)
    candidates = np.concatenate([[values[0]], (values[1:] + values[:-1]) / 2])
    called = len(y) - np.searchsorted(np.sort(p), candidates)
    hits = y.sum() - np.searchsorted(np.sort(p[y == 1]), candidates)
    misses, false_alarms = y.sum() - hits, called - hits
    confusion = np.stack([len(y) - called - misses, false_alarms, misses, hits], axis=1).reshape(-1, 2, 2)
    macro_f1 = _confusion_to_scores(confusion)["macro_f1"]
    best = candidates[np.isclose(macro_f1, macro_f1.max(), rtol=0, atol=1e-12)]
    return float(best[np.argmin(np.abs(best - 0.5))])


def compared_settings(predictions: pd.DataFrame) -> pd.DataFrame:
    """Keep what belongs in one table of models: trained on all labels, outside the folds.

    Returns
    -------
    DataFrame
        The rows without a label budget and fold; where only a part of the network was tuned, ``model`` says so:
        ``"kcbert-base (frozen)"``.
    """
    rows = predictions[predictions["label_budget"].isna() & predictions["fold"].isna()].copy()
    partly = rows["tuning"].ne("full")
    rows.loc[partly, "model"] = rows.loc[partly, "model"] + " (" + rows.loc[partly, "tuning"] + ")"
    return rows.reset_index(drop=True)


def check_same_rows(predictions: pd.DataFrame) -> None:
    """Refuse models that were not scored on the very same comments.

    Parameters
    ----------
    predictions : DataFrame
        ``model``, ``seed``, ``id``, ``group`` and ``label``; of one split.

    Raises
    ------
    ValueError
        If a model and seed has an id twice, or ids, labels or groups that differ from what most others have. The
        message names the model and says how many ids.
    """
    if predictions.empty:
        raise ValueError("predictions is empty: there is no model to compare; run notebooks 02 and 04 first")
    settings = {key: rows.set_index("id") for key, rows in predictions.groupby(["model", "seed"], sort=True)}
    ids_of = {key: frozenset(rows.index) for key, rows in settings.items()}
    usual = Counter(ids_of.values()).most_common(1)[0][0]
    reference = next(settings[key] for key, ids in ids_of.items() if ids == usual)
    for (model, seed), rows in settings.items():
        who = f"{model} (seed {seed})"
        if not rows.index.is_unique:
            raise ValueError(f"{who} has {rows.index.duplicated().sum()} ids twice")
        missing, extra = len(usual - ids_of[model, seed]), len(ids_of[model, seed] - usual)
        if missing or extra:
            raise ValueError(
                f"{who} was scored on other comments than the other models: of their {len(usual)} ids it lacks "
                f"{missing}, and it has {extra} more. Run its notebook again with this run folder."
            )
        for column in ("label", "group"):
            same = rows[column].to_numpy() == reference.loc[rows.index, column].to_numpy()
            if not same.all():
                raise ValueError(f"{who} has another {column} than the other models for {int((~same).sum())} ids")


def score_settings(predictions: pd.DataFrame, *, by: Sequence[str] = ("model", "seed")) -> pd.DataFrame:
    """Return `classification_metrics` for every setting: one row per combination of the columns `by`."""
    rows = [
        dict(zip(by, key, strict=True)) | classification_metrics(group["label"], stated_probability(group))
        for key, group in predictions.groupby(list(by))
    ]
    return pd.DataFrame(rows)


def average_over_seeds(predictions: pd.DataFrame) -> pd.DataFrame:
    """Score every seed, then take the mean: what one training run of a model can be expected to reach.

    The probabilities themselves are not averaged: that would score an ensemble, which nobody trained.

    Parameters
    ----------
    predictions : DataFrame
        ``model``, ``seed``, ``id``, ``group``, ``label`` and the probabilities; of one split.

    Returns
    -------
    DataFrame
        Index ``model``; the keys of `classification_metrics`, ``seeds`` (how many), and ``auroc_sd``, the standard
        deviation over seeds (NaN for one seed).

    Raises
    ------
    ValueError
        If the models were scored on different comments, see `check_same_rows`.
    """
    check_same_rows(predictions)
    scores = score_settings(predictions).groupby("model")
    return scores.mean().drop(columns="seed").assign(seeds=scores.size(), auroc_sd=scores["auroc"].std())


def cluster_bootstrap(
    predictions: pd.DataFrame, *, samples: int = 2000, seed: int = 0, threshold: float = 0.5
) -> pd.DataFrame:
    """Score every model again and again on groups drawn with replacement; all models get the same draws.

    Comments under one article resemble each other, so whole groups are drawn, not comments. Because the draws are
    shared, differences between models can be taken draw by draw (a paired bootstrap).

    Parameters
    ----------
    predictions : DataFrame
        ``model``, ``seed``, ``id``, ``group``, ``label`` and the probabilities; of one split.
    samples : int
        How many draws. 2,000 are enough for 95 % intervals.
    seed : int
        Of the draws. The models' own seeds are averaged within each draw.
    threshold : float
        As in `classification_metrics`.

    Returns
    -------
    DataFrame
        One row per draw, columns (model, metric): the first metrics of `classification_metrics`, up to ``macro_f1``,
        and ``auroc``, which is NaN in a draw that lacks a class.
        Source: Field and Welsh (2007), "Bootstrapping clustered data", cluster bootstrap.

    Raises
    ------
    ValueError
        If the models were scored on different comments, see `check_same_rows`, or `samples` is below 1.
    """
    check_same_rows(predictions)
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    group_names = np.unique(predictions["group"].to_numpy(dtype=str))
    share = np.full(len(group_names), 1 / len(group_names))
    times_drawn = np.random.default_rng(seed).multinomial(len(group_names), share, size=samples).astype(float)
    draws = {}
    for model, rows in predictions.groupby("model"):
        per_seed = []
        for _, one in rows.groupby("seed"):
            group = np.searchsorted(group_names, one["group"].to_numpy(dtype=str))
            label, probability = check_label_and_probability(one["label"], stated_probability(one))
            called = called_class(probability, threshold=threshold)
            classes = 2 if probability.ndim == 1 else probability.shape[1]
            scores = resampled_scores(label, called, group, times_drawn, num_classes=classes)
            per_seed.append(scores | {"auroc": resampled_auroc(label, probability, group, times_drawn)})
        for metric in per_seed[0]:
            draws[model, metric] = np.mean([scores[metric] for scores in per_seed], axis=0)
    return pd.DataFrame(draws).rename_axis(columns=["model", "metric"])


def resampled_scores(
    label: NDArray[np.int64],
    predicted: NDArray[np.int64] | NDArray[np.bool_],
    group: NDArray[np.int64],
    times_drawn: FloatArray,
    *,
    num_classes: int = 2,
) -> dict[str, FloatArray]:
    """Accuracy, precision, recall and F1 in every draw of groups.

    Parameters
    ----------
    label, predicted : ndarray, shape (N,)
        True and predicted class, 0 to K - 1.
    group : ndarray of int, shape (N,)
        Number of each comment's group, 0 to G - 1.
    times_drawn : ndarray of float, shape (B, G)
        How often each group is in each draw.
    num_classes : int
        K.

    Returns
    -------
    dict of str to ndarray, shape (B,)
        The counts of a draw are the groups' counts times how often each was drawn: one matrix product for all draws.
    """
    cells = num_classes**2
    cell = num_classes * label + predicted.astype(np.int64)
    per_group = np.bincount(cells * group + cell, minlength=cells * times_drawn.shape[1]).reshape(-1, cells)
    return _confusion_to_scores((times_drawn @ per_group).reshape(-1, num_classes, num_classes))


def resampled_auroc(
    label: NDArray[np.int64], probability: FloatArray, group: NDArray[np.int64], times_drawn: FloatArray
) -> FloatArray:
    """AUROC in every draw of groups, from one sort for all draws.

    AUROC is the share of (class 1, class 0) pairs in the right order, ties counting half (Mann and Whitney, 1947). A
    comment drawn w times stands in w times as many pairs, so with class 0 sorted by probability a cumulative sum of its
    weights tells how many of them lie below each comment of class 1. Of more than two classes each is held against the
    rest, and the mean is taken.

    Parameters
    ----------
    label : ndarray of int, shape (N,)
        True class.
    probability : ndarray of float, shape (N,) or (N, K)
        Of class 1, or of every class.
    group, times_drawn
        As in `resampled_scores`.

    Returns
    -------
    ndarray of float64, shape (B,)
        NaN where a draw lacks one of the classes.
    """
    if probability.ndim == 2:
        one_against_rest = [
            resampled_auroc((label == k).astype(np.int64), column, group, times_drawn)
            for k, column in enumerate(probability.T)
        ]
        return np.mean(one_against_rest, axis=0)
    negative = np.flatnonzero(label == 0)
    negative = negative[np.argsort(probability[negative])]
    positive = np.flatnonzero(label == 1)
    below = np.searchsorted(probability[negative], probability[positive], side="left")
    not_above = np.searchsorted(probability[negative], probability[positive], side="right")
    area = np.full(len(times_drawn), np.nan)
    for start in range(0, len(times_drawn), 200):  # 200 draws at a time: the arrays stay small and near the processor
        weight = np.ascontiguousarray(times_drawn[start : start + 200].T)
        negative_weight = np.zeros((len(negative) + 1, weight.shape[1]))
        np.cumsum(weight[group[negative]], axis=0, out=negative_weight[1:])
        positive_weight = weight[group[positive]]
        right = np.einsum("nb,nb->b", positive_weight, negative_weight[below] + negative_weight[not_above]) / 2
        pairs = positive_weight.sum(axis=0) * negative_weight[-1]
        area[start : start + 200] = np.divide(right, pairs, out=np.full_like(right, np.nan), where=pairs > 0)
    return area


def score_intervals(scores: pd.DataFrame, draws: pd.DataFrame, *, confidence_level: float = 0.95) -> pd.DataFrame:
    """Put each score and its percentile bootstrap interval side by side.

    Parameters
    ----------
    scores : DataFrame
        From `average_over_seeds`.
    draws : DataFrame
        From `cluster_bootstrap`, of the same predictions.
    confidence_level : float
        Share of the draws inside the interval.

    Returns
    -------
    DataFrame
        ``model``, ``metric``, ``score``, ``low``, ``high``; one row per model and metric. The interval says how the
        score would move with other articles; it holds the trained models fixed.
    """
    low, high = _percentiles(draws, confidence_level)
    score = scores[list(draws.columns.unique("metric"))].stack().rename_axis(["model", "metric"])
    return pd.DataFrame({"score": score, "low": low, "high": high}).loc[score.index].reset_index()


def paired_differences(
    scores: pd.DataFrame,
    draws: pd.DataFrame,
    *,
    reference: str,
    metric: str = "auroc",
    confidence_level: float = 0.95,
) -> pd.DataFrame:
    """Difference of every model to `reference`, with its interval from the shared draws.

    Parameters
    ----------
    scores, draws, confidence_level
        As in `score_intervals`.
    reference : str
        The model that the others are held against.
    metric : str
        One of those in `draws`.

    Returns
    -------
    DataFrame
        ``model``, ``difference`` (model minus reference), ``low``, ``high``, ``share_above`` (of the draws in which the
        model scores higher than the reference; ties count half), best first.

    Raises
    ------
    ValueError
        If `reference` is not among the models.
    """
    if reference not in scores.index:
        raise ValueError(f"reference {reference!r} is not among the models: {', '.join(scores.index)}")
    others = scores.index.drop(reference)
    drawn = draws.xs(metric, axis=1, level="metric")
    gaps = pd.DataFrame({model: drawn[model] - drawn[reference] for model in others})
    low, high = _percentiles(gaps, confidence_level)
    above = (gaps.gt(0) + gaps.eq(0) / 2).sum() / gaps.notna().sum()
    table = pd.DataFrame(
        {
            "difference": scores.loc[others, metric] - scores.loc[reference, metric],
            "low": low,
            "high": high,
            "share_above": above,
        }
    )
    return table.sort_values("difference", ascending=False).rename_axis("model").reset_index()


def check_label_and_probability(label: ArrayLike, probability: ArrayLike) -> tuple[NDArray[np.int64], FloatArray]:
    """Return label (N,) and probability, (N,) of class 1 or (N, K) of K > 2 classes.

    An error names the argument and the first bad index.
    """
    y, p = np.asarray(label), np.asarray(probability)
    if y.dtype.kind not in "iub":
        raise TypeError(f"label must be integers, got dtype {y.dtype}")
    if p.dtype.kind not in "fiu":
        raise TypeError(f"probability must be numbers, got dtype {p.dtype}")
    if y.ndim != 1:
        raise ValueError(f"label must be 1-dimensional, got shape {y.shape}")
    if p.ndim not in (1, 2) or (p.ndim == 2 and p.shape[1] < 2):
        raise ValueError(f"probability must have shape (N,) or (N, K), one column a class, got {p.shape}")
    classes = 2 if p.ndim == 1 else p.shape[1]
    if len(y) != len(p):
        raise ValueError(f"label and probability must be equally long, got {len(y)} and {len(p)}")
    if len(y) == 0:
        raise ValueError("label is empty: there is nothing to score")
    known = "0 or 1" if classes == 2 else f"0 to {classes - 1}"
    _refuse("label", y, (y >= 0) & (y < classes), f"must be {known} (drop undecided comments, -1)")
    # A float32 softmax may exceed 1 by rounding.
    in_range = np.asarray((p >= -1e-6) & (p <= 1 + 1e-6)).reshape(len(p), -1)
    _refuse("probability", p, np.asarray(in_range.all(axis=1)), "must lie in [0, 1]")
    p = np.clip(p.astype(np.float64), 0.0, 1.0)
    return y.astype(np.int64), p[:, 1] if p.ndim == 2 and classes == 2 else p


def _two_classes(label: ArrayLike, probability: ArrayLike) -> tuple[NDArray[np.int64], FloatArray]:
    y, p = check_label_and_probability(label, probability)
    if p.ndim == 2:
        raise ValueError(f"probability has {p.shape[1]} columns, this is for two classes: take one, and label == k")
    return y, p


def _refuse(name: str, values: NDArray, good: NDArray[np.bool_], rule: str) -> None:
    if not good.all():
        first = int(np.argmin(good))
        raise ValueError(f"{name}[{first}] is {values[first]!s}: {name} {rule}")


def _quantile_bins(probability: FloatArray, bins: int) -> NDArray[np.int64]:
    """Bin of each probability, shape (N,); a bin holds its upper edge, and the first one also its lower edge."""
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    edges = np.unique(np.quantile(probability, np.linspace(0.0, 1.0, bins + 1)))
    return np.searchsorted(edges[1:-1], probability, side="left").astype(np.int64)


def _confusion_to_scores(confusion: NDArray) -> dict[str, FloatArray]:
    """Scores, each (B,), from confusion matrices (B, K, K) of true by called class; a ratio with denominator 0 is 0."""
    hits = np.diagonal(confusion, axis1=1, axis2=2)
    true, called = confusion.sum(axis=2), confusion.sum(axis=1)
    f1 = _ratio(2 * hits, true + called)
    scores = {"accuracy": _ratio(hits.sum(axis=1), true.sum(axis=1))}
    for k in range(hits.shape[1]):
        scores[f"precision_{k}"] = _ratio(hits[:, k], called[:, k])
        scores[f"recall_{k}"] = _ratio(hits[:, k], true[:, k])
        scores[f"f1_{k}"] = f1[:, k]
    scores["macro_f1"] = f1.mean(axis=1)
    return scores


def _ratio(above: NDArray, below: NDArray) -> FloatArray:
    return np.divide(above, below, out=np.zeros(np.shape(above)), where=np.asarray(below) > 0)


def _percentiles(draws: pd.DataFrame, confidence_level: float) -> tuple[pd.Series, pd.Series]:
    if not 0.0 < confidence_level < 1.0:
        raise ValueError(f"confidence_level must lie between 0 and 1, got {confidence_level!r}")
    tail = (1 - confidence_level) / 2
    return draws.quantile(tail), draws.quantile(1 - tail)
