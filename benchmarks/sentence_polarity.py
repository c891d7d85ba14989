"""Kim's (2014) protocol on film-review sentences: ``python -m benchmarks.sentence_polarity FOLDER [--folds 3]``.

FOLDER holds `rt-polarity.pos` and `rt-polarity.neg` (latin-1, one sentence a line), the sentence polarity dataset v1.0
of Pang and Lee (2005). Ten folds; of what is not test a tenth is held out for development; 25 epochs of Adadelta
(rho .95) in batches of 50, of which the one best on the development sentences counts; windows of 3, 4 and 5 words with
100 maps each, dropout .5, L2 norm limit 3. `--folds 3` runs the first three of the ten folds. Every variant but `rand`
needs `--vectors FILE`: word vectors in word2vec's format, binary where the name ends in `.bin` or `.bin.gz`, else text.

Two things differ from Kim's program (github.com/yoonkim/CNN_sentence). His vocabulary holds the words of all sentences;
here a word that no training sentence has is unknown, even if the file has a vector for it. And his layers
start at other random numbers; here they start as Keras starts them.

**Not run on the real sentences yet**: they are not part of this project, and the tests use generated ones. So
there is no table of ours to set beside the paper's 76.1 (rand), 81.0, 81.5 and 81.1.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import pandas as pd
from gensim.models import KeyedVectors
from numpy.typing import NDArray
from sklearn.model_selection import KFold, train_test_split

from benchmarks.timing import print_table
from utils.text import PAD, build_vocabulary, encode_tokens
from utils.text_cnn import VARIANTS, build_text_cnn
from utils.training import set_seeds
from utils.word2vec import embedding_matrix

FILES = ("rt-polarity.neg", "rt-polarity.pos")  # labels 0 and 1
PAPER = {"rand": 76.1, "static": 81.0, "non-static": 81.5, "multichannel": 81.1}
FOLDS = 10
EPOCHS = 25
BATCH_SIZE = 50
DIMENSIONS = 300
WINDOWS = (3, 4, 5)
MAPS = 100
DROPOUT = 0.5
# Kim limits the weights to 3 and multiplies them by the share kept when he predicts; Keras divides the features by
# that share in training instead. The same network has weights of half the size there.
NORM_LIMIT = 3 * (1 - DROPOUT)

_NOT_KEPT = re.compile(r"[^A-Za-z0-9(),!?'`]")
_CONTRACTION = re.compile(r"n't|'(?:s|ve|re|d|ll)")
_MARK = re.compile(r"[,!()?]")


class SentenceDataError(ValueError):
    """The sentences or the word vectors cannot be used; the message names the file."""


class Fold(NamedTuple):
    """Row numbers of one fold's parts, int64 arrays that share no row and hold every row together."""

    train: NDArray[np.int64]
    dev: NDArray[np.int64]
    test: NDArray[np.int64]


def words_of(sentence: str) -> list[str]:
    """Cut a sentence into lower-case words as Kim's `clean_str` does.

    Contractions ('s, 've, n't, 're, 'd, 'll) begin a word, the marks , ! ? ( ) are words, other signs than ' and `
    separate words.
    """
    sentence = _CONTRACTION.sub(r" \g<0>", _NOT_KEPT.sub(" ", sentence))
    return _MARK.sub(r" \g<0> ", sentence).lower().split()


def read_sentences(folder: Path) -> tuple[list[list[str]], NDArray[np.int32]]:
    """Return the words of N sentences and their labels, int32 of shape (N,): 1 is positive.

    Raises
    ------
    SentenceDataError
        The folder or a file is missing, or a file holds too few sentences for ten folds.
    """
    if not folder.is_dir():
        raise SentenceDataError(f"{folder} is not a folder: give the one that holds {' and '.join(FILES)}.")
    sentences, labels = [], []
    for label, name in enumerate(FILES):
        path = folder / name
        if not path.is_file():
            raise SentenceDataError(f"{path} is missing: the folder must hold {' and '.join(FILES)}.")
        lines = path.read_text(encoding="latin-1").split("\n")  # splitlines would also cut at latin-1's \x85
        found = [words_of(line) for line in lines if line.strip()]
        if len(found) < FOLDS:
            raise SentenceDataError(f"{path} holds {len(found)} sentences: {FOLDS} folds need at least {FOLDS}.")
        sentences += found
        labels += [label] * len(found)
    return sentences, np.array(labels, dtype=np.int32)


def read_vectors(path: Path) -> KeyedVectors:
    """Read word vectors in word2vec's format, binary or text.

    Raises
    ------
    SentenceDataError
        The file is missing or of another format.
    """
    try:
        return KeyedVectors.load_word2vec_format(path, binary=path.name.endswith((".bin", ".bin.gz")))
    except (OSError, ValueError, EOFError) as error:
        raise SentenceDataError(f"{path} cannot be read as word vectors in word2vec's format: {error}.") from error


