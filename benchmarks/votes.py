"""Votes as sparse as those of the public film reviews: 71 % of comments without a vote, 1.8 % with 20 or more."""

import numpy as np
from numpy.typing import NDArray

LOG_MEAN, LOG_SPREAD = -1.073, 1.94  # of a lognormal whose whole part has the two shares named above


def draw_votes(pairs: int, *, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return likes and dislikes, int64 arrays of shape (pairs,)."""
    random = np.random.default_rng(seed)
    votes = random.lognormal(LOG_MEAN, LOG_SPREAD, pairs).astype(np.int64)
    likes = random.binomial(votes, random.beta(1.5, 1.0, pairs))
    return likes, votes - likes
