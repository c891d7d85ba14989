"""The convolutional network of Kim (2014) for sentences, in Keras.

Explained in notebook 02.
"""

from collections.abc import Sequence

import keras
import numpy as np
import pandas as pd
from keras import layers
from numpy.typing import NDArray

VARIANTS = ("rand", "static", "non-static", "multichannel")


def build_text_cnn(
    vocabulary_size: int,
    *,
    max_length: int,
    embeddings: NDArray[np.float32] | None = None,
    embedding_dim: int = 100,
    variant: str = "non-static",
    num_classes: int = 2,
    windows: Sequence[int] = (3, 4, 5),
    maps: int = 100,
    dropout: float = 0.5,
    max_norm: float = 3.0,
) -> keras.Model:
    """Build a Text-CNN.

    Filters of several widths slide over the word vectors; of each filter's answers only the largest is kept
    (max over time); dropout and one dense layer follow.

    Parameters
    ----------
    vocabulary_size : int
        Rows V of the embedding table; id 0 is padding and counts as a zero vector.
    max_length : int
        Tokens of one comment.
    embeddings : ndarray of float32, shape (V, d), optional
        Pretrained vectors; every variant but `"rand"` needs them.
    embedding_dim : int, optional
        d where no `embeddings` are given.
    variant : {"rand", "static", "non-static", "multichannel"}, optional
        Vectors drawn at random and trained; pretrained and left as they are; pretrained and trained; or two
        copies, one of them trained, with filters that both copies share.
    num_classes : int, optional
        K.
    windows : sequence of int, optional
        Widths of the filters in tokens.
    maps : int, optional
        Filters of each width.
    dropout : float, optional
        Share of the feature vector set to zero in training.
    max_norm : float, optional
        Largest L2 norm of the weights of an output unit, here as Keras holds them (see the notes).

    Returns
    -------
    keras.Model
        int32 ids (N, max_length) to float32 probabilities (N, K).

    Raises
    ------
    ValueError
        An argument is out of range; it is named.

    Notes
    -----
    Kim's limit of 3 and a `max_norm` of 3 are not the same. His training feeds the output weights w the features that
    dropout has kept, as they are, and limits ||w|| to s = 3; to predict he multiplies w by the share kept, q = 1 -
    `dropout`. Keras divides the kept features by q in training and leaves them and the weights alone to predict.
    Both networks answer alike, in training and after it, where Keras's weights are q w. So his limit is a `max_norm`
    of q s, 1.5 with half of the features kept, and a `max_norm` of 3 is a limit of 3 / q = 6 in his terms: looser.
    `benchmarks.sentence_polarity`, which follows his protocol, passes 1.5.

    References
    ----------
    Y. Kim, "Convolutional Neural Networks for Sentence Classification", EMNLP 2014, section 2.1 for both.
    """
    check_text_cnn(vocabulary_size, max_length, embeddings, variant, num_classes, windows, maps, dropout, max_norm)
    dim = embedding_dim if embeddings is None else embeddings.shape[1]

    def channel(name: str, trainable: bool) -> layers.Layer:
        start = None if embeddings is None else [embeddings]
        small = keras.initializers.RandomUniform(-0.25, 0.25)
        return layers.Embedding(vocabulary_size, dim, small, weights=start, trainable=trainable, name=name)

    tokens = keras.Input((max_length,), dtype="int32", name="tokens")
    vectors = channel("vectors", trainable=variant != "static")(tokens)
    if variant == "multichannel":
        # filter * channel 1 + filter * channel 2 = filter * (channel 1 + channel 2): half the work, the same sum.
        vectors = layers.add([vectors, channel("fixed_vectors", trainable=False)(tokens)])
    is_token = keras.ops.expand_dims(keras.ops.not_equal(tokens, 0), axis=-1)
    vectors = vectors * keras.ops.cast(is_token, vectors.dtype)  # padding is a zero vector and stays one
    features = []
    for window in windows:
        convolution = layers.Conv1D(maps, window, padding="same", activation="relu", name=f"window_{window}")
        features.append(layers.GlobalMaxPooling1D(name=f"max_{window}")(convolution(vectors)))
    hidden = layers.Dropout(dropout, name="dropout")(layers.concatenate(features, name="features"))
    limit = keras.constraints.MaxNorm(max_norm, axis=0)
    output = layers.Dense(num_classes, activation="softmax", kernel_constraint=limit, name="classes")(hidden)
    return keras.Model(tokens, output, name="text_cnn_" + variant.replace("-", "_"))