def make_folds(rows: int, *, seed: int) -> list[Fold]:
    """Deal the row numbers into ten test folds at random; of the other rows a tenth is for development."""
    folds = []
    for rest, test in KFold(FOLDS, shuffle=True, random_state=seed).split(np.arange(rows)):
        train, dev = train_test_split(rest, test_size=0.1, random_state=seed)
        folds.append(Fold(train, dev, test))
    return folds


def fold_data(sentences: Sequence[Sequence[str]], fold: Fold) -> tuple[dict[str, int], dict[str, NDArray[np.int32]]]:
    """Return the vocabulary of the training sentences and each part's ids, int32 of shape (rows, max_length).

    Both ends have as many rows of padding as the widest window needs to see the first and the last word alone.
    """
    margin = max(WINDOWS) - 1
    longest = max(len(sentences[row]) for row in fold.train)
    vocabulary = build_vocabulary((sentences[row] for row in fold.train), min_count=1)
    ids = {}
    for part, rows in fold._asdict().items():
        encoded = encode_tokens([sentences[row] for row in rows], vocabulary, max_length=longest)
        ids[part] = np.pad(encoded, ((0, 0), (margin, margin)), constant_values=PAD)
    return vocabulary, ids


def predict_fold(
    sentences: Sequence[Sequence[str]],
    labels: NDArray[np.int32],
    fold: Fold,
    *,
    variant: str,
    vectors: KeyedVectors | None = None,
    seed: int = 0,
) -> NDArray[np.float32]:
    """Train on a fold's training sentences and return the probabilities of its test sentences, (rows, 2)."""
    vocabulary, ids = fold_data(sentences, fold)
    table = None if variant == "rand" else embedding_matrix(vectors, vocabulary, seed=seed)
    set_seeds(seed)
    model = build_text_cnn(
        len(vocabulary),
        max_length=ids["train"].shape[1],
        embeddings=table,
        embedding_dim=DIMENSIONS,
        variant=variant,
        windows=WINDOWS,
        maps=MAPS,
        dropout=DROPOUT,
        max_norm=NORM_LIMIT,
    )
    adadelta = keras.optimizers.Adadelta(learning_rate=1.0, rho=0.95, epsilon=1e-6)
    model.compile(adadelta, "sparse_categorical_crossentropy", metrics=["accuracy"])
    best = keras.callbacks.EarlyStopping("val_accuracy", mode="max", patience=EPOCHS, restore_best_weights=True)
    model.fit(
        ids["train"],
        labels[fold.train],
        batch_size=BATCH_SIZE,
        epochs=EPOCHS,
        validation_data=(ids["dev"], labels[fold.dev]),
        callbacks=[best],
        verbose=0,
    )
    return model.predict(ids["test"], verbose=0)


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the command line's folder, folds, variants, vectors and seed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sentence_polarity", description="Kim's (2014) protocol")
    parser.add_argument("folder", type=Path, help=f"holds {' and '.join(FILES)}")
    parser.add_argument("--folds", type=int, choices=range(1, FOLDS + 1), default=FOLDS, help="run the first of ten")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=["rand"])
    parser.add_argument("--vectors", type=Path, help="word vectors, for every variant but rand")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


def run(asked: argparse.Namespace) -> list[dict[str, object]]:
    """Run the folds of each variant and return one row of the table a variant."""
    if asked.vectors is None and set(asked.variants) != {"rand"}:
        raise SentenceDataError("Every variant but rand needs pretrained word vectors: add --vectors FILE.")
    sentences, labels = read_sentences(asked.folder)
    vectors = read_vectors(asked.vectors) if asked.vectors else None
    folds = make_folds(len(sentences), seed=asked.seed)[: asked.folds]
    rows = []
    for variant in asked.variants:
        accuracies = []
        for number, fold in enumerate(folds, 1):
            predicted = predict_fold(sentences, labels, fold, variant=variant, vectors=vectors, seed=asked.seed)
            accuracies.append(100 * float(np.mean(predicted.argmax(axis=1) == labels[fold.test])))
            print(f"{variant}, fold {number} of {len(folds)}: accuracy {accuracies[-1]:.1f} %", flush=True)
        summary = pd.Series(accuracies)
        rows.append(
            {
                "variant": variant,
                "folds": len(folds),
                "mean accuracy, %": summary.mean(),
                "standard deviation": summary.std(),
                "lowest": summary.min(),
                "highest": summary.max(),
                "Kim (2014)": PAPER[variant],
            }
        )
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the accuracy over the folds beside the paper's, or one sentence about what is missing."""
    asked = parse_arguments(arguments)
    try:
        rows = run(asked)
    except SentenceDataError as error:
        sys.exit(str(error))
    shown = " ".join(arguments if arguments is not None else sys.argv[1:])
    print_table("Sentence polarity, accuracy over folds", f"python -m benchmarks.sentence_polarity {shown}", rows)


if __name__ == "__main__":
    main()
