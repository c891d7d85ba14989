"""Notebooks 02 to 05 see no test row before the last evaluation.

Each is run twice: on comments as they are, and on the same with the test rows (and the dropped copies, which are used
nowhere) given other texts, the other label and another rating. What is learned, chosen or scored before the last
evaluation must come out the same, number for number.
"""

import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import pytest

from utils.classifier import load_classifier
from utils.datasets import load_dataset
from utils.files import ROOT
from utils.labelling import label_controversy
from utils.run_folder import save_comments, start_run
from utils.splits import near_duplicate_clusters, split_by_group

pytestmark = pytest.mark.long  # about 100 seconds of a processor

# The notebook, the last of its cells to run, and parameters that make it quick. Skipped are pictures, and fits that
# differ from the others in which layers learn.
STEPS = {
    "02_text_cnn_word2vec": ("test", {"VARIANTS": ["non-static"], "EPOCHS": 2, "WORD2VEC_DIM": 16}),
    "03_bert_pretraining": ("save", {"STEPS": 10, "VOCABULARY_SIZE": 600, "HIDDEN_SIZE": 64, "LAYERS": 1}),
    "04_kcbert_finetuning": (
        "test",
        {
            "MIN_STEPS": 4,
            "MAX_LENGTH": 16,
            "SEEDS": [0],
            "LABEL_BUDGETS": [60],
            "RANDOM_BASELINE": False,
            "PRECISION": "float32",
        },
    ),
    "05_model_comparison": ("threshold", {"BOOTSTRAP_SAMPLES": 20}),
}
SKIPPED = {"setup", "word-map", "curves", "architecture", "schedule", "frozen", "grid-table", "grid-figure"}
MODELS = {"majority", "rating", "tfidf-logreg", "text-cnn-non-static", "bert-tiny"}


def replace_test_rows(comments: pd.DataFrame) -> pd.DataFrame:
    """Give every test row and dropped copy another text, the other label and another rating."""
    unseen = comments["split"].isin(["test", "dropped"])
    changed = comments.copy()
    changed.loc[unseen, "text"] = [f"쀍쀌 새말 {number % 7}번 뷁" for number in range(unseen.sum())]
    changed.loc[unseen, "label"] = comments["label"].where(comments["label"] < 0, 1 - comments["label"])
    changed.loc[unseen, "rating"] = 11 - comments["rating"]
    return changed


def run_notebook(name: str, folder: Path) -> dict[str, Any]:
    """Run a notebook's code from its imports to the last cell asked for, and return its variables."""
    last, parameters = STEPS[name]
    variables: dict[str, Any] = {"display": lambda *_: None}
    for cell in nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", 4).cells:
        if cell.cell_type == "code" and cell.id not in SKIPPED:
            exec(compile(cell.source, cell.id, "exec"), variables)
        if cell.id == "parameters":
            variables |= {"RUN_DIR": str(folder), **parameters}
        if cell.id == last:
            break
    plt.close("all")
    return variables


def run_notebooks(folder: Path, comments: pd.DataFrame) -> tuple[Path, dict[str, dict[str, Any]]]:
    """Run the four notebooks on labelled comments; return the run folder and each notebook's variables."""
    run = start_run(folder, dataset="sample", dataset_sha256="", columns={}, seed=0, labelling={})
    save_comments(run, comments)
    with pd.option_context("display.max_colwidth", 80, "display.html.use_mathjax", False):  # notebook 05 sets them
        return folder, {name: run_notebook(name, folder) for name in STEPS}


@pytest.fixture(scope="module")
def comments() -> pd.DataFrame:
    rows = load_dataset(ROOT / "data" / "sample_comments_2000.csv")
    rows = rows.join(label_controversy(rows["likes"], rows["dislikes"]))
    rows["cluster"] = near_duplicate_clusters(rows["text"])
    rows["rating"] = np.random.default_rng(0).integers(1, 11, len(rows))
    return rows.assign(split=split_by_group(rows, seed=0))


@pytest.fixture(scope="module")
def as_is(comments, tmp_path_factory) -> tuple[Path, dict[str, dict[str, Any]]]:
    return run_notebooks(tmp_path_factory.mktemp("as-is"), comments)


