"""How well the Text-CNN ranks comments of films it has not seen: ``python -m benchmarks.text_cnn_quality``.

``... folds RUN_DIR`` trains every model of notebook 02 on each of five folds of whole groups, and holds them against
TF-IDF. ``... ablation RUN_DIR`` changes one setting at a time, trains on the training split and scores on validation.
RUN_DIR is a run folder whose comments notebook 01 has labelled, such as ``runs/movie``. The test split takes no part in
either. Finished fits are kept in ``RUN_DIR/text-cnn-quality/``, so that a run that was stopped goes on where it was.
"""

import argparse
import functools
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from benchmarks.timing import print_table
from utils.classifier import character_ngrams
from utils.evaluation import average_over_seeds, cluster_bootstrap, paired_differences, score_intervals, score_settings
from utils.files import atomic_path, sha256_of
from utils.splits import group_folds
from utils.text import build_vocabulary, encode_tokens, tokenize_cached
from utils.text_cnn import VARIANTS, build_text_cnn
from utils.training import class_weights, set_seeds
from utils.word2vec import embedding_matrix, train_word2vec

FOLDS = 5
# On validation `static` still gained in its fifth epoch, and `non-static` was best after two;
# the other two move the table as well.
EPOCHS = {"rand": 2, "static": 6, "non-static": 2, "multichannel": 2}
SEEDS = (0, 1, 2)  # of the best variant; the others are trained with the first
REFERENCE = "tfidf-logreg"
AS_IT_IS = "as it is"
WORD_SETTINGS = ("max_length", "dimensions", "word2vec_window", "word2vec_comments")


@dataclass(frozen=True)
class Settings:
    """What a fit depends on besides the comments."""

    variant: str = "static"
    windows: tuple[int, ...] = (3, 4, 5)
    maps: int = 100
    dropout: float = 0.5
    max_norm: float = 3.0
    learning_rate: float = 1e-3
    batch_size: int = 128
    epochs: int = EPOCHS["static"]
    max_length: int = 48
    dimensions: int = 100
    word2vec_window: int = 5
    word2vec_comments: int = 150_000

    def of_variant(self, variant: str) -> "Settings":
        """Return the settings of another variant, with its own number of epochs."""
        return replace(self, variant=variant, epochs=EPOCHS[variant])


ABLATION = {
    "windows 1, 2, 3": {"windows": (1, 2, 3)},
    "200 maps": {"maps": 200},
    "dropout 0.7": {"dropout": 0.7},
    "norm limit 1.5": {"max_norm": 1.5},
    "learning rate 3e-4": {"learning_rate": 3e-4},
    "3 epochs": {"epochs": 3},
    "10 epochs": {"epochs": 10},
    "80 morphemes": {"max_length": 80},
    "200 numbers a vector": {"dimensions": 200},
    "Word2Vec on 10,000 comments": {"word2vec_comments": 10_000},
    "Word2Vec on 100,000 comments": {"word2vec_comments": 100_000},
    "Word2Vec on 1,000,000 comments": {"word2vec_comments": 1_000_000},
}


class Part(NamedTuple):
    """Labelled comments to learn from, further comments of the same groups, and comments to be scored."""

    train: pd.DataFrame
    extra: pd.DataFrame
    held_out: pd.DataFrame


class Words(NamedTuple):
    """Vocabulary size V, embedding table (V, d), and ids of the training and the held-out comments (N, L)."""

    embeddings: NDArray[np.float32]
    train: NDArray[np.int32]
    held_out: NDArray[np.int32]


def split_part(comments: pd.DataFrame) -> Part:
    """Return the training split with the validation split held out."""
    train = comments[comments["split"] == "train"]
    held_out = comments[(comments["split"] == "validation") & (comments["label"] >= 0)]
    return Part(train[train["label"] >= 0], train[train["label"] < 0], held_out)


def fold_parts(comments: pd.DataFrame) -> Iterator[Part]:
    """Yield the folds: whole groups are held out, each group once; test and dropped rows never occur."""
    fold = group_folds(comments, folds=FOLDS)
    for number in range(FOLDS):
        train = comments[(fold >= 0) & (fold != number)]
        held_out = comments[(fold == number) & (comments["label"] >= 0)]
        yield Part(train[train["label"] >= 0], train[train["label"] < 0], held_out)


def prepare_words(
    part: Part, *, cache: Path, max_length: int, dimensions: int, word2vec_window: int, word2vec_comments: int
) -> Words:
    """Train word vectors on the training groups' comments, and turn the comments into ids."""
    extra = part.extra[: max(word2vec_comments - len(part.train), 0)]
    texts = pd.concat([part.train, extra, part.held_out])["text"]
    sentences = tokenize_cached(texts, cache)
    corpus, held_out = sentences[: -len(part.held_out)], sentences[-len(part.held_out) :]
    vocabulary = build_vocabulary(corpus, min_count=2, max_size=30_000)
    vectors = train_word2vec(corpus[:word2vec_comments], vector_size=dimensions, window=word2vec_window, epochs=10)
    return Words(
        embedding_matrix(vectors, vocabulary),
        encode_tokens(corpus[: len(part.train)], vocabulary, max_length=max_length),
        encode_tokens(held_out, vocabulary, max_length=max_length),
    )


