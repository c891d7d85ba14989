"""AdamW's step for the weights of KcBERT-base, nothing else of training: ``python -m benchmarks.optimizer [STEPS]``.

`utils.training.AdamW` beside Keras' and PyTorch's fused one, each with gradients cut to the norm 1 and weight decay.
The gradient of the word embeddings is that of 16 x 24 tokens: Keras gets these rows, PyTorch an array as large as the
table. The three take turns, and the fastest step of each counts. Seconds are seconds on the clock, with all cores;
tracing is left out. Needs ``requirements-torch.txt``.
"""

import sys
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
import torch
from numpy.typing import NDArray

from benchmarks.timing import fastest_in_turns, print_table
from utils.cost import KCBERT
from utils.training import AdamW

STEPS = 10
TOKENS = 16 * 24
RATE, DECAY, NORM = 1e-5, 0.01, 1.0


def draw_weights() -> list[NDArray[np.float32]]:
    """Return KcBERT-base's matrices, that of the word embeddings first, drawn at random."""
    config, random = KCBERT["kcbert-base"], np.random.default_rng(0)
    width, inner = config["hidden_size"], config["intermediate_size"]
    a_layer = [(width, width)] * 4 + [(width, inner), (inner, width)]
    shapes = [(config["vocab_size"], width), *a_layer * config["num_hidden_layers"]]
    return [random.standard_normal(shape, np.float32) for shape in shapes]


def keras_step(optimizer: keras.optimizers.Optimizer, arrays: list[NDArray[np.float32]]) -> Callable[[], object]:
    """Return a function that takes one step with gradients that are always the same."""
    weights = [keras.Variable(array) for array in arrays]
    optimizer.build(weights)
    words = tf.constant(np.random.default_rng(1).integers(0, len(arrays[0]), TOKENS))
    rows = tf.IndexedSlices(tf.gather(arrays[0], words), words, tf.constant(arrays[0].shape, tf.int64))
    gradients = [tf.constant(array) for array in arrays[1:]]
    return tf.function(lambda: optimizer.apply([rows, *gradients], weights))


def torch_step(arrays: list[NDArray[np.float32]]) -> Callable[[], object]:
    """Return the same for PyTorch."""
    weights = [torch.nn.Parameter(torch.tensor(array)) for array in arrays]
    gradients = [torch.tensor(array) for array in arrays]
    optimizer = torch.optim.AdamW(weights, RATE, fused=True, weight_decay=DECAY)

    def step() -> None:
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = gradient
        torch.nn.utils.clip_grad_norm_(weights, NORM)
        optimizer.step()

    return step


def main() -> None:
    """Measure the three."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else STEPS
    arrays = draw_weights()
    steps = {
        "Keras": keras_step(keras.optimizers.AdamW(RATE, weight_decay=DECAY, global_clipnorm=NORM), arrays),
        "utils.training": keras_step(AdamW(RATE, weight_decay=DECAY, global_clipnorm=NORM), arrays),
        "PyTorch, fused": torch_step(arrays),
    }
    fastest = fastest_in_turns(steps, count)
    rows = [
        {"AdamW of": name, "ms a step": 1000 * time, "times faster than Keras'": fastest["Keras"] / time}
        for name, time in fastest.items()
    ]
    title = f"AdamW, {sum(array.size for array in arrays):,} weights"
    print_table(title, f"python -m benchmarks.optimizer {count}", rows)


if __name__ == "__main__":
    main()
