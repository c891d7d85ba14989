"""The convolutional network of Kim (2014) for sentences, in Keras.

Explained in notebook 02.
"""

from collections.abc import Sequence

import keras
import numpy as np
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
        Largest L2 norm of the weights of an output unit.

    Returns
    -------
    keras.Model
        int32 ids (N, max_length) to float32 probabilities (N, K).

    Raises
    ------
    ValueError
        An argument is out of range; it is named.

    References
    ----------
    Y. Kim, "Convolutional Neural Networks for Sentence Classification", EMNLP 2014.
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
