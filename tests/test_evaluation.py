"""What `utils.evaluation` promises: values by hand, from scikit-learn, and from scipy."""

import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from utils.evaluation import (
    average_over_seeds,
    called_class,
    check_same_rows,
    choose_threshold,
    classification_metrics,
    cluster_bootstrap,
    compared_settings,
    expected_calibration_error,
    paired_differences,
    probability_of,
    reliability_curve,
    resampled_auroc,
    resampled_scores,
    score_intervals,
    score_settings,
    stated_probability,
)


def test_scores_of_five_comments_equal_those_worked_out_by_hand():
    scores = classification_metrics([1, 1, 0, 0, 0], [0.9, 0.4, 0.5, 0.2, 0.1])
    # At 0.5 comments 0 and 2 are called controversial: 1 hit, 1 false alarm, 1 miss, 2 correct rejections.
    assert scores["accuracy"] == pytest.approx(3 / 5)
    assert scores["precision_1"] == pytest.approx(1 / 2)
    assert scores["recall_1"] == pytest.approx(1 / 2)
    assert scores["precision_0"] == pytest.approx(2 / 3)
    assert scores["recall_0"] == pytest.approx(2 / 3)
    assert scores["macro_f1"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    # Of 2 x 3 pairs only (0.4, 0.5) is in the wrong order.
    assert scores["auroc"] == pytest.approx(5 / 6)
    assert scores["brier"] == pytest.approx((0.01 + 0.36 + 0.25 + 0.04 + 0.01) / 5)
    assert scores["prevalence"] == pytest.approx(2 / 5)
    assert scores["comments"] == 5.0


@pytest.mark.parametrize("seed", range(5))
def test_scores_equal_scikit_learn_with_tied_probabilities_and_another_threshold(seed):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, 200)
    probability = np.round(rng.random(200), 1)
    scores = classification_metrics(label, probability, threshold=0.3)
    predicted = probability >= 0.3
    assert scores["accuracy"] == pytest.approx(sk.accuracy_score(label, predicted))
    for k in (0, 1):
        assert scores[f"precision_{k}"] == pytest.approx(sk.precision_score(label, predicted, pos_label=k))
        assert scores[f"recall_{k}"] == pytest.approx(sk.recall_score(label, predicted, pos_label=k))
        assert scores[f"f1_{k}"] == pytest.approx(sk.f1_score(label, predicted, pos_label=k))
    assert scores["macro_f1"] == pytest.approx(sk.f1_score(label, predicted, average="macro"))
    assert scores["auroc"] == pytest.approx(sk.roc_auc_score(label, probability))
    assert scores["brier"] == pytest.approx(sk.brier_score_loss(label, probability))


def test_swapping_the_classes_swaps_their_scores():
    rng = np.random.default_rng(1)
    label, probability = rng.integers(0, 2, 100), rng.random(100)
    scores, swapped = classification_metrics(label, probability), classification_metrics(1 - label, 1 - probability)
    for key in ("precision", "recall", "f1"):
        assert scores[f"{key}_0"] == pytest.approx(swapped[f"{key}_1"])
    assert scores["macro_f1"] == pytest.approx(swapped["macro_f1"])
    assert scores["auroc"] == pytest.approx(swapped["auroc"])


def test_every_score_is_a_plain_float():
    scores = classification_metrics(np.array([0, 1], dtype=np.int8), np.array([0.2, 0.8], dtype=np.float32))
    assert {type(value) for value in scores.values()} == {float}


def test_one_class_has_no_auroc_and_a_class_never_predicted_scores_zero():
    scores = classification_metrics([0, 0, 0], [0.1, 0.2, 0.3])
    assert math.isnan(scores["auroc"])
    assert [scores[key] for key in ("precision_1", "recall_1", "f1_1")] == [0.0, 0.0, 0.0]
    assert scores["recall_0"] == 1.0


def test_a_float32_softmax_slightly_above_one_is_taken_as_one():
    assert classification_metrics([1, 0], np.array([1.0000001, 0.0], dtype=np.float32))["brier"] == 0.0


