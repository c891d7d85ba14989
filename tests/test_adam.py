"""utils.training.Adam and AdamW: the steps that PyTorch takes, with words that occur several times in a batch."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from utils import training
from utils.training import Adam, AdamW, WarmUpLinearDecay

WORDS = np.array([[3, 3, 3, 5], [3, 5, 1, 0]], np.int32)  # 3 occurs four times, 2 and 4 never
COMPILED = pytest.mark.parametrize("jit_compile", [False, True], ids=["plain", "XLA"])
DECAY, CLIP, STEPS = 0.1, 0.05, 5
EPSILON = 1e-12  # TensorFlow adds it before the correction of the first steps, PyTorch after


@pytest.fixture(params=[None, (7, 5)], ids=["CPU", "GPU"], autouse=True)
def take_the_way_of_a_machine_with_or_without_a_gpu(request, monkeypatch):
    """On a CPU that is one loop, with a GPU TensorFlow's kernel, which works on a CPU too."""
    monkeypatch.setattr(training, "gpu_compute_capability", lambda: request.param)


def vectors_and_targets():
    random = np.random.default_rng(0)
    return random.normal(size=(6, 4)).astype(np.float32), random.normal(size=(*WORDS.shape, 4)).astype(np.float32)


def train(optimizer, steps, *, words=WORDS, jit_compile=False):
    """Return the vectors of six words after some steps towards other vectors."""
    start, targets = vectors_and_targets()
    vectors = keras.Variable(start, name="vectors")
    optimizer.build([vectors])

    @tf.function(jit_compile=jit_compile)
    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum((tf.gather(vectors.value, words) - targets[:, : words.shape[1]]) ** 2)
        optimizer.apply(tape.gradient(loss, [vectors.value]), [vectors])

    for _ in range(steps):
        step()
    return vectors.numpy()


@COMPILED
def test_the_first_step_of_a_word_is_the_learning_rate_however_often_it_occurs(jit_compile):
    start, _ = vectors_and_targets()
    moved = np.abs(train(Adam(0.01), 1, jit_compile=jit_compile) - start)
    np.testing.assert_allclose(moved[[0, 1, 3, 5]], 0.01, rtol=1e-3)
    assert not moved[[2, 4]].any()


@COMPILED
def test_steps_agree_with_pytorch_clipped_with_decay_and_a_schedule(jit_compile):
    torch = pytest.importorskip("torch")
    schedule = WarmUpLinearDecay(0.01, 10, 2)
    start, targets = vectors_and_targets()
    vectors = torch.nn.Parameter(torch.tensor(start))
    optimizer = torch.optim.AdamW([vectors], weight_decay=DECAY, eps=EPSILON)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = float(schedule(step))
        loss = ((torch.nn.functional.embedding(torch.tensor(WORDS), vectors) - torch.tensor(targets)) ** 2).sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([vectors], CLIP)
        optimizer.step()
    ours = train(
        AdamW(schedule, weight_decay=DECAY, global_clipnorm=CLIP, epsilon=EPSILON), STEPS, jit_compile=jit_compile
    )
    np.testing.assert_allclose(ours, vectors.detach().numpy(), rtol=0, atol=1e-6)
    assert np.abs(ours - start).max() > 0.02


@COMPILED
def test_weights_decay_but_for_those_that_are_left_out_while_both_are_clipped_as_one(jit_compile):
    torch = pytest.importorskip("torch")
    start, target = vectors_and_targets()[0], 3.0
    table, bias = (torch.nn.Parameter(torch.tensor(array)) for array in (start, start[0]))
    groups = [{"params": [table], "weight_decay": DECAY}, {"params": [bias], "weight_decay": 0.0}]
    theirs = torch.optim.AdamW(groups, 0.01, eps=EPSILON)
    variables = [keras.Variable(start, name="table"), keras.Variable(start[0], name="bias")]
    ours = AdamW(0.01, weight_decay=DECAY, global_clipnorm=CLIP, epsilon=EPSILON)
    ours.exclude_from_weight_decay(var_names=["bias"])
    ours.build(variables)

    @tf.function(jit_compile=jit_compile)
    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum((variables[0].value + variables[1].value - target) ** 2)
        ours.apply(tape.gradient(loss, [variable.value for variable in variables]), variables)

    for _ in range(STEPS):
        step()
        theirs.zero_grad()
        ((table + bias - target) ** 2).sum().backward()
        torch.nn.utils.clip_grad_norm_([table, bias], CLIP)
        theirs.step()
    for variable, parameter in zip(variables, (table, bias), strict=True):
        np.testing.assert_allclose(variable.numpy(), parameter.detach().numpy(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("setting", [{"clipnorm": 0.05}, {"clipvalue": 0.01}, {"amsgrad": True}])
def test_other_settings_do_what_they_do_in_keras_for_words_that_occur_once(setting):
    words = np.array([[0, 1], [4, 5]], np.int32)
    ours, theirs = (
        train(kind(0.01, weight_decay=DECAY, **setting), STEPS, words=words) for kind in (AdamW, keras.optimizers.AdamW)
    )
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)
