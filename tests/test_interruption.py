"""Notebooks that are interrupted and run again: what is kept, what is made anew, and that nothing else differs."""

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
import numpy as np
import pandas as pd
import psutil
import pytest
import yaml
from nbformat.v4 import new_code_cell

from tests.runs import run_all
from utils.files import ROOT

DATA = {"DATASET": "data/sample_comments_2000.csv"}
LABELLING = {"notebook": "01_labelling.ipynb", "name": "01", "parameters": DATA}


def write_profile(path: Path, *steps: dict[str, Any]) -> str:
    path.write_text(yaml.safe_dump(list(steps)), encoding="utf-8")
    return str(path)


def run_until(reached: Callable[[], Any], profile: str, folder: Path) -> subprocess.Popen[bytes]:
    """Start `python -m utils.run_all` and return it once something is reached."""
    command = [sys.executable, "-m", "utils.run_all", "--profile", profile, "--run-dir", str(folder)]
    runner = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 900
    while not reached():
        assert runner.poll() is None, "the run ended before it was interrupted"
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
    return runner


def succeeded(*arguments: str) -> None:
    result = run_all(*arguments)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]


# ------------------------------------------------------------------------- RESUME=1

MODEL = """
import time
from pathlib import Path
from utils.run_all import prepare_run
from utils.run_folder import begin_model, is_finished, read_comments, save_predictions

run = prepare_run(RUN_DIR, dataset=DATASET, columns={}, seed=0)
begin_model(run, NAME, parameters={"rate": RATE})
if not is_finished(run, NAME, seed=0):
    with Path(TRAINED).open("a") as trained:
        trained.write(f"{NAME} {RATE}\\n")
    time.sleep(600 if Path(HANGS).exists() and NAME == "third" else 0)
    rows = read_comments(run).query("label >= 0 and split in ['validation', 'test']")
    save_predictions(run, NAME, rows.assign(probability=RATE), seed=0)
"""
PARAMETERS = 'DATASET = ""\nRUN_DIR = ""\nNAME = ""\nRATE = 0.5\nTRAINED = ""\nHANGS = ""\n'


def test_a_run_that_was_interrupted_makes_only_what_is_missing_or_changed(toy_notebook, tmp_path):
    notebook, folder = toy_notebook(MODEL, parameters=PARAMETERS), tmp_path / "run"
    trained, hangs = tmp_path / "trained.txt", tmp_path / "hangs"
    trained.touch()

    def profile(**rates: float) -> str:
        given = DATA | {"TRAINED": str(trained), "HANGS": str(hangs)}
        steps = [
            {
                "notebook": str(notebook),
                "name": name,
                "parameters": given | {"NAME": name, "RATE": rates.get(name, 0.5)},
            }
            for name in ("first", "second", "third")
        ]
        return write_profile(tmp_path / "profile.yaml", LABELLING, *steps)

    hangs.touch()
    runner = run_until(lambda: "third" in trained.read_text(), profile(), folder)
    runner.send_signal(signal.SIGINT)
    assert runner.wait(60) == 128 + signal.SIGINT
    hangs.unlink()
    kept = (folder / "predictions" / "first.parquet").stat().st_mtime_ns
    trained.write_text("")
    succeeded("--profile", profile(second=0.25), "--run-dir", str(folder), "--resume")
    assert trained.read_text().splitlines() == ["second 0.25", "third 0.5"]
    assert (folder / "predictions" / "first.parquet").stat().st_mtime_ns == kept
    assert set(pd.read_parquet(folder / "predictions" / "second.parquet")["probability"]) == {0.25}


# ------------------------------------------------------------------------- notebook 04


def checkpoint_of_every_step(folder: Path) -> Path:
    """Notebook 04 whose `Resume` saves after every step, not every minute."""
    notebook = nbformat.read(ROOT / "notebooks" / "04_kcbert_finetuning.ipynb", as_version=4)
    place = next(number for number, cell in enumerate(notebook.cells) if cell.id == "derived")
    code = 'Resume.__init__.__kwdefaults__ |= {"every_seconds": 0.0, "clock": lambda: 0.0}'
    notebook.cells.insert(place + 1, new_code_cell(code, id="save-every-step"))
    nbformat.write(notebook, folder / "04.ipynb")
    return folder / "04.ipynb"


def steps_taken(state: Path) -> int:
    if not state.exists():
        return 0
    with np.load(state) as kept:
        return len(kept["losses"])


@pytest.mark.long
def test_notebook_04_killed_while_fine_tuning_ends_like_one_that_was_not(kcbert_shaped_checkpoint, tmp_path):
    model, options = kcbert_shaped_checkpoint.name, {"SEEDS": [0], "LABEL_BUDGETS": [], "RANDOM_BASELINE": False}
    finetuning = {
        "notebook": str(checkpoint_of_every_step(tmp_path)),
        "name": "04",
        "parameters": DATA | options | {"CHECKPOINT": str(kcbert_shaped_checkpoint)},
    }
    folders = {name: tmp_path / name for name in ("undisturbed", "killed")}
    both = write_profile(tmp_path / "both.yaml", LABELLING, finetuning)
    succeeded("--profile", both, "--run-dir", str(folders["undisturbed"]))

    state = folders["killed"] / "training" / "models" / model / "seed-0-all-full.npz"
    runner = run_until(lambda: steps_taken(state) >= 40, both, folders["killed"])
    for process in [*psutil.Process(runner.pid).children(recursive=True), runner]:
        os.kill(process.pid, signal.SIGKILL)
    assert runner.wait() == -signal.SIGKILL
    again = write_profile(tmp_path / "again.yaml", finetuning)
    succeeded("--profile", again, "--run-dir", str(folders["killed"]))

    executed = (folders["killed"] / "04.ipynb").read_text(encoding="utf-8")
    (epoch,) = re.findall(r"Goes on at epoch (\d+), step \d+, from seed-0-all-full\.npz", executed)
    assert int(epoch) > 1  # forty steps are more than an epoch
    tables = [pd.read_parquet(folder / "predictions" / f"{model}.parquet") for folder in folders.values()]
    pd.testing.assert_frame_equal(*tables, rtol=0, atol=1e-5)
