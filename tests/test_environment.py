import io
import logging
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from utils import colab
from utils.environment import NEEDED, check_environment, environment_trouble, gpu_advice, told
from utils.files import ROOT

# conda-forge's names where they are not PyPI's
CONDA_NAMES = {"matplotlib-base": "matplotlib", "seaborn-base": "seaborn"}
COLAB_RUNTIME = ROOT / "tests" / "colab_runtime.txt"


def requirements(path: Path) -> dict[str, Requirement]:
    lines = [line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()]
    parsed = [Requirement(line) for line in lines if line and not line.startswith("-")]
    return {canonicalize_name(requirement.name): requirement for requirement in parsed}


def locked() -> dict[str, str]:
    """Name -> version that the lock gives Python 3.11 to 3.13 on Linux."""
    versions = {}
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        requirement = Requirement(line)
        environment = {"python_full_version": "3.12.3", "python_version": "3.12"}
        if requirement.marker is None or requirement.marker.evaluate(environment):
            versions[canonicalize_name(requirement.name)] = str(requirement.specifier).removeprefix("==")
    return versions


def conda_requirements() -> dict[str, Requirement]:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    *packages, with_pip = environment["dependencies"]
    parsed = [Requirement(text) for text in [*packages, *with_pip["pip"]]]
    return {canonicalize_name(CONDA_NAMES.get(item.name, item.name)): item for item in parsed}


def test_conda_users_get_the_packages_of_the_requirements():
    assert set(conda_requirements()) - {"python", "pip"} == set(requirements(ROOT / "requirements.in"))


def test_the_lock_lies_within_the_ranges_of_environment_yml():
    versions = locked()
    for name, requirement in conda_requirements().items():
        if name not in ("python", "pip"):
            assert requirement.specifier.contains(versions[name]), f"{requirement} but {versions[name]} is locked"


@pytest.mark.parametrize("name", ["requirements.in", "requirements-colab.txt"])
def test_the_lock_lies_within_the_ranges_of(name):
    versions = locked()
    for package, requirement in requirements(ROOT / name).items():
        assert requirement.specifier.contains(versions[package]), f"{requirement} but {versions[package]} is locked"


@pytest.mark.parametrize(("version", "fits"), [("3.10", False), ("3.11", True), ("3.13", True), ("3.14", False)])
def test_environment_yml_takes_the_pythons_of_pyproject(version, fits):
    assert conda_requirements()["python"].specifier.contains(version) is fits


def test_the_locks_name_no_index_and_one_version_a_package():
    for name in ("requirements.txt", "requirements-dev.txt"):
        text = (ROOT / name).read_text()
        assert "://" not in text
        assert "--" not in text
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    scientific = [line for line in lines if re.match(r"(numpy|scipy|pandas|tensorflow|keras|keras-hub)==", line)]
    assert len(scientific) == 6


def test_development_tools_share_the_versions_of_the_lock():
    main, development = locked(), requirements(ROOT / "requirements-dev.txt")
    shared = {name for name in development if name in main}
    assert {"numpy", "pandas", "scipy"} <= shared
    assert {name: str(development[name].specifier) for name in shared} == {name: f"=={main[name]}" for name in shared}


def test_this_environment_is_the_locked_one():
    versions = locked()
    installed = {name: metadata.version(name) for name in NEEDED}
    assert installed == {name: versions[canonicalize_name(name)] for name in NEEDED}


def test_pytorch_is_never_in_the_lock():
    assert "torch" not in locked()


def test_dask_is_optional_and_tested_within_the_range_that_users_are_told():
    optional, development = requirements(ROOT / "requirements-dask.txt"), requirements(ROOT / "requirements-dev.txt")
    assert not set(optional) & set(locked())
    for name, requirement in optional.items():
        assert requirement.specifier.contains(str(development[name].specifier).removeprefix("=="))


def test_colab_installs_only_what_it_lacks_or_has_too_old():
    runtime = {name: str(item.specifier).removeprefix("==") for name, item in requirements(COLAB_RUNTIME).items()}
    for name, requirement in requirements(ROOT / "requirements-colab.txt").items():
        assert name not in runtime or not requirement.specifier.contains(runtime[name]), f"Colab has {name}"
    needed = {canonicalize_name(name) for name in NEEDED}
    assert needed <= set(runtime) | set(requirements(ROOT / "requirements-colab.txt"))


def test_colab_keeps_its_numpy_pandas_and_tensorflow():
    assert not set(colab.KEPT) & set(requirements(ROOT / "requirements-colab.txt"))


def test_pip_is_told_to_keep_what_is_there_and_nothing_that_is_not():
    def version(name: str) -> str:
        if name == "tensorflow-text":
            raise metadata.PackageNotFoundError(name)
        return "2.1.3"

    kept = colab.kept_versions(version)
    assert kept == ["numpy==2.1.3", "pandas==2.1.3", "tensorflow==2.1.3", "protobuf==2.1.3"]
    assert colab.install_command(kept)[-4:] == kept


