import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import psutil
import pytest
import yaml

from utils import execution, run_all
from utils.files import ROOT
from utils.run_folder import begin_model, open_run, save_comments, save_predictions, start_run

SETTINGS = {"dataset": "sample", "columns": {}, "seed": 0}


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    # main() sets these for the kernels; put back what was there.
    for name in ("RESUME", "JUPYTER_PREFER_ENV_PATH"):
        monkeypatch.setenv(name, os.environ.get(name, "0"))


@pytest.fixture
def profile(tmp_path) -> Callable[..., str]:
    def write(*steps: Any) -> str:
        path = tmp_path / "profile.yaml"
        path.write_text(yaml.safe_dump(list(steps)), encoding="utf-8")
        return str(path)

    return write


def step(notebook: Path, **changes: Any) -> dict[str, Any]:
    return {"notebook": str(notebook), "name": notebook.stem, **changes}


def stopped_with(capsys, *arguments: str) -> str:
    """Runs the command, expects it to refuse, and returns what it says on stderr."""
    assert run_all.main(arguments) == 1
    message = capsys.readouterr().err.lstrip()
    assert message.startswith("Stopped: ")
    assert "Traceback" not in message
    return message


# ------------------------------------------------------------------------- before anything runs


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "no spaces please"}, "name must be letters"),
        ({"notebook": "missing.txt"}, ".ipynb"),
        ({"notebook": "missing.ipynb"}, "There is no notebook"),
        ({"paramters": {}}, "unknown key 'paramters'"),
        ({"parameters": ["SEED"]}, "parameters must be a mapping"),
        ({"cell_timeout": 0}, "cell_timeout must be whole seconds"),
        ({"parameters": {"SEEDS": 3}}, "has no parameter SEEDS; it has DATASET, COLUMNS, RUN_DIR, SEED"),
        ({"parameters": {"SEED": "3"}}, "SEED must be a int like 0, not '3'"),
        ({"parameters": {"SEED": True}}, "SEED must be a int"),
        ({"parameters": {"RATE": "high"}}, "RATE must be a float"),
        ({"parameters": {"NAMES": "a"}}, "NAMES must be a list"),
        ({"parameters": {"RUN_DIR": "runs/x"}}, "--run-dir"),
        (
            {"parameters": {"DATASET": "no/such.csv"}},
            "'no/such.csv' is neither 'sample' nor 'movie-reviews' nor a file",
        ),
    ],
)
def test_a_step_that_cannot_run_is_refused_in_one_sentence(toy_notebook, profile, tmp_path, capsys, change, said):
    path = profile(step(toy_notebook()), step(toy_notebook(), name="second") | change)
    message = stopped_with(capsys, "--profile", path, "--run-dir", str(tmp_path / "run"))
    assert said in message
    assert len(message.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_whole_number_will_do_for_a_float_parameter(toy_notebook):
    steps = [run_all.Step(toy_notebook(), "toy", {"RATE": 1})]
    (planned,) = run_all.plan(steps, run_dir="runs/x")
    assert planned.parameters == {"RATE": 1, "RUN_DIR": "runs/x"}


def test_dataset_reaches_every_step(toy_notebook, tmp_path):
    data = tmp_path / "votes.csv"
    data.touch()
    steps = [run_all.Step(toy_notebook(), name) for name in ("a", "b")]
    planned = run_all.plan(steps, run_dir="runs/x", dataset=str(data))
    assert [step.parameters["DATASET"] for step in planned] == [str(data), str(data)]


@pytest.mark.parametrize("cells", [None, "SEED = int('0')", "import os"])
def test_a_notebook_must_have_a_parameters_cell_of_literals(toy_notebook, cells):
    with pytest.raises(run_all.ProfileError, match="parameters"):
        run_all.notebook_parameters(toy_notebook(parameters=cells))


def test_a_profile_is_named_without_its_folder(toy_notebook, profile, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run_all, "run_profile", lambda steps, folder: "")
    path = profile(step(toy_notebook()))
    assert run_all.main(["--profile", path, "--run-dir", str(tmp_path / "run")]) == 0
    assert capsys.readouterr().out.startswith(f"Profile profile: 1 notebook into {tmp_path / 'run'}\n")


def test_two_steps_may_not_write_the_same_notebook(toy_notebook, profile, capsys):
    path = profile(step(toy_notebook()), step(toy_notebook()))
    assert "two steps are named 'toy'" in stopped_with(capsys, "--profile", path)


@pytest.mark.parametrize(("text", "said"), [("a: [", "is not YAML"), ("a: 1", "must be a list"), ("[]", "a list")])
def test_a_profile_that_is_no_list_of_steps_is_refused(tmp_path, capsys, text, said):
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    assert said in stopped_with(capsys, "--profile", str(path))


def test_an_unknown_profile_is_answered_with_the_known_ones(capsys):
    assert "kcbert, labels, movie, sample, test" in stopped_with(capsys, "--profile", "smaple")


def test_a_run_folder_that_cannot_be_written_is_refused(toy_notebook, profile, tmp_path, capsys):
    (tmp_path / "file").touch()
    arguments = ["--profile", profile(step(toy_notebook())), "--run-dir", str(tmp_path / "file" / "run")]
    assert "cannot be written" in stopped_with(capsys, *arguments)


@pytest.mark.parametrize("version", [(3, 10), (3, 14)])
def test_other_python_versions_are_refused(version):
    with pytest.raises(run_all.ProfileError, match="needs Python 3.11, 3.12 or 3.13"):
        run_all.check_python(version)


def test_a_dry_run_prints_the_plan_and_runs_nothing(toy_notebook, profile, tmp_path, capsys):
    notebook = toy_notebook("raise SystemExit('was run')")
    path = profile(step(notebook, parameters={"SEED": 7}))
    assert run_all.main(["--profile", path, "--run-dir", str(tmp_path / "run"), "--dry-run"]) == 0
    assert "SEED = 7" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["sample", "test", "movie", "kcbert"])
