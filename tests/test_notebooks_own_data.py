"""Notebooks on a checkpoint shaped like KcBERT, and on a task of one's own."""

import json
import resource
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from tests.runs import metrics, predictions, read, run_all, runs_folder
from utils import notebooks
from utils.classifier import load_classifier
from utils.files import ROOT

# ----------------------------------------------------------------------------- a checkpoint shaped like KcBERT


def fine_tune_in_notebook_04(folder: Path, **parameters) -> dict[str, pd.DataFrame]:
    """Run notebook 04 alone into an empty folder and return the predictions."""
    kcbert = {"POOLING": "cls", "ACCUMULATION": 2, "EPOCHS": 1, "SEEDS": [0]}
    step = {"notebook": "04_kcbert_finetuning.ipynb", "name": "04_kcbert", "parameters": kcbert | parameters}
    folder.parent.mkdir(parents=True, exist_ok=True)
    profile = folder.with_suffix(".yaml")
    profile.write_text(yaml.safe_dump([step]))
    result = run_all("--profile", str(profile), "--run-dir", str(folder))
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    assert (folder / "01_labelling.ipynb").exists()  # run first, because the folder was empty
    return predictions(folder)


def assert_the_saved_classifier_predicts_the_same(
    folder: Path, tables: dict[str, pd.DataFrame], *, within: float = 1e-5
) -> None:
    """In another process than the notebook's, which saved it."""
    (saved,) = folder.glob("models/*-fine-tuned")
    rows = tables[saved.name.removesuffix("-fine-tuned")].query("tuning == 'full' and label_budget.isna()")
    texts = pd.read_parquet(folder / "comments.parquet").set_index("id")["text"]
    again = load_classifier(saved).predict_proba(texts[rows["id"]])[:, 1]
    np.testing.assert_allclose(again, rows["probability"], atol=within)


@pytest.mark.notebooks
@pytest.mark.parametrize(
    ("precision", "within", "scope"),
    [
        ("float32", 1e-5, {"LABEL_BUDGETS": [100]}),
        ("mixed_bfloat16", 1e-2, {"LABEL_BUDGETS": [], "RANDOM_BASELINE": False}),
        ("mixed_float16", 1e-2, {"LABEL_BUDGETS": [], "RANDOM_BASELINE": False}),
    ],
)
def test_a_folder_shaped_like_kcbert_is_fine_tuned_from_an_empty_run_folder(
    precision, within, scope, kcbert_shaped_checkpoint, tmp_path_factory
):
    folder = runs_folder(tmp_path_factory) / f"kcbert-shaped-{precision}"
    data = {"DATASET": "data/sample_comments_2000.csv", "CHECKPOINT": str(kcbert_shaped_checkpoint)}
    tables = fine_tune_in_notebook_04(folder, **data, **scope, PRECISION=precision)
    assert tables
    for rows in tables.values():
        assert np.isfinite(rows["probability"]).all()
    assert_the_saved_classifier_predicts_the_same(folder, tables, within=within)