def test_what_colab_has_and_installs_is_new_enough_for_the_setup_cell():
    versions = {name: str(item.specifier).removeprefix("==") for name, item in requirements(COLAB_RUNTIME).items()}
    for name, item in requirements(ROOT / "requirements-colab.txt").items():
        lowest = [part.version for part in item.specifier if part.operator == ">="]
        versions[name] = lowest[0] if lowest else locked()[name]
    assert environment_trouble((3, 12), version=versions.__getitem__) == ""


# ------------------------------------------------------------------------------- the setup cell's check


@pytest.mark.parametrize("python", [(3, 10), (3, 14), (2, 7)])
def test_another_python_is_named(python):
    assert environment_trouble(python) == f"Python 3.11, 3.12 or 3.13 is needed, this is {python[0]}.{python[1]}"


def test_versions_compare_as_numbers():
    needed = {"keras-hub": (0, 32)}
    assert environment_trouble((3, 12), needed=needed, version=lambda name: "0.100.0") == ""
    trouble = environment_trouble((3, 12), needed=needed, version=lambda name: "0.4.1")
    assert trouble == "keras-hub 0.32 or later is needed, this is 0.4.1"


def test_a_missing_package_is_named():
    trouble = environment_trouble((3, 12), needed={"no-such-package": (1, 0)})
    assert trouble == "no-such-package 1.0 or later is needed, it is not installed"


def test_colab_tells_the_gpu_or_the_way_to_one():
    assert gpu_advice("Tesla T4") == "GPU: Tesla T4"
    assert gpu_advice("").startswith("No GPU: enough for all five notebooks with the sample.")
    assert "Runtime > Change runtime type > T4 GPU" in gpu_advice("")


def test_what_native_code_writes_goes_to_a_file_and_python_still_speaks(tmp_path):
    code = (
        "import os, sys, pathlib; from utils.environment import send_native_messages\n"
        "sys.stderr = os.fdopen(os.dup(2), 'w')\n"  # as in a kernel: Python's stderr is not file 2
        "send_native_messages(pathlib.Path(sys.argv[1]))\n"
        "os.write(2, b'native'); print('python', file=sys.stderr, flush=True)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "log")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (result.stderr, (tmp_path / "log").read_text()) == ("python\n", "native")


def test_a_program_that_fails_or_is_missing_tells_nothing():
    assert told("git", "--version").startswith("git version")
    assert told("git", "no-such-command") == ""
    assert told("no-such-program-here") == ""


def test_utils_of_another_folder_are_refused(tmp_path):
    with pytest.raises(SystemExit, match="restart the kernel"):
        check_environment(tmp_path)


def test_a_fit_environment_is_told_in_one_line(capsys):
    check_environment(ROOT)
    assert re.fullmatch(r"Python 3\.\d+\.\d+, tensorflow \S+, keras \S+, keras-hub \S+\n", capsys.readouterr().out)


# ------------------------------------------------------------------------------- make


def make(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", "-C", str(folder), *arguments], capture_output=True, text=True)


def test_tensorflow_says_nothing_of_batches_of_another_width_and_still_warns_of_the_rest():
    said, logger = io.StringIO(), logging.getLogger("tensorflow")
    handler = logging.StreamHandler(said)
    logger.addHandler(handler)
    check_environment(ROOT)
    logger.warning("5 out of the last %d calls to %s triggered tf.function retracing.", 5, "predict")
    logger.warning("another matter")
    logger.removeHandler(handler)
    assert said.getvalue() == "another matter\n"


def test_make_help_lists_the_commands():
    listed = set(re.findall(r"^  make ([\w-]+)", make("help").stdout, re.MULTILINE))
    assert {
        "run-all",
        "test",
        "test-long",
        "test-browser",
        "test-colab",
        "lint",
        "lab",
        "sync",
        "badges",
        "publish",
        "korean",
        "site",
        "clean",
        "help",
    } <= listed


def test_make_names_the_python_it_cannot_use(tmp_path):
    fake = tmp_path / "python3.10"
    fake.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.10.1\nexit 1\n')
    fake.chmod(0o755)
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    (tmp_path / "requirements.txt").touch()
    result = make("run-all", f"PYTHON={fake}", folder=tmp_path)
    assert result.returncode != 0
    assert f"needs Python 3.11, 3.12 or 3.13, and {fake} is Python 3.10.1" in result.stderr


def test_make_sets_up_again_when_the_requirements_change(tmp_path):
    folder = tmp_path / "a clone"
    folder.mkdir()
    (folder / "Makefile").write_text((ROOT / "Makefile").read_text())
    (folder / "requirements.txt").touch()
    assert "Installing" in make("setup", f"PYTHON={sys.executable}", folder=folder).stdout
    assert "Installing" not in make("setup", f"PYTHON={sys.executable}", folder=folder).stdout
    (folder / "requirements.txt").write_text("# changed\n")
    assert "Installing" in make("setup", f"PYTHON={sys.executable}", folder=folder).stdout
