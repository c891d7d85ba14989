"""Keeps the notebooks in step with the project: `make sync`, `make badges`, `make publish`, `make korean`.

One source for everything that is repeated: the setup cell stands here, shown definitions stand in `utils/`, the
repository's address stands in pyproject.toml, and the Korean edition takes code and outputs from the English one.
"""

import argparse
import ast
import re
import sys
import tomllib
from collections.abc import Collection, Sequence
from pathlib import Path

import nbformat
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from nbformat import NotebookNode

from utils.files import ROOT, atomic_path, repository_path, shown
from utils.korean_edition import korean_notebook, translation_faults

NOTEBOOKS = ROOT / "notebooks"
KOREAN = NOTEBOOKS / "ko"
READMES = ("README.md", "README.ko.md")
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
LARGEST_KB = 600
LONGEST_DEFINITION = 40
DEFINITION_LINE = re.compile(r"# From utils\.(\w+): (\w+(?:, \w+)*)\s*$", re.MULTILINE)
COLAB_LINK = re.compile(r"https://colab\.research\.google\.com/github/([\w.-]+/[\w.-]+)/blob/([^/\s)]+)/([^\s)\"]+)")
LOCAL_PATH = re.compile(r"(?:/home|/Users|/root|/tmp|/var/folders)/[\w.-]+|[A-Za-z]:\\Users\\\w+")
WIDGET_STATE = "application/vnd.jupyter.widget-view+json"

SETUP_CELL = """\
# Finds the project and checks versions; may be run again. The same in every notebook, written by `make sync`.
import os
import subprocess
import sys
from pathlib import Path

os.environ |= {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3", "TOKENIZERS_PARALLELISM": "false"}
os.environ["TRANSFORMERS_NO_ADVISORY_WARNINGS"] = "1"  # it misses PyTorch, which nothing here needs
REPOSITORY, REVISION = "https://github.com/<repository>", "<revision>"
IN_COLAB, CLONE = "google.colab" in sys.modules, Path("/content/<folder>")
if IN_COLAB and not (CLONE / ".installed").exists():
    if "keras" in sys.modules:
        raise SystemExit("Keras is already imported: choose Runtime > Restart session and run this cell first.")
    print(f"Fetching {REVISION} and installing what Colab lacks: one to two minutes, once.", flush=True)
    clone = f"[ -d {CLONE} ] || git clone -q --depth 1 -b {REVISION} {REPOSITORY} {CLONE}"
    status, said = subprocess.getstatusoutput(f"({clone}) && cd {CLONE} && {sys.executable} -m utils.colab")
    if status != 0:
        raise SystemExit(f"Cloning or installing failed, run this cell again: {said}")
starts = [CLONE, Path.cwd(), Path(os.environ.get("JPY_SESSION_NAME", ".")).absolute(), Path(sys.prefix)]
folders = [folder for start in starts for folder in (start, *start.parents)]
ROOT = next((folder for folder in folders if (folder / "utils" / "run_all.py").exists()), None)
if ROOT is None:
    raise SystemExit("The tutorial's folder is not above this notebook: open it there, with make lab.")
for name in [name for name in sys.modules if name.split(".")[0] == "utils"]:
    if not str(getattr(sys.modules[name], "__file__", "")).startswith(str(ROOT)):
        print("Put aside a package that is also called utils:", sys.modules.pop(name))
sys.path[:] = [str(ROOT), *(path for path in sys.path if path != str(ROOT))]
from utils.environment import check_environment

check_environment(ROOT, in_colab=IN_COLAB)
"""


class NotebookError(ValueError):
    """A notebook cannot be brought in step or published; the message names it and the cell."""


def notebook_paths() -> list[Path]:
    """Return the notebooks of the tutorial in their order."""
    return sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))