@pytest.mark.parametrize(
    ("label", "probability", "error", "words"),
    [
        ([0, 1, -1, 2], [0.1] * 4, ValueError, r"label\[2\] is -1.*undecided"),
        ([0, 1, 1], [0.1, 1.2, -1.0], ValueError, r"probability\[1\] is 1.2.*\[0, 1\]"),
        ([0, 1], [0.1, float("nan")], ValueError, r"probability\[1\] is nan"),
        ([0, 1], [0.1], ValueError, "equally long, got 2 and 1"),
        ([0, 1], [[0.1], [0.2]], ValueError, r"shape \(N,\) or \(N, K\), one column a class, got \(2, 1\)"),
        ([0, 3], [[0.1, 0.9, 0.0], [0.2, 0.8, 0.0]], ValueError, r"label\[1\] is 3: label must be 0 to 2"),
        ([0, 1], [[0.1, 0.9, 0.0], [0.2, -0.8, 1.0]], ValueError, r"probability\[1\] .*must lie in \[0, 1\]"),
        ([0.0, 1.0], [0.1, 0.2], TypeError, "label must be integers"),
        ([0, 1], ["a", "b"], TypeError, "probability must be numbers"),
        (np.array([], dtype=int), np.array([]), ValueError, "label is empty"),
    ],
)
def test_bad_input_is_refused_with_the_argument_and_the_first_bad_index(label, probability, error, words):
    with pytest.raises(error, match=words):
        classification_metrics(label, probability)


def test_a_threshold_outside_zero_and_one_is_refused():
    with pytest.raises(ValueError, match="threshold must lie in"):
        classification_metrics([0, 1], [0.1, 0.9], threshold=50)


def test_calibration_error_of_two_bins_equals_the_value_worked_out_by_hand():
    # Bins {0.1, 0.2} with rate 1/2 and {0.7, 0.9} with rate 1: gaps 0.35 and 0.2, half the comments each.
    assert expected_calibration_error([1, 0, 1, 1], [0.1, 0.2, 0.7, 0.9], bins=2) == pytest.approx(0.275)


def test_a_model_that_states_the_true_rate_has_no_calibration_error():
    assert expected_calibration_error([1, 0, 0, 0], [0.25] * 4) == pytest.approx(0.0)


def predictions_of(probabilities, label, group, *, ids=None):
    """Prediction table from {(model, seed): probabilities}."""
    ids = [f"c{i}" for i in range(len(label))] if ids is None else ids
    tables = [
        pd.DataFrame(
            {"model": model, "seed": seed, "id": ids, "group": group, "label": label, "probability": probability}
        )
        for (model, seed), probability in probabilities.items()
    ]
    return pd.concat(tables, ignore_index=True)


@pytest.fixture
def two_models():
    rng = np.random.default_rng(3)
    label = rng.integers(0, 2, 120)
    group = rng.integers(0, 15, 120).astype(str)
    noise = rng.random((4, 120))
    probabilities = {
        ("good", 0): 0.4 * label + 0.6 * noise[0],
        ("good", 1): 0.4 * label + 0.6 * noise[1],
        ("weak", 0): np.round(0.1 * label + 0.9 * noise[2], 1),
        ("weak", 1): np.round(0.1 * label + 0.9 * noise[3], 1),
    }
    return predictions_of(probabilities, label, group)


# Settings and rows


def test_one_table_leaves_out_label_budgets_and_folds_and_names_partial_tuning():
    rows = pd.DataFrame(
        {
            "model": ["a", "a", "a", "b"],
            "label_budget": pd.array([None, 100, None, None], dtype="Int32"),
            "fold": pd.array([None, None, 2, None], dtype="Int32"),
            "tuning": ["full", "full", "full", "frozen"],
        }
    )
    assert compared_settings(rows)["model"].tolist() == ["a", "b (frozen)"]
    assert rows["model"].tolist() == ["a", "a", "a", "b"]


def test_models_scored_on_other_comments_are_refused_with_name_and_counts(two_models):
    odd = predictions_of({("odd", 7): [0.5] * 119}, [0] * 119, ["x"] * 119, ids=[f"c{i}" for i in range(2, 121)])
    with pytest.raises(ValueError, match=r"odd \(seed 7\).*their 120 ids it lacks 2, and it has 1 more"):
        check_same_rows(pd.concat([two_models, odd]))


def test_a_model_that_lacks_comments_and_one_that_has_more_are_both_refused(two_models):
    row = two_models.index[0]
    with pytest.raises(ValueError, match=r"good \(seed 0\).*it lacks 1, and it has 0 more"):
        check_same_rows(two_models.drop(row))
    with pytest.raises(ValueError, match=r"good \(seed 0\).*it lacks 0, and it has 1 more"):
        check_same_rows(pd.concat([two_models, two_models.loc[[row]].assign(id="another")]))


