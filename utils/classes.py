"""The classes of a task: their names, their codes, and the columns that hold their probabilities.

A class has a name for people ("controversial", "긍정") and a code for models, its place in the list of names: 0 to
K - 1. A comment whose class is not known has the code -1.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

CONTROVERSY = ("non-controversial", "controversial")


def code_labels(labels: pd.Series) -> tuple[pd.Series, list[str]]:
    """Turn the names of classes into codes.

    Parameters
    ----------
    labels : Series of str, shape (N,)
        The class of each comment, missing where it is not known, as `load_comments` gives them.

    Returns
    -------
    codes : Series of int8, shape (N,)
        0 to K - 1, and -1 where the label is missing; the index is that of `labels`.
    class_names : list of str, length K
        The name behind each code. Whole numbers are in the order of numbers, other names in that of the alphabet, so
        the codes do not depend on the order of the comments.

    Raises
    ------
    ValueError
        There are fewer than two classes.
    """
    names = labels.dropna().unique().tolist()
    try:
        names.sort(key=int)
    except ValueError:
        names.sort()
    if len(names) < 2:
        raise ValueError(f"labels: two classes or more are needed, there is {names or 'none'}")
    codes = labels.map({name: code for code, name in enumerate(names)}).fillna(-1).astype(np.int8)
    return codes.rename("label"), names


def check_class_names(class_names: Sequence[str] | None, num_classes: int) -> tuple[str, ...]:
    """Return the names of `num_classes` classes, "0", "1", ... for None; ValueError unless there is one for each."""
    if class_names is None:
        return tuple(str(code) for code in range(num_classes))
    if len(class_names) != num_classes or len(set(class_names)) != num_classes:
        raise ValueError(f"class_names: {list(class_names)} are not {num_classes} different names, one for each class")
    return tuple(class_names)


def probability_columns(class_names: Sequence[str]) -> list[str]:
    """Return the columns that hold the probabilities of the classes in a table of predictions.

    Of two classes one column says all: `probability`, that of class 1 (controversial, where labels come from votes). Of
    more classes each has its own, in the order of the codes: `probability_부정`, `probability_중립`, ...
    """
    return ["probability"] if len(class_names) == 2 else [f"probability_{name}" for name in class_names]


def probability_table(
    probability: ArrayLike, class_names: Sequence[str], index: pd.Index | None = None
) -> pd.DataFrame:
    """Return probabilities as columns of a table of predictions.

    Parameters
    ----------
    probability : array_like of float, shape (N, K)
        What `predict_proba` gives.
    class_names : sequence of str, length K
    index : Index, length N, optional
        Of the table.

    Returns
    -------
    DataFrame of float64, N rows
        The columns of `probability_columns`.

    Raises
    ------
    ValueError
        `probability` does not have a column for each class.
    """
    matrix = np.asarray(probability, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[1] != len(class_names):
        raise ValueError(f"probability must have shape (N, {len(class_names)}), got {matrix.shape}")
    columns = probability_columns(class_names)
    return pd.DataFrame(matrix[:, -len(columns) :], index=index, columns=columns)
