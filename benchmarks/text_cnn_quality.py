"""How well the Text-CNN ranks comments of films it has not seen: ``python -m benchmarks.text_cnn_quality``.

``... folds RUN_DIR`` trains every model of notebook 02 on each of five folds of whole groups, and holds them against
TF-IDF. ``... ablation RUN_DIR`` changes one setting at a time, trains on the training split and scores on validation.
``... curve RUN_DIR`` does so for Word2Vec on 10,000, 100,000 and 1,000,000 comments, nothing else changed, three seeds.
``... tokens RUN_DIR`` only cuts all comments of training and validation films into morphemes, so that the others find
them cut. ``--set dropout=0.7 windows=[3,4,5]`` starts from other settings than `Settings` has.

RUN_DIR is a run folder whose comments notebook 01 has labelled, such as ``runs/movie``. The test split takes no part in
any. Tokens, word vectors and finished fits are kept in ``RUN_DIR/text-cnn-quality/`` under the hash of all that they
depend on, so that a run that was stopped goes on where it was.
"""

import argparse
import functools
import hashlib
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

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
from utils.text import UNKNOWN, build_vocabulary, encode_tokens, tokenize_cached, tokenizer_settings
from utils.text_cnn import VARIANTS, build_text_cnn
from utils.training import Adam, WarmUpLinearDecay, class_weights, set_seeds
from utils.word2vec import embedding_matrix, train_word2vec

FOLDS = 5
# Chosen on validation for `static` and `non-static`; `multichannel` takes the second's, `rand` cannot begin frozen.
THAWING = {"epochs": 2, "frozen_epochs": 4, "thawed_rate": 0.3}
EPOCHS = {
    "rand": {"epochs": 2, "frozen_epochs": 0},
    "static": {"epochs": 6, "frozen_epochs": 0},
    "non-static": THAWING,
    "multichannel": THAWING,
}
SEEDS = (0, 1, 2)  # of the best variant and of the curve; all else is trained with the first
REFERENCE = "tfidf-logreg"
AS_IT_IS = "as it is"


@dataclass(frozen=True)
class WordSettings:
    """What the ids and the embedding table depend on besides the comments."""

    max_length: int = 80
    vocabulary_comments: int = 150_000
    word2vec_comments: int = 150_000
    dimensions: int = 100
    word2vec_window: int = 5
    word2vec_min_count: int = 3
    word2vec_epochs: int = 10
    word2vec_sample: float = 1e-3
    word2vec_negative: int = 5


@dataclass(frozen=True)
class Settings(WordSettings):
    """What a fit depends on besides the comments and the seed: the hash of a kept fit is made of nothing else."""

    variant: str = "static"
    windows: tuple[int, ...] = (1, 2, 3)
    maps: int = 200
    dropout: float = 0.5
    max_norm: float = 1.5
    learning_rate: float = 1e-3
    decay: bool = True  # the learning rate falls to zero in a straight line
    batch_size: int = 128
    epochs: int = 6
    frozen_epochs: int = 0  # before the others, with the vectors held still
    thawed_rate: float = 1.0  # after them, as a share of the learning rate
    embedding_scale: float = 1.0  # the pretrained vectors are multiplied by it
    word_dropout: float = 0.0  # share of the words that training takes for unknown
    averaging: float = 0.0  # momentum of the weights' moving average, which predicts; 0: the last weights do
    balance: bool = True  # class weights

    def of_variant(self, variant: str) -> "Settings":
        """Return the settings of another variant, with its own epochs."""
        return replace(self, variant=variant, **EPOCHS[variant])

    def of_words(self) -> WordSettings:
        """Return the part that the ids and the embedding table depend on."""
        return WordSettings(**{field.name: getattr(self, field.name) for field in fields(WordSettings)})


ABLATION = {
    "windows 3, 4, 5 and 100 maps": {"windows": (3, 4, 5), "maps": 100},
    "windows 3, 4, 5": {"windows": (3, 4, 5)},
    "100 maps": {"maps": 100},
    "400 maps": {"maps": 400},
    "dropout 0.7": {"dropout": 0.7},
    "norm limit 3": {"max_norm": 3.0},
    "learning rate 3e-4": {"learning_rate": 3e-4},
    "learning rate that stays": {"decay": False},
    "learning rate that stays, weights averaged, .995": {"decay": False, "averaging": 0.995},
    "4 epochs": {"epochs": 4},
    "10 epochs": {"epochs": 10},
    "batches of 64": {"batch_size": 64},
    "no class weights": {"balance": False},
    "a tenth of the words unknown": {"word_dropout": 0.1},
    "vectors of half the size": {"embedding_scale": 0.5},
    "vectors of twice the size": {"embedding_scale": 2.0},
    "non-static, moving all 3 epochs": {"variant": "non-static", "epochs": 3},
    "48 morphemes": {"max_length": 48},
    "200 numbers a vector": {"dimensions": 200},
    "Word2Vec, window 10": {"word2vec_window": 10},
    "Word2Vec, words that occur once": {"word2vec_min_count": 1},
    "Word2Vec, 20 epochs": {"word2vec_epochs": 20},
    "Word2Vec, sample 1e-4": {"word2vec_sample": 1e-4},
    "Word2Vec, negative 10": {"word2vec_negative": 10},
    "Word2Vec on 1,000,000 comments, 200 numbers, sample 1e-4, negative 10": {
        "word2vec_comments": 1_000_000,
        "dimensions": 200,
        "word2vec_sample": 1e-4,
        "word2vec_negative": 10,
    },
}
CURVE = {f"Word2Vec on {count:,} comments": {"word2vec_comments": count} for count in (10_000, 100_000, 1_000_000)}


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


