"""A run folder refuses what does not belong to it and keeps only what is finished."""

import json
import os
from pathlib import Path

import pandas as pd
import pytest

from utils.run_folder import (
    Run,
    RunFolderError,
    begin_checkpoint,
    begin_model,
    has_checkpoint,
    is_finished,
    open_run,
    read_predictions,
    save_comments,
    save_metrics,
    save_predictions,
    start_run,
)

LABELLING = {"band": [0.3, 0.7], "confidence_level": 0.95, "min_votes": 20}
COMMENTS = pd.DataFrame({"id": ["a", "b"], "text": ["가", "나"], "label": [0, 1], "split": ["test", "test"]})
ROWS = pd.DataFrame(
    {"id": ["a", "b"], "group": ["g", "g"], "split": ["test", "test"], "label": [0, 1], "probability": [0.2, 0.7]}
)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return start(tmp_path)


def start(folder: Path, comments: pd.DataFrame = COMMENTS) -> Run:
    run = start_run(folder, dataset="sample", dataset_sha256="0" * 64, columns={}, seed=0, labelling=LABELLING)
    save_comments(run, comments)
    return run


def test_later_notebooks_take_the_settings_from_the_folder(run: Run) -> None:
    assert open_run(run.folder, dataset="sample", columns={}, seed=0) == run


@pytest.mark.parametrize(
    ("asked", "both"),
    [
        ({"dataset": "other.csv"}, "DATASET is 'other.csv'.*'sample'"),
        ({"columns": {"group": "movie_id"}}, "COLUMNS is {'group': 'movie_id'}.*{}"),
        ({"seed": 7}, "SEED is 7.*made with 0"),
    ],
)
def test_another_dataset_columns_or_seed_is_an_error_naming_both(run: Run, asked: dict, both: str) -> None:
    with pytest.raises(RunFolderError, match=both):
        open_run(run.folder, **{"dataset": "sample", "columns": {}, "seed": 0, **asked})


def test_an_empty_folder_says_that_notebook_01_comes_first(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="notebook 01"):
        open_run(tmp_path, dataset="sample", columns={}, seed=0)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_folder_is_one_clear_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(RunFolderError, match="cannot be written"):
        start(tmp_path / "run")


def test_a_run_folder_that_is_a_file_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(RunFolderError, match="cannot be written"):
        start(tmp_path / "run")


def test_a_broken_record_says_which_file(run: Run) -> None:
    (run.folder / "run.json").write_text("{")
    with pytest.raises(RunFolderError, match=r"run\.json is not JSON"):
        open_run(run.folder, dataset="sample", columns={}, seed=0)


def test_predictions_come_back_with_model_and_setting(run: Run) -> None:
    begin_model(run, "m", parameters={})
    save_predictions(run, "m", ROWS, seed=1, label_budget=100)
    row = read_predictions(run).iloc[1]
    assert row[["model", "id", "seed", "label_budget", "tuning", "label", "probability"]].tolist() == [
        "m", "b", 1, 100, "full", 1, 0.7,
    ]  # fmt: skip


CLASSES = ["부정", "중립", "긍정"]
THREE = ROWS.drop(columns="probability").assign(
    label=[0, 2], probability_부정=[0.5, 0.1], probability_중립=[0.3, 0.2], probability_긍정=[0.2, 0.7]
)


def start_with_labels(folder: Path) -> Run:
    settings = {"dataset": "mine.csv", "dataset_sha256": "0", "columns": {"rating": None}, "seed": 0, "labelling": {}}
    run = start_run(folder, class_names=CLASSES, **settings)
    save_comments(run, COMMENTS.assign(label=[0, 2]))
    return run


def test_class_names_are_kept_with_the_run(tmp_path: Path, run: Run) -> None:
    assert run.class_names == ("non-controversial", "controversial")
    mine = start_with_labels(tmp_path / "mine")
    assert json.loads((mine.folder / "run.json").read_text())["class_names"] == CLASSES
    assert open_run(mine.folder, dataset="mine.csv", columns={"rating": None}, seed=0) == mine


def test_a_folder_made_before_there_were_class_names_is_about_controversy(run: Run) -> None:
    record = json.loads((run.folder / "run.json").read_text())
    del record["class_names"]
    (run.folder / "run.json").write_text(json.dumps(record))
    assert open_run(run.folder, dataset="sample", columns={}, seed=0) == run


def test_predictions_of_three_classes_come_back_with_a_column_each(tmp_path: Path) -> None:
    run = start_with_labels(tmp_path / "mine")
    begin_model(run, "m", parameters={})
    save_predictions(run, "m", THREE, seed=0)
    save_predictions(run, "m", THREE, seed=1)
    table = read_predictions(run)
    columns = ["probability_부정", "probability_중립", "probability_긍정"]
    assert list(table)[-4:] == ["label", *columns]
    assert table.loc[3, ["label", *columns]].tolist() == [2, 0.1, 0.2, 0.7]
    assert table["seed"].tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    "bad", [{"label": [0, 3]}, {"probability_중립": [0.3, 1.2]}, {"probability_긍정": [0.2, None]}]
)
def test_impossible_predictions_of_three_classes_are_refused_with_their_id(tmp_path: Path, bad: dict) -> None:
    run = start_with_labels(tmp_path / "mine")
    begin_model(run, "m", parameters={})
    with pytest.raises(ValueError, match="id b .*labels must be 0 to 2"):
        save_predictions(run, "m", THREE.assign(**bad), seed=0)