def test_every_profile_of_the_project_fits_its_notebooks(name, capsys):
    assert run_all.main(["--profile", name, "--dry-run"]) == 0, capsys.readouterr().err


def test_the_kcbert_profile_fine_tunes_base_and_large(capsys):
    run_all.main(["--profile", "kcbert", "--dry-run"])
    plan = capsys.readouterr().out
    assert "CHECKPOINT = 'beomi/kcbert-base'" in plan
    assert "CHECKPOINT = 'beomi/kcbert-large'" in plan


# ------------------------------------------------------------------------- while notebooks run


def test_a_run_leaves_the_executed_notebook_and_its_time(toy_notebook, profile, tmp_path, capsys):
    notebook = toy_notebook("import os\nprint(SEED, RATE, os.environ['RESUME'], os.getcwd())")
    path = profile(step(notebook, parameters={"SEED": 7}))
    folder = tmp_path / "run"
    assert run_all.main(["--profile", path, "--run-dir", str(folder), "--resume"]) == 0
    assert sorted(file.name for file in folder.iterdir()) == ["timings.json", "toy.ipynb"]
    executed = nbformat.read(folder / "toy.ipynb", as_version=4)
    assert executed.cells[-1].outputs[0].text == f"7 0.5 1 {ROOT}\n"
    assert json.loads((folder / "timings.json").read_text())["toy"]["seconds"] > 0
    out = capsys.readouterr().out
    assert re.search(r"toy +\d+ s +cell 4/5 +1\. Work \(일\)", out)
    assert f"Everything is in {folder}" in out


PROGRESS = """
import sys
from pathlib import Path
from utils.environment import check_environment
from utils.explain import can_show_widgets
check_environment(Path.cwd())
from tqdm.auto import tqdm
print("widgets:", can_show_widgets())
for _ in tqdm(range(2), file=sys.stdout):
    pass
"""


def test_a_run_saves_no_widget_even_when_started_from_an_open_notebook(toy_notebook, profile, tmp_path, monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", "open.ipynb")
    folder = tmp_path / "run"
    assert run_all.main(["--profile", profile(step(toy_notebook(PROGRESS))), "--run-dir", str(folder)]) == 0
    executed = nbformat.read(folder / "toy.ipynb", as_version=4)
    assert "widgets" not in executed.metadata
    outputs = executed.cells[-1].outputs
    assert {output.output_type for output in outputs} == {"stream"}
    assert "widgets: False" in outputs[0].text


FAILURES = {
    "an error": ("def f():\n    raise ValueError('row 3 is wrong')\nf()", "ValueError: row 3 is wrong"),
    "a user's error": ("class RunFolderError(ValueError): pass\nraise RunFolderError('Use another.')", "Use another."),
    "the time limit": ("import time\ntime.sleep(600)", "The cell took longer than"),
    "a dead kernel": ("import os\nos.kill(os.getpid(), 9)", "The kernel died"),
}


@pytest.mark.parametrize("kind", FAILURES)
def test_a_failure_names_notebook_cell_and_reason(toy_notebook, profile, tmp_path, capsys, kind):
    body, reason = FAILURES[kind]
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "toy.ipynb").write_text("of an earlier run")
    path = profile(step(toy_notebook(body), cell_timeout=4 if kind == "the time limit" else 60))
    message = stopped_with(capsys, "--profile", path, "--run-dir", str(folder))
    assert message.startswith(f"Stopped: {reason}")
    assert "toy.ipynb (step toy)" in message
    assert "id the-cell, in '1. Work (일)'" in message
    assert str(folder / "toy.failed.ipynb") in message
    assert [file.name for file in folder.glob("*.ipynb")] == ["toy.failed.ipynb"]


