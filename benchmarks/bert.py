"""Fine-tuning KcBERT beside Transformers' `Trainer`: ``python -m benchmarks.bert [--dataset FILE] [--size large] ...``.

Both train and predict the same comments, drawn from a CSV or Parquet file with a column `text` (the sample by
default), in batches of similar length, each padded to its own longest comment; `--multiples` adds Keras with widths
rounded up: 128 pads everything to 128. The network has KcBERT's shape and random weights, the vocabulary is learned
from the comments and filled up to 30,000 entries. AdamW, warm-up, gradients cut to the norm 1, dropout .1, precision,
batch size and token ids are the same.

The programs take turns, a training step each. The first epoch compiles, the fastest of the others counts; so it is
with predictions. Seconds are seconds on the clock, with all cores; those of the first step count from the start of the
process, with the loading of the libraries. The share of the peak counts the operations that the real tokens need, none
for padding, against the fastest product of two 2048 x 2048 matrices in either library. Peak memory is the host's.

On a GPU: ``KERAS_BACKEND=jax python -m benchmarks.bert --size large --precisions bf16 --multiples 8 128``. That needs
JAX and no TensorFlow; JAX compiles anew for every width, hence the multiples. **Not run on a GPU, nor with JAX, yet.**
Needs ``requirements-torch.txt``.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.timing import print_table
from benchmarks.turns import Program
from utils.bert import CONFIG, TOKENIZER_CONFIG, encode_comments, load_tokenizer
from utils.cost import KCBERT
from utils.files import ROOT
from utils.pretraining import train_wordpiece, write_vocabulary
from utils.text import clean_comment

SIZES = {
    "tiny": KCBERT["kcbert-base"]
    | {"num_hidden_layers": 2, "hidden_size": 48, "num_attention_heads": 4, "intermediate_size": 96},
    "base": KCBERT["kcbert-base"],
    "large": KCBERT["kcbert-large"],
}
MAX_LENGTH = 128
VOCABULARY_COMMENTS = 20_000
PEER = "Trainer"


def draw_comments(dataset: Path, comments: int) -> pd.DataFrame:
    """Return comments drawn from a file, `text` cleaned and `label` at random."""
    texts = pd.read_parquet(dataset, columns=["text"]) if dataset.suffix == ".parquet" else pd.read_csv(dataset)
    drawn = texts["text"].sample(comments, random_state=0).map(clean_comment)
    return pd.DataFrame({"text": drawn, "label": np.random.default_rng(0).integers(0, 2, comments)})


def write_checkpoint(folder: Path, size: str, texts: Sequence[str]) -> None:
    """Write config, tokenizer settings and vocabulary of a KcBERT without weights."""
    network = SIZES[size]
    more = {"model_type": "bert", "type_vocab_size": 2, "hidden_act": "gelu_pytorch_tanh"}
    (folder / CONFIG).write_text(json.dumps(network | more))
    tokenizer = {"do_lower_case": False, "strip_accents": False}
    tokenizer["model_max_length"] = network["max_position_embeddings"]
    (folder / TOKENIZER_CONFIG).write_text(json.dumps(tokenizer | {"tokenizer_class": "BertTokenizer"}))
    vocabulary = train_wordpiece(texts, vocabulary_size=network["vocab_size"])
    filling = [f"[unused{number}]" for number in range(network["vocab_size"] - len(vocabulary))]
    write_vocabulary(vocabulary + filling, folder)


def forward_flops(lengths: NDArray[np.int64], size: str) -> float:
    """Return the operations of the matrix products that BERT needs for comments of these lengths, once forward."""
    layers, width, inner = (SIZES[size][name] for name in ("num_hidden_layers", "hidden_size", "intermediate_size"))
    a_token = 2 * layers * (4 * width**2 + 2 * width * inner)
    attention = 4 * layers * width * lengths**2
    return float((a_token * lengths + attention + 2 * width**2).sum())


def take_turns(programs: Mapping[str, Sequence[object]], steps: int, epochs: int) -> dict[str, dict[str, Any]]:
    """Start the programs one after the other, and let them train, predict and multiply in turns.

    Returns
    -------
    dict of str to dict
        The `summary` of each program.
    """
    with ExitStack() as running:
        reports, started, first_step = {}, {}, {}
        for name, command in programs.items():
            began = time.perf_counter()
            started[name] = running.enter_context(Program(*command))
            reports[name] = [started[name].turn()]
            first_step[name] = time.perf_counter() - began
        for _ in range(epochs * steps + epochs):  # the training that is left, predictions, the matrix product
            for name, program in started.items():
                reports[name].append(program.turn())
    return {name: {"first step": first_step[name], **summary(reports[name], steps, epochs)} for name in programs}


def summary(reports: Sequence[Mapping[str, Any]], steps: int, epochs: int) -> dict[str, Any]:
    """Return what the reports of one program say.

    Returns
    -------
    dict
        "train" and "predict": seconds of the fastest epoch but the first; "peak MB" of training; "flops" of the
        matrix product; "device"; "traces": how often the training step had been traced by the end of each epoch.
    """
    training, predicting, product = reports[: epochs * steps], reports[epochs * steps : -1], reports[-1]
    seconds = np.reshape([report["seconds"] for report in training], (epochs, steps)).sum(axis=1)
    return {
        "train": seconds[1:].min(),
        "predict": min(report["seconds"] for report in predicting[1:]),
        "peak MB": training[-1]["peak MB"],
        "flops": product["flops"],
        "device": product["device"],
        "traces": [report.get("traces") for report in training[steps - 1 :: steps]],
    }


def measure(folder: Path, precision: str, arguments: argparse.Namespace, flops: float) -> list[dict[str, object]]:
    """Return the rows of the table for one precision; `flops` are those of one prediction of all comments."""
    settings = (folder, precision, arguments.batch_size, MAX_LENGTH, arguments.epochs)
    programs: dict[str, Sequence[object]] = {PEER: ("benchmarks.bert_torch", *settings)}
    for multiple in arguments.multiples:
        name = "own longest" if multiple == 1 else f"multiples of {multiple}"
        programs[f"Keras, {name}"] = ("benchmarks.bert_keras", *settings, multiple)
    measured = take_turns(programs, arguments.steps, arguments.epochs)
    peak = max(side["flops"] for side in measured.values())
    comments, peer = arguments.steps * arguments.batch_size, measured[PEER]
    return [
        {
            "batches": name,
            "precision": precision,
            "device": side["device"],
            "trained a second": comments / side["train"],
            "times Trainer's": peer["train"] / side["train"],
            "share of the peak, %": 300 * flops / side["train"] / peak,  # backward takes twice the forward operations
            "predicted a second": comments / side["predict"],
            "times Trainer's ": peer["predict"] / side["predict"],
            "first step, s": side["first step"],
            "peak MB": side["peak MB"],
            "traces in epoch 1": side["traces"][0] or "-",
            "later": "-" if side["traces"][0] is None else side["traces"][-1] - side["traces"][0],
        }
        for name, side in measured.items()
    ]


def parse_arguments() -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bert")
    parser.add_argument("--dataset", type=Path, default=ROOT / "data" / "sample_comments.csv")
    parser.add_argument("--size", choices=SIZES, default="base")
    parser.add_argument("--precisions", nargs="+", choices=["fp32", "bf16"], default=["fp32", "bf16"])
    parser.add_argument("--multiples", nargs="+", type=int, default=[1, MAX_LENGTH], help="of a batch's width, Keras")
    parser.add_argument("--steps", type=int, default=12, help="an epoch")
    parser.add_argument("--epochs", type=int, default=2, help="the first one is not counted")
    parser.add_argument("--batch-size", type=int, default=16)
    return parser.parse_args()


def main() -> None:
    """Measure every precision."""
    arguments = parse_arguments()
    comments = draw_comments(arguments.dataset, max(VOCABULARY_COMMENTS, arguments.steps * arguments.batch_size))
    rows = []
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_checkpoint(folder, arguments.size, comments["text"])
        comments = comments[: arguments.steps * arguments.batch_size]
        comments.to_parquet(folder / "comments.parquet")
        ids = encode_comments(load_tokenizer(folder), comments["text"].tolist(), MAX_LENGTH)
        lengths = np.array([len(row) for row in ids])
        for precision in arguments.precisions:
            rows += measure(folder, precision, arguments, forward_flops(lengths, arguments.size))
    title = f"KcBERT-{arguments.size}: {len(ids)} comments of {np.median(lengths):.0f} tokens (median)"
    print_table(title, " ".join(["python -m benchmarks.bert", *sys.argv[1:]]), rows)


if __name__ == "__main__":
    main()
