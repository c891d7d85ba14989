"""The solution of each exercise is code; tests/test_notebooks_run.py runs it and looks at what it prints."""

import re

import pytest
from nbformat.v4 import new_markdown_cell, new_notebook

from tests.exercises import solutions, with_solutions
from tests.runs import read
from utils.files import ROOT

PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
every_notebook = pytest.mark.parametrize("path", PATHS, ids=[path.stem for path in PATHS])


@every_notebook
def test_each_of_three_solutions_is_code(path):
    assert [bool(code) for code in solutions(read(path))] == [True, True, True]


@every_notebook
def test_the_korean_edition_has_the_same_solutions(path):
    assert solutions(read(path.parent / "ko" / path.name)) == solutions(read(path))


@every_notebook
def test_a_solution_fits_into_a_cell(path):
    for code in solutions(read(path)):
        compile(code, path.name, "exec")
        assert len(code.splitlines()) <= 30
        assert max(map(len, code.splitlines())) <= 120


@every_notebook
def test_each_solution_ends_with_what_one_sees(path):
    exercises = next(cell.source for cell in read(path).cells if cell.id == "exercises")
    for folded in re.findall(r"(?s)<details>(.*?)</details>", exercises):
        assert re.search(r"(?s)```\n+ *\S.{60,}$", folded.rstrip()), folded[:80]


def test_code_blocks_of_a_solution_are_one_cell_and_prose_is_none():
    source = (
        "1. Change it.\n   <details><summary>Solution</summary>\n\n"
        "   ```python\n   for n in (1, 2):\n       print(n)\n   ```\n"
        "   And then\n\n   ```python\n   n + 1\n   ```\n   </details>\n2. Why?\n   <details>Because.</details>\n"
    )
    notebook = new_notebook(cells=[new_markdown_cell(source, id="exercises")])
    assert solutions(notebook) == ["for n in (1, 2):\n    print(n)\n\nn + 1", ""]
    assert [cell.id for cell in with_solutions(notebook).cells] == ["exercises", "solution-1", "solution-2"]
