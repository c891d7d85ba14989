"""utils.training: seeds, class weights, schedule, precision, progress."""

import io

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import f1_score
from sklearn.utils.class_weight import compute_class_weight

from utils import training


def test_class_weights_give_both_classes_the_same_total():
    labels = [0, 0, 0, 1]
    weights = training.class_weights(labels)
    assert weights == {0: pytest.approx(4 / 6), 1: pytest.approx(2.0)}
    assert 3 * weights[0] == pytest.approx(1 * weights[1])


def test_class_weights_agree_with_scikit_learn():
    labels = np.array([0] * 7 + [1] * 5, dtype=np.int8)
    expected = compute_class_weight("balanced", classes=np.array([0, 1]), y=labels)
    assert list(training.class_weights(labels).values()) == pytest.approx(list(expected))


def test_class_weights_of_three_classes_agree_with_scikit_learn():
    labels = np.array([0] * 7 + [1] * 5 + [2] * 30)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert list(training.class_weights(labels, num_classes=3).values()) == pytest.approx(list(expected))


def test_class_weights_name_a_label_that_is_no_class_and_a_class_without_labels():
    with pytest.raises(ValueError, match="labels must be 0 to 2, got 3 at index 1"):
        training.class_weights([0, 3], num_classes=3)
    with pytest.raises(ValueError, match="no comment of class 2; all 3 classes are needed"):
        training.class_weights([0, 1], num_classes=3)


def test_class_weights_name_the_first_undecided_label():
    with pytest.raises(ValueError, match="-1 at index 2"):
        training.class_weights([0, 1, -1, -1])


def test_class_weights_of_one_class_alone_are_an_error():
    with pytest.raises(ValueError, match="no comment of class 0"):
        training.class_weights([1, 1])


def test_macro_f1_agrees_with_scikit_learn_over_batches():
    random = np.random.default_rng(0)
    labels, probabilities = random.integers(0, 3, 90), random.dirichlet([1, 1, 1], 90)
    metric = training.MacroF1()
    for part in np.array_split(np.arange(90), 4):
        metric.update_state(labels[part], probabilities[part])
    assert float(metric.result()) == pytest.approx(f1_score(labels, probabilities.argmax(1), average="macro"), abs=1e-6)


def test_the_learning_rate_rises_to_the_peak_and_falls_to_zero():
    schedule = training.WarmUpLinearDecay(1e-3, total_steps=10, warmup_steps=2)
    rates = [float(schedule(step)) for step in range(13)]
    expected = [1e-3 * share for share in (1 / 3, 2 / 3, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8, 0, 0, 0)]
    assert rates == pytest.approx(expected, abs=1e-9)


def test_the_schedule_survives_saving():
    schedule = training.WarmUpLinearDecay(5e-5, total_steps=7, warmup_steps=1)
    again = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(schedule))
    assert float(again(3)) == float(schedule(3)) > 0


@pytest.mark.parametrize(("total", "warmup"), [(0, 0), (5, 5), (5, -1)])
def test_a_schedule_without_room_for_its_warm_up_is_refused(total, warmup):
    with pytest.raises(ValueError, match="warmup_steps"):
        training.WarmUpLinearDecay(1e-3, total_steps=total, warmup_steps=warmup)


def test_the_same_seed_gives_the_same_initial_weights():
    def weights(seed):
        training.set_seeds(seed)
        layer = keras.layers.Dense(3)
        layer.build((None, 4))
        return np.asarray(layer.kernel)

    assert np.array_equal(weights(1), weights(1))
    assert not np.array_equal(weights(1), weights(2))


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match="-3"):
        training.set_seeds(-3)


def test_dropout_in_a_compiled_step_follows_the_seed_and_draws_a_new_mask_at_every_call():
    def masks(seed):
        training.set_seeds(seed)
        seeds = keras.random.SeedGenerator(seed)
        drop = tf.function(lambda: keras.random.dropout(tf.ones((100, 100)), 0.3, seed=seeds), jit_compile=True)
        return np.stack([drop(), drop()])

    first, second = masks(1)
    assert np.mean(first == 0) == pytest.approx(0.3, abs=0.02) and np.unique(first)[1] == pytest.approx(1 / 0.7)
    assert not np.array_equal(first, second)
    assert np.array_equal(masks(1), [first, second]) and not np.array_equal(masks(2)[0], first)


def test_naming_the_algorithm_of_dropout_pays_in_a_compiled_step():
    benchmark = pytest.importorskip("benchmarks.dropout", reason="PyTorch is not installed")
    row = benchmark.measure("hidden states", (16, 64, 256), 5)
    assert row["naming it, times faster"] > 3


@pytest.mark.parametrize(
    ("capability", "expected"),
    [(None, "float32"), ((7, 5), "mixed_float16"), ((8, 0), "mixed_bfloat16"), ((9, 0), "mixed_bfloat16")],
)
def test_automatic_precision_follows_the_gpu(monkeypatch, capability, expected):
    monkeypatch.setattr(training, "gpu_compute_capability", lambda: capability)
    assert training.choose_precision("auto") == expected


@pytest.mark.parametrize(
    ("width", "has_units", "expected"),
    [(768, True, "mixed_bfloat16"), (256, True, "float32"), (768, False, "float32")],
)
def test_on_a_cpu_wide_networks_compute_in_bfloat16_if_it_has_units_for_that(monkeypatch, width, has_units, expected):
    monkeypatch.setattr(training, "gpu_compute_capability", lambda: None)
    monkeypatch.setattr(training, "cpu_multiplies_bfloat16", lambda: has_units)
    assert training.choose_precision("auto", width=width) == expected


def test_a_named_precision_is_kept_and_an_unknown_one_refused():
    assert training.choose_precision("mixed_float16") == "mixed_float16"
    with pytest.raises(ValueError, match="float17"):
        training.choose_precision("float17")


def test_a_released_model_holds_no_weights_and_no_optimizer_state():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.Dropout(0.5)])
    model.compile("adamw", "mse")
    model.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0)
    variables = [*model.variables, *model.optimizer.variables]
    assert len(variables) == 2 + 1 + (2 + 2 * 2)  # weights; seed of the dropout; steps, rate, two means a weight
    training.release_memory(model)
    kept = [tf.raw_ops.ReadVariableOp(resource=each.value.handle, dtype=each.value.dtype) for each in variables]
    assert [tf.size(value).numpy() for value in kept] == [0] * len(variables)


def test_a_model_that_was_never_compiled_is_released_too():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    training.release_memory(model)
    assert tf.size(tf.raw_ops.ReadVariableOp(resource=model.weights[0].value.handle, dtype=tf.float32)).numpy() == 0


def test_progress_prints_one_line_per_epoch_and_one_per_half_minute():
    seconds = iter([0, 10, 31, 31, 40, 50, 50, 50])
    out = io.StringIO()
    progress = training.QuietProgress(30, stream=out, clock=lambda: next(seconds))
    progress.set_params({"epochs": 2, "steps": 3})
    progress.on_train_begin()
    progress.on_epoch_begin(1)
    for batch in range(3):
        progress.on_train_batch_end(batch, {"loss": 0.5})
    progress.on_epoch_end(1, {"loss": 0.25})
    assert out.getvalue().splitlines() == [
        "epoch 2/2 step 2/3 · 31 s · loss 0.5000",
        "epoch 2/2 done · 50 s · loss 0.2500",
    ]