def test_predictions_without_the_columns_of_the_classes_are_refused(tmp_path: Path) -> None:
    run = start_with_labels(tmp_path / "mine")
    begin_model(run, "m", parameters={})
    with pytest.raises(ValueError, match="rows must have probability_부정, probability_중립, probability_긍정"):
        save_predictions(run, "m", ROWS, seed=0)


def test_saving_a_setting_again_replaces_it_and_leaves_the_others(run: Run) -> None:
    begin_model(run, "m", parameters={})
    for seed, label_budget in ((0, None), (0, 100), (1, None), (0, None)):
        save_predictions(run, "m", ROWS, seed=seed, label_budget=label_budget)
    settings = read_predictions(run)[["seed", "label_budget"]].value_counts(dropna=False)
    assert len(settings) == 3
    assert (settings == 2).all()


@pytest.mark.parametrize("bad", [{"probability": [0.2, 1.2]}, {"probability": [0.2, None]}, {"label": [0, -1]}])
def test_impossible_predictions_are_refused_with_their_id(run: Run, bad: dict) -> None:
    begin_model(run, "m", parameters={})
    with pytest.raises(ValueError, match="id b"):
        save_predictions(run, "m", ROWS.assign(**bad), seed=0)


def test_beginning_again_discards_what_was_there(run: Run) -> None:
    finish_model(run)
    begin_model(run, "m", parameters={"epochs": 1})
    assert not is_finished(run, "m", seed=0)
    assert not run.metrics_path("m").exists()


def test_resume_keeps_what_the_same_parameters_gave(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    finish_model(run)
    monkeypatch.setenv("RESUME", "1")
    begin_model(run, "m", parameters={"epochs": 1})
    assert is_finished(run, "m", seed=0)
    assert not is_finished(run, "m", seed=0, label_budget=100)


def test_resume_discards_what_other_parameters_gave(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    finish_model(run)
    monkeypatch.setenv("RESUME", "1")
    begin_model(run, "m", parameters={"epochs": 2})
    assert not is_finished(run, "m", seed=0)


def test_resume_discards_what_another_checkpoint_gave(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = run.folder / "checkpoint"
    checkpoint.write_text("one")
    begin_model(run, "m", parameters={}, inputs=[checkpoint])
    save_predictions(run, "m", ROWS, seed=0)
    checkpoint.write_text("two")
    monkeypatch.setenv("RESUME", "1")
    begin_model(run, "m", parameters={}, inputs=[checkpoint])
    assert not is_finished(run, "m", seed=0)


@pytest.mark.parametrize("resume", ["0", "1"])
def test_what_a_fit_had_reached_stays_for_the_same_parameters_alone(run: Run, monkeypatch, resume: str) -> None:
    monkeypatch.setenv("RESUME", resume)
    begin_model(run, "m", parameters={"epochs": 1})
    state = run.training_state("m", seed=0, label_budget=100)
    state.parent.mkdir(parents=True)
    state.write_text("half way")
    begin_model(run, "m", parameters={"epochs": 1})
    assert state.exists()
    begin_model(run, "m", parameters={"epochs": 2})
    assert not state.exists()


def test_a_finished_setting_leaves_no_training_state(run: Run) -> None:
    begin_model(run, "m", parameters={})
    states = [run.training_state("m", seed=0, label_budget=budget) for budget in (100, None)]
    states[0].parent.mkdir(parents=True)
    for state in states:
        state.write_text("half way")
    save_predictions(run, "m", ROWS, seed=0, label_budget=100)
    assert [state.exists() for state in states] == [False, True]


def test_what_pretraining_had_reached_stays_for_the_same_parameters_alone(run: Run) -> None:
    begin_checkpoint(run, "m", parameters={"steps": 1})
    run.pretraining_state("m").parent.mkdir(parents=True)
    run.pretraining_state("m").write_text("half way")
    begin_model(run, "m", parameters={})
    begin_checkpoint(run, "m", parameters={"steps": 1})
    assert run.pretraining_state("m").exists()
    begin_checkpoint(run, "m", parameters={"steps": 2})
    assert not run.pretraining_state("m").exists()


def test_predictions_of_other_comments_are_left_out_aloud(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    finish_model(run)
    start(run.folder, COMMENTS.assign(label=[1, 1]))
    assert read_predictions(run).empty
    assert "m: left out" in capsys.readouterr().out


def test_a_checkpoint_of_other_comments_does_not_count(run: Run) -> None:
    begin_checkpoint(run, "bert-tiny", parameters={}).mkdir(parents=True)
    assert has_checkpoint(run, "bert-tiny")
    start(run.folder, COMMENTS.assign(split="train"))
    assert not has_checkpoint(run, "bert-tiny")


def test_run_json_tells_dataset_settings_and_versions(run: Run) -> None:
    record = json.loads((run.folder / "run.json").read_text())
    assert (record["dataset"], record["seed"], record["labelling"]) == ("sample", 0, LABELLING)
    assert record["versions"]["keras"].startswith("3.")


def finish_model(run: Run) -> None:
    begin_model(run, "m", parameters={"epochs": 1})
    save_predictions(run, "m", ROWS, seed=0)
    save_metrics(run, "m", {"auroc": 1.0})
