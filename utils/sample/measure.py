"""Measure what the data card quotes: ``python -m utils.sample.measure [FILE]``."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from ..files import ROOT
from ..labelling import label_controversy
from ..splits import near_duplicate_clusters, split_by_group
from .ratios import ceiling_auroc
from .table import FULL_NAME


def measure(comments: pd.DataFrame) -> dict[str, float]:
    """Return the figures of the data card, by name.

    Parameters
    ----------
    comments : DataFrame
        Columns as in `utils.sample.COLUMNS`. Labels are made with the defaults of `label_controversy`; the linear
        models are fitted on the training split of seed 0 and scored on its validation split, never on test.

    """
    comments = comments.join(label_controversy(comments["likes"], comments["dislikes"]))
    comments["cluster"] = near_duplicate_clusters(comments["text"])
    comments["split"] = split_by_group(comments, seed=0)
    labelled = comments[comments["label"] >= 0]
    validation = labelled[labelled["split"] == "validation"]
    lowest, highest = single_token_auroc(labelled)
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), min_df=2, sublinear_tf=True)
    words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    return {
        "comments": len(comments),
        "articles": comments["group"].nunique(),
        "labelled share": float((comments["label"] >= 0).mean()),
        "controversial among labelled": float((labelled["label"] == 1).mean()),
        "liked among non-controversial": float((labelled.loc[labelled["label"] == 0, "ratio"] > 0.5).mean()),
        "comments without a vote": float((comments["votes"] == 0).mean()),
        "comments with 20 votes or more": float((comments["votes"] >= 20).mean()),
        "median votes": float(comments["votes"].median()),
        "most votes": int(comments["votes"].max()),
        "exact duplicates": float(comments["text"].duplicated().mean()),
        "in near-duplicate clusters": float(comments["cluster"].duplicated(keep=False).mean()),
        "median characters": float(comments["text"].str.len().median()),
        "AUROC of the number of votes": float(roc_auc_score(labelled["label"], labelled["votes"])),
        "lowest AUROC of a token": lowest,
        "highest AUROC of a token": highest,
        "ceiling AUROC": ceiling_auroc(comments),
        "ceiling AUROC, validation": ceiling_auroc(validation),
        "word TF-IDF + logistic regression AUROC, validation": _linear_auroc(labelled, words),
        "character TF-IDF + logistic regression AUROC, validation": _linear_auroc(labelled, characters),
    }


def single_token_auroc(labelled: pd.DataFrame) -> tuple[float, float]:
    """Return the lowest and the highest AUROC of "contains this token", over tokens between spaces in 5 texts or more.

    For a 0/1 score the AUROC is 1/2 + (share among label 1 - share among label 0) / 2.
    """
    present = CountVectorizer(binary=True, min_df=5, token_pattern=r"\S+").fit_transform(labelled["text"])
    positive = (labelled["label"] == 1).to_numpy()
    auroc = 0.5 + (present[positive].mean(axis=0) - present[~positive].mean(axis=0)) / 2
    return float(auroc.min()), float(auroc.max())


def _linear_auroc(labelled: pd.DataFrame, vectorizer: TfidfVectorizer) -> float:
    """Return the validation AUROC of a logistic regression on the vectorizer's features."""
    train, validation = (labelled[labelled["split"] == split] for split in ("train", "validation"))
    model = LogisticRegression(class_weight="balanced", max_iter=1000)
    model.fit(vectorizer.fit_transform(train["text"]), train["label"])
    score = model.predict_proba(vectorizer.transform(validation["text"]))[:, 1]
    return float(roc_auc_score(validation["label"], score))


def main() -> None:
    """Print the figures."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "data" / FULL_NAME
    for name, value in measure(pd.read_csv(path)).items():
        print(f"{name:<58} {value:,.3f}" if isinstance(value, float) else f"{name:<58} {value:,}")


if __name__ == "__main__":
    main()
