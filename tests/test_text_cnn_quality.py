"""The comparison over folds: whole groups are held out, the test split takes no part, a stopped run goes on."""

import subprocess
import sys
from dataclasses import replace

import keras
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from benchmarks import text_cnn_quality
from benchmarks.text_cnn_quality import (
    ABLATION,
    AS_IT_IS,
    CURVE,
    FOLDS,
    REFERENCE,
    SEEDS,
    Settings,
    Words,
    WordSettings,
    changed_settings,
    describe_folds,
    fold_parts,
    prepare_words,
    run_ablation,
    run_curve,
    run_folds,
    split_part,
    summarise,
)
from utils.datasets import load_dataset
from utils.files import ROOT
from utils.labelling import label_controversy
from utils.splits import near_duplicate_clusters, split_by_group
from utils.text import tokenize_cached
from utils.text_cnn import VARIANTS
from utils.word2vec import train_word2vec

SMALL = Settings(
    maps=8,
    epochs=1,
    max_length=16,
    dimensions=16,
    vocabulary_comments=200,
    word2vec_comments=200,
    word2vec_epochs=1,
)


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
    words = prepare_words(planted, SMALL.of_words(), cache=tmp_path)
    assert set(words.held_out[:, 0]) == {1} and words.train.max() == len(words.embeddings) - 1


def test_how_much_word2vec_reads_moves_the_vectors_and_nothing_else(comments, tmp_path, monkeypatch):
    read = []

    def note(sentences, **settings):
        read.append(sorted(map(tuple, sentences)))
        return train_word2vec(sentences, **settings)

    monkeypatch.setattr(text_cnn_quality, "train_word2vec", note)
    part = split_part(comments)
    few, many = (
        prepare_words(part, replace(SMALL, word2vec_comments=count).of_words(), cache=tmp_path) for count in (100, 300)
    )
    np.testing.assert_array_equal(few.train, many.train)
    np.testing.assert_array_equal(few.held_out, many.held_out)
    assert few.embeddings.shape == many.embeddings.shape and not np.allclose(few.embeddings, many.embeddings)
    assert [len(sentences) for sentences in read] == [100, 300] and set(read[0]) <= set(read[1])
    labelled = {tuple(sentence) for sentence in tokenize_cached(part.train["text"], tmp_path)}
    assert 0 < sum(sentence in labelled for sentence in read[0]) < 100  # drawn from both, not the first


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("dimensions", 8),
        ("word2vec_window", 1),
        ("word2vec_min_count", 60),
        ("word2vec_epochs", 2),
        ("word2vec_sample", 1e-5),
        ("word2vec_negative", 1),
    ],
)
def test_each_setting_of_word2vec_reaches_it(setting, value, comments, tmp_path):
    part = split_part(comments)
    before, after = (
        prepare_words(part, asked.of_words(), cache=tmp_path).embeddings
        for asked in (SMALL, replace(SMALL, **{setting: value}))
    )
    assert before.shape != after.shape or not np.array_equal(before, after)


WORDS = Words(
    np.random.default_rng(0).normal(size=(30, 16)).astype(np.float32) * (np.arange(30) > 0)[:, None],
    np.random.default_rng(1).integers(1, 30, (64, 16), dtype=np.int32),
    np.random.default_rng(2).integers(1, 30, (8, 16), dtype=np.int32),
)
TOY_LABELS = (WORDS.train > 27).any(axis=1).astype(np.int8)


@pytest.mark.parametrize(
    "change",
    [
        {"frozen_epochs": 1},
        {"embedding_scale": 2.0},
        {"word_dropout": 0.5},
        {"averaging": 0.9},
        {"balance": False},
        {"learning_rate": 0.1},
        {"decay": False},
    ],
)
def test_each_setting_of_the_fit_reaches_it(change):
    settings = replace(SMALL, variant="non-static", epochs=2, batch_size=16)
    before, again, after = (
        text_cnn_quality.text_cnn(WORDS, TOY_LABELS, asked, seed=0)
        for asked in (settings, settings, replace(settings, **change))
    )
    np.testing.assert_array_equal(before, again)
    assert not np.allclose(before, after, atol=1e-5)