def repository_and_revision() -> tuple[str, str]:
    """Return `account/name` on GitHub and the branch or tag that links lead to, from pyproject.toml."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["tutorial"]
    return settings["repository"], settings["revision"]


# ------------------------------------------------------------------------------------------------ sync


def setup_cell(repository: str, revision: str) -> str:
    """Return the source of the setup cell for a repository, given as `account/name`, and a branch or tag."""
    folder = repository.partition("/")[2]
    values = {"<folder>": folder, "<revision>": revision, "<repository>": repository}
    source = SETUP_CELL.rstrip()
    for placeholder, value in values.items():
        source = source.replace(placeholder, value)
    return source


def definition_cell(first_line: str) -> str:
    """Return a cell's source for `# From utils.<module>: <name>, ...`: that line, then the definitions.

    The code is that of `utils/<module>.py` with every docstring cut to its first line.

    Raises
    ------
    NotebookError
        The line names no module or name of ours, or the cell would be longer than 40 lines.
    """
    match = DEFINITION_LINE.match(first_line)
    if match is None:
        raise NotebookError(f"{first_line!r} must read '# From utils.<module>: <name>, <name>'.")
    path = ROOT / "utils" / f"{match[1]}.py"
    if not path.exists():
        raise NotebookError(f"{first_line!r}: there is no utils/{match[1]}.py.")
    names = match[2].split(", ")
    source = "\n\n\n".join([first_line.strip(), *definitions(path.read_text(encoding="utf-8"), names)])
    source = source.replace("\n\n\n", "\n", 1)
    length = len(source.splitlines())
    if length > LONGEST_DEFINITION:
        raise NotebookError(f"{first_line!r}: {length} lines, a cell holds {LONGEST_DEFINITION}; shorten or split it.")
    return source


def definitions(module: str, names: Sequence[str]) -> list[str]:
    """Return the source of top-level functions and classes of a module, docstrings cut to their first line.

    Parameters
    ----------
    module : str
        Source of the module.
    names : sequence of str

    Raises
    ------
    NotebookError
        The module defines no function or class of that name.
    """
    lines = module.splitlines()
    kinds = (ast.FunctionDef, ast.ClassDef)
    found = {node.name: node for node in ast.parse(module).body if isinstance(node, kinds)}
    sources = []
    for name in names:
        if name not in found:
            raise NotebookError(f"{name} is not a function or class of the module; it has {', '.join(found)}.")
        node = found[name]
        first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        kept = {number: lines[number - 1] for number in range(first, (node.end_lineno or first) + 1)}
        for inner in ast.walk(node):
            if isinstance(inner, kinds) and ast.get_docstring(inner):
                _cut_docstring(inner.body[0], kept)
        sources.append("\n".join(kept[number] for number in sorted(kept)))
    return sources


def _cut_docstring(docstring: ast.stmt, lines: dict[int, str]) -> None:
    assert docstring.end_lineno is not None
    if docstring.end_lineno > docstring.lineno:
        lines[docstring.lineno] = lines[docstring.lineno].rstrip() + '"""'
        for number in range(docstring.lineno + 1, docstring.end_lineno + 1):
            del lines[number]


def sync(notebook: NotebookNode) -> None:
    """Write the setup cell and the definition cells; a cell that changes loses its outputs.

    Raises
    ------
    NotebookError
        As from `definition_cell`, with the cell's id.
    """
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        if cell.id == "setup":
            _set_source(cell, setup_cell(*repository_and_revision()))
        elif "definition" in cell.metadata.get("tags", []):
            try:
                _set_source(cell, definition_cell(cell.source.partition("\n")[0]))
            except NotebookError as error:
                raise NotebookError(f"cell {cell.id}: {error}") from error


def _set_source(cell: NotebookNode, source: str) -> None:
    if cell.source != source:
        cell.source, cell.outputs, cell.execution_count = source, [], None


# ---------------------------------------------------------------------------------------------- badges


def colab_badge(path: str, repository: str, revision: str) -> str:
    """Return the Markdown of the badge that opens a notebook, given by its path in the repository, in Colab."""
    image = "https://colab.research.google.com/assets/colab-badge.svg"
    link = f"https://colab.research.google.com/github/{repository}/blob/{revision}/{path}"
    return f"[![Open In Colab]({image})]({link})"


