"""Running the notebooks the way their users do."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
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
