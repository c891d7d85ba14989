"""Cells that begin with a marker are passed over, others run."""

import pytest
from IPython.core.interactiveshell import InteractiveShell

from utils.skipping import skip_cells

CELL = "# Needs votes\nran = True"


@pytest.fixture
def shell():
    InteractiveShell.clear_instance()
    yield InteractiveShell.instance(history_manager=None)
    InteractiveShell.clear_instance()


def test_a_marked_cell_says_why_it_does_nothing(shell, capsys):
    skip_cells("# Needs votes", because="the file brings its labels")
    shell.run_cell(CELL)
    assert capsys.readouterr().out == "Skipped: the file brings its labels\n"
    assert "ran" not in shell.user_ns


def test_a_cell_that_has_the_marker_further_down_runs(shell):
    skip_cells("# Needs votes", because="no votes")
    shell.run_cell("ran = 1\n# Needs votes\nran = 2")
    assert shell.user_ns["ran"] == 2


def test_without_a_reason_marked_cells_run_again(shell):
    for because in ("no votes", None):
        skip_cells("# Needs votes", because=because)
    shell.run_cell(CELL)
    assert shell.user_ns["ran"]


def test_each_marker_is_for_itself(shell):
    skip_cells("# Needs two classes", because="there are three")
    shell.run_cell(CELL)
    assert shell.user_ns["ran"]


def test_outside_a_notebook_nothing_happens():
    InteractiveShell.clear_instance()
    skip_cells("# Needs votes", because="no votes")
