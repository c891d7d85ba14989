"""The benchmarks run, and measure the same thing on both sides."""

import subprocess
import sys

import numpy as np
import pytest

from benchmarks.labelling import draw_votes, peer
from utils.files import ROOT
from utils.labelling import label_controversy


@pytest.mark.parametrize("name", ["labelling", "near_duplicates"])
def test_a_benchmark_prints_its_command_and_four_sizes(name):
    command = [sys.executable, "-m", f"benchmarks.{name}", "1600"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300).stdout
    assert f"`python -m benchmarks.{name} 1600`" in shown
    assert [line.split()[0] for line in shown.splitlines()[-4:]] == ["200", "400", "800", "1,600"]


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
