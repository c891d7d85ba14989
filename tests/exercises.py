"""The exercises' solutions: their code, and the notebooks that run it after their own cells."""

import re
import textwrap
from pathlib import Path
from typing import Any

import nbformat
import yaml
from nbformat.v4 import new_code_cell

from utils.files import ROOT

DETAILS = re.compile(r"<details>(.*?)</details>", re.DOTALL)
CODE = re.compile(r"^( *)```python\n(.*?)^\1```", re.DOTALL | re.MULTILINE)


def solutions(notebook: nbformat.NotebookNode) -> list[str]:
    """The code of each folded solution; "" for a solution in words alone."""
    exercises = next(cell.source for cell in notebook.cells if cell.id == "exercises")
    folded = DETAILS.findall(exercises)
    return ["\n".join(textwrap.dedent(code) for _, code in CODE.findall(solution)).strip() for solution in folded]


def with_solutions(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook with each solution as a cell of its own at the end."""
    for number, code in enumerate(solutions(notebook), 1):
        notebook.cells.append(new_code_cell(code, id=f"solution-{number}"))
    return notebook


def profile_with_solutions(profile: Path, folder: Path) -> Path:
    """Write a profile into `folder` whose notebooks run their solutions, too; each notebook's the first time."""
    steps: list[dict[str, Any]] = yaml.safe_load(profile.read_text(encoding="utf-8"))
    seen: set[str] = set()
    for step in steps:
        source = ROOT / "notebooks" / step["notebook"]
        step["notebook"] = str(source)
        if source.name not in seen:
            seen.add(source.name)
            step["notebook"] = str(folder / source.name)
            nbformat.write(with_solutions(nbformat.read(source, as_version=4)), folder / source.name)
    (folder / profile.name).write_text(yaml.safe_dump(steps), encoding="utf-8")
    return folder / profile.name