def prepare_words(part: Part, settings: WordSettings, *, cache: Path) -> Words:
    """Train word vectors on the training groups' comments, and turn the comments into ids.

    The vocabulary's comments do not depend on how many Word2Vec reads. It reads labelled and further comments drawn at
    random; what it reads of fewer is among what it reads of more.
    """
    further = part.extra.sample(frac=1, random_state=0)[: max(settings.vocabulary_comments - len(part.train), 0)]
    read = pd.concat([part.train, part.extra]).sample(frac=1, random_state=1)[: settings.word2vec_comments]
    train, further, held_out, read = (
        tokenize_cached(rows["text"], cache) for rows in (part.train, further, part.held_out, read)
    )
    vocabulary = build_vocabulary([*train, *further], min_count=2, max_size=30_000)
    vectors = train_word2vec(
        read,
        vector_size=settings.dimensions,
        window=settings.word2vec_window,
        min_count=settings.word2vec_min_count,
        epochs=settings.word2vec_epochs,
        sample=settings.word2vec_sample,
        negative=settings.word2vec_negative,
    )
    return Words(
        embedding_matrix(vectors, vocabulary),
        encode_tokens(train, vocabulary, max_length=settings.max_length),
        encode_tokens(held_out, vocabulary, max_length=settings.max_length),
    )


def text_cnn(words: Words, labels: NDArray[np.int8], settings: Settings, *, seed: int) -> NDArray[np.float32]:
    """Train a Text-CNN and return the held-out comments' probabilities (N,)."""
    set_seeds(seed)
    start = {"embedding_dim": settings.dimensions}
    if settings.variant != "rand":
        start = {"embeddings": words.embeddings * np.float32(settings.embedding_scale)}
    model = build_text_cnn(
        len(words.embeddings),
        max_length=settings.max_length,
        variant=settings.variant,
        windows=settings.windows,
        maps=settings.maps,
        dropout=settings.dropout,
        max_norm=settings.max_norm,
        **start,
    )
    trained = with_word_dropout(model, settings.word_dropout) if settings.word_dropout else model
    if settings.frozen_epochs:
        model.get_layer("vectors").trainable = False
        fit(trained, words, labels, settings, epochs=settings.frozen_epochs, rate=settings.learning_rate)
        model.get_layer("vectors").trainable = True
    rate = settings.learning_rate * (settings.thawed_rate if settings.frozen_epochs else 1)
    fit(trained, words, labels, settings, epochs=settings.epochs, rate=rate)
    return model.predict(words.held_out, batch_size=512, verbose=0)[:, 1]


def with_word_dropout(model: keras.Model, share: float) -> keras.Model:
    """Return a network that trains `model` with a share of the words, drawn anew at each step, taken for unknown."""
    tokens = keras.Input(model.input_shape[1:], dtype="int32")
    kept = keras.layers.Dropout(share)(keras.ops.ones_like(tokens, dtype="float32"))
    return keras.Model(tokens, model(keras.ops.where(kept > 0, tokens, keras.ops.minimum(tokens, UNKNOWN))))


