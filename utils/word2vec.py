"""Word vectors: skip-gram training with gensim, and the embedding table a network starts from.

Explained in notebook 02.
"""

from collections.abc import Container, Iterable, Mapping, Sequence

import numpy as np
from gensim.models import KeyedVectors, Word2Vec
from numpy.typing import NDArray

from utils.text import PAD


def train_word2vec(
    sentences: Sequence[Sequence[str]],
    *,
    vector_size: int = 100,
    window: int = 5,
    min_count: int = 3,
    epochs: int = 5,
    sample: float = 1e-3,
    negative: int = 5,
    seed: int = 0,
    workers: int = 1,
) -> KeyedVectors:
    """Train skip-gram word vectors with negative sampling.

    Parameters
    ----------
    sentences : sequence of sequence of str
        Tokens of each comment. Comments of held-out groups do not belong here.
    vector_size : int, optional
        Numbers in a vector.
    window : int, optional
        Most tokens between a word and a neighbour it is to predict.
    min_count : int, optional
        Rarer tokens get no vector.
    epochs : int, optional
        Passes over the comments.
    sample : float, optional
        Of a token whose share of all tokens is above this, some occurrences are left out at random; 0 keeps all.
    negative : int, optional
        Tokens drawn at random for each true neighbour, to be told from it.
    seed : int, optional
        The same seed gives the same vectors as long as `workers` is 1.
    workers : int, optional
        Threads; with more than one the result depends on their timing.

    Returns
    -------
    gensim.models.KeyedVectors
        float32 vectors of shape (V, vector_size) and their tokens, the most frequent first.

    Raises
    ------
    ValueError
        No token occurs `min_count` times.

    References
    ----------
    T. Mikolov et al., "Distributed Representations of Words and Phrases and their Compositionality", NIPS 2013.
    """
    model = Word2Vec(
        sg=1,
        vector_size=vector_size,
        window=window,
        min_count=min_count,
        sample=sample,
        negative=negative,
        seed=seed,
        workers=workers,
    )
    model.build_vocab(sentences)
    if len(model.wv) == 0:
        raise ValueError(f"sentences: no token occurs min_count = {min_count} times in {len(sentences)} comments")
    model.train(sentences, total_examples=model.corpus_count, epochs=epochs)
    return model.wv


def embedding_matrix(vectors: KeyedVectors, vocabulary: Mapping[str, int], *, seed: int = 0) -> NDArray[np.float32]:
    """Lay out pretrained vectors in the order of a vocabulary.

    A token without a vector gets one drawn from U(-a, a), where a makes its variance that of the pretrained
    vectors (the variance of U(-a, a) is a² / 3); padding gets zeros.

    Parameters
    ----------
    vectors : gensim.models.KeyedVectors
        Vectors of d numbers.
    vocabulary : mapping of str to int
        V tokens and their rows, as `build_vocabulary` makes it.
    seed : int, optional
        Seed of the drawn vectors.

    Returns
    -------
    ndarray of float32, shape (V, d)

    References
    ----------
    Y. Kim, "Convolutional Neural Networks for Sentence Classification", EMNLP 2014, section 4.3.
    """
    limit = np.sqrt(3 * vectors.vectors.var())
    rng = np.random.default_rng(seed)
    matrix = rng.uniform(-limit, limit, (len(vocabulary), vectors.vector_size)).astype(np.float32)
    for token, row in vocabulary.items():
        if token in vectors:
            matrix[row] = vectors[token]
    matrix[PAD] = 0
    return matrix


def coverage(sentences: Iterable[Sequence[str]], known: Container[str]) -> tuple[float, float]:
    """Return which share of the distinct tokens, and of all tokens, is known.

    Parameters
    ----------
    sentences : iterable of sequence of str
    known : container of str
        Such as a vocabulary or `KeyedVectors`.

    Returns
    -------
    distinct, running : float
        Both in [0, 1]; NaN where there is no token at all.
    """
    tokens = [token for sentence in sentences for token in sentence]
    distinct = set(tokens)
    if not tokens:
        return float("nan"), float("nan")
    return sum(token in known for token in distinct) / len(distinct), sum(token in known for token in tokens) / len(
        tokens
    )
