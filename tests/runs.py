"""Running the notebooks the way their users do."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from utils import notebooks
from utils.files import ROOT


def runs_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where runs go: the folder TEST_RUNS names (CI keeps it), or a temporary one."""
    return ROOT / os.environ["TEST_RUNS"] if os.environ.get("TEST_RUNS") else tmp_path_factory.mktemp("runs")


def run_all(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`python -m utils.run_all`, with what it printed."""
    command = [sys.executable, "-m", "utils.run_all", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def live_problems(notebook: nbformat.NotebookNode) -> list[str]:
    """What is wrong with a notebook that ran while somebody had it open: the cell `ask` of 05 shows its text box."""
    return notebooks.problems(notebook, widgets=["ask"])


def read(path: Path) -> nbformat.NotebookNode:
    """Read a notebook."""
    return nbformat.read(path, as_version=4)


def metrics(folder: Path) -> dict[str, dict]:
    """Each model's file of scores in a run folder."""
    return {path.stem: json.loads(path.read_text()) for path in (folder / "metrics").glob("*.json")}


def predictions(folder: Path) -> dict[str, pd.DataFrame]:
    """Each model's table of predictions in a run folder."""
    return {path.stem: pd.read_parquet(path) for path in (folder / "predictions").glob("*.parquet")}