@pytest.fixture(scope="module")
def other(comments, tmp_path_factory) -> tuple[Path, dict[str, dict[str, Any]]]:
    return run_notebooks(tmp_path_factory.mktemp("other"), replace_test_rows(comments))


def predicted(folder: Path, split: str) -> pd.DataFrame:
    """The stored predictions of all models and settings for a split."""
    tables = {path.stem: pd.read_parquet(path) for path in sorted((folder / "predictions").glob("*.parquet"))}
    return pd.concat(tables, names=["model"]).query("split == @split").reset_index(drop=True, level=1)


def test_the_test_rows_that_the_two_runs_are_scored_on_differ(comments, as_is, other):
    first, second = predicted(as_is[0], "test"), predicted(other[0], "test")
    assert set(first.index) == set(second.index) == MODELS
    assert len(first) and first["id"].tolist() == second["id"].tolist()
    assert (first["label"] == 1 - second["label"]).all()
    for model in MODELS - {"majority"}:
        assert (first.loc[model, "probability"] != second.loc[model, "probability"]).any(), model


def test_validation_predictions_of_every_model_and_setting_are_the_same(as_is, other):
    first, second = predicted(as_is[0], "validation"), predicted(other[0], "validation")
    assert first.loc["bert-tiny", "label_budget"].unique().tolist() == [pd.NA, 60]
    # Test comments share the batches of the prediction, and a batch of another width is summed in another order.
    pd.testing.assert_frame_equal(first, second, rtol=1e-5)


def test_training_curves_are_the_same(as_is, other):
    for model in ("text-cnn-non-static", "bert-tiny"):
        first, second = (json.loads((folder / f"metrics/{model}.json").read_text()) for folder, _ in (as_is, other))
        assert first["history"] and first["history"] == second["history"], model


@pytest.mark.parametrize("saved", ["tfidf-logreg", "text-cnn-non-static", "bert-tiny-fine-tuned"])
def test_saved_models_have_the_same_vocabulary_and_weights(saved, as_is, other):
    first, second = (load_classifier(folder / "models" / saved) for folder, _ in (as_is, other))
    if saved == "tfidf-logreg":
        assert first.vocabulary == second.vocabulary
        np.testing.assert_array_equal(first.idf, second.idf)
        np.testing.assert_array_equal(first.coefficients, second.coefficients)
        return
    for ours, theirs in zip(first.model.get_weights(), second.model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    vocabulary = "vocab.txt" if saved.startswith("bert") else "vocabulary.json"
    texts = [(folder / "models" / saved / vocabulary).read_text(encoding="utf-8") for folder, _ in (as_is, other)]
    assert texts[0] == texts[1]


def test_word2vec_and_the_embedding_table_are_the_same(as_is, other):
    first, second = (variables["02_text_cnn_word2vec"] for _, variables in (as_is, other))
    assert first["vectors"].index_to_key == second["vectors"].index_to_key
    np.testing.assert_array_equal(first["vectors"].vectors, second["vectors"].vectors)
    np.testing.assert_array_equal(first["embeddings"], second["embeddings"])


def test_the_validation_table_of_notebook_02_is_the_same(as_is, other):
    first, second = (variables["02_text_cnn_word2vec"]["validation_table"] for _, variables in (as_is, other))
    pd.testing.assert_frame_equal(first, second, check_exact=True)


@pytest.mark.parametrize("file", ["vocab.txt", "config.json", "model.safetensors"])
def test_the_pretrained_checkpoint_is_the_same_byte_for_byte(file, as_is, other):
    first, second = ((folder / "models" / "bert-tiny" / file).read_bytes() for folder, _ in (as_is, other))
    assert first == second


def test_the_held_out_riddles_of_notebook_03_are_the_same(as_is, other):
    first, second = (variables["03_bert_pretraining"]["answers"] for _, variables in (as_is, other))
    pd.testing.assert_frame_equal(first, second, check_exact=True)


def test_the_thresholds_of_notebook_05_are_the_same_and_its_test_scores_are_not(as_is, other):
    first, second = (variables["05_model_comparison"]["chosen"].sort_index() for _, variables in (as_is, other))
    assert set(first.index) >= MODELS
    pd.testing.assert_series_equal(first["threshold"], second["threshold"], check_exact=True)
    assert not first["macro_f1"].equals(second["macro_f1"])
