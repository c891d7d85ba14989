"""Colab, as far as it can be had elsewhere: `make test-colab` builds the runtime's packages and runs this in them.

A kernel of that environment opens the notebooks in an empty folder, with `google.colab` loaded. Their setup cell clones
this working tree, which stands in for GitHub, and installs from the package index. Two things differ from Colab: the
clone lies in a temporary folder instead of /content, and there is no GPU.
"""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

import nbformat
import papermill
import pytest

from tests.runs import live_problems
from utils import colab, notebooks
from utils.files import ROOT, remove
from utils.run_all import read_profile

RUNTIME = ROOT / ".venv-colab"  # never installed into, so that every run starts from the bare runtime
IN_USE = ROOT / ".venv-colab-run"
REPOSITORY, REVISION = notebooks.repository_and_revision()

pytestmark = pytest.mark.colab


class Executed(NamedTuple):
    """The notebooks after the run, and the packages before and after."""

    notebooks: dict[str, nbformat.NotebookNode]
    before: dict[str, str]
    after: dict[str, str]


def git(*arguments: str, folder: Path) -> str:
    identity = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    return subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def stand_in_for_github(folder: Path, content: Path) -> None:
    """Commit the working tree as it is now, with `content` for /content in the notebooks."""
    for name in git("ls-files", "-z", "--cached", "--others", "--exclude-standard", folder=ROOT).split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    for path in folder.glob("notebooks/*.ipynb"):
        path.write_text(path.read_text(encoding="utf-8").replace("/content/", f"{content}/"), encoding="utf-8")
    git("init", "--quiet", f"--initial-branch={REVISION}", folder=folder)
    git("add", "--all", folder=folder)
    git("commit", "--quiet", "--message=State of the working tree", folder=folder)


def make_kernel(folder: Path, github: Path) -> None:
    """Write a kernel of the look-alike that has google.colab loaded and finds the stand-in at GitHub's address."""
    startup = folder / "ipython" / "profile_default" / "startup" / "colab.py"
    startup.parent.mkdir(parents=True)
    startup.write_text("import sys, types\nsys.modules['google.colab'] = types.ModuleType('google.colab')\n")
    kernel = folder / "kernels" / "colab" / "kernel.json"
    kernel.parent.mkdir(parents=True)
    environment = {
        "IPYTHONDIR": str(folder / "ipython"),
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.file://{github}.insteadOf",
        "GIT_CONFIG_VALUE_0": f"https://github.com/{REPOSITORY}",
        "PATH": f"{IN_USE / 'bin'}:{os.environ['PATH']}",
    }
    # In a test ipykernel leaves out what native libraries print; outside, as in Colab, a cell may show it.
    command = [
        "env",
        "-u",
        "PYTEST_CURRENT_TEST",
        str(IN_USE / "bin" / "python"),
        "-m",
        "ipykernel_launcher",
        "-f",
        "{connection_file}",
    ]
    kernel.write_text(json.dumps({"argv": command, "display_name": "Colab", "language": "python", "env": environment}))


def installed() -> dict[str, str]:
    command = [IN_USE / "bin" / "python", "-m", "pip", "list", "--format=json", "--disable-pip-version-check"]
    listed = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {package["name"]: package["version"] for package in listed}


@pytest.fixture(scope="module")
def look_alike(tmp_path_factory):
    """A bare runtime with a kernel, and the folder that stands in for /content."""
    if not (RUNTIME / "installed").exists():
        pytest.skip("the look-alike of Colab is not built: make test-colab")
    folder = tmp_path_factory.mktemp("colab")
    for name in ("content", "github", "jupyter"):
        (folder / name).mkdir()
    remove(IN_USE)
    shutil.copytree(RUNTIME, IN_USE, symlinks=True, copy_function=os.link)
    stand_in_for_github(folder / "github", folder / "content")
    make_kernel(folder / "jupyter", folder / "github")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(folder / "jupyter"))
        yield folder
    remove(IN_USE)


def execute(folder: Path, notebook: Path, name: str, parameters: dict) -> nbformat.NotebookNode:
    """Run a notebook of the stand-in for GitHub as Colab would, in /content, and say how long it took."""
    source, done, began = folder / "github" / "notebooks" / notebook.name, folder / f"{name}.ipynb", time.monotonic()
    papermill.execute_notebook(
        source,
        done,
        parameters,
        kernel_name="colab",
        language="python",
        cwd=folder / "content",
        progress_bar=False,
    )
    print(f"{name:<24} {time.monotonic() - began:5.0f} s", flush=True)
    return nbformat.read(done, as_version=4)


@pytest.fixture(scope="module")
def executed(look_alike) -> Executed:
    """The notebooks of the `test` profile, run one after the other from the bare runtime."""
    before, done = installed(), {}
    for step in read_profile("test"):
        parameters = step.parameters | {"RUN_DIR": "runs/test"}
        done[step.name] = execute(look_alike, step.notebook, step.name, parameters)
    return Executed(done, before, installed())


def outputs(notebook: nbformat.NotebookNode, cell_id: str) -> str:
    cell = next(cell for cell in notebook.cells if cell.id == cell_id)
    return "".join(output.get("text", "") for output in cell.outputs)


def test_the_five_notebooks_run_without_a_warning_or_a_widget_besides_the_text_box(executed):
    found = {name: live_problems(notebook) for name, notebook in executed.notebooks.items()}
    assert found == {name: [] for name in found}


def test_what_colab_is_built_around_stays_where_it_was(executed):
    assert {name: executed.after[name] for name in colab.KEPT} == {name: executed.before[name] for name in colab.KEPT}


def test_only_the_first_setup_installs_and_it_says_so(executed):
    first, *later = [outputs(notebook, "setup") for notebook in executed.notebooks.values()]
    moved = {name for name in executed.before if executed.after.get(name) != executed.before[name]}
    print("Moved by the setup cell:", ", ".join(sorted(moved)))
    assert first.startswith(f"Fetching {REVISION} and installing what Colab lacks")
    assert [text.count("Fetching") for text in later] == [0] * len(later)


def test_the_setup_names_the_commit_it_cloned_and_the_way_to_a_gpu(executed, look_alike):
    commit = git("log", "-1", "--format=%h of %cs", folder=look_alike / "github").strip()
    for notebook in executed.notebooks.values():
        assert f"Tutorial: commit {commit}\n" in outputs(notebook, "setup")
        assert "Runtime > Change runtime type > T4 GPU" in outputs(notebook, "setup")


def test_a_notebook_opened_alone_builds_what_it_needs(executed, look_alike):
    step = next(step for step in read_profile("test") if step.name == "04_mini_finetuning")
    parameters = step.parameters | {"RUN_DIR": "runs/alone"}
    notebook = execute(look_alike, step.notebook, "04_alone", parameters)
    assert "running 01_labelling.ipynb first" in outputs(notebook, "derived")
    assert live_problems(notebook) == []
