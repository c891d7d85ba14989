"""Labelling beside the same columns from statsmodels and SciPy: ``python -m benchmarks.labelling [PAIRS]``.

The votes are as sparse as those of the public film reviews. Seconds are CPU seconds of one process.
"""

import sys

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc
from statsmodels.stats.proportion import proportion_confint

from benchmarks.timing import fastest, print_table
from benchmarks.votes import draw_votes
from utils.labelling import label_controversy

PAIRS = 9_100_000


def peer(likes: NDArray[np.int64], dislikes: NDArray[np.int64]) -> tuple[NDArray[np.float64], ...]:
    """Return the Wilson interval and the band's probability, vectorised, from libraries."""
    low, high = proportion_confint(likes, np.maximum(likes + dislikes, 1), method="wilson")
    a, b = likes + 0.5, dislikes + 0.5
    return low, high, betainc(a, b, 0.7) - betainc(a, b, 0.3)


def main() -> None:
    """Measure an eighth, a quarter, a half and all of the pairs."""
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else PAIRS
    rows = []
    for size in (pairs // 8, pairs // 4, pairs // 2, pairs):
        likes, dislikes = draw_votes(size)
        ours, theirs = (fastest(lambda f=f, x=likes, y=dislikes: f(x, y)) for f in (label_controversy, peer))
        rows.append({"vote pairs": size, "label_controversy, s": ours, "statsmodels + betainc, s": theirs})
        rows[-1]["times faster"] = theirs / ours
    print_table("Labelling, all columns", f"python -m benchmarks.labelling {pairs}", rows)


if __name__ == "__main__":
    main()
