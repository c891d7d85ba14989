"""What pretraining is worth on few and on many labels: ``python -m benchmarks.label_budgets RUN_DIR``.

Trains the mini BERT, the same network from random weights, the Text-CNN of notebook 02 and TF-IDF on 100, 300, 1,000,
3,000 and all labelled training comments, with three seeds, and holds them against each other on whole held-out groups.
RUN_DIR is a run folder whose comments notebook 01 has labelled, such as ``runs/movie``. Settings are chosen with
``--split validation`` (the default); ``--split test`` is for the end. Each fit predicts both splits once and is kept in
``RUN_DIR/label-budgets/``, so that a run that was stopped goes on where it was.
"""

import argparse
import functools
import hashlib
import json
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.text_cnn_quality import Part, Settings, Words, prepare_words, summarise, text_cnn, tfidf_logreg
from benchmarks.timing import print_table
from utils.bert import CommentBatches, build_bert_classifier, load_backbone, load_tokenizer
from utils.checkpoints import MINI, SAFETENSORS, VOCABULARY
from utils.files import atomic_path, sha256_of
from utils.splits import label_subset
from utils.text import clean_comment
from utils.training import AdamW, WarmUpLinearDecay, class_weights, set_seeds

BUDGETS = (100, 300, 1000, 3000, None)
SEEDS = (0, 1, 2)
REFERENCE = "bert-mini"
MIN_STEPS = 100  # however few labels, a network takes at least so many steps
HELD_OUT = ("validation", "test")


@dataclass(frozen=True)
class FineTuning:
    """How a BERT is fine-tuned; chosen on validation."""

    checkpoint: str = str(MINI)
    pretrained: bool = True
    epochs: int = 2
    batch_size: int = 32
    learning_rate: float = 5e-4
    max_length: int = 64
    precision: str = "mixed_bfloat16"


ALL_LABELS = {"epochs": 1, "batch_size": 64, "learning_rate": 1e-4}  # more, and it forgets what it has read
BERTS = {REFERENCE: FineTuning(), "bert-mini-random": FineTuning(pretrained=False)}
TEXT_CNN = Settings().of_variant("non-static")
MODELS = (*BERTS, "text-cnn-non-static", "tfidf-logreg")


def bert_settings(model: str, budget: int | None) -> FineTuning | None:
    """Return how a BERT is fine-tuned on so many labels, None for another model."""
    settings = BERTS.get(model)
    return replace(settings, **ALL_LABELS) if settings and budget is None else settings


