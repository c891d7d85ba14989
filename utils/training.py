"""What every training run needs: seeds, class weights, learning-rate schedule, precision, progress (학습 도구)."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

import keras
import numpy as np
from numpy.typing import ArrayLike

PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")


def set_seeds(seed: int) -> None:
    """Seed Python, NumPy and the Keras backend, so that a fit on a CPU gives the same weights every time.

    Layers built afterwards draw their initial weights and their dropout from this seed. Keras names start
    from zero again too, so two models built after the same call are alike in every respect.

    On the TensorFlow backend dropout is from then on told which random algorithm to use (Philox). Keras leaves the
    choice to TensorFlow, and in a step compiled by XLA for a CPU a mask then takes 8 to 33 times as long to draw
    (``python -m benchmarks.dropout``, results/benchmarks.md).

    Parameters
    ----------
    seed : int
        Not negative.

    Raises
    ------
    ValueError
        If `seed` is negative.
    """
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed}")
    keras.utils.set_random_seed(seed)
    _name_dropout_algorithm()


def _name_dropout_algorithm() -> None:
    if keras.backend.backend() != "tensorflow":
        return
    import tensorflow as tf

    dropout = tf.nn.experimental.stateless_dropout  # what keras.layers.Dropout calls
    if not isinstance(dropout, functools.partial):
        tf.nn.experimental.stateless_dropout = functools.partial(dropout, rng_alg="philox")


def class_weights(labels: ArrayLike) -> dict[int, float]:
    """Weight the two classes so that each adds the same total to the loss.

    The weight of class c is N / (2 N_c), as in scikit-learn's ``class_weight="balanced"``; the mean weight
    over the comments is 1, so the learning rate keeps its meaning.

    Parameters
    ----------
    labels : array_like of int, shape (N,)
        1 controversial, 0 non-controversial. Undecided comments (-1) must have been dropped.

    Returns
    -------
    dict of int to float
        ``{0: weight of class 0, 1: weight of class 1}``.

    Raises
    ------
    ValueError
        If a label is neither 0 nor 1 (the message names the first one), or if a class has no comment.
    """
    array = np.asarray(labels)
    if array.ndim != 1:
        raise ValueError(f"labels must be one-dimensional, got shape {array.shape}")
    wrong = np.flatnonzero((array != 0) & (array != 1))
    if len(wrong):
        raise ValueError(f"labels must be 0 or 1, got {array[wrong[0]]} at index {wrong[0]}; drop undecided comments")
    counts = np.bincount(array.astype(np.int64), minlength=2)
    if not counts.all():
        raise ValueError(f"labels has no comment of class {int(np.argmin(counts))}; both classes are needed")
    return {label: len(array) / (2 * int(counts[label])) for label in (0, 1)}


@keras.saving.register_keras_serializable(package="controversial_comments")
class WarmUpLinearDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Raise the learning rate in a straight line to its peak, then lower it in a straight line to zero.

    The schedule BERT was pretrained and fine-tuned with (Devlin et al. 2019, section A.2 and A.3). The first
    steps are small because Adam's averages are still guesses. Explained in notebook 04.

    Parameters
    ----------
    peak : float
        Learning rate at step `warmup_steps`.
    total_steps : int
        Steps of the whole fit; from here on the rate is 0.
    warmup_steps : int
        Steps of the rise; less than `total_steps`. The rate of step 0 is ``peak / (warmup_steps + 1)``.
    """

    def __init__(self, peak: float, total_steps: int, warmup_steps: int = 0) -> None:
        super().__init__()
        if peak <= 0:
            raise ValueError(f"peak must be positive, got {peak}")
        if not 0 <= warmup_steps < total_steps:
            raise ValueError(
                f"warmup_steps must be at least 0 and below total_steps, got {warmup_steps} of {total_steps}"
            )
        self.peak, self.total_steps, self.warmup_steps = peak, total_steps, warmup_steps

    def __call__(self, step: Any) -> Any:
        """Return the learning rate of `step` (counted from 0), a scalar float32 tensor."""
        step = keras.ops.cast(step, "float32")
        rise = (step + 1.0) / (self.warmup_steps + 1.0)
        fall = (self.total_steps - step) / (self.total_steps - self.warmup_steps)
        return self.peak * keras.ops.maximum(keras.ops.minimum(rise, fall), 0.0)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build this schedule again."""
        return {"peak": self.peak, "total_steps": self.total_steps, "warmup_steps": self.warmup_steps}


def gpu_compute_capability() -> tuple[int, int] | None:
    """Return the compute capability of the first GPU, (7, 5) for a T4, or None where there is no GPU.

    A GPU that does not tell its capability counts as (0, 0).
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
        if not gpus:
            return None
        return tf.config.experimental.get_device_details(gpus[0]).get("compute_capability", (0, 0))
    if keras.backend.backend() == "jax":
        import jax

        gpus = [device for device in jax.devices() if device.platform == "gpu"]
        if not gpus:
            return None
        major, _, minor = str(getattr(gpus[0], "compute_capability", "0.0")).partition(".")
        return int(major), int(minor or 0)
    return None


def choose_precision(precision: str = "auto") -> str:
    """Turn the parameter PRECISION into the name of a Keras dtype policy.

    ``"auto"`` is float32 on a CPU, where half precision is not faster on most machines; mixed_bfloat16 on a
    GPU that has it (compute capability 8.0, Ampere, and later); and mixed_float16 on older GPUs such as
    Colab's T4, whose tensor cores know float16 only. Keras scales the loss by itself under mixed_float16.

    Parameters
    ----------
    precision : str
        ``"auto"``, ``"float32"``, ``"mixed_float16"`` or ``"mixed_bfloat16"``.

    Returns
    -------
    str
        A name for ``keras.config.set_dtype_policy``.

    Raises
    ------
    ValueError
        If `precision` is another word.
    """
    if precision in PRECISIONS:
        return precision
    if precision != "auto":
        raise ValueError(f'PRECISION must be "auto" or one of {", ".join(PRECISIONS)}, got {precision!r}')
    capability = gpu_compute_capability()
    if capability is None:
        return "float32"
    return "mixed_bfloat16" if capability >= (8, 0) else "mixed_float16"


class QuietProgress(keras.callbacks.Callback):
    """Print one line per epoch, and in a long epoch one more every `every_seconds` (진행 상황).

    Unlike a bar that redraws itself, the lines read well in a saved notebook and in a log. Use it with
    ``verbose=0``.

    Parameters
    ----------
    every_seconds : float
        Least time between two lines within an epoch.
    stream : text stream, optional
        Where the lines go; standard output by default.
    clock : callable
        Returns seconds; replaced in tests.
    """

    def __init__(
        self,
        every_seconds: float = 30.0,
        *,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self.every_seconds, self.stream, self.clock = every_seconds, stream, clock

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Start the clock."""
        self.began = self.last_line = self.clock()
        self.epoch = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Remember which epoch it is."""
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Print a line if the last one is `every_seconds` old."""
        if self.clock() - self.last_line >= self.every_seconds:
            self._print(f"step {batch + 1}/{self.params.get('steps') or '?'}", logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Print the epoch's line."""
        self._print("done", logs)

    def _print(self, place: str, logs: dict[str, float] | None) -> None:
        self.last_line = self.clock()
        numbers = " · ".join(f"{name} {float(value):.4f}" for name, value in (logs or {}).items())
        line = f"epoch {self.epoch + 1}/{self.params.get('epochs', '?')} {place} · {self.last_line - self.began:.0f} s"
        print(f"{line} · {numbers}" if numbers else line, file=self.stream or sys.stdout, flush=True)