@pytest.mark.long
def test_kcberts_full_size_takes_two_steps_in_every_fit_of_the_notebook(
    full_size_checkpoint, tmp_path, record_property
):
    comments = pd.read_csv(ROOT / "data" / "sample_comments_2000.csv").head(1000)  # 150 of them train with a label
    comments.to_csv(tmp_path / "comments.csv", index=False)
    cut = {"BATCH_SIZE": 75, "MAX_LENGTH": 24, "MIN_STEPS": 2, "LABEL_BUDGETS": [], "ACCUMULATION": 1}
    cut |= {"RANDOM_BASELINE": False, "PRECISION": "float32"}
    data = {"DATASET": str(tmp_path / "comments.csv"), "CHECKPOINT": str(full_size_checkpoint)}
    tables = fine_tune_in_notebook_04(tmp_path / "run", **data, **cut)
    record_property("peak MB", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
    (rows,) = tables.values()
    assert set(rows["tuning"]) == {"full", "last-layers", "frozen"}
    assert [len(scores["history"]["mean_losses"]) for scores in metrics(tmp_path / "run").values()] == [2]
    assert np.isfinite(rows["probability"]).all()
    assert_the_saved_classifier_predicts_the_same(tmp_path / "run", tables)


# ----------------------------------------------------------------------------- a task of one's own

OWN_TASK = ["01_labelling", "02_text_cnn_word2vec", "04_mini_finetuning", "05_model_comparison"]
QUICK = {
    "02_text_cnn_word2vec": {"VARIANTS": ["static"], "EPOCHS": 1, "WORD2VEC_DIM": 20},
    "04_mini_finetuning": {"EPOCHS": 1, "BATCH_SIZE": 16, "MAX_LENGTH": 16},
    "05_model_comparison": {"BOOTSTRAP_SAMPLES": 50},
}


def run_own_task(folder: Path, comments: pd.DataFrame) -> Path:
    """Run texts and labels through the profile `labels`, each model barely trained; return the run folder."""
    comments.to_csv(folder / "mine.csv", index=False)
    steps = yaml.safe_load((ROOT / "notebooks/profiles/labels.yaml").read_text(encoding="utf-8"))
    for step in steps:
        step["parameters"] = step["parameters"] | QUICK.get(step["name"], {})
    (folder / "quick.yaml").write_text(yaml.safe_dump(steps, allow_unicode=True), encoding="utf-8")
    arguments = ["--dataset", str(folder / "mine.csv"), "--run-dir", str(folder / "run")]
    result = run_all("--profile", str(folder / "quick.yaml"), *arguments)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    return folder / "run"


@pytest.fixture(scope="session")
def own_task(tmp_path_factory) -> Path:
    """Three classes in a file of texts and labels."""
    opinions = pd.read_csv(ROOT / "data" / "sample_opinions.csv").head(900)
    opinions = opinions.rename(columns={"text": "댓글", "label": "라벨"})
    return run_own_task(tmp_path_factory.mktemp("own-task"), opinions)


@pytest.mark.notebooks
def test_a_file_of_texts_and_labels_goes_through_the_notebooks(own_task):
    assert {path.stem for path in own_task.glob("*.ipynb")} == set(OWN_TASK)
    warned = {name: notebooks.problems(read(own_task / f"{name}.ipynb")) for name in OWN_TASK}
    assert warned == {name: [] for name in OWN_TASK}
    assert {"majority", "tfidf-logreg", "text-cnn-static", "bert-mini"} <= set(metrics(own_task))


@pytest.mark.notebooks
def test_the_classes_of_the_file_are_codes_in_the_table_and_names_in_the_record(own_task):
    record = json.loads((own_task / "run.json").read_text(encoding="utf-8"))
    assert record["class_names"] == ["반대", "중립", "찬성"]
    comments = pd.read_parquet(own_task / "comments.parquet")
    names = comments["label"].map({-1: "", **dict(enumerate(record["class_names"]))})
    assert names.tolist() == comments["label_given"].fillna("").tolist()
    assert comments["label"].eq(-1).any()


@pytest.mark.notebooks
def test_cells_about_votes_or_two_classes_say_why_they_do_nothing(own_task):
    skipped = {}
    for name in OWN_TASK:
        cells = [cell for cell in read(own_task / f"{name}.ipynb").cells if cell.cell_type == "code"]
        printed = {cell.id: "".join(output.get("text", "") for output in cell.outputs) for cell in cells}
        skipped[name] = {cell.id for cell in cells if cell.source.startswith("# Needs ")}
        assert {cell_id for cell_id, text in printed.items() if text.startswith("Skipped: ")} == skipped[name]
    assert "vote-histogram" in skipped["01_labelling"]
    assert {"threshold", "reliability"} <= skipped["05_model_comparison"]


@pytest.mark.notebooks
def test_every_model_gives_each_class_a_probability(own_task):
    columns = ["probability_반대", "probability_중립", "probability_찬성"]
    for model, rows in predictions(own_task).items():
        assert list(rows)[-3:] == columns, model
        np.testing.assert_allclose(rows[columns].sum(axis=1), 1, atol=1e-5)
    comparison = json.loads((own_task / "comparison.json").read_text(encoding="utf-8"))
    assert {"recall_0", "recall_1", "recall_2", "macro_f1", "auroc"} <= {
        row["metric"] for row in comparison["intervals"]
    }
    best = max(comparison["scores"], key=lambda score: score["macro_f1"])
    assert best["macro_f1"] > 0.5  # three invented opinions are easy to tell; guessing gives a third


@pytest.mark.notebooks
@pytest.mark.parametrize("model", ["tfidf-logreg", "text-cnn-static", "bert-mini-fine-tuned"])
def test_the_saved_classifiers_know_their_classes(own_task, model):
    classifier = load_classifier(own_task / "models" / model)
    assert classifier.class_names == ("반대", "중립", "찬성")
    comments = pd.read_parquet(own_task / "comments.parquet").set_index("id")["text"]
    rows = predictions(own_task)[model.removesuffix("-fine-tuned")].query("tuning == 'full'")
    again = classifier.predict_proba(comments[rows["id"]])
    assert again.dtype == np.float32
    np.testing.assert_allclose(again, rows.filter(like="probability_"), atol=1e-4)


@pytest.mark.long
def test_a_file_of_two_classes_goes_through_the_notebooks_and_has_one_column_of_probabilities(tmp_path):
    opinions = pd.read_csv(ROOT / "data" / "sample_opinions.csv")
    run = run_own_task(tmp_path, opinions[opinions["label"].isin(["반대", "찬성"])][["text", "label"]].head(600))
    executed = {name: read(run / f"{name}.ipynb") for name in OWN_TASK}
    assert {name: notebooks.problems(notebook) for name, notebook in executed.items()} == {
        name: [] for name in OWN_TASK
    }
    skipped = {
        cell.source.partition(":")[0].partition("\n")[0]
        for notebook in executed.values()
        for cell in notebook.cells
        if cell.cell_type == "code" and any(output.get("text", "").startswith("Skipped: ") for output in cell.outputs)
    }
    assert {line for line in skipped if line.startswith("# Needs two classes")} == set() != skipped
    assert json.loads((run / "run.json").read_text(encoding="utf-8"))["class_names"] == ["반대", "찬성"]
    comments = pd.read_parquet(run / "comments.parquet").set_index("id")["text"]
    for model, rows in predictions(run).items():
        assert [column for column in rows if column.startswith("probability")] == ["probability"], model
    for model in ("tfidf-logreg", "text-cnn-static", "bert-mini-fine-tuned"):
        rows = predictions(run)[model.removesuffix("-fine-tuned")].query("tuning == 'full'")
        again = load_classifier(run / "models" / model).predict_proba(comments[rows["id"]])
        assert again.shape == (len(rows), 2)
        np.testing.assert_allclose(again[:, 1], rows["probability"], atol=1e-4)
