"""Notebooks that are interrupted and run again: what is kept, what is made anew, and that nothing else differs."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

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
