"""The comparison by label budget: every model sees the same few labels, and a stopped run goes on."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from benchmarks import label_budgets
from benchmarks.label_budgets import MODELS, REFERENCE, FineTuning, Fits, fine_tune
from benchmarks.text_cnn_quality import summarise
from utils.datasets import load_dataset
from utils.files import ROOT
from utils.labelling import label_controversy
from utils.splits import near_duplicate_clusters, split_by_group


@pytest.fixture(scope="module")
def comments() -> pd.DataFrame:
    rows = load_dataset(ROOT / "data" / "sample_comments_2000.csv")
    rows = rows.join(label_controversy(rows["likes"], rows["dislikes"]))
    rows["cluster"] = near_duplicate_clusters(rows["text"])
    return rows.assign(split=split_by_group(rows, seed=0))


@pytest.fixture
def small(kcbert_shaped_checkpoint, monkeypatch) -> FineTuning:
    """Settings of a network of reduced width that takes two steps."""
    settings = FineTuning(str(kcbert_shaped_checkpoint), epochs=1, max_length=12, precision="float32")
    monkeypatch.setattr(label_budgets, "MIN_STEPS", 2)
    berts = {REFERENCE: settings, "bert-mini-random": replace(settings, pretrained=False)}
    monkeypatch.setattr(label_budgets, "BERTS", berts)
    cnn = replace(label_budgets.TEXT_CNN, maps=8, epochs=1, max_length=16, dimensions=16, word2vec_comments=200)
    monkeypatch.setattr(label_budgets, "TEXT_CNN", cnn)
    return settings


def test_every_model_is_scored_on_the_same_held_out_comments(comments, small, tmp_path):
    fits = Fits(comments, tmp_path, "hash")
    tables = [fits.predictions(model, 60, 0) for model in MODELS]
    held_out = comments[comments["split"].isin(["validation", "test"]) & (comments["label"] >= 0)]
    for table in tables:
        assert sorted(table["id"]) == sorted(held_out["id"])
        assert table["probability"].between(0, 1).all() and table["probability"].nunique() > 10
    scored = pd.concat(tables).query("split == 'validation'")
    rows = {row["model"]: row for row in summarise([scored], reference=REFERENCE, samples=50)}
    assert set(rows) == set(MODELS) and rows[REFERENCE][f"minus {REFERENCE}"] == ""


def test_every_model_learns_from_the_same_labels(comments, small, tmp_path, monkeypatch):
    seen = {}

    def note(name, answer):
        def model(*arguments, **settings):
            rows = arguments[0].train if name == "tfidf" else arguments[0]
            seen.setdefault(name, []).append(sorted(rows["id"]))
            return answer(*arguments, **settings)

        return model

    guess = np.full(len(Fits(comments, tmp_path, "hash").part.held_out), 0.5)
    monkeypatch.setattr(label_budgets, "fine_tune", note("bert", lambda *_, **__: guess))
    monkeypatch.setattr(label_budgets, "tfidf_logreg", note("tfidf", lambda *_, **__: guess))
    fits = Fits(comments, tmp_path, "hash")
    for model in (*label_budgets.BERTS, "tfidf-logreg"):
        fits.predictions(model, 50, 1)
    assert seen["bert"][0] == seen["bert"][1] == seen["tfidf"][0]
    assert len(seen["bert"][0]) == 50
    train = comments[comments["split"] == "train"]
    assert set(seen["bert"][0]) <= set(train[train["label"] >= 0]["id"])


def test_a_fit_that_is_there_is_not_made_again(comments, small, tmp_path, monkeypatch):
    first = Fits(comments, tmp_path, "hash").predictions("tfidf-logreg", 60, 0)
    monkeypatch.setattr(label_budgets, "tfidf_logreg", None)
    again = Fits(comments, tmp_path, "hash").predictions("tfidf-logreg", 60, 0)
    pd.testing.assert_frame_equal(first, again)


def test_pretrained_and_random_networks_differ_and_seeds_repeat(comments, small):
    train, held_out = comments[comments["label"] >= 0][:40], comments[:10]
    first, again, other, random = (
        fine_tune(train, held_out, settings, seed=seed)
        for settings, seed in ((small, 0), (small, 0), (small, 1), (replace(small, pretrained=False), 0))
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, random)


def test_all_labels_are_learned_from_once_and_slowly():
    few, every = (label_budgets.bert_settings(REFERENCE, budget) for budget in (1000, None))
    assert (few.epochs, every.epochs) == (2, 1)
    assert every.learning_rate < few.learning_rate
    assert every.pretrained and not label_budgets.bert_settings("bert-mini-random", None).pretrained
    assert label_budgets.bert_settings("tfidf-logreg", None) is None
