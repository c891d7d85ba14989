"""What every training run needs: seeds, class weights, schedule, precision, devices, progress, resuming (학습 도구)."""

from __future__ import annotations

import functools
import json
import math
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol, TextIO

import keras
import numpy as np
from numpy.typing import ArrayLike

from utils.files import atomic_path, remove

PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")
WIDE = 768  # KcBERT-base's hidden size


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


def class_weights(labels: ArrayLike, *, num_classes: int = 2) -> dict[int, float]:
    """Weight the classes so that each adds the same total to the loss.

    The weight of class c is N / (K N_c), as in scikit-learn's ``class_weight="balanced"``; the mean weight
    over the comments is 1, so the learning rate keeps its meaning.

    Parameters
    ----------
    labels : array_like of int, shape (N,)
        0 to K - 1. Undecided comments (-1) must have been dropped.
    num_classes : int
        K.

    Returns
    -------
    dict of int to float
        ``{0: weight of class 0, 1: weight of class 1, ...}``.

    Raises
    ------
    ValueError
        If a label is not one of 0 to K - 1 (the message names the first one), or if a class has no comment.
    """
    array = np.asarray(labels)
    if array.ndim != 1:
        raise ValueError(f"labels must be one-dimensional, got shape {array.shape}")
    wrong = np.flatnonzero(~np.isin(array, np.arange(num_classes)))
    if len(wrong):
        raise ValueError(
            f"labels must be {'0 or 1' if num_classes == 2 else f'0 to {num_classes - 1}'}, got {array[wrong[0]]} at "
            f"index {wrong[0]}; drop undecided comments"
        )
    counts = np.bincount(array.astype(np.int64), minlength=num_classes)
    if not counts.all():
        needed = "both classes" if num_classes == 2 else f"all {num_classes} classes"
        raise ValueError(f"labels has no comment of class {int(np.argmin(counts))}; {needed} are needed")
    return {label: len(array) / (num_classes * int(count)) for label, count in enumerate(counts)}


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


