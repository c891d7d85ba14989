"""Pretrain the checkpoint in data/checkpoints/mini/ on real reviews (`make mini`): ``python -m utils.mini``.

Vocabulary, token ids and the training's state are kept in ``mini/`` of the run folder, so that a run that was stopped
goes on where it was. Shown in notebook 03.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import hashlib
import itertools
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from utils.bert import encode_comments, make_tokenizer
from utils.checkpoints import MINI, VOCABULARY
from utils.datasets import dataset_sha256
from utils.files import atomic_path, sha256_of
from utils.pretraining import (
    MASK,
    PAD,
    SPECIAL_TOKENS,
    build_pretraining_model,
    load_pretraining_model,
    mask_tokens,
    save_checkpoint,
    train_wordpiece,
    write_vocabulary,
)
from utils.run_all import prepare_run
from utils.run_folder import Run, RunFolderError
from utils.splits import hash_position
from utils.text import clean_comment
from utils.training import QuietProgress, Resume, WarmUpLinearDecay, set_seeds
from utils.word2vec import embedding_matrix, train_word2vec

WIDTHS = 8  # a batch is a multiple of so many tokens wide: few shapes, hardly any padding
POOL = 100  # batches that are sorted by length together
RECORD = "pretraining.json"
EPOCHS = 10  # the held-out loss is measured so many times

CARD = """# bert-mini: a small BERT that has read Korean film reviews

A BERT of {layers} layers of width {hidden_size} ({weights:,} weights, stored in float16) with {vocabulary_size:,} word
pieces, pretrained by `make mini` of this project. It is large enough to show what transfer learning does, and far too
small to be used for anything else: take KcBERT for that.