def test_the_order_of_the_rows_does_not_matter(two_models):
    shuffled = two_models.sample(frac=1, random_state=0)
    check_same_rows(shuffled)
    draws, again = cluster_bootstrap(two_models, samples=20), cluster_bootstrap(shuffled, samples=20)
    pd.testing.assert_frame_equal(draws, again)


@pytest.mark.parametrize("column", ["label", "group"])
def test_models_that_disagree_on_label_or_group_are_refused(two_models, column):
    changed = two_models.copy()
    row = changed.index[changed["model"] == "weak"][0]
    changed.loc[row, column] = 1 - changed.loc[row, column] if column == "label" else "elsewhere"
    with pytest.raises(ValueError, match=rf"weak \(seed 0\) has another {column} .* for 1 ids"):
        check_same_rows(changed)


def test_an_id_that_stands_twice_is_refused(two_models):
    with pytest.raises(ValueError, match=r"good \(seed 0\) has 1 ids twice"):
        check_same_rows(pd.concat([two_models, two_models.head(1)]))


def test_no_predictions_at_all_is_an_error_that_says_what_to_run(two_models):
    with pytest.raises(ValueError, match="run notebooks 02 and 04"):
        check_same_rows(two_models.head(0))


def test_scores_are_averaged_over_seeds_and_their_spread_is_kept(two_models):
    scores = average_over_seeds(two_models)
    rows = two_models[two_models["model"] == "good"]
    each = [sk.roc_auc_score(part["label"], part["probability"]) for _, part in rows.groupby("seed")]
    assert scores.loc["good", "auroc"] == pytest.approx(sum(each) / 2)
    assert scores.loc["good", "auroc_sd"] == pytest.approx(abs(each[0] - each[1]) / math.sqrt(2))
    assert scores["seeds"].tolist() == [2, 2]
    assert scores.loc["good", "comments"] == 120


def test_scores_can_be_taken_by_label_budget(two_models):
    table = pd.concat([two_models.assign(label_budget=100), two_models.assign(label_budget=300)])
    scores = score_settings(table, by=("model", "label_budget", "seed"))
    assert scores.groupby("label_budget").size().to_dict() == {100: 4, 300: 4}


# Bootstrap


def test_drawing_every_group_once_gives_the_scores_of_the_whole(two_models):
    rows = two_models[(two_models["model"] == "weak") & (two_models["seed"] == 0)]
    group = rows["group"].astype(int).to_numpy()
    label, probability = rows["label"].to_numpy(), rows["probability"].to_numpy()
    once = np.ones((1, 15))
    whole = classification_metrics(label, probability)
    assert resampled_auroc(label, probability, group, once) == pytest.approx([whole["auroc"]])
    for metric, value in resampled_scores(label, probability >= 0.5, group, once).items():
        assert value == pytest.approx([whole[metric]]), metric


@pytest.mark.parametrize("seed", range(3))
def test_a_draw_scores_like_scikit_learn_on_the_repeated_comments(seed):
    rng = np.random.default_rng(seed)
    label, group = rng.integers(0, 2, 80), rng.integers(0, 8, 80)
    probability = np.round(rng.random(80), 1)  # rounded: many ties
    times = rng.multinomial(8, np.full(8, 1 / 8), size=250).astype(float)
    area = resampled_auroc(label, probability, group, times)
    scores = resampled_scores(label, probability >= 0.5, group, times)
    for draw in (0, 100, 249):
        rows = np.repeat(np.arange(80), times[draw, group].astype(int))
        assert area[draw] == pytest.approx(sk.roc_auc_score(label[rows], probability[rows]))
        predicted = probability[rows] >= 0.5
        assert scores["macro_f1"][draw] == pytest.approx(sk.f1_score(label[rows], predicted, average="macro"))
        assert scores["precision_0"][draw] == pytest.approx(sk.precision_score(label[rows], predicted, pos_label=0))
        assert scores["recall_1"][draw] == pytest.approx(sk.recall_score(label[rows], predicted))
        assert scores["accuracy"][draw] == pytest.approx(sk.accuracy_score(label[rows], predicted))


def test_a_draw_without_one_of_the_classes_has_no_auroc():
    label, group = np.array([0, 0, 1]), np.array([0, 0, 1])
    with np.errstate(all="raise"):
        area = resampled_auroc(label, np.array([0.1, 0.2, 0.3]), group, np.array([[2.0, 0.0], [0.0, 2.0], [1.0, 1.0]]))
    np.testing.assert_equal(area, [np.nan, np.nan, 1.0])


