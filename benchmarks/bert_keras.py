"""The Keras side of `benchmarks.bert`, run by it: fine-tuning and prediction as notebook 04 does them.

Runs on every backend of Keras: ``KERAS_BACKEND=jax`` needs no TensorFlow.
"""

import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from benchmarks.timing import matmul_flops
from benchmarks.turns import Turns
from utils import bert
from utils.training import AdamW, WarmUpLinearDecay, gpu_compute_capability, set_seeds


class RoundedBatches(bert.CommentBatches):
    """`CommentBatches` whose widths are rounded up to a multiple; 1 leaves them as they are.

    Parameters
    ----------
    multiple : int
        `max_length` pads every batch to it.
    arguments
        Those of `CommentBatches`.
    """

    def __init__(self, *, multiple: int, max_length: int, **arguments: Any) -> None:
        super().__init__(max_length=max_length, **arguments)
        self.multiple, self.max_length = multiple, max_length

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """Return batch `index`."""
        inputs, *answers = super().__getitem__(index)
        missing = 0 if self.multiple == 1 else self.width(index) - inputs["token_ids"].shape[1]
        if missing > 0:
            inputs = {name: np.pad(array, ((0, 0), (0, missing))) for name, array in inputs.items()}
        return inputs, *answers

    def width(self, index: int) -> int:
        """Return the rounded width of batch `index`; the first two differ, as `CommentBatches` explains."""
        width = int(-(-self.lengths[self.batches[index]].max() // self.multiple) * self.multiple)
        first = index == 0 and self.multiple < self.max_length
        return width + self.multiple if first and width == self.width(1) else width


class Steps(keras.callbacks.Callback):
    """A turn for every training step; reports how often Keras has traced the step so far."""

    def __init__(self, turns: Turns) -> None:
        super().__init__()
        self.turns = turns

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Wait for the turn."""
        self.turns.begin()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Report the turn, once the loss is there."""
        self.turns.end(loss=float(logs["loss"]), traces=self.model.loss.traces)


class CountedLoss(keras.losses.SparseCategoricalCrossentropy):
    """The loss, counting how often it is called: a compiled training step calls it only while it is traced."""

    traces = 0

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of every comment."""
        self.traces += 1
        return super().call(y_true, y_pred)


def build(folder: Path, steps: int, *, pretrained: bool = False) -> keras.Model:
    """Return the classifier, ready to be trained for `steps` steps."""
    model = bert.build_bert_classifier(bert.load_backbone(folder, pretrained=pretrained))
    schedule = WarmUpLinearDecay(5e-5, steps, steps // 10)
    optimizer = AdamW(schedule, weight_decay=0.01, global_clipnorm=1.0)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])  # as Trainer does
    jit = False if keras.backend.backend() == "tensorflow" else "auto"
    model.compile(optimizer, CountedLoss(), jit_compile=jit)
    return model


def main() -> None:
    """Train for so many epochs, then predict as often, then multiply matrices."""
    folder, precision = Path(sys.argv[1]), sys.argv[2]
    batch_size, max_length, epochs, multiple = map(int, sys.argv[3:])
    turns = Turns()
    keras.config.set_dtype_policy({"fp32": "float32", "bf16": "mixed_bfloat16"}[precision])
    set_seeds(0)
    comments = pd.read_parquet(folder / "comments.parquet")
    settings = {"tokenizer": bert.load_tokenizer(folder), "max_length": max_length, "batch_size": batch_size}
    texts = comments["text"].tolist()
    batches = RoundedBatches(texts=texts, labels=comments["label"], multiple=multiple, shuffle=True, **settings)
    model = build(folder, epochs * len(batches))
    model.fit(batches, epochs=epochs, shuffle=False, verbose=0, callbacks=[Steps(turns)])
    batches = RoundedBatches(texts=texts, multiple=multiple, **settings)
    for _ in range(epochs):
        turns.begin()
        model.predict(batches, verbose=0)
        turns.end()
    turns.begin()
    matrix = keras.random.normal((2048, 2048), dtype=model.compute_dtype)
    flops = matmul_flops(lambda: float(keras.ops.cast(keras.ops.matmul(matrix, matrix)[0, 0], "float32")), len(matrix))
    turns.end(flops=flops, device="CPU" if gpu_compute_capability() is None else "GPU")


if __name__ == "__main__":
    main()
