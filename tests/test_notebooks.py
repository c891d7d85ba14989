import ast
import builtins
import json
import os
import re
import subprocess
import symtable
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tests.runs import live_problems, read
from utils import notebooks
from utils.files import ROOT

NAMES = [
    "01_labelling.ipynb",
    "02_text_cnn_word2vec.ipynb",
    "03_bert_pretraining.ipynb",
    "04_kcbert_finetuning.ipynb",
    "05_model_comparison.ipynb",
]
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
COMMON_PARAMETERS = {"DATASET": "sample", "COLUMNS": {}, "RUN_DIR": "runs/sample", "SEED": 0}
every_notebook = pytest.mark.parametrize("path", PATHS, ids=[path.stem for path in PATHS])


def code_cells(path: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def tags(cell: nbformat.NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def cell_by_id(path: Path, cell_id: str) -> nbformat.NotebookNode:
    return next(cell for cell in read(path).cells if cell.id == cell_id)


# ----------------------------------------------------------------------------- every committed notebook


def test_the_tutorial_has_its_five_notebooks():
    assert [path.name for path in PATHS] == NAMES


@every_notebook
def test_the_required_cells_stand_in_order(path):
    required = ["title", "setup", "imports", "parameters", "derived", "take-away", "exercises", "next"]
    ids = [cell.id for cell in read(path).cells]
    assert [cell_id for cell_id in ids if cell_id in required] == required
    assert ids[0] == "title"
    assert ids[-1] == "next"


@every_notebook
def test_the_file_is_valid_nbformat_4_5(path):
    raw = json.loads(path.read_text(encoding="utf-8"))
    assert (raw["nbformat"], raw["nbformat_minor"]) == (4, 5)
    nbformat.validate(raw)


@every_notebook
def test_cell_ids_are_readable(path):
    for cell in read(path).cells:
        assert re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", cell.id), cell.id
        assert not re.fullmatch(r"[0-9a-f]{6,}(-[0-9a-f]+)*", cell.id), cell.id


@every_notebook
def test_the_size_is_that_of_a_lesson(path):
    assert 25 <= len(read(path).cells) <= 60
    lengths = {cell.id: len(cell.source.splitlines()) for cell in code_cells(path) if "definition" not in tags(cell)}
    assert {cell_id: length for cell_id, length in lengths.items() if length > 30} == {}
    shown = {cell.id: len(cell.source.splitlines()) for cell in code_cells(path) if "definition" in tags(cell)}
    assert {cell_id: length for cell_id, length in shown.items() if length > 40} == {}
    assert all(lengths.values())


@every_notebook
def test_the_title_has_a_korean_summary_and_the_badge_of_this_file(path):
    title = read(path).cells[0].source
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["tutorial"]
    links = re.findall(r"https://colab\.research\.google\.com/github/[^)\s]+", title)
    base = f"https://colab.research.google.com/github/{settings['repository']}/blob/{settings['revision']}"
    assert links == [f"{base}/notebooks/{path.name}"]
    assert re.match(r"# .*[가-힣]", title)
    assert "이 노트북에서 하는 일" in title
    assert "In this notebook you will" in title


@every_notebook
def test_section_headings_have_the_korean_term(path):
    sources = "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    sections = re.findall(r"(?m)^## +(\d+)\. (.+)$", sources)
    assert [int(number) for number, _ in sections] == list(range(1, len(sections) + 1))
    assert len(sections) >= 4
    assert [heading for _, heading in sections if not re.search(r"\([^)]*[가-힣][^)]*\)", heading)] == []


@every_notebook
def test_the_parameters_cell_starts_with_the_common_ones_and_holds_literals(path):
    tagged = [cell for cell in code_cells(path) if "parameters" in tags(cell)]
    assert [cell.id for cell in tagged] == ["parameters"]
    values = {}
    for statement in ast.parse(tagged[0].source).body:
        assert isinstance(statement, ast.Assign), ast.unparse(statement)
        values[statement.targets[0].id] = ast.literal_eval(statement.value)
    assert list(values)[:4] == list(COMMON_PARAMETERS)
    assert {name: values[name] for name in COMMON_PARAMETERS} == COMMON_PARAMETERS
    assert all(name.isupper() for name in values)


@every_notebook
def test_there_is_no_star_import_and_no_magic(path):
    for cell in code_cells(path):
        assert not re.search(r"(?m)^\s*from .* import \*", cell.source), cell.id
        assert not re.search(r"(?m)^\s*[%!]", cell.source), cell.id


@every_notebook
def test_three_exercises_have_their_solutions_folded(path):
    exercises = cell_by_id(path, "exercises").source
    assert exercises.count("<details>") == exercises.count("</details>") == 3


@every_notebook
def test_prose_stands_before_code(path):
    cells = read(path).cells
    runs = re.findall("c{4,}", "".join("m" if cell.cell_type == "markdown" else "c" for cell in cells[5:]))
    assert runs == []


@every_notebook
def test_outputs_are_fit_to_be_committed(path):
    assert notebooks.problems(read(path)) == []


@every_notebook
def test_metadata_holds_nothing_of_a_run(path):
    notebook = read(path)
    assert notebook.metadata == notebooks.METADATA
    assert [cell.id for cell in notebook.cells if set(cell.metadata) - {"tags"}] == []


@every_notebook
def test_the_repeated_cells_are_in_step_with_the_project(path):
    before, notebook = read(path), read(path)
    notebooks.sync(notebook)
    changed = [new.id for new, old in zip(notebook.cells, before.cells, strict=True) if new.source != old.source]
    assert changed == [], "make sync"


@every_notebook
def test_shown_definitions_are_the_code_of_utils(path):
    for cell in code_cells(path):
        if "definition" not in tags(cell):
            continue
        _, module, names = re.match(r"# From (utils)\.(\w+): (.+)", cell.source).groups()
        tree = ast.parse((ROOT / "utils" / f"{module}.py").read_text(encoding="utf-8"))
        ours = {node.name: without_docstrings(node) for node in tree.body if hasattr(node, "name")}
        shown = {node.name: without_docstrings(node) for node in ast.parse(cell.source).body}
        assert list(shown) == names.split(", ")
        assert shown == {name: ours[name] for name in shown}, cell.id


def without_docstrings(tree: ast.AST) -> str:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)


RUN_CELLS = """
import json, sys
cells = json.load(open(sys.argv[1]))
namespace = {"__name__": "__main__"}
for cell in ["setup", "setup", "imports"]:
    exec(compile(cells[cell], cell, "exec"), namespace)
for cell, source in cells["definitions"].items():
    exec(compile(source, cell, "exec"), dict(namespace))
json.dump(sorted(namespace), open(sys.argv[2], "w"))
"""


@every_notebook
def test_setup_runs_twice_from_any_folder_and_definitions_need_only_the_imports(path, tmp_path):
    cells = {cell_id: cell_by_id(path, cell_id).source for cell_id in ("setup", "imports")}
    shown = {cell.id: cell.source for cell in code_cells(path) if "definition" in tags(cell)}
    (tmp_path / "cells.json").write_text(json.dumps({**cells, "definitions": shown}))
    command = [sys.executable, "-c", RUN_CELLS, "cells.json", "names.json"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]
    # Whatever a shown function uses must be imported, or shown as well: else a copied cell fails when called.
    known = set(json.loads((tmp_path / "names.json").read_text())) | set(dir(builtins))
    known |= {node.name for source in shown.values() for node in ast.parse(source).body}
    used = {cell_id: global_names(source) - known for cell_id, source in shown.items()}
    assert {cell_id: names for cell_id, names in used.items() if names} == {}


def global_names(source: str) -> set[str]:
    """Names that the functions of a cell look up outside themselves."""
    tables, names = [symtable.symtable(source, "cell", "exec")], set()
    while tables:
        table = tables.pop()
        tables += table.get_children()
        if table.get_type() == "function" and "annotation" not in table.get_name():
            names |= {symbol.get_name() for symbol in table.get_symbols() if symbol.is_global()}
    return names


# ----------------------------------------------------------------------------- the setup cell


def run_setup(prologue: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    source = prologue + "\n" + notebooks.setup_cell("someone/a-course", "v1") + "\nprint(ROOT)"
    settings = os.environ | environment
    return subprocess.run([sys.executable, "-c", source], cwd=folder, capture_output=True, text=True, env=settings)


def test_the_setup_cell_is_short_and_leads_to_the_repository():
    cell = notebooks.setup_cell("someone/a-course", "v1")
    assert len(cell.splitlines()) <= 30
    assert 'REPOSITORY, REVISION = "https://github.com/someone/a-course", "v1"' in cell
    assert '"/content/a-course"' in cell
    assert "<" not in cell


def test_the_setup_cell_puts_the_tutorial_before_a_utils_of_someone_else(tmp_path):
    (tmp_path / "utils.py").write_text("labelling = 'not ours'")
    result = run_setup("import sys; sys.path.insert(0, '')\nimport utils", tmp_path)
    assert "Put aside a package that is also called utils" in result.stdout
    assert result.stdout.splitlines()[-1] == str(ROOT)
    assert result.returncode == 0


def test_the_setup_cell_stops_where_keras_came_first_in_colab(tmp_path):
    fake = "import sys, types\nfor name in ('google.colab', 'keras'): sys.modules[name] = types.ModuleType(name)"
    result = run_setup(fake, tmp_path)
    assert result.returncode == 1
    assert result.stderr.strip().endswith("choose Runtime > Restart session and run this cell first.")
    assert "Traceback" not in result.stderr


def test_the_setup_cell_says_when_colab_cannot_clone(tmp_path):
    fake = "import sys, types\nsys.modules['google.colab'] = types.ModuleType('colab')"
    (tmp_path / "git").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "git").chmod(0o755)
    result = run_setup(fake, tmp_path, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert result.returncode == 1
    assert "Cloning or installing failed" in result.stderr


# ----------------------------------------------------------------------------- sync, badges, publish

MODULE = '''
import math


@decorated
def area(radius: float) -> float:
    """Return the area of a circle.

    Parameters
    ----------
    radius : float
    """
    return math.pi * radius**2


class Circle:
    """A circle."""

    def grow(self):
        """Grow by one.

        And more.
        """
'''


def test_a_definition_keeps_its_code_and_the_first_line_of_its_docstring():
    assert notebooks.definitions(MODULE, ["area", "Circle"]) == [
        "@decorated\ndef area(radius: float) -> float:\n"
        '    """Return the area of a circle."""\n    return math.pi * radius**2',
        'class Circle:\n    """A circle."""\n\n    def grow(self):\n        """Grow by one."""',
    ]


def test_a_name_that_the_module_does_not_define_is_refused():
    with pytest.raises(notebooks.NotebookError, match="volume is not .* it has area, Circle"):
        notebooks.definitions(MODULE, ["volume"])


@pytest.mark.parametrize("line", ["# From labelling: x", "# From utils.no_such_module: x", "def f(): pass"])
def test_a_definition_cell_must_name_its_source(line):
    with pytest.raises(notebooks.NotebookError, match=r"must read|there is no"):
        notebooks.definition_cell(line)


def toy() -> nbformat.NotebookNode:
    cells = [
        new_markdown_cell("# Toy\n\nA toy.", id="title"),
        new_code_cell("# old", id="setup", execution_count=1),
        new_code_cell("SEED = 0", id="parameters", metadata={"tags": ["parameters"]}),
        new_code_cell("# From utils.labelling: wilson_interval", id="wilson", metadata={"tags": ["definition"]}),
        new_code_cell("SEED", id="seed"),
    ]
    return new_notebook(cells=cells)


def test_sync_fills_setup_and_definitions_and_is_idempotent():
    notebook = toy()
    notebooks.sync(notebook)
    assert notebook.cells[1].source.startswith("# Finds the project")
    assert "def wilson_interval(" in notebook.cells[3].source
    assert notebook.cells[1].execution_count is None
    once = nbformat.writes(notebook)
    notebooks.sync(notebook)
    assert nbformat.writes(notebook) == once


def test_sync_keeps_outputs_of_cells_that_stay():
    notebook = toy()
    notebooks.sync(notebook)
    for cell in notebook.cells[1:]:
        cell.outputs = [new_output("stream", text=cell.id)]
    notebooks.sync(notebook)
    assert [cell.outputs[0].text for cell in notebook.cells[1:]] == ["setup", "parameters", "wilson", "seed"]


def test_badges_lead_to_the_repository_whatever_stood_there():
    notebook = toy()
    notebooks.set_badge(notebook, "notebooks/01_toy.ipynb", "old/name", "dev")
    notebooks.set_badge(notebook, "notebooks/01_toy.ipynb", "new/name", "main")
    badge = notebooks.colab_badge("notebooks/01_toy.ipynb", "new/name", "main")
    assert badge.endswith("(https://colab.research.google.com/github/new/name/blob/main/notebooks/01_toy.ipynb)")
    assert notebook.cells[0].source == f"# Toy\n\n{badge}\n\nA toy."


def test_readme_links_follow_the_repository():
    text = (
        "[Colab](https://colab.research.google.com/github/old/name/blob/dev/notebooks/01_a.ipynb)\n"
        "git clone https://github.com/old/name.git and https://github.com/old/namesake, https://github.com/Beomi/KcBERT"
    )
    assert notebooks.set_links(text, "new/name", "main") == (
        "[Colab](https://colab.research.google.com/github/new/name/blob/main/notebooks/01_a.ipynb)\n"
        "git clone https://github.com/new/name.git and https://github.com/old/namesake, https://github.com/Beomi/KcBERT"
    )


def executed_toy() -> nbformat.NotebookNode:
    """The toy as papermill leaves it: an injected cell, its metadata, counts shifted by one."""
    notebook = toy()
    notebook.cells.insert(3, new_code_cell("SEED = 7", id="x", metadata={"tags": ["injected-parameters"]}))
    notebook.metadata = nbformat.from_dict({"papermill": {"duration": 3}, "kernelspec": {"name": "conda-env"}})
    for count, cell in enumerate(notebook.cells[1:], 1):
        cell.execution_count = count
        cell.metadata.papermill = {"duration": 1}
    notebook.cells[-1].outputs = [new_output("execute_result", {"text/plain": "7"}, execution_count=5)]
    return notebook


def test_publish_takes_the_outputs_and_leaves_papermill_behind():
    committed = toy()
    notebooks.publish(committed, executed_toy())
    assert [cell.id for cell in committed.cells] == [cell.id for cell in toy().cells]
    assert [cell.source for cell in committed.cells] == [cell.source for cell in toy().cells]
    assert [cell.execution_count for cell in committed.cells[1:]] == [1, 2, 3, 4]
    assert committed.cells[-1].outputs[0].execution_count == 4
    assert committed.cells[-1].outputs[0].data == {"text/plain": "7"}
    assert committed.metadata == notebooks.METADATA
    assert committed.cells[2].metadata == {"tags": ["parameters"]}
    assert committed.cells[4].metadata == {}


def test_what_a_cell_printed_in_pieces_is_published_as_one_output():
    executed, committed = executed_toy(), toy()
    executed.cells[-1].outputs = [
        new_output("stream", name="stdout", text=text) for text in ("epoch 1", "\n", "done\n")
    ]
    notebooks.publish(committed, executed)
    assert [output.text for output in committed.cells[-1].outputs] == ["epoch 1\ndone\n"]


def test_publish_refuses_a_cell_that_was_edited_after_the_run():
    executed = executed_toy()
    executed.cells[-1].source = "SEED + 1"
    with pytest.raises(notebooks.NotebookError, match="cell seed was changed since the run"):
        notebooks.publish(toy(), executed)


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (new_output("error", ename="ValueError", evalue="", traceback=[]), "cell seed raised ValueError"),
        (new_output("stream", name="stderr", text="Warning: old\n"), "writes to stderr: Warning: old"),
        (new_output("stream", text="saved to /home/kim/course/x.csv"), "shows a local path, /home/kim"),
        (new_output("display_data", {"text/plain": "<img src='/tmp/x.png'>"}), "shows a local path, /tmp/x.png"),
        (new_output("stream", text="x" * 600_000), "600 are allowed"),
    ],
)
def test_publish_refuses_outputs_that_are_not_fit_for_readers(output, said):
    executed = executed_toy()
    executed.cells[-1].outputs = [output]
    with pytest.raises(notebooks.NotebookError, match=said):
        notebooks.publish(toy(), executed)