def check_text_cnn(
    vocabulary_size: int,
    max_length: int,
    embeddings: NDArray[np.float32] | None,
    variant: str,
    num_classes: int,
    windows: Sequence[int],
    maps: int,
    dropout: float,
    max_norm: float,
) -> None:
    """Check the arguments of `build_text_cnn`; a ValueError names the one that does not fit."""
    smallest = {
        "vocabulary_size": (vocabulary_size, 2),
        "max_length": (max_length, 1),
        "num_classes": (num_classes, 2),
        "maps": (maps, 1),
    }
    for name, (value, least) in smallest.items():
        if value < least:
            raise ValueError(f"{name} must be at least {least}, not {value}")
    if not windows or min(windows) < 1:
        raise ValueError(f"windows must be one or more widths of at least 1, not {windows!r}")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be in [0, 1), not {dropout}")
    if not max_norm > 0:
        raise ValueError(f"max_norm must be positive, not {max_norm}")
    if variant not in VARIANTS:
        raise ValueError(f"variant must be one of {', '.join(VARIANTS)}, not {variant!r}")
    if (embeddings is None) != (variant == "rand"):
        wanted = "None (its vectors start at random)" if variant == "rand" else "the pretrained vectors"
        raise ValueError(f"embeddings must be {wanted} for variant {variant!r}")
    if embeddings is not None and (embeddings.ndim != 2 or len(embeddings) != vocabulary_size):
        raise ValueError(f"embeddings must have shape ({vocabulary_size}, d), not {embeddings.shape}")
    if embeddings is not None and not np.isfinite(embeddings).all():
        raise ValueError("embeddings must be finite numbers")


