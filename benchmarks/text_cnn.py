"""One training epoch of the Text-CNN beside the same network in PyTorch: ``python -m benchmarks.text_cnn [COMMENTS]``.

Both see the same batches and train with Adam. The two take turns, an epoch each, the Keras network within one fit.
Comments a second are those of the median turn, ``times faster`` is the ratio of the two, ``from`` and ``to`` its 95 %
interval by a bootstrap over the rounds: a shared machine's speed changes from one turn to the next. Seconds are
seconds on the clock, with all cores; the first turn, which compiles, is left out.
Needs ``requirements-torch.txt``.

What bounds a step? Two things it cannot do without are counted and held against what the machine reaches at them
alone, measured in the same run: the operations of the convolutions against a product of two matrices, the bytes that
the embedding table costs (rows gathered, a gradient as large as the table, Adam's pass over it) against a copy in
memory. The `floor` is the time of both, one after the other, as a share of Keras's time; the bound is the one that
takes longer. What is missing to 1 is neither: the maximum, dropout, padding, and what each step costs besides.
"""

import sys
import time
from collections.abc import Callable

import keras
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import bootstrap
from torch import nn

from benchmarks.timing import matmul_flops, print_table, timed
from utils.text_cnn import VARIANTS, build_text_cnn
from utils.training import Adam, set_seeds

COMMENTS = 4_096  # 64 batches
VOCABULARY_SIZE, DIM, LENGTH, BATCH_SIZE = 20_000, 100, 48, 64
WINDOWS, MAPS, MAX_NORM = (3, 4, 5), 100, 3.0
LEARNING_RATE = 1e-3
STEPS_PER_EXECUTION = 16  # as in notebook 02
ROUNDS = 21
PRODUCT_SIZE, COPIED_BYTES = 2048, 200_000_000


class TorchTextCnn(nn.Module):
    """The network of `build_text_cnn`, written with PyTorch's own layers; returns logits (N, 2)."""

    def __init__(self, embeddings: NDArray[np.float32] | None, variant: str) -> None:
        super().__init__()
        table = torch.empty(VOCABULARY_SIZE, DIM).uniform_(-0.25, 0.25)
        if embeddings is not None:
            table = torch.from_numpy(embeddings.copy())
        trained = variant != "static"
        self.vectors = nn.Embedding.from_pretrained(table, freeze=not trained, padding_idx=0)
        self.fixed_vectors = None
        if variant == "multichannel":
            self.fixed_vectors = nn.Embedding.from_pretrained(table.clone(), freeze=True, padding_idx=0)
        self.convolutions = nn.ModuleList(nn.Conv1d(DIM, MAPS, window, padding="same") for window in WINDOWS)
        self.dropout = nn.Dropout(0.5)
        self.classes = nn.Linear(MAPS * len(WINDOWS), 2)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the logits (N, 2) of ids (N, L)."""
        vectors = self.vectors(tokens)
        if self.fixed_vectors is not None:
            vectors = vectors + self.fixed_vectors(tokens)
        vectors = (vectors * (tokens != 0).unsqueeze(-1)).transpose(1, 2)
        features = [torch.relu(convolution(vectors)).amax(dim=2) for convolution in self.convolutions]
        return self.classes(self.dropout(torch.cat(features, dim=1)))


def torch_epoch(ids: NDArray[np.int32], labels: NDArray[np.int32], network: TorchTextCnn) -> Callable[[], object]:
    """Return a function that trains the PyTorch network for one epoch."""
    tokens, answers = torch.from_numpy(ids), torch.from_numpy(labels).long()
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    optimizer = torch.optim.Adam(trained, LEARNING_RATE)
    loss = nn.CrossEntropyLoss()

    def epoch() -> None:
        network.train()
        for batch, answer in zip(tokens.split(BATCH_SIZE), answers.split(BATCH_SIZE), strict=True):
            optimizer.zero_grad()
            loss(network(batch), answer).backward()
            optimizer.step()
            with torch.no_grad():
                network.classes.weight.copy_(network.classes.weight.renorm(2, 0, MAX_NORM))

    return epoch


class Turns(keras.callbacks.Callback):
    """Before each epoch of a fit, let somebody else train for one; note the seconds of both."""

    def __init__(self, other: Callable[[], object]) -> None:
        super().__init__()
        self.other = other
        self.seconds: dict[str, list[float]] = {"Keras": [], "PyTorch": []}

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Let the other one train, then start the clock."""
        self.seconds["PyTorch"].append(timed(self.other)[1])
        self.began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Stop the clock."""
        self.seconds["Keras"].append(time.perf_counter() - self.began)


def train_in_turns(
    ids: NDArray[np.int32], labels: NDArray[np.int32], ours: keras.Model, theirs: TorchTextCnn, *, rounds: int
) -> dict[str, list[float]]:
    """Return the seconds of each network's epochs, after one that does not count."""
    turns = Turns(torch_epoch(ids, labels, theirs))
    ours.compile(Adam(LEARNING_RATE), "sparse_categorical_crossentropy", steps_per_execution=STEPS_PER_EXECUTION)
    ours.fit(ids, labels, batch_size=BATCH_SIZE, epochs=1 + rounds, shuffle=False, verbose=0, callbacks=[turns])
    return {name: seconds[1:] for name, seconds in turns.seconds.items()}


