"""A small file of invented comments with a label instead of votes: for, against, or neither."""

from __future__ import annotations

import random

import pandas as pd

from .lexicon import KINDS, REASONS
from .writer import POLITE_SHARE, Content, argue, rough_up

OPINIONS = 1_500
OPINION_SHARES = {"찬성": 0.40, "반대": 0.35, "중립": 0.25}
OPINION_STANCES = {"찬성": "for", "반대": "against", "중립": "neutral"}
UNLABELLED_SHARE = 0.12


def generate_opinions(*, seed: int = 0, comments: int = OPINIONS) -> pd.DataFrame:
    """Write the file of opinions as a table.

    Parameters
    ----------
    seed : int
        The same seed gives the same table everywhere.
    comments : int
        Rows.

    Returns
    -------
    DataFrame
        Columns `text` (str) and `label` (str: 찬성, 반대, 중립; the empty string where nobody has labelled the
        comment).
    """
    rng = random.Random(f"{seed} opinions")
    topics = [(kind, topic) for kind, content in KINDS.items() for topic in content.topics]
    rows = []
    for _ in range(comments):
        label = rng.choices(list(OPINION_SHARES), weights=list(OPINION_SHARES.values()))[0]
        kind, topic = rng.choice(topics)
        polite = rng.random() < POLITE_SHARE
        content = Content(kind, topic, OPINION_STANCES[label], rng.choice(list(REASONS)), polite)
        text = rough_up(rng, argue(rng, content))
        rows.append((text, "" if rng.random() < UNLABELLED_SHARE else label))
    return pd.DataFrame(rows, columns=["text", "label"])