def test_a_notebook_out_of_order_or_with_widgets_has_problems():
    notebook = toy()
    notebook.metadata.widgets = {}
    assert notebooks.problems(notebook) == [
        "the cells were not run once, from top to bottom",
        "it holds widget state",
    ]


def live(*cells_with_widget: str) -> nbformat.NotebookNode:
    """A notebook of the cells `ask` and `other`, run while somebody had it open; some show a widget."""
    notebook = new_notebook(
        cells=[new_code_cell(id=name, execution_count=n) for n, name in enumerate(["ask", "other"], 1)]
    )
    for cell in notebook.cells:
        if cell.id in cells_with_widget:
            cell.outputs = [new_output("display_data", {notebooks.WIDGET_STATE: {"model_id": "1"}})]
            notebook.metadata.widgets = {"1": {}}
    return notebook


@pytest.mark.parametrize(
    ("widgets", "found"),
    [
        (["ask"], []),
        ([], ["cell ask shows no widget"]),
        (["ask", "other"], ["cell other shows a widget"]),
        (["other"], ["cell ask shows no widget", "cell other shows a widget"]),
    ],
)
def test_where_somebody_looks_on_the_text_box_is_there_and_no_other_widget(widgets, found):
    assert live_problems(live(*widgets)) == found


def test_a_widget_in_a_notebook_to_be_committed_is_a_problem():
    assert notebooks.problems(live("ask")) == ["it holds widget state", "cell ask shows a widget"]
