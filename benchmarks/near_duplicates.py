"""Clusters of near-duplicates: ``python -m benchmarks.near_duplicates [COMMENTS]``.

The comments are those of the sample's generator, 2.5 % of them copies with small changes. Seconds are CPU seconds of
one process.
"""

import sys

from benchmarks.timing import fastest, print_table
from utils.sample import generate_comments
from utils.splits import near_duplicate_clusters

COMMENTS = 100_000


def main() -> None:
    """Measure an eighth, a quarter, a half and all of the comments."""
    comments = int(sys.argv[1]) if len(sys.argv) > 1 else COMMENTS
    texts = generate_comments(comments=comments, articles=max(1, comments // 20))["text"].tolist()
    rows = []
    for size in (comments // 8, comments // 4, comments // 2, comments):
        seconds = fastest(lambda part=texts[:size]: near_duplicate_clusters(part))
        rows.append({"comments": size, "seconds": seconds, "comments a second": round(size / seconds)})
    print_table("Clusters of near-duplicates", f"python -m benchmarks.near_duplicates {comments}", rows)


if __name__ == "__main__":
    main()
