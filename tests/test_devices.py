"""A model built in device_scope learns and predicts on two devices what it does on one."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from utils.files import ROOT
from utils.training import EvenShares, device_scope


@pytest.fixture(scope="module")
def on_one_and_two(kcbert_shaped_checkpoint, tmp_path_factory):
    """The results of tests/fit_on_devices.py on one device and on two."""
    folder = tmp_path_factory.mktemp("devices")
    for devices in (1, 2):
        arguments = [str(kcbert_shaped_checkpoint), str(devices), str(folder / f"{devices}.npz")]
        program = [sys.executable, str(Path(__file__).with_name("fit_on_devices.py")), *arguments]
        ended = subprocess.run(
            program, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
        )
        assert ended.returncode == 0, ended.stderr[-2_000:]
    return [dict(np.load(folder / f"{devices}.npz")) for devices in (1, 2)]


def test_the_model_stands_on_every_device(on_one_and_two):
    assert [int(results["replicas"]) for results in on_one_and_two] == [1, 2]


def loss_of_each_batch(means, counts):
    """Undo the mean over the comments of an epoch up to each batch; both (epochs, batches)."""
    sums = means * np.cumsum(counts, axis=1)
    return np.diff(sums, axis=1, prepend=0) / counts


@pytest.mark.parametrize(
    ("case", "expected_sizes"),
    [
        ("even", [[8, 8, 8], [8, 8, 8]]),
        ("uneven", [[5, 8, 8], [8, 8, 5]]),
        ("single", [[8, 1, 8], [8, 1, 8]]),
    ],
)
def test_two_devices_take_the_steps_of_one_with_class_weights_and_a_smaller_batch(case, expected_sizes, on_one_and_two):
    one, two = on_one_and_two
    sizes = one[f"{case} sizes"]
    assert sizes.tolist() == expected_sizes
    np.testing.assert_allclose(
        loss_of_each_batch(two[f"{case} losses"], sizes + sizes % 2),
        loss_of_each_batch(one[f"{case} losses"], sizes),
        rtol=1e-4,
    )
    assert one[f"{case} rate"] == two[f"{case} rate"] == 0  # the schedule ends after six steps
    assert np.abs(one[f"{case} weights"] - one["before weights"]).max() > 1e-3
    np.testing.assert_allclose(two[f"{case} weights"], one[f"{case} weights"], rtol=0, atol=5e-5)


def test_two_devices_add_up_gradients_over_several_batches_as_one_does(on_one_and_two):
    one, two = on_one_and_two
    np.testing.assert_allclose(two["accumulated weights"], one["accumulated weights"], rtol=0, atol=1e-6)


def test_a_float16_gradient_that_overflows_on_the_second_device_is_skipped_on_both(on_one_and_two):
    one, two = on_one_and_two
    assert one["overflown scale"] == two["overflown scale"] < 2**15  # halved at least once
    assert np.isfinite(two["overflown weights"]).all()
    np.testing.assert_allclose(two["overflown weights"], one["overflown weights"], rtol=0, atol=1e-4)


def test_a_fit_on_two_devices_that_was_broken_off_ends_like_one_that_was_not(on_one_and_two):
    for results in on_one_and_two:
        np.testing.assert_allclose(results["resumed losses"], results["uneven losses"], rtol=1e-5)
        np.testing.assert_allclose(results["resumed weights"], results["uneven weights"], rtol=0, atol=1e-6)


def test_two_devices_predict_what_one_does_in_uneven_batches_too(on_one_and_two):
    one, two = on_one_and_two
    assert one["predictions"].shape == (17, 2) and np.ptp(one["predictions"][:, 1]) > 1e-3
    np.testing.assert_allclose(two["predictions"], one["predictions"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(two["prediction of one"], one["predictions"][:1], rtol=0, atol=1e-5)


def test_with_one_device_the_scope_does_nothing():
    with device_scope("CPU") as scope:
        assert scope is None
        assert keras.Sequential([keras.layers.Dense(1)]).distribute_strategy.num_replicas_in_sync == 1


# ------------------------------------------------------------------------------- even shares


class Batches(keras.utils.PyDataset):
    """Batches of the numbers from 0 on, of which each is its own label."""

    def __init__(self, *sizes, weights=None):
        super().__init__()
        rows = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
        self.rows, self.weights, self.epoch = rows, weights, 0

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        rows = self.rows[index]
        weights = () if self.weights is None else (np.asarray(self.weights, np.float32)[rows],)
        return {"token_ids": rows[:, None]}, rows, *weights

    def on_epoch_end(self):
        self.epoch += 1


def test_a_batch_is_filled_up_with_its_last_comment_which_has_no_weight():
    inputs, labels, weights = EvenShares(Batches(4, 3, weights=[1, 1, 1, 1, 0.5, 1, 2]), 2)[1]
    assert inputs["token_ids"].tolist() == [[4], [5], [6], [6]] and labels.tolist() == [4, 5, 6, 6]
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights, [0.5 * 4 / 3, 4 / 3, 2 * 4 / 3, 0])


def test_the_mean_over_a_batch_stays_what_it_was():
    loss = np.array([3.0, 5.0, 10.0])
    _, labels, weights = EvenShares(Batches(3), 4)[0]
    assert np.mean(loss[labels] * weights) == pytest.approx(np.mean(loss))


def test_an_even_batch_keeps_its_comments_and_weights():
    _, labels, weights = EvenShares(Batches(4, 3), 2)[0]
    assert labels.tolist() == [0, 1, 2, 3] and weights.tolist() == [1, 1, 1, 1]


def test_one_device_gets_the_batches_as_they_are():
    batches = Batches(4, 3)
    assert len(EvenShares(batches, 1)[1]) == len(batches[1]) == 2
    assert EvenShares(batches, 1)[1][1].tolist() == [4, 5, 6]


def test_the_end_of_an_epoch_is_passed_on():
    batches = Batches(4)
    EvenShares(batches, 2).on_epoch_end()
    assert batches.epoch == 1


def test_no_devices_are_refused():
    with pytest.raises(ValueError, match="devices must be at least 1, got 0"):
        EvenShares(Batches(4), 0)