def test_with_groups_of_one_the_interval_is_that_of_scipy():
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 150)
    probability = np.clip(0.25 * label + 0.75 * rng.random(150), 0, 1)
    predictions = predictions_of({("m", 0): probability}, label, [f"g{i}" for i in range(150)])
    draws = cluster_bootstrap(predictions, samples=4000)
    ours = score_intervals(average_over_seeds(predictions), draws).set_index("metric")
    for metric, function in (("auroc", sk.roc_auc_score), ("accuracy", lambda y, p: np.mean(y == (p >= 0.5)))):
        theirs = scipy.stats.bootstrap(
            (label, probability),
            function,
            paired=True,
            vectorized=False,
            n_resamples=1500,
            method="percentile",
            rng=np.random.default_rng(1),
        ).confidence_interval
        assert ours.loc[metric, ["low", "high"]].tolist() == pytest.approx([theirs.low, theirs.high], abs=0.012)


def test_whole_groups_give_a_wider_interval_where_comments_of_a_group_are_alike():
    rng = np.random.default_rng(5)
    group = np.repeat(np.arange(30), 10)
    right = np.repeat(rng.random(30) < 0.6, 10)  # a whole article is easy or hard
    label = rng.integers(0, 2, 300)
    probability = np.where(right == (label == 1), 0.9, 0.1)

    def width(groups):
        predictions = predictions_of({("m", 0): probability}, label, groups)
        table = score_intervals(average_over_seeds(predictions), cluster_bootstrap(predictions, samples=500))
        row = table.set_index("metric").loc["accuracy"]
        return row["high"] - row["low"]

    by_group, by_comment = width(group.astype(str)), width(np.arange(300).astype(str))
    assert by_group > 2 * by_comment  # sqrt(10) = 3.2 in theory


def test_nineteen_of_twenty_intervals_hold_the_true_accuracy():
    rng = np.random.default_rng(8)
    truth, groups, size, worlds = 0.7, 60, 5, 120
    held = 0
    for world in range(worlds):
        right = rng.random((groups, size)) < rng.beta(7, 3, size=(groups, 1))  # articles differ, mean 0.7
        predictions = predictions_of(
            {("m", 0): np.where(right.ravel(), 0.9, 0.1)},
            np.ones(groups * size, dtype=int),
            np.repeat(np.arange(groups), size).astype(str),
        )
        draws = cluster_bootstrap(predictions, samples=400, seed=world)["m", "accuracy"]
        held += draws.quantile(0.025) <= truth <= draws.quantile(0.975)
    assert 0.88 <= held / worlds <= 0.99


def test_within_each_draw_the_scores_are_averaged_over_the_models_seeds(two_models):
    good = two_models[two_models["model"] == "good"]
    apart = [cluster_bootstrap(good[good["seed"] == seed], samples=20) for seed in (0, 1)]
    pd.testing.assert_frame_equal(cluster_bootstrap(good, samples=20), (apart[0] + apart[1]) / 2)


def test_an_interval_holds_the_middle_of_the_draws(two_models):
    scores = average_over_seeds(two_models)
    columns = pd.MultiIndex.from_product([scores.index, ["accuracy", "auroc"]], names=["model", "metric"])
    draws = pd.DataFrame(np.repeat(np.arange(1001.0)[:, None], len(columns), axis=1), columns=columns)
    for confidence_level, low, high in ((0.95, 25, 975), (0.8, 100, 900)):
        table = score_intervals(scores, draws, confidence_level=confidence_level)
        assert set(table["low"].round(6)) == {low}
        assert set(table["high"].round(6)) == {high}


