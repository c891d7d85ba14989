"""The comparison over folds: whole groups are held out, the test split takes no part, a stopped run goes on."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from benchmarks import text_cnn_quality
from benchmarks.text_cnn_quality import (
    ABLATION,
    AS_IT_IS,
    FOLDS,
    REFERENCE,
    SEEDS,
    Settings,
    describe_folds,
    fold_parts,
    prepare_words,
    run_ablation,
    run_folds,
    split_part,
    summarise,
)
from utils.datasets import load_dataset
from utils.files import ROOT
from utils.labelling import label_controversy
from utils.splits import near_duplicate_clusters, split_by_group
from utils.text_cnn import VARIANTS

SMALL = Settings(maps=8, epochs=1, max_length=16, dimensions=16, word2vec_comments=200)


@pytest.fixture(scope="module")
def comments() -> pd.DataFrame:
    rows = load_dataset(ROOT / "data" / "sample_comments_2000.csv")
    rows = rows.join(label_controversy(rows["likes"], rows["dislikes"]))
    rows["cluster"] = near_duplicate_clusters(rows["text"])
    rows["rating"] = 1 + np.arange(len(rows)) % 10
    return rows.assign(split=split_by_group(rows, seed=0))


def test_each_group_is_held_out_once_and_the_test_split_never_occurs(comments):
    parts = list(fold_parts(comments))
    held_out = pd.concat([part.held_out for part in parts])
    usable = comments[comments["split"].isin(["train", "validation"]) & (comments["label"] >= 0)]
    assert held_out["id"].is_unique and len(parts) == FOLDS
    assert set(held_out["id"]) <= set(usable["id"]) and len(held_out) > 0.9 * len(usable)
    for part in [*parts, split_part(comments)]:
        learned_from = pd.concat([part.train, part.extra])
        assert not set(learned_from["group"]) & set(part.held_out["group"])
        assert "test" not in {*learned_from["split"], *part.held_out["split"]}
        assert (part.train["label"] >= 0).all() and (part.extra["label"] < 0).all()


def test_a_word_of_the_held_out_comments_alone_has_no_row(comments, tmp_path):
    part = split_part(comments)
    planted = part._replace(held_out=part.held_out.assign(text="쀍쀍쀍"))
    asked = {"max_length": 8, "dimensions": 8, "word2vec_window": 5, "word2vec_comments": 500}
    words = prepare_words(planted, cache=tmp_path, **asked)
    assert set(words.held_out[:, 0]) == {1} and words.train.max() == len(words.embeddings) - 1


def count_fits(monkeypatch, *, stop_after: int | None = None) -> list[tuple[str, int]]:
    """Put a guess in the place of training; return the list that every (variant, seed) will be noted in."""
    fitted = []

    def guess(words, labels, settings, *, seed):
        if len(fitted) == stop_after:
            raise KeyboardInterrupt
        fitted.append((settings.variant, seed))
        return np.random.default_rng([VARIANTS.index(settings.variant), seed]).random(len(words.held_out))

    monkeypatch.setattr(text_cnn_quality, "text_cnn", guess)
    return fitted


def test_the_folds_go_on_where_they_were_stopped(comments, tmp_path, monkeypatch):
    before = count_fits(monkeypatch, stop_after=7)
    with pytest.raises(KeyboardInterrupt):
        run_folds(comments, tmp_path, "hash", SMALL)
    after = count_fits(monkeypatch)
    tables = run_folds(comments, tmp_path, "hash", SMALL)
    assert len(before) == 7 and len(before) + len(after) == FOLDS * (len(VARIANTS) + len(SEEDS) - 1)

    again = count_fits(monkeypatch)
    for table, same in zip(tables, run_folds(comments, tmp_path, "hash", SMALL), strict=True):
        pd.testing.assert_frame_equal(table, same)
    assert again == []
    run_folds(comments, tmp_path, "other comments", SMALL)
    assert len(again) == FOLDS * (len(VARIANTS) + len(SEEDS) - 1)


def test_the_table_holds_the_mean_over_the_folds(comments, tmp_path, monkeypatch):
    count_fits(monkeypatch)
    tables = run_folds(comments, tmp_path, "hash", SMALL)
    rows = {row["model"]: row for row in summarise(tables, reference=REFERENCE, samples=50)}
    assert set(rows) == {REFERENCE, "rating", *(f"text-cnn-{variant}" for variant in VARIANTS)}
    seeds = {model: row["seeds"] for model, row in rows.items()}
    assert sorted(seeds.values()) == [1, 1, 1, 1, 1, len(SEEDS)]
    for model, row in rows.items():
        per_fold = [
            np.mean([roc_auc_score(one["label"], one["probability"]) for _, one in table.groupby("seed")])
            for table in (fold[fold["model"] == model] for fold in tables)
        ]
        assert float(row["AUROC"].split()[0]) == pytest.approx(np.mean(per_fold), abs=6e-4)
        if row["seeds"] == 1:
            shown = [float(fold[model]) for fold in describe_folds(tables)]
            assert shown == pytest.approx(per_fold, abs=6e-4)


def test_an_ablation_trains_the_networks_and_holds_them_against_the_settings(comments, tmp_path, monkeypatch):
    monkeypatch.setattr(text_cnn_quality, "VARIANTS", ("static", "rand"))
    monkeypatch.setattr(text_cnn_quality, "ABLATION", {"2 maps": {"maps": 2}})
    predictions = run_ablation(comments, tmp_path, "hash", SMALL)
    by_model = predictions.groupby("model")["probability"]
    assert set(by_model.groups) == {AS_IT_IS, "rand", "2 maps", REFERENCE}
    assert (by_model.nunique() > 10).all() and predictions["probability"].between(0, 1).all()
    rows = summarise([predictions], reference=AS_IT_IS, samples=50)
    assert [row[f"minus {AS_IT_IS}"] for row in rows if row["model"] == AS_IT_IS] == [""]


def test_every_change_of_the_ablation_is_a_change():
    assert all(replace(Settings(), **change) != Settings() for change in ABLATION.values())


def test_a_run_folder_without_comments_is_named(tmp_path):
    command = [sys.executable, "-m", "benchmarks.text_cnn_quality", "folds", str(tmp_path)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 1 and ended.stdout == ""
    assert f"{tmp_path / 'comments.parquet'} is missing: run notebook 01" in ended.stderr