def fit(
    model: keras.Model, words: Words, labels: NDArray[np.int8], settings: Settings, *, epochs: int, rate: float
) -> None:
    """Train a network for some epochs with Adam, its moments beginning at zero."""
    average = {"use_ema": True, "ema_momentum": settings.averaging} if settings.averaging else {}
    steps = epochs * math.ceil(len(labels) / settings.batch_size)
    falling = WarmUpLinearDecay(rate, steps) if settings.decay else rate
    model.compile(Adam(falling, **average), "sparse_categorical_crossentropy", steps_per_execution=16)
    weights = class_weights(labels) if settings.balance else None
    model.fit(words.train, labels, batch_size=settings.batch_size, epochs=epochs, class_weight=weights, verbose=0)


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
    """Word vectors and predictions for one part of the comments, each made once and then read from the folder."""

    def __init__(self, part: Part, folder: Path, comments_hash: str) -> None:
        self.part, self.folder = part, folder
        ids = [hashlib.sha256("\n".join(rows["id"].astype(str)).encode()).hexdigest() for rows in part]
        self.made_from = [comments_hash, *ids, tokenizer_settings()]
        self.words = functools.lru_cache(maxsize=1)(self.read_words)

    def path(self, *made_from: Any, suffix: str) -> Path:
        """Return where in the folder that which is made from these and the comments is kept."""
        name = hashlib.sha256(json.dumps([*self.made_from, *made_from]).encode()).hexdigest()[:16]
        return self.folder / f"{name}{suffix}"

    def read_words(self, settings: WordSettings) -> Words:
        """Return what `prepare_words` makes."""
        path = self.path("words", asdict(settings), suffix=".npz")
        if not path.exists():
            words = prepare_words(self.part, settings, cache=self.folder / "tokens")
            with atomic_path(path) as unfinished:
                np.savez_compressed(unfinished, **words._asdict())
        with np.load(path) as kept:
            return Words(**kept)

    def predictions(self, model: str, settings: Settings | None, *, seed: int = 0) -> pd.DataFrame:
        """Return `id`, `group`, `label`, `probability`, `model` and `seed` of the held-out comments.

        `settings` are those of a Text-CNN, None for the baseline that `model` names.
        """
        held_out = self.part.held_out
        path = self.path(model if settings is None else asdict(settings), seed, suffix=".parquet")
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
        return text_cnn(self.words(settings.of_words()), self.part.train["label"].to_numpy(), settings, seed=seed)


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
    """Return the validation predictions of the settings, of the other variants and of every change."""
    fits = Fits(split_part(comments), folder, comments_hash)
    asked = {AS_IT_IS: settings}
    asked |= {variant: settings.of_variant(variant) for variant in VARIANTS if variant != settings.variant}
    asked |= {name: replace(settings, **change) for name, change in ABLATION.items()}
    tables = [fits.predictions(name, changed) for name, changed in asked.items()]
    return pd.concat([*tables, fits.predictions(REFERENCE, None)], ignore_index=True)


def run_curve(comments: pd.DataFrame, folder: Path, comments_hash: str, settings: Settings) -> pd.DataFrame:
    """Return the validation predictions with Word2Vec on more and more comments, and all seeds."""
    fits = Fits(split_part(comments), folder, comments_hash)
    asked = {AS_IT_IS: settings} | {name: replace(settings, **change) for name, change in CURVE.items()}
    tables = [fits.predictions(name, changed, seed=seed) for name, changed in asked.items() for seed in SEEDS]
    return pd.concat(tables, ignore_index=True)


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


def changed_settings(changes: list[str]) -> Settings:
    """Return the settings with changes such as `dropout=0.7` or `windows=[1,2,3]`, values in JSON; of a word as it is.

    Raises
    ------
    ValueError
        A setting is unknown, or its value is of another kind; the message names it.
    """
    settings = Settings()
    for change in changes:
        name, _, value = change.partition("=")
        before = asdict(settings).get(name)
        if before is None:
            raise ValueError(f"{name} is no setting: choose from {', '.join(asdict(settings))}")
        read = value if isinstance(before, str) else json.loads(value)
        read = type(before)(read) if isinstance(before, tuple | float) else read
        if type(read) is not type(before):
            raise ValueError(f"{name} must be like {before!r}, not {value}")
        settings = replace(settings, **{name: read})
    return settings


def main() -> None:
    """Cut the comments, or run the folds, the ablation or the curve and print their tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.text_cnn_quality", description=__doc__)
    parser.add_argument("what", choices=("tokens", "ablation", "curve", "folds"))
    parser.add_argument("run_dir", type=Path, help="a run folder whose comments notebook 01 has labelled")
    parser.add_argument("--samples", type=int, default=2000, help="bootstrap draws of whole groups")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="settings to start from")
    asked = parser.parse_args()
    path = asked.run_dir / "comments.parquet"
    if not path.is_file():
        parser.exit(1, f"{path} is missing: run notebook 01 with RUN_DIR = {str(asked.run_dir)!r} first.\n")
    try:
        settings = changed_settings(asked.set)
    except ValueError as error:
        parser.error(str(error))
    comments = pd.read_parquet(path)
    folder = asked.run_dir / "text-cnn-quality"
    command = " ".join(["python -m benchmarks.text_cnn_quality", asked.what, str(asked.run_dir)])
    command += " --set " + " ".join(asked.set) if asked.set else ""
    if asked.what == "tokens":
        used = comments[comments["split"].isin(["train", "validation"])]
        tokenize_cached(used["text"], folder / "tokens", progress=True)
    elif asked.what == "folds":
        tables = run_folds(comments, folder, sha256_of(path), settings)
        rows = summarise(tables, reference=REFERENCE, samples=asked.samples)
        print_table(f"AUROC on whole held-out groups, mean of {FOLDS} folds", command, rows)
        print_table("AUROC by fold, first seed", command, describe_folds(tables))
    else:
        run = {"ablation": run_ablation, "curve": run_curve}[asked.what]
        rows = summarise([run(comments, folder, sha256_of(path), settings)], reference=AS_IT_IS, samples=asked.samples)
        print_table("AUROC on validation, one setting changed at a time", command, rows)


if __name__ == "__main__":
    main()