def set_badge(notebook: NotebookNode, path: str, repository: str, revision: str) -> None:
    """Make the title cell's badge lead to the notebook's own path; add the badge where it is missing."""
    title = notebook.cells[0]
    badge = colab_badge(path, repository, revision)
    if COLAB_LINK.search(title.source):
        title.source = COLAB_LINK.sub(badge[badge.rindex("(") + 1 : -1], title.source)
    else:
        heading, _, rest = title.source.partition("\n")
        title.source = f"{heading}\n\n{badge}\n\n{rest.lstrip()}".rstrip()


def set_links(text: str, repository: str, revision: str) -> str:
    """Return a README with all Colab links, and GitHub links to the same repository, leading to `repository`."""
    for former in {match[1] for match in COLAB_LINK.finditer(text)}:
        text = re.sub(rf"github\.com/{re.escape(former)}(?=[\s/.)\"'`]|$)", f"github.com/{repository}", text)
    host = "https://colab.research.google.com/github"
    return COLAB_LINK.sub(lambda match: f"{host}/{repository}/blob/{revision}/{match[3]}", text)


# --------------------------------------------------------------------------------------------- publish


def publish(committed: NotebookNode, executed: NotebookNode) -> None:
    """Put an executed notebook's outputs into the committed one, normalised: what one cell printed is one output.

    Sources, ids, tags and the parameters cell stay as committed: papermill's injected cell and its metadata are
    left behind. Execution counts become 1, 2, 3, ...

    Raises
    ------
    NotebookError
        A cell was changed since the run, or `problems` finds one in the result.
    """
    runs = {cell.id: cell for cell in executed.cells if "injected-parameters" not in cell.metadata.get("tags", [])}
    code = [cell for cell in committed.cells if cell.cell_type == "code"]
    for count, cell in enumerate(code, 1):
        if cell.id not in runs or runs[cell.id].source != cell.source:
            raise NotebookError(f"cell {cell.id} was changed since the run: make run-all, then publish again.")
        cell.execution_count = count
        merged, _ = CoalesceStreamsPreprocessor().preprocess_cell(runs[cell.id], {}, count)
        cell.outputs = [_plain_output(output, count) for output in merged.outputs]
    for cell in committed.cells:
        cell.metadata = {"tags": cell.metadata.tags} if cell.metadata.get("tags") else {}
    committed.metadata = nbformat.from_dict(METADATA)
    committed.nbformat, committed.nbformat_minor = 4, 5
    found = problems(committed)
    if found:
        raise NotebookError("; ".join(found))


def _plain_output(output: NotebookNode, count: int) -> NotebookNode:
    if output.output_type in ("display_data", "execute_result"):
        output.metadata = {}
        output.data.pop(WIDGET_STATE, None)
    if output.output_type == "execute_result":
        output.execution_count = count
    return output


def problems(notebook: NotebookNode, *, widgets: Collection[str] = ()) -> list[str]:
    """Return what keeps an executed notebook from being committed, one sentence each.

    Errors and stderr output, cells out of order or not run, widget state, paths of somebody's machine, size.

    Parameters
    ----------
    notebook : NotebookNode
    widgets : collection of str, optional
        Ids of the cells that must show a widget, as some do where somebody has the notebook open; no other cell may.
    """
    found = []
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if [cell.execution_count for cell in code] != list(range(1, len(code) + 1)):
        found.append("the cells were not run once, from top to bottom")
    if "widgets" in notebook.metadata and not any(cell.id in widgets for cell in code):
        found.append("it holds widget state")
    for cell in code:
        shows_widget = any(WIDGET_STATE in output.get("data", {}) for output in cell.outputs)
        if shows_widget != (cell.id in widgets):
            found.append(f"cell {cell.id} shows {'a' if shows_widget else 'no'} widget")
        for output in cell.outputs:
            text = nbformat.v4.writes(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(outputs=[output])]))
            local = LOCAL_PATH.search(text)
            if output.output_type == "error":
                found.append(f"cell {cell.id} raised {output.ename}")
            if output.get("name") == "stderr":
                found.append(f"cell {cell.id} writes to stderr: {output.text.strip().splitlines()[0]}")
            if local:
                found.append(f"cell {cell.id} shows a local path, {local[0]}")
    kilobytes = len(nbformat.writes(notebook).encode()) // 1000
    if kilobytes >= LARGEST_KB:
        found.append(f"it has {kilobytes} kB, {LARGEST_KB} are allowed")
    return found