def fine_tune(train: pd.DataFrame, held_out: pd.DataFrame, settings: FineTuning, *, seed: int) -> NDArray[np.float32]:
    """Fine-tune a BERT and return the held-out comments' probabilities (N,)."""
    keras.backend.clear_session()
    keras.config.set_dtype_policy(settings.precision)
    set_seeds(seed)
    backbone = load_backbone(settings.checkpoint, pretrained=settings.pretrained)
    model = build_bert_classifier(backbone, pooling="mean")
    texts = {"tokenizer": load_tokenizer(settings.checkpoint), "max_length": settings.max_length}
    labels = train["label"].to_numpy()
    batches = CommentBatches(
        train["text"].map(clean_comment).tolist(),
        labels,
        batch_size=settings.batch_size,
        class_weight=class_weights(labels),
        shuffle=True,
        seed=seed,
        **texts,
    )
    epochs = max(settings.epochs, math.ceil(MIN_STEPS / len(batches)))
    steps = epochs * len(batches)
    schedule = WarmUpLinearDecay(settings.learning_rate, steps, steps // 10)
    optimizer = AdamW(schedule, weight_decay=0.01, global_clipnorm=1.0)
    model.compile(optimizer, "sparse_categorical_crossentropy", jit_compile=False)
    model.fit(batches, epochs=epochs, shuffle=False, verbose=0)
    unseen = CommentBatches(held_out["text"].map(clean_comment).tolist(), batch_size=128, **texts)
    keras.config.set_dtype_policy("float32")
    return model.predict(unseen, verbose=0)[unseen.inverse, 1]


def train_text_cnn(words: Words, rows: NDArray[np.intp], labels: NDArray[np.int8], *, seed: int) -> NDArray[np.float32]:
    """Train a Text-CNN on some of the labelled comments and return the held-out comments' probabilities (N,)."""
    epochs = max(TEXT_CNN.epochs, math.ceil(MIN_STEPS / math.ceil(len(rows) / TEXT_CNN.batch_size)))
    some = words._replace(train=words.train[rows])
    return text_cnn(some, labels[rows], replace(TEXT_CNN, epochs=epochs), seed=seed)


class Fits:
    """Predictions of every model, budget and seed, each made once and then read from the folder."""

    def __init__(self, comments: pd.DataFrame, folder: Path, comments_hash: str) -> None:
        train = comments[comments["split"] == "train"]
        held_out = comments[comments["split"].isin(HELD_OUT) & (comments["label"] >= 0)]
        self.part = Part(train[train["label"] >= 0].reset_index(drop=True), train[train["label"] < 0], held_out)
        self.folder, self.comments_hash = folder, comments_hash

    @functools.cached_property
    def words(self) -> Words:
        """Word vectors from labelled and further comments of the training groups, whatever the budget."""
        return prepare_words(self.part, TEXT_CNN.of_words(), cache=self.folder / "tokens")

    def predictions(self, model: str, budget: int | None, seed: int) -> pd.DataFrame:
        """Return `id`, `group`, `split`, `label`, `probability`, `model` and `seed` of the held-out comments."""
        settings = bert_settings(model, budget) or (TEXT_CNN if model.startswith("text-cnn") else None)
        made_from = [self.comments_hash, model, settings and asdict(settings), budget, seed]
        if model in BERTS:
            file = SAFETENSORS if BERTS[model].pretrained else VOCABULARY  # random weights need none
            made_from.append(sha256_of(Path(BERTS[model].checkpoint) / file))
        path = self.folder / f"{hashlib.sha256(json.dumps(made_from).encode()).hexdigest()[:16]}.parquet"
        if not path.exists():
            probability = self.fit(model, budget, seed)
            with atomic_path(path) as unfinished:
                rows = self.part.held_out[["id", "group", "split", "label"]]
                rows.assign(probability=probability.astype(float)).to_parquet(unfinished, index=False)
        print(f"{model}, {budget or 'all'} labels, seed {seed}: done", flush=True)
        return pd.read_parquet(path).assign(model=model, seed=seed)

    def fit(self, model: str, budget: int | None, seed: int) -> NDArray[np.floating]:
        """Train a model on `budget` labels and return the held-out comments' probabilities (N,)."""
        train = label_subset(self.part.train, budget, seed=seed)
        if model in BERTS:
            return fine_tune(train, self.part.held_out, bert_settings(model, budget), seed=seed)
        if model == "tfidf-logreg":
            return tfidf_logreg(self.part._replace(train=train))
        return train_text_cnn(self.words, train.index.to_numpy(), self.part.train["label"].to_numpy(), seed=seed)


def main() -> None:
    """Train what is not there yet and print one table a budget."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.label_budgets", description=__doc__)
    parser.add_argument("run_dir", type=Path, help="a run folder whose comments notebook 01 has labelled")
    parser.add_argument("--split", choices=HELD_OUT, default="validation", help="on which split to score")
    parser.add_argument("--samples", type=int, default=2000, help="bootstrap draws of whole groups")
    asked = parser.parse_args()
    path = asked.run_dir / "comments.parquet"
    if not path.is_file():
        parser.exit(1, f"{path} is missing: run notebook 01 with RUN_DIR = {str(asked.run_dir)!r} first.\n")
    comments = pd.read_parquet(path).sample(frac=1, random_state=0)  # Word2Vec takes the first unlabelled comments
    fits = Fits(comments, asked.run_dir / "label-budgets", sha256_of(path))
    command = f"python -m benchmarks.label_budgets {asked.run_dir} --split {asked.split}"
    for budget in BUDGETS:
        tables = [fits.predictions(model, budget, seed) for model in MODELS for seed in SEEDS]
        scored = pd.concat(tables, ignore_index=True).query("split == @asked.split")
        rows = summarise([scored], reference=REFERENCE, samples=asked.samples)
        print_table(f"AUROC on {asked.split}, {budget or 'all'} labels", command, rows)


if __name__ == "__main__":
    main()
