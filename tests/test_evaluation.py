"""What `utils.evaluation` promises: values by hand, from scikit-learn, and from scipy."""

import math

import numpy as np
import pytest
from sklearn import metrics as sk

from utils.evaluation import classification_metrics, expected_calibration_error

COUNT_KEYS = ["accuracy", "precision_0", "recall_0", "f1_0", "precision_1", "recall_1", "f1_1", "macro_f1"]


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
        ([0, 1], [[0.1, 0.9], [0.2, 0.8]], ValueError, r"shape \(2, 2\): take predict_proba\(texts\)\[:, 1\]"),
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