def draw_comments(comments: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return ids (N, L), padded with 0, as long as the sample's comments, and labels (N,)."""
    random = np.random.default_rng(0)
    ids = random.integers(1, VOCABULARY_SIZE, (comments, LENGTH), dtype=np.int32)
    lengths = random.integers(8, LENGTH, comments)
    ids[np.arange(LENGTH) >= lengths[:, None]] = 0
    return ids, random.integers(0, 2, comments, dtype=np.int32)


def step_flops(variant: str) -> int:
    """Return the operations of a step's convolutions: the answers, the gradients of the filters and of the vectors.

    Vectors that stay as they are need no gradient.
    """
    answers = 2 * BATCH_SIZE * LENGTH * DIM * MAPS * sum(WINDOWS)
    return answers * (2 if variant == "static" else 3)


def step_bytes(variant: str) -> int:
    """Return the bytes that a step moves for the embedding table at least.

    The rows of the words are read and written. A trained table also has its gradient, as large as itself, written and
    read once, and the table and Adam's two moments read and written.
    """
    gathered = 2 * 4 * BATCH_SIZE * LENGTH * DIM
    table = 4 * VOCABULARY_SIZE * DIM
    return gathered * (2 if variant == "multichannel" else 1) + (0 if variant == "static" else 8 * table)


def machine_peaks() -> tuple[float, float]:
    """Return the operations a second of a matrix product, and the bytes a second, read and written, of a copy."""
    square = keras.random.normal((PRODUCT_SIZE, PRODUCT_SIZE))
    flops = matmul_flops(lambda: np.asarray(keras.ops.matmul(square, square)), PRODUCT_SIZE)
    source, target = np.ones(COPIED_BYTES, np.uint8), np.empty(COPIED_BYTES, np.uint8)
    return flops, 2 * COPIED_BYTES / min(timed(lambda: np.copyto(target, source))[1] for _ in range(ROUNDS))


def bound(variant: str, seconds: float, peaks: tuple[float, float]) -> dict[str, object]:
    """Return what a step of so many seconds reaches of the two peaks, and which of the two it waits for longer."""
    flops, moved = step_flops(variant), step_bytes(variant)
    shares = {"products": flops / seconds / peaks[0], "memory": moved / seconds / peaks[1]}
    return {
        "GFLOP/s": flops / seconds / 1e9,
        "share of a product's": shares["products"],
        "table, GB/s": moved / seconds / 1e9,
        "share of a copy's": shares["memory"],
        "floor": sum(shares.values()),
        "bound": max(shares, key=shares.__getitem__),
    }


def ratio_of_medians(above: NDArray[np.float64], below: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Return how many times the median of the one is that of the other, along an axis of draws."""
    return np.median(above, axis=axis) / np.median(below, axis=axis)


def measure(
    variant: str, ids: NDArray[np.int32], labels: NDArray[np.int32], peaks: tuple[float, float]
) -> dict[str, object]:
    """Return one row of the table."""
    embeddings = None
    if variant != "rand":
        embeddings = np.random.default_rng(1).normal(0, 0.3, (VOCABULARY_SIZE, DIM)).astype(np.float32)
    ours = build_text_cnn(VOCABULARY_SIZE, max_length=LENGTH, embeddings=embeddings, embedding_dim=DIM, variant=variant)
    seconds = train_in_turns(ids, labels, ours, TorchTextCnn(embeddings, variant), rounds=ROUNDS)
    medians = {name: float(np.median(turns)) for name, turns in seconds.items()}
    rates = {f"{name}, comments a second": round(len(ids) / median) for name, median in medians.items()}
    turns = (seconds["PyTorch"], seconds["Keras"])
    drawn = bootstrap(turns, ratio_of_medians, paired=True, method="percentile", rng=0).confidence_interval
    faster = {"times faster": medians["PyTorch"] / medians["Keras"], "from": drawn.low, "to": drawn.high}
    step = medians["Keras"] * BATCH_SIZE / len(ids)
    return {"variant": variant} | rates | faster | bound(variant, step, peaks)


def main() -> None:
    """Measure all four variants."""
    comments = int(sys.argv[1]) if len(sys.argv) > 1 else COMMENTS
    set_seeds(0)
    ids, labels = draw_comments(comments)
    peaks = machine_peaks()
    rows = [measure(variant, ids, labels, peaks) for variant in VARIANTS]
    print_table("Text-CNN, one training epoch", f"python -m benchmarks.text_cnn {comments}", rows)
    print(f"\nPeaks here: a matrix product {peaks[0] / 1e9:.0f} GFLOP/s, a copy {peaks[1] / 1e9:.1f} GB/s.")


if __name__ == "__main__":
    main()
