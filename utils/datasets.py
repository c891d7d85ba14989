"""A dataset by name or path."""

import os
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from utils.comments import load_comments
from utils.files import ROOT, repository_path, sha256_of

SAMPLE = ROOT / "data" / "sample_comments.csv"
NAMES = ("sample", "movie-reviews")


def load_dataset(name_or_path: str | os.PathLike[str], *, columns: Mapping[str, str] | None = None) -> pd.DataFrame:
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
        As from `utils.comments.load_comments`.

    Raises
    ------
    CommentDataError
        As from `load_comments`.
    """
    return load_comments(dataset_path(name_or_path), columns=columns)


def dataset_path(name_or_path: str | os.PathLike[str]) -> Path:
    """Return the file behind a dataset's name or path."""
    return SAMPLE if name_or_path == "sample" else repository_path(name_or_path)


def dataset_sha256(name_or_path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of the file behind a dataset, as 64 hex digits."""
    return sha256_of(dataset_path(name_or_path))