@keras.saving.register_keras_serializable(package="controversial_comments")
class MacroF1(keras.metrics.F1Score):
    """Mean of the classes' F1 scores, for class probabilities and integer labels.

    Unlike accuracy it does not rise when the rarer class is forgotten.

    Parameters
    ----------
    name : str
        Key in the history; with ``val_`` before it on validation.
    dtype : str, optional
    """

    def __init__(self, name: str = "macro_f1", dtype: str | None = None) -> None:
        super().__init__(average="macro", name=name, dtype=dtype)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Count labels (B,) against probabilities (B, K)."""
        labels = keras.ops.one_hot(keras.ops.reshape(y_true, (-1,)), keras.ops.shape(y_pred)[-1])
        return super().update_state(labels, y_pred, sample_weight)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"name": self.name, "dtype": self.dtype}


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


def cpu_multiplies_bfloat16() -> bool:
    """Return whether the CPU has AMX units for bfloat16, as Linux tells (Intel's servers from 2023 on)."""
    try:
        return " amx_bf16" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


def choose_precision(precision: str = "auto", *, width: int = 0) -> str:
    """Turn the parameter PRECISION into the name of a Keras dtype policy.

    ``"auto"`` is mixed_bfloat16 on a GPU that has it (compute capability 8.0, Ampere, and later); and mixed_float16 on
    older GPUs such as Colab's T4, whose tensor cores know float16 only (compile with `scale_loss`). On a CPU it is
    float32, but mixed_bfloat16 for networks as wide as KcBERT where the CPU has units for it: there a training step
    of four layers of KcBERT-base, 16 x 48 tokens, took 2.4 s instead of 4.7 s (TensorFlow 2.21, two busy cores,
    fastest of six), and one of the small networks of this project, 128 or 256 wide, as long as in float32.

    Parameters
    ----------
    precision : str
        ``"auto"``, ``"float32"``, ``"mixed_float16"`` or ``"mixed_bfloat16"``.
    width : int
        Numbers of a token's vector, ``hidden_size`` of a checkpoint; 768 in KcBERT-base.

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
        return "mixed_bfloat16" if width >= WIDE and cpu_multiplies_bfloat16() else "float32"
    return "mixed_bfloat16" if capability >= (8, 0) else "mixed_float16"


def release_memory(model: keras.Model) -> None:
    """Give the memory of a model's weights and optimizer back to the device; the model cannot be used afterwards.

    TensorFlow (2.20, 2.21) keeps the graph of a training step, and with it every variable, even when the model is
    deleted and collected. On a GPU that does not have room for two models the second one would then not fit.

    Parameters
    ----------
    model : keras.Model
        On other backends it is left alone: there deleting it is enough.
    """
    if keras.backend.backend() != "tensorflow":
        return
    import tensorflow as tf

    optimizer = getattr(model, "optimizer", None)
    for variable in (*model.variables, *(optimizer.variables if optimizer else ())):
        for part in getattr(variable.value, "values", (variable.value,)):  # one for each GPU
            tf.raw_ops.AssignVariableOp(resource=part.handle, value=tf.zeros(0, part.dtype))


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


def device_scope(kind: str = "GPU") -> AbstractContextManager[Any]:
    """Return a context in which a model is built once for every GPU of the machine (여러 GPU).

    With more than one, ``fit`` and ``predict`` give each GPU its share of every batch and add up the gradients
    (``tf.distribute.MirroredStrategy``). With one or none, or on another backend than TensorFlow, the context does
    nothing. Build and compile the model inside it, with `AdamW` of this module, and give ``fit`` its batches as
    `EvenShares`: the steps are then those of one GPU, but for dropout, whose masks differ from GPU to GPU.

    Parameters
    ----------
    kind : str
        Which logical devices of TensorFlow to use, ``"GPU"`` or ``"CPU"``.
    """
    if keras.backend.backend() != "tensorflow":
        return nullcontext()
    import tensorflow as tf

    devices = tuple(device.name for device in tf.config.list_logical_devices(kind))
    return _mirrored_strategy(devices).scope() if len(devices) > 1 else nullcontext()


@keras.saving.register_keras_serializable(package="controversial_comments")
class Adam(keras.optimizers.Adam):
    """Adam that takes PyTorch's steps, in fewer passes over the weights, and the same on several devices (여러 GPU).

    Keras (3.15) takes the rows of an embedding's gradient one by one: for a word that occurs n times in a batch it adds
    up n squares where the square of the sum is meant, and the norm to be clipped is another one, too. It also clips
    each device's share of a gradient before the shares are added up, which weighs them anew, and fails there with
    ``gradient_accumulation_steps``. Here what belongs together is added up first. On another backend than
    TensorFlow this is Keras' Adam, whose arguments it takes.

    Raises
    ------
    NotImplementedError
        At the first step: ``use_ema`` with ``gradient_accumulation_steps`` on several devices.

    Notes
    -----
    On a CPU memory bounds a step. There clipping to ``global_clipnorm``, weight decay and the step are one loop
    that XLA compiles, and on a GPU, or several devices, the step is TensorFlow's own kernel
    (``python -m benchmarks.optimizer``, results/benchmarks.md).
    """

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Move one variable."""
        if keras.backend.backend() != "tensorflow" or self.amsgrad:
            return super().update_step(gradient, variable, learning_rate)
        import tensorflow as tf

        index, dtype = self._get_variable_index(variable), variable.dtype
        step = tf.cast(self.iterations + 1, dtype)
        settings = {"beta1": self.beta_1, "beta2": self.beta_2, "epsilon": self.epsilon}
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            grad=tf.cast(gradient, dtype),
            lr=tf.cast(learning_rate, dtype),
            beta1_power=tf.cast(self.beta_1, dtype) ** step,
            beta2_power=tf.cast(self.beta_2, dtype) ** step,
            **{name: tf.cast(value, dtype) for name, value in settings.items()},
        )

    def _in_one_loop(self) -> bool:
        one_cpu = _devices_at_work() == 1 and gpu_compute_capability() is None
        return keras.backend.backend() == "tensorflow" and one_cpu and not self.amsgrad

    def _clip_gradients(self, grads: Sequence[Any]) -> Sequence[Any]:
        if keras.backend.backend() != "tensorflow":
            return super()._clip_gradients(grads)
        import tensorflow as tf

        grads = [tf.convert_to_tensor(gradient) for gradient in grads]
        if _devices_at_work() > 1:
            grads = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, grads)
        if not self.global_clipnorm:
            return super()._clip_gradients(grads)
        if self._in_one_loop():
            return grads
        return tf.clip_by_global_norm(grads, self.global_clipnorm)[0]

    def _apply_weight_decay(self, variables: Sequence[Any]) -> None:
        if not self._in_one_loop():
            super()._apply_weight_decay(variables)

    def _backend_update_step(
        self, grads: Sequence[Any], trainable_variables: Sequence[Any], learning_rate: Any
    ) -> None:
        if not self._in_one_loop():
            return super()._backend_update_step(grads, trainable_variables, learning_rate)
        import tensorflow as tf

        limit, step = self.global_clipnorm, tf.cast(self.iterations + 1, tf.float32)
        scale = limit / tf.maximum(limit, tf.linalg.global_norm(grads)) if limit else tf.constant(1.0)
        rate = tf.convert_to_tensor(learning_rate)
        corrected_rate = rate * tf.sqrt(1 - self.beta_2**step) / (1 - self.beta_1**step)
        decayed, kept = 1 - rate * (self.weight_decay or 0.0), tf.constant(1.0)
        for gradient, variable in zip(grads, trainable_variables, strict=True):
            index = self._get_variable_index(variable)
            held = (variable, self._momentums[index], self._velocities[index])
            _adam_step_in_one_loop()(
                tuple(each.value.handle for each in held),
                tf.cast(gradient, variable.dtype),
                scale,
                corrected_rate,
                decayed if self._use_weight_decay(variable) else kept,
                (self.beta_1, self.beta_2, self.epsilon),
            )

    def _all_reduce_sum_gradients(self, grads_and_vars: Sequence[tuple[Any, Any]]) -> Sequence[tuple[Any, Any]]:
        return grads_and_vars  # `_clip_gradients`, which always comes before, has added them up

    def _backend_apply_gradients(self, grads: Sequence[Any], trainable_variables: Sequence[Any]) -> None:
        if _devices_at_work() == 1 or not self.gradient_accumulation_steps:
            return super()._backend_apply_gradients(grads, trainable_variables)
        if self.use_ema:
            raise NotImplementedError("use_ema and gradient_accumulation_steps do not go together on several devices")
        import tensorflow as tf

        steps = self.gradient_accumulation_steps
        sums = [self._accumulated_gradients[self._get_variable_index(variable)] for variable in trainable_variables]

        def take_step(*gradients: Any) -> None:
            means = self._clip_gradients([(each + sum_) / steps for each, sum_ in zip(gradients, sums, strict=True)])
            self._apply_weight_decay(trainable_variables)
            self._backend_update_step(means, trainable_variables, self.learning_rate)
            self._backend_reset_gradient_accumulators()

        def add_up(*gradients: Any) -> None:
            self._backend_increment_gradient_accumulators(gradients, sums)

        def take_step_or_add_up(strategy: Any, *gradients: Any) -> None:
            def on_each_device(work: Callable[..., None]) -> None:
                strategy.extended.call_for_each_replica(work, args=gradients)

            is_step = (self._iterations.value + 1) % steps == 0
            tf.cond(is_step, lambda: on_each_device(take_step), lambda: on_each_device(add_up))

        # Devices cannot exchange anything in a branch of their own, so one branch is chosen for all of them.
        tf.distribute.get_replica_context().merge_call(take_step_or_add_up, args=tuple(grads))


