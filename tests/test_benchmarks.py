"""The benchmarks run, and measure the same thing on both sides."""

import subprocess
import sys
import zipfile
from functools import partial

import keras
import numpy as np
import pandas as pd
import pytest

from benchmarks.labelling import peer
from benchmarks.movie_reviews import archives, read_with_pandas, write_archive
from benchmarks.timing import alone
from benchmarks.votes import draw_votes
from utils.files import ROOT
from utils.labelling import label_controversy
from utils.movie_archive import raw_files, raw_tree_id
from utils.movie_reviews import read_movie_reviews
from utils.text_cnn import VARIANTS, build_text_cnn


def rows_shown(name, argument):
    """The lines under the table's head, split into cells; the command stands above."""
    command = [sys.executable, "-m", f"benchmarks.{name}", argument]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300).stdout
    assert f"`python -m benchmarks.{name} {argument}`" in shown
    return [line.replace(",", "").split() for line in shown.split("\n\n")[1].splitlines()[1:]]


@pytest.mark.parametrize("name", ["labelling", "near_duplicates"])
def test_a_benchmark_prints_its_command_and_four_sizes(name):
    assert [row[0] for row in rows_shown(name, "1600")] == ["200", "400", "800", "1600"]


def test_reading_is_measured_in_time_and_memory_at_four_sizes():
    rows = np.array(rows_shown("movie_reviews", "8"), dtype=float)
    sizes, seconds, speed, peak, _, _ = rows.T
    assert sizes.tolist() == [1, 2, 4, 8]
    np.testing.assert_allclose(speed, sizes / seconds, rtol=0.1)
    assert ((peak > sizes) & (peak < 1_000)).all() and peak[-1] > peak[0]


@pytest.mark.parametrize("unpacked", [False, True])
def test_an_archive_that_is_named_is_copied_so_that_it_stays_as_it_is(tmp_path, unpacked):
    path = write_archive(tmp_path / "named.zip", 1)
    if unpacked:
        with zipfile.ZipFile(path) as archive:
            archive.extractall(tmp_path)
        path = tmp_path / "top" / "raw"
    (tmp_path / "copies").mkdir()
    (copy,) = archives(str(path), tmp_path / "copies")
    assert copy.parent == tmp_path / "copies" and raw_tree_id(copy) == raw_tree_id(path)


def test_the_archive_has_the_megabytes_asked_for_in_records_that_both_readers_understand(tmp_path):
    path = write_archive(tmp_path / "reviews.zip", 2)
    assert sum(len(content) for _, content in raw_files(path)) == pytest.approx(2_000_000, abs=2_000)
    ours, theirs = read_movie_reviews(path), read_with_pandas(path)
    assert ours["text"].str.startswith("'").mean() == pytest.approx(1 / 150, rel=0.05)
    pd.testing.assert_frame_equal(ours, theirs[list(ours)], check_dtype=False)
    assert (theirs[["likes", "dislikes", "rating"]].dtypes == np.int64).all()


def test_memory_of_a_call_is_that_of_its_process_alone():
    here = bytearray(200_000_000)
    seconds, small = alone(partial(bytes, 1))
    _, large = alone(partial(bytearray, b"x" * 100_000_000))
    assert small < len(here) / 1e6 and 80 < large - small < 400 and seconds < 1


def test_the_votes_are_as_sparse_as_those_of_the_film_reviews():
    likes, dislikes = draw_votes(200_000)
    assert np.mean(likes + dislikes == 0) == pytest.approx(0.71, abs=0.01)
    assert np.mean(likes + dislikes >= 20) == pytest.approx(0.018, abs=0.002)


def test_the_peer_gives_the_columns_that_labelling_gives():
    likes, dislikes = draw_votes(20_000)
    voted = likes + dislikes > 0
    ours = label_controversy(likes, dislikes)[["ci_low", "ci_high", "band_probability"]].to_numpy()
    theirs = np.stack(peer(likes, dislikes), axis=1)
    np.testing.assert_allclose(ours[voted], theirs[voted], atol=1e-12)


def test_both_text_cnns_answer_alike_with_the_same_weights():
    torch = pytest.importorskip("torch")
    benchmark = pytest.importorskip("benchmarks.text_cnn")
    ids, _ = benchmark.draw_comments(20)
    embeddings = np.random.default_rng(1).normal(size=(benchmark.VOCABULARY_SIZE, benchmark.DIM)).astype(np.float32)
    ours = build_text_cnn(len(embeddings), max_length=benchmark.LENGTH, embeddings=embeddings, variant="multichannel")
    theirs = benchmark.TorchTextCnn(embeddings, "multichannel").eval()
    weights = {weight.path: torch.from_numpy(keras.ops.convert_to_numpy(weight).copy()) for weight in ours.weights}
    with torch.no_grad():
        for window, convolution in zip(benchmark.WINDOWS, theirs.convolutions, strict=True):
            convolution.weight.copy_(weights[f"window_{window}/kernel"].permute(2, 1, 0))
            convolution.bias.copy_(weights[f"window_{window}/bias"])
        theirs.classes.weight.copy_(weights["classes/kernel"].T)
        theirs.classes.bias.copy_(weights["classes/bias"])
        probabilities = torch.softmax(theirs(torch.from_numpy(ids)), dim=1).numpy()
    np.testing.assert_allclose(ours.predict(ids, verbose=0), probabilities, atol=1e-5)


def test_the_text_cnns_speed_is_shown_for_every_variant():
    pytest.importorskip("torch")
    rows = rows_shown("text_cnn", "128")
    assert [row[0] for row in rows] == list(VARIANTS)
    ours, theirs, ratio = np.array([row[1:] for row in rows], dtype=float).T
    np.testing.assert_allclose(ratio, ours / theirs, rtol=0.1)


def test_a_prediction_is_measured_whole_and_part_by_part():
    rows = rows_shown("prediction", "300")
    assert [row[0] for row in rows] == ["Kiwi's", "tokenize:", "tokenize:", "encode_tokens", "the", "predict_proba"]
    seconds, rates = np.array([row[-2:] for row in rows], dtype=float).T
    np.testing.assert_allclose(seconds, 300 / rates, atol=0.01)