def text_cnn(words: Words, labels: NDArray[np.int8], settings: Settings, *, seed: int) -> NDArray[np.float32]:
    """Train a Text-CNN and return the held-out comments' probabilities (N,)."""
    set_seeds(seed)
    start = {"embedding_dim": settings.dimensions}
    model = build_text_cnn(
        len(words.embeddings),
        max_length=settings.max_length,
        variant=settings.variant,
        windows=settings.windows,
        maps=settings.maps,
        dropout=settings.dropout,
        max_norm=settings.max_norm,
        **(start if settings.variant == "rand" else {"embeddings": words.embeddings}),
    )
    model.compile(keras.optimizers.Adam(settings.learning_rate), "sparse_categorical_crossentropy")
    fit = {"batch_size": settings.batch_size, "epochs": settings.epochs, "verbose": 0}
    model.fit(words.train, labels, class_weight=class_weights(labels), **fit)
    return model.predict(words.held_out, batch_size=512, verbose=0)[:, 1]


def tfidf_logreg(part: Part) -> NDArray[np.float64]:
    """Return the held-out probabilities of notebook 02's baseline on character n-grams (N,)."""
    analyzer = functools.partial(character_ngrams, shortest=1, longest=3)
    regression = LogisticRegression(class_weight="balanced", max_iter=1000)
    pipeline = make_pipeline(TfidfVectorizer(analyzer=analyzer, min_df=2, sublinear_tf=True), regression)
    return pipeline.fit(part.train["text"], part.train["label"]).predict_proba(part.held_out["text"])[:, 1]


def rating(part: Part) -> NDArray[np.float64]:
    """Return the held-out probabilities of a model that knows nothing but the rating (N,)."""
    regression = LogisticRegression(class_weight="balanced")
    pipeline = make_pipeline(OneHotEncoder(handle_unknown="ignore"), regression)
    return pipeline.fit(part.train[["rating"]], part.train["label"]).predict_proba(part.held_out[["rating"]])[:, 1]


class Fits:
    """Predictions for one part of the comments, each made once and then read from the folder."""

    def __init__(self, part: Part, folder: Path, comments_hash: str) -> None:
        self.part, self.folder, self.comments_hash = part, folder, comments_hash
        self.words = functools.lru_cache(maxsize=1)(functools.partial(prepare_words, part, cache=folder / "tokens"))

    def predictions(self, model: str, settings: Settings | None, *, seed: int = 0) -> pd.DataFrame:
        """Return `id`, `group`, `label`, `probability`, `model` and `seed` of the held-out comments.

        `settings` are those of a Text-CNN, None for the baseline that `model` names.
        """
        held_out = self.part.held_out
        ids = hashlib.sha256("\n".join(held_out["id"].astype(str)).encode()).hexdigest()
        made_from = [self.comments_hash, ids, model if settings is None else asdict(settings), seed]
        path = self.folder / f"{hashlib.sha256(json.dumps(made_from).encode()).hexdigest()[:16]}.parquet"
        if not path.exists():
            probability = self.baseline(model) if settings is None else self.network(settings, seed)
            with atomic_path(path) as unfinished:
                rows = held_out[["id", "group", "label"]].assign(probability=probability.astype(float))
                rows.to_parquet(unfinished, index=False)
        print(f"{model}, seed {seed}: done", flush=True)
        return pd.read_parquet(path).assign(model=model, seed=seed)

    def baseline(self, model: str) -> NDArray[np.float64]:
        """Return the probabilities of a baseline."""
        baselines: dict[str, Callable[[Part], NDArray[np.float64]]] = {REFERENCE: tfidf_logreg, "rating": rating}
        return baselines[model](self.part)

    def network(self, settings: Settings, seed: int) -> NDArray[np.float32]:
        """Return the probabilities of a Text-CNN; fits that start from the same words share them."""
        words = self.words(**{name: getattr(settings, name) for name in WORD_SETTINGS})
        return text_cnn(words, self.part.train["label"].to_numpy(), settings, seed=seed)