def test_the_same_seed_gives_the_same_draws_and_another_one_others(two_models):
    first, again, other = (cluster_bootstrap(two_models, samples=50, seed=seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again)
    assert not first.equals(other)


def test_a_model_and_its_copy_differ_by_nothing_in_every_draw(two_models):
    copy = two_models[two_models["model"] == "good"].assign(model="copy")
    table = pd.concat([two_models, copy], ignore_index=True)
    differences = paired_differences(
        average_over_seeds(table), cluster_bootstrap(table, samples=50), reference="good"
    ).set_index("model")
    assert differences.loc["copy", ["difference", "low", "high", "share_above"]].tolist() == [0, 0, 0, 0.5]
    assert differences.loc["weak", "difference"] < 0
    assert differences.loc["weak", "high"] < 0


def test_a_paired_interval_is_narrower_than_two_separate_ones_for_similar_models():
    rng = np.random.default_rng(2)
    label, group = rng.integers(0, 2, 400), rng.integers(0, 40, 400).astype(str)
    first = 0.3 * label + 0.7 * rng.random(400)
    second = 0.95 * first + 0.05 * rng.random(400)
    table = predictions_of({("a", 0): first, ("b", 0): second}, label, group)
    scores, draws = average_over_seeds(table), cluster_bootstrap(table, samples=300)
    intervals = score_intervals(scores, draws).query("metric == 'auroc'").set_index("model")
    paired = paired_differences(scores, draws, reference="a").iloc[0]
    assert paired["high"] - paired["low"] < 0.5 * (intervals.loc["a", "high"] - intervals.loc["a", "low"])


def test_an_unknown_reference_and_no_samples_are_refused(two_models):
    draws = cluster_bootstrap(two_models, samples=5)
    with pytest.raises(ValueError, match="reference 'kcbert-base' is not among the models: good, weak"):
        paired_differences(average_over_seeds(two_models), draws, reference="kcbert-base")
    with pytest.raises(ValueError, match="samples must be at least 1, got 0"):
        cluster_bootstrap(two_models, samples=0)


# Calibration and threshold


def test_the_reliability_curve_equals_that_of_scikit_learn():
    rng = np.random.default_rng(4)
    probability = rng.random(500)
    label = (rng.random(500) < probability**2).astype(int)
    share, mean = calibration_curve(label, probability, n_bins=10, strategy="quantile")
    curve = reliability_curve(label, probability, bins=10)
    assert curve["share"].tolist() == pytest.approx(share.tolist())
    assert curve["probability"].tolist() == pytest.approx(mean.tolist())
    assert curve["comments"].tolist() == [50] * 10


def test_each_share_of_the_reliability_curve_has_its_wilson_interval():
    curve = reliability_curve([0, 0, 0, 1, 0, 1, 1, 1], [0.1] * 4 + [0.8] * 4, bins=2)
    assert curve["share"].tolist() == [0.25, 0.75]
    low, high = 0.045587, 0.699358  # statsmodels: proportion_confint(1, 4, method="wilson")
    assert curve.loc[0, ["ci_low", "ci_high"]].tolist() == pytest.approx([low, high], abs=1e-5)
    assert curve.loc[1, ["ci_low", "ci_high"]].tolist() == pytest.approx([1 - high, 1 - low], abs=1e-5)


def test_calibration_error_is_the_weighted_gap_of_the_reliability_curve():
    rng = np.random.default_rng(6)
    label, probability = rng.integers(0, 2, 300), np.round(rng.random(300), 2)
    curve = reliability_curve(label, probability, bins=7)
    gap = (curve["probability"] - curve["share"]).abs()
    expected = (gap * curve["comments"]).sum() / 300
    assert expected_calibration_error(label, probability, bins=7) == pytest.approx(expected)


def test_one_probability_for_all_is_one_bin():
    assert len(reliability_curve([0, 1, 1], [0.5] * 3)) == 1


def test_the_chosen_threshold_has_the_best_macro_f1_of_all():
    rng = np.random.default_rng(9)
    label = (rng.random(150) < 0.25).astype(int)
    probability = np.round(0.3 * label + 0.6 * rng.random(150), 2)
    best = choose_threshold(label, probability)
    tried = [sk.f1_score(label, probability >= t, average="macro") for t in np.arange(0.005, 1, 0.01)]
    assert sk.f1_score(label, probability >= best, average="macro") == pytest.approx(max(tried))


def test_of_equally_good_thresholds_the_one_nearest_a_half_is_chosen():
    # 0.2 (one false alarm) and 0.75 (one miss) both have macro F1 (4/5 + 2/3) / 2.
    assert choose_threshold([0, 1, 0, 1], [0.1, 0.3, 0.6, 0.9]) == pytest.approx(0.75)


# More than two classes


def three_classes(comments, seed=0):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, comments)
    probability = rng.dirichlet([1, 1, 1], comments)
    probability[np.arange(comments), label] += 0.4
    return label, np.round(probability / probability.sum(axis=1, keepdims=True), 2)  # rounded: some ties