@keras.saving.register_keras_serializable(package="controversial_comments")
class AdamW(Adam, keras.optimizers.AdamW):
    """`Adam` of this module with weight decay (Loshchilov and Hutter 2019); takes the arguments of Keras' AdamW."""


@keras.saving.register_keras_serializable(package="controversial_comments")
class LossScaleOptimizer(keras.optimizers.LossScaleOptimizer):
    """Keras' LossScaleOptimizer, which (3.15) asks the first device alone whether its share of a gradient is finite."""

    def check_finite(self, grads: Sequence[Any]) -> Any:
        """Return whether the gradients are finite on all devices, a scalar bool tensor."""
        finite = super().check_finite(grads)
        devices = _devices_at_work()
        if devices == 1:
            return finite
        import tensorflow as tf

        votes = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tf.cast(finite, tf.int32))
        return tf.equal(votes, devices)


def scale_loss(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Return what to compile with: under mixed_float16 the optimizer with a scaled loss, else the optimizer itself.

    Gradients that are too small for float16 are lost unless the loss is multiplied before they are computed. The scale
    is halved and the step skipped when a gradient overflows, on whichever device. ``compile`` does it by itself, but
    for several devices wrongly: there a gradient that overflows on the second makes NaN of all weights.
    """
    scaled = keras.config.dtype_policy().name == "mixed_float16"
    return LossScaleOptimizer(optimizer) if scaled else optimizer


def _devices_at_work() -> int:
    """Return how many devices share the training step that is being traced."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


@functools.cache
def _adam_step_in_one_loop() -> Callable[..., None]:
    """Return a function that moves one variable; XLA makes a loop of it that reads and writes each number once.

    It takes handles: a function that has once been called with variables fails when those are gone.
    """
    import tensorflow as tf

    @tf.function(jit_compile=True)
    def step(
        handles: tuple[Any, Any, Any],
        gradient: Any,
        scale: Any,
        rate: Any,
        share_kept: Any,
        settings: tuple[float, float, float],
    ) -> None:
        dtype, (beta_1, beta_2, epsilon) = gradient.dtype, settings
        variable, mean, mean_square = (tf.raw_ops.ReadVariableOp(resource=handle, dtype=dtype) for handle in handles)
        gradient = gradient * tf.cast(scale, dtype)
        mean += (gradient - mean) * (1 - beta_1)
        mean_square += (gradient**2 - mean_square) * (1 - beta_2)
        move = tf.cast(rate, dtype) * mean / (tf.sqrt(mean_square) + epsilon)
        values = tf.cast(share_kept, dtype) * variable - move, mean, mean_square
        for handle, value in zip(handles, values, strict=True):
            tf.raw_ops.AssignVariableOp(resource=handle, value=value)

    return step


@functools.cache
def _mirrored_strategy(devices: tuple[str, ...]) -> Any:
    """Return the one strategy of a process: each numbers its exchanges from the same start, and two mix them up."""
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(devices)


class EvenShares(keras.utils.PyDataset):
    """Batches to ``fit`` that can be divided evenly among the devices of a model built in `device_scope`.

    Where a batch cannot, its last comment is repeated with weight 0 and the other weights are raised, so that their
    mean and with it the gradient stay what they were. Without this Keras (3.15) fails if the first batch is uneven,
    and lets each device's mean count for the same, however few comments it has. Of training,
    ``metrics`` count the repeated comments, too, and ``weighted_metrics`` every comment by its weight; validation data
    is given to ``fit`` as it is. In the mean loss of an epoch, a batch weighs as much as it has rows, the repeated
    ones included.

    Parameters
    ----------
    batches : PyDataset
        Yields ``(inputs, labels)`` or ``(inputs, labels, weights)`` with a dictionary of arrays as inputs, as
        `utils.bert.CommentBatches` does.
    devices : int
        ``model.distribute_strategy.num_replicas_in_sync``; with 1 the batches stay as they are.

    Raises
    ------
    ValueError
        If `devices` is less than 1.
    """

    def __init__(self, batches: keras.utils.PyDataset, devices: int) -> None:
        super().__init__()
        if devices < 1:
            raise ValueError(f"devices must be at least 1, got {devices}")
        self.batches, self.devices = batches, devices

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self.batches)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """Return batch `index`, with weights if there is more than one device."""
        if self.devices == 1:
            return self.batches[index]
        inputs, labels, *weights = self.batches[index]
        size = len(labels)
        spare = -size % self.devices
        rows = np.minimum(np.arange(size + spare), size - 1)
        raised = (weights[0] if weights else np.ones(size, np.float32)) * np.float32((size + spare) / size)
        filled = {name: values[rows] for name, values in inputs.items()}
        return filled, labels[rows], np.append(raised, np.zeros(spare, np.float32))

    def on_epoch_end(self) -> None:
        """Go on to the next epoch's batches."""
        self.batches.on_epoch_end()


