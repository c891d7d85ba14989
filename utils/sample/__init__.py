"""The embedded sample: invented Korean comments with votes, written byte for byte from a seed.

`python -m utils.sample` writes data/sample_comments.csv, its first articles, data/sample_comments_2000.csv, and
data/sample_opinions.csv, comments with a label instead of votes.
data/README.md is the data card.
"""

from .ratios import ceiling_auroc, is_split
from .table import ARTICLES, COLUMNS, COMMENTS, generate_comments, write_sample

__all__ = ["ARTICLES", "COLUMNS", "COMMENTS", "ceiling_auroc", "generate_comments", "is_split", "write_sample"]