def test_vectors_are_held_still_and_then_move_at_the_smaller_rate(monkeypatch):
    seen = []

    def note(model, words, labels, settings, *, epochs, rate):
        seen.append((model.get_layer("vectors").trainable, epochs, rate))

    monkeypatch.setattr(text_cnn_quality, "fit", note)
    thawed = replace(SMALL, variant="non-static", epochs=2, frozen_epochs=4, thawed_rate=0.1)
    for settings in (thawed, replace(thawed, frozen_epochs=0)):
        text_cnn_quality.text_cnn(WORDS, TOY_LABELS, settings, seed=0)
    assert seen == [(False, 4, 1e-3), (True, 2, pytest.approx(1e-4)), (True, 2, 1e-3)]


def test_word_dropout_makes_words_unknown_in_training_alone_and_leaves_padding():
    seen = keras.Sequential([keras.Input((1000,), dtype="int32"), keras.layers.Identity()])
    network = text_cnn_quality.with_word_dropout(seen, 0.3)
    tokens = np.full((4, 1000), 7, np.int32)
    tokens[:, 600:] = 0
    np.testing.assert_array_equal(network.predict(tokens, verbose=0), tokens)
    trained_on = np.asarray(network(tokens, training=True))
    assert (trained_on[:, 600:] == 0).all() and set(trained_on[:, :600].ravel()) == {1, 7}
    assert (trained_on[:, :600] == 1).mean() == pytest.approx(0.3, abs=0.05)


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


def test_every_change_of_the_ablation_and_the_curve_is_a_change():
    changes = [*ABLATION.values(), *CURVE.values()]
    assert all(replace(Settings(), **change) != Settings() for change in changes)


def test_the_curve_has_every_size_with_every_seed(comments, tmp_path, monkeypatch):
    fitted = count_fits(monkeypatch)
    predictions = run_curve(comments, tmp_path, "hash", SMALL)
    seeds = predictions.groupby("model")["seed"].unique().map(sorted)
    assert seeds.to_dict() == {name: list(SEEDS) for name in (AS_IT_IS, *CURVE)}
    assert len(fitted) == len(SEEDS) * (1 + len(CURVE))


def test_word_vectors_are_made_once_for_all_fits_of_all_runs(comments, tmp_path, monkeypatch):
    count_fits(monkeypatch)
    run_curve(comments, tmp_path, "hash", SMALL)
    monkeypatch.setattr(text_cnn_quality, "prepare_words", lambda *_, **__: pytest.fail("words were made again"))
    fitted = count_fits(monkeypatch)
    run_curve(comments, tmp_path, "hash", replace(SMALL, maps=9))
    assert len(fitted) == len(SEEDS) * (1 + len(CURVE))


def test_settings_are_changed_by_name():
    changed = changed_settings(["windows=[1,2]", "dropout=0", "variant=rand", "balance=false", "maps=7"])
    assert changed == Settings(windows=(1, 2), dropout=0.0, variant="rand", balance=False, maps=7)
    assert isinstance(changed.of_words(), WordSettings) and not isinstance(changed.of_words(), Settings)
    for change, message in {"map=7": "map is no setting", "maps=0.5": "maps must be like 200, not 0.5"}.items():
        with pytest.raises(ValueError, match=message):
            changed_settings([change])


def test_a_run_folder_without_comments_is_named(tmp_path):
    command = [sys.executable, "-m", "benchmarks.text_cnn_quality", "folds", str(tmp_path)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 1 and ended.stdout == ""
    assert f"{tmp_path / 'comments.parquet'} is missing: run notebook 01" in ended.stderr