def test_the_steps_after_a_failure_are_not_run(toy_notebook, profile, tmp_path):
    bad, good = toy_notebook("1 / 0", name="bad"), toy_notebook(name="good")
    assert run_all.main(["--profile", profile(step(bad), step(good)), "--run-dir", str(tmp_path / "run")]) == 1
    assert not (tmp_path / "run" / "good.ipynb").exists()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_an_interrupted_run(toy_notebook, profile, tmp_path, signum):
    marker = tmp_path / "kernel.pid"
    body = f"import os, pathlib, time\npathlib.Path({str(marker)!r}).write_text(str(os.getpid()))\ntime.sleep(600)"
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "utils.run_all", "--profile", profile(step(toy_notebook(body)))]
    runner = subprocess.Popen([*command, "--run-dir", str(folder)], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: runner.poll() is not None or (marker.exists() and marker.read_text()), seconds=120)
    runner.send_signal(signum)
    _, said = runner.communicate(timeout=60)
    kernel = int(marker.read_text())
    wait_until(lambda: not alive(kernel), seconds=30)
    assert not (folder / "toy.ipynb").exists()
    if signum != signal.SIGKILL:
        assert runner.returncode == 128 + signum
        assert said.startswith(f"\nStopped: Interrupted ({signum.name})")
        assert (folder / "toy.failed.ipynb").exists()


def wait_until(condition: Callable[[], Any], *, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def alive(process: int) -> bool:
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_every_error_meant_for_people_is_shown_without_its_class_name():
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "utils").glob("*.py"))
    defined = set(re.findall(r"^class (\w+Error)\(", sources, re.MULTILINE)) - {"ProfileError", "NotebookError"}
    assert defined == set(execution.PLAIN_ERRORS) - {"SystemExit"}


# ------------------------------------------------------------------------- what notebooks start from


@pytest.fixture
def run(tmp_path):
    """A run folder with two labelled comments."""
    run = start_run(tmp_path / "run", dataset_sha256="0", labelling={}, **SETTINGS)
    rows = {
        "id": ["a", "b"],
        "group": ["g", "g"],
        "split": ["test", "test"],
        "label": [0, 1],
        "probability": [0.2, 0.7],
    }
    save_comments(run, pd.DataFrame(rows))
    return run


def missing(folder, *needs):
    return [name[:2] for name in run_all.missing_notebooks(folder, needs=needs, **SETTINGS)]


def test_an_empty_folder_needs_the_earlier_notebooks(tmp_path):
    assert missing(tmp_path) == ["01"]
    assert missing(tmp_path, "models/bert-tiny") == ["01", "03"]
    assert missing(tmp_path, "predictions") == ["01", "02", "03", "04"]


def test_a_folder_with_labels_lacks_only_models(run):
    assert missing(run.folder) == []
    assert missing(run.folder, "predictions") == ["02", "03", "04"]


def test_predictions_on_other_comments_do_not_count(run):
    rows = pd.read_parquet(run.comments_path)
    begin_model(run, "tfidf-logreg", parameters={})
    save_predictions(run, "tfidf-logreg", rows, seed=0)
    assert missing(run.folder, "predictions") == []
    save_comments(run, rows.iloc[:1])
    assert missing(run.folder, "predictions") == ["02", "03", "04"]


def test_prepare_run_opens_a_folder_that_lacks_nothing(run):
    assert run_all.prepare_run(run.folder, **SETTINGS) == open_run(run.folder, **SETTINGS)


def test_prepare_run_says_which_earlier_notebook_failed_and_where(tmp_path, monkeypatch):
    settings = {**SETTINGS, "columns": {"group": "no_such_column"}}
    with pytest.raises(run_all.RunFolderError, match=r"(?s)01_labelling\.ipynb.*cell .* id load-comments"):
        run_all.prepare_run(tmp_path / "run", **settings)


def test_prepare_run_refuses_a_need_it_does_not_know(run):
    with pytest.raises(ValueError, match="'models/bert' is neither"):
        run_all.prepare_run(run.folder, needs=["models/bert"], **SETTINGS)


# ------------------------------------------------------------------------- the report


def test_the_table_shows_the_scores_of_models_that_fit_the_comments(run):
    for model, scores in {"good": {"auroc": 0.75, "test_comments": 40}, "poor": {"auroc": 0.5}}.items():
        begin_model(run, model, parameters={})
        path = run.metrics_path(model)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"model": model, **scores}))
    (run.folder / "metrics" / "unknown.json").write_text('{"auroc": 0.9}')
    (run.folder / "metrics" / "broken.json").write_text("{")
    scores = run_all.read_scores(run.folder)
    assert run_all.score_table(scores).splitlines() == [
        "model  auroc  test_comments",
        "poor   0.500              -",
        "good   0.750             40",
    ]


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (59, "59 s"), (60, "1:00"), (3725, "62:05")])
def test_durations_read_as_minutes_and_seconds(seconds, text):
    assert execution.clock(seconds) == text