@pytest.mark.parametrize("seed", range(3))
def test_scores_of_three_classes_equal_scikit_learn(seed):
    label, probability = three_classes(150, seed)
    scores, called = classification_metrics(label, probability), probability.argmax(axis=1)
    assert scores["accuracy"] == pytest.approx(sk.accuracy_score(label, called))
    assert scores["macro_f1"] == pytest.approx(sk.f1_score(label, called, average="macro"))
    exact = probability / probability.sum(axis=1, keepdims=True)  # scikit-learn wants rows that add up to 1
    expected = sk.roc_auc_score(label, exact, multi_class="ovr", average="macro")
    assert classification_metrics(label, exact)["auroc"] == pytest.approx(expected)
    for k in range(3):
        assert scores[f"recall_{k}"] == pytest.approx(sk.recall_score(label, called, labels=[k], average="macro"))
        assert scores[f"precision_{k}"] == pytest.approx(sk.precision_score(label, called, labels=[k], average="macro"))
        assert scores[f"prevalence_{k}"] == pytest.approx(np.mean(label == k))
    assert not {"prevalence", "brier", "ece"} & set(scores)


def test_two_columns_score_like_the_second_alone():
    label, probability = np.array([0, 1, 1, 0]), np.array([0.2, 0.7, 0.4, 0.6])
    both = np.stack([1 - probability, probability], axis=1)
    assert classification_metrics(label, both) == classification_metrics(label, probability)


def test_a_class_that_no_comment_has_leaves_no_auroc():
    scores = classification_metrics([0, 1, 0], [[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.5, 0.4, 0.1]])
    assert math.isnan(scores["auroc"])
    assert scores["recall_2"] == 0 and scores["prevalence_2"] == 0 and scores["accuracy"] == 1


@pytest.mark.parametrize("score", [choose_threshold, expected_calibration_error, reliability_curve])
def test_what_is_about_two_classes_refuses_three(score):
    with pytest.raises(ValueError, match="3 columns, this is for two classes"):
        score(*three_classes(9))


def test_the_most_probable_class_is_called_and_the_true_one_has_its_probability():
    probability = np.array([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]])
    assert called_class(probability).tolist() == [1, 0]
    assert probability_of(np.array([2, 0]), probability).tolist() == [0.3, 0.6]
    assert called_class(np.array([0.5, 0.4])).tolist() == [1, 0]
    assert probability_of(np.array([1, 0]), np.array([0.5, 0.4])).tolist() == [0.5, 0.6]


@pytest.fixture
def three_class_predictions():
    label, probability = three_classes(90)
    table = pd.DataFrame(probability, columns=["probability_b", "probability_c", "probability_a"])
    group = np.random.default_rng(1).integers(0, 12, 90).astype(str)
    table = table.assign(id=[f"c{i}" for i in range(90)], group=group, label=label, seed=0)
    return pd.concat([table.assign(model="m"), table.assign(model="n", seed=1)], ignore_index=True)


def test_the_columns_of_a_table_stand_in_the_order_of_the_codes(three_class_predictions):
    assert stated_probability(three_class_predictions)[0].tolist() == three_classes(90)[1][0].tolist()


def test_draws_of_three_classes_score_like_scikit_learn_on_the_repeated_comments(three_class_predictions):
    rows = three_class_predictions[three_class_predictions["model"] == "m"]
    draws = cluster_bootstrap(three_class_predictions, samples=20, seed=5)["m"]
    names = np.unique(rows["group"])
    times = np.random.default_rng(5).multinomial(len(names), np.full(len(names), 1 / len(names)), size=20)
    for draw in (0, 19):
        drawn = rows.loc[rows.index.repeat(times[draw, np.searchsorted(names, rows["group"])])]
        label, probability = drawn["label"], stated_probability(drawn)
        called = probability.argmax(axis=1)
        assert draws.loc[draw, "macro_f1"] == pytest.approx(sk.f1_score(label, called, average="macro"))
        assert draws.loc[draw, "recall_2"] == pytest.approx(sk.recall_score(label, called, labels=[2], average="macro"))
        area = np.mean([sk.roc_auc_score(label == k, probability[:, k]) for k in range(3)])
        assert draws.loc[draw, "auroc"] == pytest.approx(area)


def test_intervals_and_differences_of_three_classes_have_every_metric(three_class_predictions):
    scores = average_over_seeds(three_class_predictions)
    draws = cluster_bootstrap(three_class_predictions, samples=30)
    metrics = score_intervals(scores, draws).query("model == 'm'")["metric"].tolist()
    per_class = [f"{name}_{k}" for k in range(3) for name in ("precision", "recall", "f1")]
    assert metrics == ["accuracy", *per_class, "macro_f1", "auroc"]
    same = paired_differences(scores, draws, reference="n", metric="macro_f1")
    assert same[["difference", "low", "high"]].eq(0).all(axis=None)
