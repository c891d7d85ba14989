"""Put the sample together: articles, their comments, copies among them, votes; and write it to disk."""

from __future__ import annotations

import csv
import random
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from ..files import atomic_path
from .lexicon import KINDS, REASONS
from .opinions import generate_opinions
from .ratios import (
    POLITE_BONUS,
    REASON_SPREAD,
    SHORT_LOG_ODDS,
    TOPIC_SPREAD,
    content_log_odds,
    draw_exposure,
    draw_votes,
    like_probability,
)
from .writer import Content, argue, copy_with_changes, draw_content, rough_up, weighted, write_short

COLUMNS = ("group", "text", "likes", "dislikes", "true_ratio")
COMMENTS, ARTICLES = 20_000, 1_000
SMALL_COMMENTS = 2_000
FULL_NAME, SMALL_NAME, OPINIONS_NAME = "sample_comments.csv", "sample_comments_2000.csv", "sample_opinions.csv"

SHORT_SHARE = 0.035
SHORT_MOODS = {"agreement": 0.40, "doubt": 0.24, "yawn": 0.18, "link": 0.18}
COPY_SHARE = 0.025
COPY_CROSSES_ARTICLES = 0.4
ARTICLE_SIZE_SPREAD = 0.5  # lognormal


class Comment(NamedTuple):
    """One row: where it stands, what it says, and its true sympathy ratio."""

    group: str
    text: str
    true_ratio: float


def generate_comments(*, seed: int = 0, comments: int = COMMENTS, articles: int = ARTICLES) -> pd.DataFrame:
    """Write the sample as a table.

    Parameters
    ----------
    seed : int
        The same seed gives the same table everywhere: only `random.Random` is used, whose streams Python keeps stable.
    comments, articles : int
        Rows, and groups they are spread over.

    Returns
    -------
    DataFrame
        Columns `group` (str, ``article-0001``), `text` (str), `likes`, `dislikes` (int64), `true_ratio` (float64 in
        (0, 1), 3 decimals: the share of likes that the content gets in the readership at large). Rows in article order.

    """
    rows = _write_articles(random.Random(f"{seed} text"), random.Random(f"{seed} ratio"), comments, articles)
    rows = _plant_copies(random.Random(f"{seed} copies"), rows)
    votes = random.Random(f"{seed} votes")
    exposure = {f"article-{number:04d}": draw_exposure(votes) for number in range(1, articles + 1)}
    counts = [draw_votes(votes, row.true_ratio, exposure[row.group]) for row in rows]
    return pd.DataFrame(
        {
            "group": [row.group for row in rows],
            "text": [row.text for row in rows],
            "likes": [likes for likes, _ in counts],
            "dislikes": [dislikes for _, dislikes in counts],
            "true_ratio": [row.true_ratio for row in rows],
        }
    )


def _write_articles(rng: random.Random, ratio_rng: random.Random, comments: int, articles: int) -> list[Comment]:
    """Write all comments, article by article; an article keeps to one topic."""
    topics = [(kind, topic) for kind, content in KINDS.items() for topic in content.topics]
    topic_effect = {topic: ratio_rng.gauss(0.0, TOPIC_SPREAD) for _, topic in topics}
    reason_effect = {(topic, reason): ratio_rng.gauss(0.0, REASON_SPREAD) for _, topic in topics for reason in REASONS}
    rows = []
    for number, size in enumerate(_article_sizes(rng, comments, articles), start=1):
        kind, topic = rng.choice(topics)
        for _ in range(size):
            if rng.random() < SHORT_SHARE:
                mood = weighted(rng, SHORT_MOODS)
                text, log_odds = write_short(rng, mood), SHORT_LOG_ODDS[mood]
            else:
                content = draw_content(rng, kind, topic)
                text = rough_up(rng, argue(rng, content))
                log_odds = topic_effect[topic] + reason_effect[topic, content.reason] + _log_odds(content)
            rows.append(Comment(f"article-{number:04d}", text, round(like_probability(log_odds), 3)))
    return rows


def _log_odds(content: Content) -> float:
    """Return the log-odds of a like from what is said and how politely."""
    bonus = POLITE_BONUS if content.polite else 0.0
    return content_log_odds(content.kind, content.stance, content.reason) + bonus


def _article_sizes(rng: random.Random, comments: int, articles: int) -> list[int]:
    """Spread the comments over the articles unevenly, at least one each."""
    weights = [rng.lognormvariate(0.0, ARTICLE_SIZE_SPREAD) for _ in range(articles)]
    scale = (comments - articles) / sum(weights)
    sizes = [1 + int(weight * scale) for weight in weights]
    for _ in range(comments - sum(sizes)):
        sizes[rng.randrange(articles)] += 1
    return sizes


def _plant_copies(rng: random.Random, rows: list[Comment]) -> list[Comment]:
    """Replace a few comments by copies with small changes of others, some from another article.

    A copy has its original's true ratio: readers judge what it says. Originals are never themselves replaced.
    """
    by_group: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        by_group.setdefault(row.group, []).append(index)
    planted = list(rows)
    originals: set[int] = set()
    copies: set[int] = set()
    while len(copies) < round(COPY_SHARE * len(rows)):
        place = rng.randrange(len(rows))
        if rng.random() < COPY_CROSSES_ARTICLES:
            source = rng.randrange(len(rows))
        else:
            source = rng.choice(by_group[rows[place].group])
        if source == place or place in originals or place in copies or source in copies:
            continue
        originals.add(source)
        copies.add(place)
        text = copy_with_changes(rng, rows[source].text)
        planted[place] = Comment(rows[place].group, text, rows[source].true_ratio)
    return planted


def first_articles(table: pd.DataFrame, comments: int) -> pd.DataFrame:
    """Return the first whole articles of `table`: as many as fit into `comments` rows, but at least one."""
    ends = (~table["group"].duplicated(keep="last")).to_numpy().nonzero()[0] + 1
    fitting = ends[ends <= comments]
    return table.iloc[: int(fitting[-1] if len(fitting) else ends[0])]


def write_sample(folder: Path, *, seed: int = 0) -> dict[Path, int]:
    """Write the sample files into `folder` (made if needed), each whole or not at all; return rows per file."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    table = generate_comments(seed=seed)
    written = {}
    files = {FULL_NAME: table, SMALL_NAME: first_articles(table, SMALL_COMMENTS)}
    files[OPINIONS_NAME] = generate_opinions(seed=seed)
    for name, rows in files.items():
        path = folder / name
        with atomic_path(path) as temporary:
            _write_csv(rows, temporary)
        written[path] = len(rows)
    return written


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write UTF-8 with line feeds, the same bytes on every system."""
    with open(path, "w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(table.columns)
        for row in table.itertuples(index=False):
            writer.writerow([f"{value:.3f}" if isinstance(value, float) else value for value in row])