def run_folds(comments: pd.DataFrame, folder: Path, comments_hash: str, settings: Settings) -> list[pd.DataFrame]:
    """Return the predictions of every model for each fold; the best variant is trained with all seeds."""
    variants = {f"text-cnn-{variant}": settings.of_variant(variant) for variant in VARIANTS}
    folds = [Fits(part, folder, comments_hash) for part in fold_parts(comments)]
    baselines = [REFERENCE, *(["rating"] if "rating" in comments else [])]
    tables = []
    for fits in folds:
        rows = [fits.predictions(model, None) for model in baselines]
        rows += [fits.predictions(model, chosen) for model, chosen in variants.items()]
        tables.append(pd.concat(rows))
    mean = pd.concat([average_over_seeds(rows)["auroc"] for rows in tables], axis=1).mean(axis=1)
    best = mean.filter(like="text-cnn").idxmax()
    for number, fits in enumerate(folds):
        more = [fits.predictions(best, variants[best], seed=seed) for seed in SEEDS[1:]]
        tables[number] = pd.concat([tables[number], *more], ignore_index=True)
    return tables


def run_ablation(comments: pd.DataFrame, folder: Path, comments_hash: str, settings: Settings) -> pd.DataFrame:
    """Return the validation predictions of the settings and of every change to them."""
    fits = Fits(split_part(comments), folder, comments_hash)
    asked = {AS_IT_IS: settings}
    asked |= {variant: settings.of_variant(variant) for variant in VARIANTS if variant != settings.variant}
    asked |= {name: replace(settings, **change) for name, change in ABLATION.items()}
    tables = [fits.predictions(name, changed) for name, changed in asked.items()]
    return pd.concat([*tables, fits.predictions(REFERENCE, None)], ignore_index=True)


def summarise(tables: list[pd.DataFrame], *, reference: str, samples: int) -> list[dict[str, object]]:
    """Return one row a model: AUROC, mean over the tables, and its difference to `reference`, with 95 % intervals.

    Groups are drawn within each fold, and each draw's AUROC is the mean over the folds.
    """
    scores = sum(average_over_seeds(rows) for rows in tables) / len(tables)
    draws = [cluster_bootstrap(rows, samples=samples, seed=number) for number, rows in enumerate(tables)]
    draws = sum(draws) / len(tables)
    intervals = score_intervals(scores, draws).query("metric == 'auroc'").set_index("model")
    differences = paired_differences(scores, draws, reference=reference).set_index("model")
    rows = []
    for model in scores["auroc"].sort_values(ascending=False).index:
        interval = intervals.loc[model]
        row = {"model": model, "seeds": tables[0].query("model == @model")["seed"].nunique()}
        row |= {"AUROC": f"{interval['score']:.3f} ({interval['low']:.3f} to {interval['high']:.3f})"}
        if model != reference:
            gap = differences.loc[model]
            row[f"minus {reference}"] = f"{gap['difference']:+.3f} ({gap['low']:+.3f} to {gap['high']:+.3f})"
        else:
            row[f"minus {reference}"] = ""
        rows.append(row)
    return rows


def describe_folds(tables: list[pd.DataFrame]) -> list[dict[str, object]]:
    """Return one row a fold: what was held out, and each model's AUROC with the first seed."""
    rows = []
    for number, table in enumerate(tables, 1):
        first = table[table["seed"] == SEEDS[0]]
        held_out = first[first["model"] == REFERENCE]
        row = {"fold": number, "groups": held_out["group"].nunique(), "labelled comments": len(held_out)}
        auroc = score_settings(first).set_index("model")["auroc"]
        rows.append(
            row | {"controversial": held_out["label"].mean()} | {name: f"{auroc[name]:.3f}" for name in auroc.index}
        )
    return rows


def main() -> None:
    """Run the folds or the ablation and print their tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.text_cnn_quality", description=__doc__)
    parser.add_argument("what", choices=("folds", "ablation"))
    parser.add_argument("run_dir", type=Path, help="a run folder whose comments notebook 01 has labelled")
    parser.add_argument("--samples", type=int, default=2000, help="bootstrap draws of whole groups")
    asked = parser.parse_args()
    path = asked.run_dir / "comments.parquet"
    if not path.is_file():
        parser.exit(1, f"{path} is missing: run notebook 01 with RUN_DIR = {str(asked.run_dir)!r} first.\n")
    comments = pd.read_parquet(path).sample(frac=1, random_state=0)  # parts take their first unlabelled comments
    folder = asked.run_dir / "text-cnn-quality"
    if asked.what == "folds":
        tables = run_folds(comments, folder, sha256_of(path), Settings())
        rows = summarise(tables, reference=REFERENCE, samples=asked.samples)
        title = f"AUROC on whole held-out groups, mean of {FOLDS} folds"
    else:
        tables = [run_ablation(comments, folder, sha256_of(path), Settings())]
        rows = summarise(tables, reference=AS_IT_IS, samples=asked.samples)
        title = "AUROC on validation, one setting changed at a time"
    command = f"python -m benchmarks.text_cnn_quality {asked.what} {asked.run_dir}"
    print_table(title, command, rows)
    if asked.what == "folds":
        print_table("AUROC by fold, first seed", command, describe_folds(tables))


if __name__ == "__main__":
    main()