# -------------------------------------------------------------------------------------- Korean edition


def korean_prose(path: Path) -> Path:
    """Return where the translations of an English notebook, given by its path, stand."""
    return KOREAN / f"{path.name[:2]}.md"


def read_prose(path: Path) -> str:
    """Return the text of a file of translations, none where there is no file."""
    return path.read_text(encoding="utf-8") if path.exists() else ""


def build_korean(path: Path) -> NotebookNode:
    """Return the Korean edition of an English notebook, given by its path, with the badge of its own file."""
    notebook = korean_notebook(read(path), read_prose(korean_prose(path)))
    set_badge(notebook, (KOREAN / path.name).relative_to(ROOT).as_posix(), *repository_and_revision())
    return notebook


def korean_faults() -> list[str]:
    """Return what is missing or outdated in the Korean edition, one sentence each, naming file and cell."""
    faults = []
    for path in notebook_paths():
        prose = korean_prose(path)
        found = translation_faults(read(path), read_prose(prose))
        faults += [f"{shown(prose)}: {fault}" for fault in found]
    return faults


# ------------------------------------------------------------------------------------------- commands


def read(path: Path) -> NotebookNode:
    """Return the notebook in a file."""
    return nbformat.read(path, as_version=4)


def write(notebook: NotebookNode, path: Path) -> bool:
    """Write a notebook unless the file already reads so; tell whether it was written."""
    nbformat.validate(notebook)
    text = nbformat.writes(notebook).rstrip("\n") + "\n"
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(f"wrote {shown(path)}")
    return True


def sync_all() -> None:
    """Bring the setup cell and the definitions of all notebooks in step with `utils/`."""
    for path in notebook_paths():
        notebook = read(path)
        sync(notebook)
        write(notebook, path)


def badge_all() -> None:
    """Write the repository of pyproject.toml into badges, READMEs and setup cells."""
    repository, revision = repository_and_revision()
    for path in notebook_paths():
        notebook = read(path)
        set_badge(notebook, path.relative_to(ROOT).as_posix(), repository, revision)
        sync(notebook)
        write(notebook, path)
    for readme in (ROOT / name for name in READMES):
        if readme.exists():
            text = readme.read_text(encoding="utf-8")
            readme.write_text(set_links(text, repository, revision), encoding="utf-8")


def publish_all(run_folder: Path) -> None:
    """Put the outputs of a run's notebooks into the committed ones; all or, when one is unfit, none."""
    published = []
    for path in notebook_paths():
        executed = run_folder / path.name
        if not executed.exists():
            raise NotebookError(f"{shown(executed)} is not there: make run-all, then publish again.")
        notebook = read(path)
        try:
            publish(notebook, read(executed))
        except NotebookError as error:
            raise NotebookError(f"{path.name}: {error}") from error
        published.append((notebook, path))
    for notebook, path in published:
        write(notebook, path)


def korean_all() -> None:
    """Build the Korean edition from the English notebooks and the translations."""
    for path in notebook_paths():
        write(build_korean(path), KOREAN / path.name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the commands and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m utils.notebooks", description=__doc__)
    parser.add_argument("command", choices=["sync", "badges", "publish", "korean", "check-korean"])
    parser.add_argument("--run-dir", default="runs/sample", help="where publish takes the executed notebooks from")
    options = parser.parse_args(arguments)
    try:
        if options.command == "sync":
            sync_all()
        elif options.command == "badges":
            badge_all()
        elif options.command == "publish":
            publish_all(repository_path(options.run_dir))
        if options.command != "check-korean":
            korean_all()
    except NotebookError as error:
        print(f"Stopped: {error}", file=sys.stderr)
        return 1
    faults = korean_faults()
    print(*faults, sep="\n", end="\n" if faults else "", file=sys.stderr)
    return 1 if faults and options.command.endswith("korean") else 0


if __name__ == "__main__":
    sys.exit(main())