* **Data.** {comments:,} reviews ({tokens:,} tokens), texts alone, cleaned as KcBERT's were, from
  [movie140reviewcorpus](https://github.com/drexly/movie140reviewcorpus). The films that seed 0 holds out for test are
  not among them, nor half of its validation films, on which the loss below was measured.
  SHA-256 of the file: `{dataset_sha256}`.
* **Task.** Masked LM on {masking}, {mask_share:.0%} of the tokens hidden. No next-sentence prediction, so the pooler
  and the next-sentence head hold random weights: classify with the mean of the token vectors (`POOLING = "mean"`).
* **Training.** {steps:,} steps of {batch_size} reviews ({passes:.1f} passes), AdamW, learning rate {learning_rate:g}
  with warm-up and linear decay, {precision}; token vectors began as skip-gram vectors of the same word pieces.
  {minutes:.0f} minutes on two CPU cores that did other work as well.
* **Privacy.** A word piece is in the vocabulary only if it occurs under {fewest_groups} films or more. Of 1,000 reviews
  it was trained on, of 20 tokens or more and not mere repetition, it completed {completed} word for word when the
  second half was hidden.

| step | masked-LM loss in training | on reviews of unseen films |
|---|---|---|
{curve}

**Limits.** It has read nothing but film reviews. They hold insults and prejudice, and so may its guesses.

**Licence.** The weights are this project's (MIT). The reviews are their writers'; the corpus names no licence, and no
text of it is in this folder.
"""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the checkpoint depends on besides the reviews."""

    vocabulary_size: int = 12_000
    fewest_groups: int = 50  # a word piece that occurs under fewer films is dropped
    hidden_size: int = 256
    layers: int = 3
    intermediate_size: int = 1024
    max_length: int = 128
    batch_size: int = 128
    steps: int = 12_000
    learning_rate: float = 1.5e-3
    mask_share: float = 0.2
    whole_words: bool = False
    word2vec: bool = True  # token vectors start from skip-gram vectors of the same word pieces
    precision: str = "mixed_bfloat16"
    seed: int = 0


class Encoded(NamedTuple):
    """Token ids of N comments end to end, int32 (T,), and where each begins, int64 (N + 1,)."""

    token_ids: NDArray[np.int32]
    starts: NDArray[np.int64]


def lay_out(comments: Encoded, rows: NDArray[np.intp], width: int) -> NDArray[np.int32]:
    """Return the token ids of some comments, int32 (B, width), padded with 0."""
    columns = np.arange(width)
    real = columns < np.diff(comments.starts)[rows, None]
    places = np.where(real, comments.starts[rows, None] + columns, 0)
    return np.where(real, comments.token_ids[places], PAD).astype(np.int32)


class MaskedBatches(keras.utils.PyDataset):
    """Batches of masked comments of similar length, for masked LM alone.

    Parameters
    ----------
    comments : Encoded
        N comments, each with [CLS] and [SEP].
    vocabulary_size : int
        Number of token ids.
    steps : int
        Batches an epoch. Comments are dealt out like cards: each once, shuffled, then all again.
    batch_size : int
        Comments a batch.
    mask_share : float
        Share of a comment's ordinary tokens to guess.
    continuation : bool array, shape (V,), optional
        Which tokens go on with the word before them: whole words are then hidden together.
    seed : int
        Batch number k of all epochs depends on `seed` and k alone.
    fixed : bool
        True for held-out text: every epoch sees the same comments and masks.

    Notes
    -----
    A batch is that of `utils.pretraining.PretrainingBatches` with single comments: the next-sentence label weighs 0.
    Batches are a multiple of 8 tokens wide. On the TensorFlow backend Keras takes the shape it expects from the first
    two, so the first one is padded further where both would be equally wide.
    """

    def __init__(
        self,
        comments: Encoded,
        *,
        vocabulary_size: int,
        steps: int,
        batch_size: int,
        mask_share: float,
        continuation: NDArray[np.bool_] | None = None,
        seed: int = 0,
        fixed: bool = False,
    ) -> None:
        super().__init__()
        self.comments, self.vocabulary_size, self.steps, self.batch_size = comments, vocabulary_size, steps, batch_size
        self.mask_share, self.continuation = mask_share, continuation
        self.seed, self.fixed, self.epoch = seed, fixed, 0
        self.lengths = np.diff(comments.starts)
        self.pools: dict[int, NDArray[np.intp]] = {}

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return self.steps

    def __getitem__(self, index: int) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Return batch `index` of the present epoch."""
        number = self.epoch * self.steps + index
        random = np.random.default_rng([self.seed, 1, number])
        rows = self.deal(number)
        width = self.width(rows)
        if index == 0 and self.steps > 1 and width == self.width(self.deal(number + 1)):
            width += WIDTHS
        token_ids = lay_out(self.comments, rows, width)
        words = None if self.continuation is None else np.cumsum(~self.continuation[token_ids], axis=1) - 1
        masked = mask_tokens(
            token_ids, random, vocabulary_size=self.vocabulary_size, share=self.mask_share, words=words
        )
        inputs = {
            "token_ids": masked.token_ids,
            "segment_ids": np.zeros_like(token_ids),
            "padding_mask": (token_ids != PAD).astype(np.int32),
            "mask_positions": masked.positions,
        }
        nothing = np.zeros(len(rows), np.int32)
        return (
            inputs,
            {"masked_lm": masked.labels, "next_sentence": nothing},
            {"masked_lm": masked.weights, "next_sentence": nothing.astype(np.float32)},
        )

    def width(self, rows: NDArray[np.intp]) -> int:
        """Return the width of a batch."""
        return int(-(-self.lengths[rows].max() // WIDTHS) * WIDTHS)

    def deal(self, number: int) -> NDArray[np.intp]:
        """Return the comments of batch `number`, counted over all epochs."""
        pool, place = divmod(number, POOL)
        if pool not in self.pools:
            self.pools = {pool: self.sorted_pool(pool)}
        return self.pools[pool][place]

    def sorted_pool(self, pool: int) -> NDArray[np.intp]:
        """Return the comments of a pool's batches, (POOL, B): each batch holds similar lengths, in random order."""
        size = POOL * self.batch_size
        rounds, places = np.divmod(np.arange(pool * size, (pool + 1) * size), len(self.lengths))
        decks = {turn: np.random.default_rng([self.seed, 0, turn]).permutation(len(self.lengths)) for turn in {*rounds}}
        rows = np.array([decks[turn][place] for turn, place in zip(rounds, places, strict=True)])
        batches = rows[np.argsort(self.lengths[rows], kind="stable")].reshape(POOL, self.batch_size)
        return np.random.default_rng([self.seed, 2, pool]).permutation(batches)

    def fingerprint(self) -> dict[str, Any]:
        """Return what identifies the batches of all epochs, for `utils.training.Resume`."""
        shape = {"steps": self.steps, "batch_size": self.batch_size, "vocabulary_size": self.vocabulary_size}
        masks = {"mask_share": self.mask_share, "whole words": self.continuation is not None, "seed": self.seed}
        digest = hashlib.sha256(self.comments.token_ids.tobytes() + self.comments.starts.tobytes())
        return {**shape, **masks, "comments": len(self.lengths), "sha256": digest.hexdigest()}

    def on_epoch_end(self) -> None:
        """Go on to the next epoch's batches."""
        if not self.fixed:
            self.epoch += 1


def choose_comments(comments: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the comments to pretrain on and those to measure on.

    Every group outside the test split is used except for half of the validation groups. Copies of other splits'
    comments (`"dropped"`) are in neither.
    """
    measured = comments["split"] == "validation"
    measured &= comments["group"].astype(str).map(lambda group: hash_position("mini", group)) < 0.5
    learned = comments["split"].isin(["train", "validation"]) & ~measured
    return comments[learned], comments[measured]


def encode(texts: Sequence[str], vocabulary: Path, max_length: int) -> Encoded:
    """Return the token ids of cleaned comments."""
    rows = encode_comments(make_tokenizer(vocabulary, max_length=max_length), texts, max_length)
    starts = np.cumsum([0, *map(len, rows)])
    return Encoded(np.fromiter((i for row in rows for i in row), np.int32, starts[-1]), starts)


def groups_of_tokens(encoded: Encoded, groups: ArrayLike, vocabulary_size: int) -> NDArray[np.int64]:
    """Return under how many groups each token occurs, int64 (V,)."""
    codes = np.repeat(pd.factorize(np.asarray(groups))[0], np.diff(encoded.starts))
    pairs = np.unique(codes.astype(np.int64) * vocabulary_size + encoded.token_ids)
    return np.bincount(pairs % vocabulary_size, minlength=vocabulary_size)


def learn_vocabulary(texts: Sequence[str], groups: ArrayLike, settings: Settings, folder: Path) -> Encoded:
    """Write a vocabulary of which every piece occurs under enough groups, and return the comments' token ids."""
    sample = pd.Series(texts).sample(min(len(texts), 400_000), random_state=settings.seed)
    vocabulary = train_wordpiece(sample, vocabulary_size=settings.vocabulary_size, max_characters=2500)
    while True:
        encoded = encode(texts, write_vocabulary(vocabulary, folder), settings.max_length)
        counts = groups_of_tokens(encoded, groups, len(vocabulary))
        kept = [
            token
            for token, count in zip(vocabulary, counts, strict=True)
            if token in SPECIAL_TOKENS or count >= settings.fewest_groups
        ]
        if len(kept) == len(vocabulary):
            return encoded
        print(f"{len(vocabulary) - len(kept):,} of {len(vocabulary):,} word pieces are dropped as rare", flush=True)
        vocabulary = kept


def prepare(table: Path, settings: Settings, work: Path) -> tuple[Encoded, Encoded]:
    """Return the token ids to learn from and to measure on; the vocabulary is written to ``work/vocab.txt``."""
    cut = [settings.vocabulary_size, settings.fewest_groups, settings.max_length, settings.seed]
    digest = hashlib.sha256(json.dumps([sha256_of(table), cut]).encode()).hexdigest()
    path = work / f"token-ids-{digest[:12]}.npz"
    if not path.is_file():
        learned, measured = choose_comments(pd.read_parquet(table))
        texts, held_out = (part["text"].map(clean_comment) for part in (learned, measured))
        texts, held_out = texts[texts != ""], held_out[held_out != ""]
        encoded = learn_vocabulary(texts.tolist(), learned.loc[texts.index, "group"], settings, work)
        with atomic_path(path) as temporary:
            np.savez(temporary, *encoded, *encode(held_out.tolist(), work / VOCABULARY, settings.max_length))
    with np.load(path) as stored:
        learned_ids, learned_starts, measured_ids, measured_starts = (stored[name] for name in stored.files)
    return Encoded(learned_ids, learned_starts), Encoded(measured_ids, measured_starts)


def word2vec_start(comments: Encoded, vocabulary_size: int, settings: Settings) -> NDArray[np.float32]:
    """Return token vectors (V, H) from skip-gram, centred and scaled to the spread that BERT starts from."""
    names = [str(i) for i in range(vocabulary_size)]
    tokens = [names[i] for i in comments.token_ids.tolist()]
    sentences = [tokens[start + 1 : end - 1] for start, end in itertools.pairwise(comments.starts.tolist())]
    vectors = train_word2vec(
        sentences, vector_size=settings.hidden_size, window=4, epochs=2, seed=settings.seed, workers=os.cpu_count() or 1
    )
    matrix = embedding_matrix(vectors, {name: row for row, name in enumerate(names)}, seed=settings.seed)
    matrix -= matrix.mean(axis=0)
    return 0.02 * matrix / matrix.std()


def build_model(comments: Encoded, vocabulary_size: int, settings: Settings) -> keras.Model:
    """Return the compiled network of notebook 03 in the size of the settings."""
    from keras_hub.models import BertBackbone

    set_seeds(settings.seed)
    keras.config.set_dtype_policy(settings.precision)
    backbone = BertBackbone(
        vocabulary_size=vocabulary_size,
        num_layers=settings.layers,
        num_heads=settings.hidden_size // 64,
        hidden_dim=settings.hidden_size,
        intermediate_dim=settings.intermediate_size,
        max_sequence_length=settings.max_length,
        dropout=0.0,
    )
    counts = np.bincount(comments.token_ids, minlength=vocabulary_size)
    counts[: len(SPECIAL_TOKENS)] = 0
    model = build_pretraining_model(backbone, counts)
    schedule = WarmUpLinearDecay(settings.learning_rate, settings.steps, settings.steps // 20)
    loss = functools.partial(
        keras.losses.SparseCategoricalCrossentropy, from_logits=True, reduction="mean_with_sample_weight"
    )
    model.compile(
        keras.optimizers.AdamW(schedule, weight_decay=0.01, beta_2=0.98, epsilon=1e-6, global_clipnorm=1.0),
        {"masked_lm": loss(), "next_sentence": loss()},
        jit_compile=False,  # XLA's products in bfloat16 are slower on a CPU than oneDNN's
    )
    return model


class Seconds(keras.callbacks.Callback):
    """Note in the history how long each epoch took."""

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Start the clock."""
        self.began = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Stop the clock."""
        if logs is not None:
            logs["seconds"] = time.monotonic() - self.began


def pretrain(learned: Encoded, measured: Encoded, settings: Settings, work: Path) -> tuple[keras.Model, dict[str, Any]]:
    """Train until the last step, going on from ``work/training.npz`` if it is there; return network and history."""
    vocabulary = read_vocabulary(work)
    model = build_model(learned, len(vocabulary), settings)
    continuation = np.array([token.startswith("##") for token in vocabulary]) if settings.whole_words else None
    masked = functools.partial(
        MaskedBatches,
        vocabulary_size=len(vocabulary),
        batch_size=settings.batch_size,
        mask_share=settings.mask_share,
        continuation=continuation,
    )
    batches = masked(learned, steps=settings.steps // EPOCHS, seed=settings.seed)
    riddles = masked(measured, steps=30, seed=settings.seed + 1, fixed=True)
    state = work / "training.npz"
    resume = Resume(state, batches, settings=dataclasses.asdict(settings))
    if settings.word2vec and not state.is_file():
        vectors = word2vec_start(learned, len(vocabulary), settings)
        model.get_layer("masked_lm").token_embedding.embeddings.assign(vectors)
    callbacks = [Seconds(), QuietProgress(60), resume]
    fitted = model.fit(batches, epochs=EPOCHS, validation_data=riddles, callbacks=callbacks, shuffle=False, verbose=0)
    return model, fitted.history


def read_vocabulary(folder: Path) -> list[str]:
    """Return the tokens of ``vocab.txt`` in the order of their ids."""
    return (folder / VOCABULARY).read_text(encoding="utf-8").splitlines()


def completed(model: keras.Model, token_ids: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Hide the second half of each comment and let the network write it, token by token from the left.

    It always writes its most probable token; a comment that got a wrong one is left there.

    Parameters
    ----------
    model : keras.Model
        From `utils.pretraining.build_pretraining_model`.
    token_ids : int32 array, shape (B, L)
        Comments with [CLS] and [SEP], padded with 0.

    Returns
    -------
    bool array, shape (B,)
        Which comments the network completes word for word.
    """
    lengths = (token_ids != PAD).sum(axis=1)
    places = np.arange(token_ids.shape[1])
    hidden = (places >= lengths[:, None] // 2) & (places < lengths[:, None] - 1)
    written, right = np.where(hidden, MASK, token_ids).astype(np.int32), np.ones(len(token_ids), bool)
    while len(rows := np.flatnonzero(right & (written == MASK).any(axis=1))):
        place = np.argmax(written[rows] == MASK, axis=1)
        inputs = {
            "token_ids": written[rows],
            "segment_ids": np.zeros_like(written[rows]),
            "padding_mask": (token_ids[rows] != PAD).astype(np.int32),
            "mask_positions": place[:, None].astype(np.int32),
        }
        best = keras.ops.convert_to_numpy(keras.ops.argmax(model(inputs)["masked_lm"], axis=-1))[:, 0]
        right[rows] = best == token_ids[rows, place]
        written[rows, place] = best
    return right


def tells_something(token_ids: NDArray[np.int32]) -> bool:
    """Tell whether a comment has 20 tokens or more and its second half three that the first half has not.

    "ㅋㅋㅋㅋ ..." is completed by whoever has seen its beginning.
    """
    half = len(token_ids) // 2
    return len(token_ids) >= 20 and len({*token_ids[half:-1].tolist()} - {*token_ids[:half].tolist()}) >= 3


def count_completed(model: keras.Model, comments: Encoded, *, rows: int = 1000, seed: int = 0) -> int:
    """Return how many of `rows` comments that `tells_something` the network completes word for word."""
    order = np.random.default_rng(seed).permutation(len(comments.starts) - 1)
    telling = (row for row in order if tells_something(comments.token_ids[slice(*comments.starts[row : row + 2])]))
    chosen, lengths = np.fromiter(itertools.islice(telling, rows), np.intp), np.diff(comments.starts)
    parts = np.array_split(chosen[np.argsort(lengths[chosen])], max(1, rows // 50))
    return sum(int(completed(model, lay_out(comments, part, int(lengths[part].max()))).sum()) for part in parts)


def card(record: dict[str, Any]) -> str:
    """Return the checkpoint's card in Markdown."""
    settings, history = record["settings"], record["history"]
    curve = [
        f"| {(epoch + 1) * settings['steps'] // EPOCHS:,} | {loss:.3f} | {held_out:.3f} |"
        for epoch, (loss, held_out) in enumerate(
            zip(history["masked_lm_loss"], history["val_masked_lm_loss"], strict=True)
        )
    ]
    masking = "whole words" if settings["whole_words"] else "single word pieces"
    return CARD.format(
        **settings,
        **record,
        passes=settings["steps"] * settings["batch_size"] / record["comments"],
        minutes=sum(history["seconds"]) / 60,
        masking=masking,
        curve="\n".join(curve),
    )


def make_mini(run: Run, folder: Path, settings: Settings) -> None:
    """Pretrain on the comments of a run and write the checkpoint to `folder`, with how it was made and its card."""
    work = run.folder / "mini"
    work.mkdir(exist_ok=True)
    learned, measured = prepare(run.comments_path, settings, work)
    model, history = pretrain(learned, measured, settings, work)
    vocabulary = read_vocabulary(work)
    keras.config.set_dtype_policy("float32")
    with atomic_path(folder) as unfinished:
        save_checkpoint(model, vocabulary, unfinished, dtype=np.float16)
        record = {
            "dataset_sha256": dataset_sha256(run.dataset),
            "comments": len(learned.starts) - 1,
            "tokens": len(learned.token_ids),
            "held_out_comments": len(measured.starts) - 1,
            "weights": model.count_params(),
            "completed": count_completed(load_pretraining_model(unfinished), learned),
            "settings": dataclasses.asdict(settings) | {"vocabulary_size": len(vocabulary)},
            "history": history,
        }
        (unfinished / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        (unfinished / "README.md").write_text(card(record), encoding="utf-8")


def main() -> None:
    """Pretrain, or go on pretraining, and write the checkpoint."""
    parser = argparse.ArgumentParser(prog="python -m utils.mini", description=__doc__)
    parser.add_argument("--dataset", default="movie-reviews", help="movie-reviews, or a file with the same columns")
    parser.add_argument("--run-dir", default="runs/movie", help="notebook 01 labels and splits the reviews there first")
    parser.add_argument("--checkpoint", type=Path, default=MINI, help="the folder to write")
    asked = parser.parse_args()
    try:
        run = prepare_run(asked.run_dir, dataset=asked.dataset, columns={}, seed=0)
    except RunFolderError as error:
        parser.exit(1, f"Stopped: {error}\n")
    make_mini(run, asked.checkpoint, Settings())


if __name__ == "__main__":
    main()