def max_over_time(
    model: keras.Model, ids: NDArray[np.int32], *, batch_size: int = 256
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Return each filter's largest answer, and the window that gave it.

    Parameters
    ----------
    model : keras.Model
        From `build_text_cnn`, with F filters of all widths together.
    ids : ndarray of int32, shape (N, max_length)
    batch_size : int, optional
        Comments that are looked at together; bounds the memory.

    Returns
    -------
    features : ndarray of float32, shape (N, F)
        What the output layer sees.
    starts : ndarray of int64, shape (N, F)
        Place of the window's first token; negative where the window begins before the comment.
    widths : ndarray of int64, shape (F,)
        Tokens in each filter's window.
    """
    convolutions = [layer for layer in model.layers if layer.name.startswith("window_")]
    answers = keras.Model(model.input, {layer.name: layer.output for layer in convolutions})
    widths = [layer.kernel_size[0] for layer in convolutions]
    features, starts = [], []
    for first in range(0, len(ids), batch_size):
        by_name = answers.predict_on_batch(ids[first : first + batch_size])
        by_width = [by_name[layer.name] for layer in convolutions]
        features.append(np.concatenate([found.max(axis=1) for found in by_width], axis=1))
        margins = [(width - 1) // 2 for width in widths]  # zeros that padding="same" puts before the first token
        places = [found.argmax(axis=1) - margin for found, margin in zip(by_width, margins, strict=True)]
        starts.append(np.concatenate(places, axis=1))
    maps = [layer.filters for layer in convolutions]
    return np.concatenate(features), np.concatenate(starts), np.repeat(widths, maps)


def ngram_contributions(
    model: keras.Model, ids: NDArray[np.int32], tokens: Sequence[str], *, label: int = 1, against: int = 0
) -> pd.DataFrame:
    """Tell which n-grams of a comment won the max over time, and what each adds to the score of a class.

    The score is the logit of `label` minus that of `against`: the logarithm of the odds. It is a sum over the filters,
    the largest answer times the difference of the two output weights, plus the difference of the output biases; so the
    contributions add up to it, and nothing is approximated.

    Parameters
    ----------
    model : keras.Model
        From `build_text_cnn`.
    ids : ndarray of int32, shape (max_length,)
        One comment.
    tokens : sequence of str
        The comment's tokens as they are to be shown; those after `max_length` are not looked at.
    label, against : int, optional
        Columns of the model's output.

    Returns
    -------
    DataFrame
        `ngram`, `start`, `end` (its tokens are `tokens[start:end]`), `filters` (how many it won) and `contribution`;
        the largest contributions first, of either sign. Windows that hold nothing but padding are one row,
        `(padding)`; the last row is the `(bias)`. The contributions add up to the score.
    """
    shown = tokens[: len(ids)]
    features, starts, widths = max_over_time(model, ids[np.newaxis])
    kernel, bias = (weight.astype(np.float64) for weight in model.get_layer("classes").get_weights())
    winners = pd.DataFrame(
        {
            "start": np.clip(starts[0], 0, len(shown)),
            "end": np.clip(starts[0] + widths, 0, len(shown)),
            "filters": 1,
            "contribution": features[0] * (kernel[:, label] - kernel[:, against]),
        }
    )
    table = winners[features[0] > 0].groupby(["start", "end"], as_index=False).sum()
    table = table.sort_values("contribution", key=abs, ascending=False)
    spans = zip(table["start"], table["end"], strict=True)
    table.insert(0, "ngram", [" ".join(shown[start:end]) or "(padding)" for start, end in spans])
    table.loc[-1] = ["(bias)", len(shown), len(shown), 0, bias[label] - bias[against]]
    return table.reset_index(drop=True)


def favourite_ngrams(
    model: keras.Model,
    ids: NDArray[np.int32],
    sentences: Sequence[Sequence[str]],
    *,
    filters: int = 4,
    ngrams: int = 3,
    label: int = 1,
    against: int = 0,
) -> pd.DataFrame:
    """Show what the filters that matter most look for: the n-grams of some comments that they answer loudest.

    Parameters
    ----------
    model : keras.Model
        From `build_text_cnn`.
    ids : ndarray of int32, shape (N, max_length)
    sentences : sequence of sequence of str
        The tokens of the N comments as they are to be shown.
    filters : int, optional
        How many filters that speak for `label`, and how many that speak against it.
    ngrams : int, optional
        How many different n-grams of each.
    label, against : int, optional
        Columns of the model's output.

    Returns
    -------
    DataFrame
        `filter` (its width and number), `mean_contribution` (over the comments, to the logit of `label` minus that of
        `against`), then `favourite_1`, the loudest, `favourite_2`, ... (empty where there is none); from the filter
        that speaks most for `label` to the one that speaks most against it.
    """
    features, starts, widths = max_over_time(model, ids)
    kernel = model.get_layer("classes").get_weights()[0]
    means = features.mean(axis=0) * (kernel[:, label] - kernel[:, against])
    order = np.argsort(-means, kind="stable")
    number = pd.Series(widths).groupby(widths).cumcount()
    rows = []
    for chosen in np.unique(np.concatenate([np.arange(len(order))[:filters], np.arange(len(order))[-filters:]])):
        column = order[chosen]
        loudest = [row for row in np.argsort(-features[:, column], kind="stable") if features[row, column] > 0]
        spans = ((sentences[row][: ids.shape[1]], starts[row, column]) for row in loudest)
        found = dict.fromkeys(" ".join(shown[max(start, 0) : start + widths[column]]) for shown, start in spans)
        favourites = [*(ngram for ngram in found if ngram), *[""] * ngrams][:ngrams]
        rows.append((f"{widths[column]} wide, no. {number[column]}", means[column], *favourites))
    places = [f"favourite_{place}" for place in range(1, ngrams + 1)]
    return pd.DataFrame(rows, columns=["filter", "mean_contribution", *places])
