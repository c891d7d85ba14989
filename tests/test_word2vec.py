import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gensim.models import KeyedVectors

from utils.files import ROOT
from utils.word2vec import coverage, embedding_matrix, train_word2vec

SENTENCES = [["개", "가", "짖다"], ["고양이", "가", "울다"], ["개", "와", "고양이"], ["희귀"]] * 20 + [["외톨이"]]


def vectors_of(tokens: list[str], values: np.ndarray) -> KeyedVectors:
    vectors = KeyedVectors(values.shape[1])
    vectors.add_vectors(tokens, values.astype(np.float32))
    return vectors


def test_frequent_tokens_get_vectors_of_the_size_asked_for() -> None:
    vectors = train_word2vec(SENTENCES, vector_size=7, min_count=2, epochs=1)
    assert set(vectors.index_to_key) == {"개", "가", "짖다", "고양이", "울다", "와", "희귀"}
    assert vectors.vectors.shape == (7, 7) and vectors.vectors.dtype == np.float32


def test_the_seed_decides_the_vectors() -> None:
    first, again, other = (train_word2vec(SENTENCES, vector_size=8, epochs=2, seed=seed).vectors for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


def test_another_process_with_another_hash_seed_gets_the_same_vectors(tmp_path: Path) -> None:
    program = (
        "import sys, numpy as np; from utils.word2vec import train_word2vec; "
        "sentences = [['개', '가', '짖다'], ['고양이', '가', '울다']] * 20; "
        "np.save(sys.argv[1], train_word2vec(sentences, vector_size=8, epochs=2, seed=3).vectors)"
    )
    for seed in ("1", "2"):
        command = [sys.executable, "-c", program, str(tmp_path / seed)]
        subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": seed})
    np.testing.assert_array_equal(np.load(tmp_path / "1.npy"), np.load(tmp_path / "2.npy"))


def test_words_of_the_same_company_come_close() -> None:
    rng = np.random.default_rng(0)
    sentences = []
    for _ in range(600):
        pet, food = rng.choice(["개", "고양이"]), rng.choice(["사과", "배"])
        sentences += [[pet, "짖다", "뛰다", "꼬리"], [food, "달다", "먹다", "껍질"]]
    vectors = train_word2vec(sentences, vector_size=16, epochs=10, seed=0)
    assert vectors.similarity("개", "고양이") > vectors.similarity("개", "사과") + 0.2


def test_too_few_tokens_are_an_error_that_says_so() -> None:
    with pytest.raises(ValueError, match="no token occurs min_count = 5 times in 1 comments"):
        train_word2vec([["가", "나"]], min_count=5)


def test_known_tokens_keep_their_vectors_and_padding_is_zero() -> None:
    vectors = vectors_of(["가", "나"], np.array([[1.0, 2.0], [3.0, 4.0]]))
    matrix = embedding_matrix(vectors, {"[PAD]": 0, "[UNK]": 1, "나": 2, "가": 3})
    assert matrix.dtype == np.float32
    assert matrix[[0, 2, 3]].tolist() == [[0, 0], [3, 4], [1, 2]]


def test_missing_tokens_are_drawn_with_the_variance_of_the_pretrained_vectors() -> None:
    pretrained = np.random.default_rng(0).normal(0, 0.3, (500, 20))
    vocabulary = {f"t{index}": index for index in range(4000)}
    drawn = embedding_matrix(vectors_of([f"w{index}" for index in range(500)], pretrained), vocabulary)[1:]
    assert drawn.var() == pytest.approx(pretrained.var(), rel=0.02)
    assert drawn.mean() == pytest.approx(0, abs=0.005)
    limit = np.sqrt(3 * pretrained.var())  # uniform: nothing beyond the limit, and it is reached
    assert limit * 0.999 < np.abs(drawn).max() <= limit * 1.0001


def test_the_seed_decides_the_drawn_vectors() -> None:
    vectors = vectors_of(["가"], np.array([[1.0, -1.0]]))
    vocabulary = {"[PAD]": 0, "[UNK]": 1, "나": 2}
    first, again, other = (embedding_matrix(vectors, vocabulary, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


def test_coverage_counts_distinct_and_running_tokens() -> None:
    assert coverage([["가", "가", "가"], ["나"]], {"가"}) == (0.5, 0.75)


def test_coverage_of_no_tokens_is_not_a_number() -> None:
    assert np.isnan(coverage([[]], {"가"})).all()