class ResumableBatches(Protocol):
    """Batches that `Resume` can find its place in: batch k of an epoch depends on nothing but both numbers."""

    epoch: int

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """Return batch `index` of the present epoch."""

    def fingerprint(self) -> dict[str, Any]:
        """Return what identifies the batches of all epochs, fit for JSON."""

    def on_epoch_end(self) -> None:
        """Go on to the next epoch's batches."""


class TrainingDivergedError(ArithmeticError):
    """The loss is no number any more; the message says at which step and what to try."""


class TrainingStateError(ValueError):
    """A checkpoint of `Resume` cannot be used; the message says why and what to do."""


class Resume(keras.callbacks.Callback):
    """Let a fit that was cut off go on from its last checkpoint when it is run again (이어서 학습).

    After the resumption it takes the steps that are left, on the batches it would have had, with the optimizer and the
    dropout where they were: on a CPU the losses are those of a fit that was never interrupted. Put it last among the
    callbacks, and fit with ``shuffle=False``: the batches do their own shuffling.

    One file is kept, and replaced only by a whole one, so a process may die at any moment. It holds the weights
    that this fit trains, now and in the best epoch, not those of frozen layers, and the optimizer's variables, which
    for AdamW are twice as many.
    It stays when the fit has ended, so that nothing is lost before the model is stored elsewhere; a fit that is run
    again then returns at once. Delete it afterwards.

    Parameters
    ----------
    path : Path, optional
        The checkpoint, a name that ends in .npz, also on a mounted drive. None: nothing is saved.
    batches : PyDataset
        What is fitted, `utils.bert.CommentBatches` or another with `ResumableBatches`' methods.
    settings : mapping, optional
        What else the fit depends on, fit for JSON. The number of epochs and steps, the batches, the sizes of the
        model and all that was compiled need not be named.
    stopping : keras.callbacks.EarlyStopping, optional
        Its counts and the weights of the best epoch are kept, too, those of frozen layers only once: by the model.
    every_seconds : float
        Least time between two checkpoints. Where saving is slow it is 20 times what the last one took.
    clock : callable
        Returns seconds; replaced in tests.

    Attributes
    ----------
    losses : list of float
        The loss after every step of the fit, the mean since the epoch began; with the steps before the resumption.

    Raises
    ------
    TrainingStateError
        When the fit begins: the checkpoint is damaged, or was made with other data or settings, which are named.
    TrainingDivergedError
        After a step whose loss is NaN or infinite. The checkpoint is that of an earlier step.
    NotImplementedError
        The backend is not TensorFlow.

    Notes
    -----
    ``keras.callbacks.BackupAndRestore`` (3.15) does not do: it overwrites its file in place, starts the epoch over, so
    that the steps become more, and knows nothing of the dropout's state, the batches' epoch, the history and the best
    epoch.
    """

    def __init__(
        self,
        path: Path | None,
        batches: ResumableBatches,
        *,
        settings: Mapping[str, Any] | None = None,
        stopping: keras.callbacks.EarlyStopping | None = None,
        every_seconds: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        if path is not None and path.suffix != ".npz":
            raise ValueError(f"path must end in .npz, got {path}")
        if keras.backend.backend() != "tensorflow":
            raise NotImplementedError("Resume needs the TensorFlow backend")
        self.path, self.batches, self.settings, self.stopping = path, batches, dict(settings or {}), stopping
        self.every_seconds, self.clock = every_seconds, clock
        self.losses: list[float] = []

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Take up the checkpoint if there is one."""
        self.epoch = self.step = 0
        self.losses, self.restored, self.steps_to_skip = [], None, 0
        self.last_save, self.pause = self.clock(), self.every_seconds
        self.fit = json.loads(json.dumps(self._describe_fit()))
        if self.path is None:
            return
        for leftover in self.path.parent.glob(f".{self.path.stem}.*.tmp{self.path.suffix}"):  # of killed processes
            remove(leftover)
        if self.path.exists():
            self._load()

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Skip what was done of this epoch, or save if it is time."""
        self.epoch, self.step = epoch, 0
        if self.restored is not None:
            self._put_back()
        else:
            self._save_if_due()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Note the loss and save if it is time."""
        self.step = batch + 1
        if self.steps_to_skip:
            self.steps_to_skip -= 1
            return
        self.losses.append(float((logs or {})["loss"]))
        if not math.isfinite(self.losses[-1]):
            raise TrainingDivergedError(
                f"The loss became {self.losses[-1]} in epoch {self.epoch + 1}, step {self.step}: try a tenth of "
                'LEARNING_RATE, or PRECISION = "float32"; in labels and texts look for what cannot be learned.'
            )
        self._save_if_due()

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Save the end of the fit; a fit that had ended before gets its history back."""
        if self.restored is not None:
            self._put_back()
        elif self.path is not None:
            self.epoch, self.step = self.params["epochs"], 0
            self._save()

    def _describe_fit(self) -> dict[str, Any]:
        return {
            "epochs": self.params["epochs"],
            "steps an epoch": self.params["steps"],
            "weights": self.model.count_params(),
            "trained weights": sum(int(np.prod(weight.shape)) for weight in self.model.trainable_weights),
            "precision": self.model.dtype_policy.name,
            "compile": self.model.get_compile_config(),
            "data": self.batches.fingerprint(),
            "settings": self.settings,
        }

    def _variables(self) -> list[Any]:
        frozen = self._frozen()
        kept = [variable for variable in self.model.variables if id(variable) not in frozen]
        return [*kept, *self.model.optimizer.variables]

    def _frozen(self) -> set[int]:
        """Return the identities of the weights of frozen layers, those inside a backbone too."""
        layers = self.model._flatten_layers()
        return {id(weight) for layer in layers if not layer.trainable for weight in layer.weights}

    def _best_weights(self) -> list[Any]:
        """Return the best epoch's weights of the layers that are not frozen; [] if no epoch has ended yet."""
        best, frozen = (self.stopping and self.stopping.best_weights) or [], self._frozen()
        return [value for weight, value in zip(self.model.weights, best, strict=False) if id(weight) not in frozen]

    def _all_weights(self, best: Sequence[Any]) -> list[Any] | None:
        """Return what `_best_weights` gave with the weights of frozen layers, which are still what they were."""
        frozen, kept = self._frozen(), iter(best)
        weights = self.model.weights
        return [value.numpy() if id(value) in frozen else next(kept) for value in weights] if best else None

    def _save_if_due(self) -> None:
        if self.path is not None and self.clock() - self.last_save >= self.pause:
            self._save()

    def _save(self) -> None:
        assert self.path is not None
        began = self.clock()
        state = {
            "fit": self.fit,
            "position": [self.epoch, self.step, self.batches.epoch],
            "history": [self.model.history.epoch, self.model.history.history],
            "stopping": _stopping_state(self.stopping),
        }
        arrays = {
            "state": np.array(json.dumps(state, default=float)),
            "losses": np.array(self.losses),
            **{f"variable_{number}": value for number, value in enumerate(self._variables())},
            **{f"metric_{number}": value for number, value in enumerate(self.model.metrics_variables)},
            **{f"best_{number}": value for number, value in enumerate(self._best_weights())},
        }
        try:
            with atomic_path(self.path) as temporary:
                np.savez(temporary, **arrays)
        except OSError as error:
            print(f"Training goes on, but {self.path} could not be written ({error.strerror}): free some space.")
        self.last_save = self.clock()
        self.pause = max(self.every_seconds, 20 * (self.last_save - began))

    def _load(self) -> None:
        assert self.path is not None
        self.model._symbolic_build(data_batch=self.batches[0])  # Keras makes the metrics' variables at the first step
        try:
            with np.load(self.path) as file:
                arrays = dict(file)
            state = json.loads(str(arrays["state"]))
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise TrainingStateError(
                f"{self.path} cannot be read ({type(error).__name__}: {error}): delete it to train from the beginning."
            ) from error
        self._refuse_another_fit(state["fit"])
        for number, variable in enumerate(self._variables()):
            variable.assign(arrays[f"variable_{number}"])
        self.losses = arrays["losses"].tolist()
        self.metrics = [arrays[f"metric_{number}"] for number in range(len(self.model.metrics_variables))]
        self.best_weights = [array for name, array in arrays.items() if name.startswith("best_")]
        self.restored = state
        epoch, step, self.batches.epoch = state["position"]
        self.batches.epoch -= 1
        self.batches.on_epoch_end()
        self.model._initial_epoch = epoch  # as BackupAndRestore does
        if epoch < self.params["epochs"]:
            print(f"Goes on at epoch {epoch + 1}, step {step + 1}, from {self.path.name}.", flush=True)
        else:
            print(f"This fit has ended before: taken from {self.path.name}.", flush=True)

    def _refuse_another_fit(self, earlier: Mapping[str, Any]) -> None:
        before, now = dict(_flat(earlier)), dict(_flat(self.fit))
        differing = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        names = [name for name in differing if not name.endswith(".name")]  # Keras counts the optimizers of a session
        if names:
            differences = ", ".join(f"{name} was {before.get(name)!r}, is {now.get(name)!r}" for name in names)
            raise TrainingStateError(
                f"{self.path} belongs to another fit ({differences}): use the former values to go on with it, "
                "or delete it to train from the beginning."
            )

    def _put_back(self) -> None:
        """Put back what Keras and other callbacks empty when a fit or an epoch begins."""
        assert self.restored is not None
        self.model._initial_epoch = 0
        self.model.history.epoch, self.model.history.history = self.restored["history"]
        if self.stopping is not None:
            for name, value in self.restored["stopping"].items():
                setattr(self.stopping, name, value)
            self.stopping.best_weights = self._all_weights(self.best_weights)
        for variable, value in zip(self.model.metrics_variables, self.metrics, strict=True):
            variable.assign(value)
        self.steps_to_skip = self.restored["position"][1]
        self.restored = None
        if self.steps_to_skip:
            self._skip_steps()

    def _skip_steps(self) -> None:
        """Let Keras take batches without training on them until the place of the checkpoint is reached."""
        train, history, metrics = self.model.train_function, self.model.history, self.model.get_metrics_result()
        done = iter(self.losses[-self.steps_to_skip :])

        def skip_or_train(iterator: Iterator[Any]) -> Any:
            if self.model.history is history and self.steps_to_skip:
                next(iterator)
                return {**metrics, "loss": next(done)}
            self.model.train_function = train
            return train(iterator)

        self.model.train_function = skip_or_train


def _stopping_state(stopping: keras.callbacks.EarlyStopping | None) -> dict[str, Any]:
    names = ("wait", "best", "best_epoch", "stopped_epoch")
    return {} if stopping is None else {name: getattr(stopping, name) for name in names}


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested dictionaries with the names on the way to them."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
