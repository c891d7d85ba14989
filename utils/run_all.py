"""The runner behind `make run-all`: run a profile's notebooks in order with papermill into one run folder.

A profile (`notebooks/profiles/<name>.yaml`) is a list of steps:

    - notebook: 04_kcbert_finetuning.ipynb     # under notebooks/
      name: 04_kcbert_base                     # the executed notebook is <name>.ipynb in the run folder
      parameters: {CHECKPOINT: beomi/kcbert-base, EPOCHS: 3}
      cell_timeout: 3600                       # seconds a cell may take; optional

Every step is checked before the first one runs. A relative path starts at the repository root.
"""

import argparse
import ast
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from utils.datasets import NAMES, dataset_path
from utils.files import ROOT, atomic_path, repository_path, sha256_of, shown
from utils.run_folder import Run, RunFolderError, has_checkpoint, open_run, read_predictions

NOTEBOOKS = ROOT / "notebooks"
PROFILES = NOTEBOOKS / "profiles"
CELL_TIMEOUT = 3600
SCORE_COLUMNS = ("auroc", "macro_f1", "accuracy", "prevalence", "test_comments")


class ProfileError(ValueError):
    """A profile or the command line asks for something that cannot run; nothing has been started."""


@dataclass(frozen=True)
class Step:
    """One notebook to run.

    Attributes
    ----------
    notebook : Path
        The notebook to execute.
    name : str
        Name of the executed notebook in the run folder, without `.ipynb`.
    parameters : dict
        Values for its `parameters` cell.
    cell_timeout : int
        Seconds one cell may take.
    """

    notebook: Path
    name: str
    parameters: dict[str, Any] = field(default_factory=dict)
    cell_timeout: int = CELL_TIMEOUT


# ---------------------------------------------------------------------------------------------- the plan


def read_profile(profile: str | os.PathLike[str]) -> list[Step]:
    """Return the steps of a profile, given by the name of a file in `notebooks/profiles/` or by a path.

    Raises
    ------
    ProfileError
        There is no such profile, or an entry is not a step; the message names the entry.
    """
    path = Path(profile)
    if path.suffix not in (".yaml", ".yml"):
        path = PROFILES / f"{profile}.yaml"
    path = repository_path(path)
    if not path.is_file():
        names = ", ".join(sorted(file.stem for file in PROFILES.glob("*.yaml")))
        raise ProfileError(f"There is no profile {str(profile)!r}: choose one of {names}, or give a path to a .yaml.")
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ProfileError(f"{path.name} is not YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(entries, list) or not entries:
        raise ProfileError(f"{path.name} must be a list of steps, each with notebook, name and parameters.")
    steps = [_step(entry, f"{path.name}, step {number}") for number, entry in enumerate(entries, 1)]
    seen: set[str] = set()
    for step in steps:
        if step.name in seen:
            raise ProfileError(f"{path.name}: two steps are named {step.name!r}; the second would overwrite the first.")
        seen.add(step.name)
    return steps


def _step(entry: object, where: str) -> Step:
    if not isinstance(entry, dict):
        raise ProfileError(f"{where}: must be a mapping with notebook, name and parameters, not {entry!r}.")
    unknown = set(entry) - {"notebook", "name", "parameters", "cell_timeout"}
    if unknown:
        raise ProfileError(f"{where}: unknown key {sorted(map(str, unknown))[0]!r}.")
    notebook, name = entry.get("notebook"), entry.get("name")
    if not isinstance(notebook, str) or not notebook.endswith(".ipynb"):
        raise ProfileError(f"{where}: notebook must be the name of a .ipynb file, not {notebook!r}.")
    if not isinstance(name, str) or not re.fullmatch(r"[\w-]+", name):
        raise ProfileError(f"{where}: name must be letters, digits, - and _, not {name!r}.")
    parameters, timeout = entry.get("parameters") or {}, entry.get("cell_timeout", CELL_TIMEOUT)
    if not isinstance(parameters, dict):
        raise ProfileError(f"{where}: parameters must be a mapping, not {parameters!r}.")
    if isinstance(timeout, bool) or not isinstance(timeout, int) or timeout < 1:
        raise ProfileError(f"{where}: cell_timeout must be whole seconds, at least 1, not {timeout!r}.")
    return Step(NOTEBOOKS / notebook, name, parameters, timeout)


def notebook_parameters(notebook: Path) -> dict[str, Any]:
    """Return the names and default values in a notebook's `parameters` cell.

    Raises
    ------
    ProfileError
        The notebook does not exist or has no cell tagged `parameters`, or that cell holds more than literals.
    """
    if not notebook.is_file():
        raise ProfileError(f"There is no notebook {notebook}.")
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    tagged = ["".join(cell["source"]) for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    if len(tagged) != 1:
        raise ProfileError(f"{notebook.name} must have one code cell tagged 'parameters', it has {len(tagged)}.")
    return dict(_assignment(statement, notebook) for statement in ast.parse(tagged[0]).body)


def _assignment(statement: ast.stmt, notebook: Path) -> tuple[str, Any]:
    if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
        with suppress(ValueError):
            return statement.targets[0].id, ast.literal_eval(statement.value)
    message = f"the parameters cell may only hold NAME = literal, not {ast.unparse(statement)!r}"
    raise ProfileError(f"{notebook.name}: {message}.")


def plan(steps: Sequence[Step], *, run_dir: str | os.PathLike[str], dataset: str | None = None) -> list[Step]:
    """Check every step and return the steps with RUN_DIR, and `dataset` if given, among their parameters.

    Raises
    ------
    ProfileError
        A notebook, a parameter or a dataset that is not there, or a value of another type than the default's.
    """
    planned = []
    for step in steps:
        if "RUN_DIR" in step.parameters:
            raise ProfileError(f"{step.name}: RUN_DIR is one for the whole run, set it with --run-dir.")
        given = step.parameters | {"RUN_DIR": str(run_dir)}
        if dataset is not None:
            given["DATASET"] = dataset
        defaults = notebook_parameters(step.notebook)
        for name, value in given.items():
            _check_parameter(step, name, value, defaults)
        _check_dataset(step, given.get("DATASET", defaults.get("DATASET", "sample")))
        planned.append(replace(step, parameters=given))
    return planned


def _check_parameter(step: Step, name: str, value: object, defaults: Mapping[str, object]) -> None:
    if name not in defaults:
        raise ProfileError(f"{step.name}: {step.notebook.name} has no parameter {name}; it has {', '.join(defaults)}.")
    default = defaults[name]
    if not _same_type(value, default):
        kind = type(default).__name__
        raise ProfileError(f"{step.name}: {name} must be a {kind} like {default!r}, not {value!r}.")


def _same_type(value: object, default: object) -> bool:
    if value is None or default is None:
        return True
    if isinstance(default, float):
        return isinstance(value, float | int) and not isinstance(value, bool)
    return type(value) is type(default)


def _check_dataset(step: Step, dataset: str) -> None:
    path = dataset_path(dataset)
    if dataset != "movie-reviews" and not path.exists():  # those are downloaded by notebook 01
        raise ProfileError(
            f"{step.name}: DATASET {dataset!r} is neither {' nor '.join(map(repr, NAMES))} nor a file: {path} does not "
            "exist (a relative path starts at the repository root)."
        )


def check_run_folder(folder: Path) -> None:
    """Make the run folder if it is missing and try to write into it.

    Raises
    ------
    ProfileError
        It cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ProfileError(
            f"The run folder {folder} cannot be written ({error.strerror}): choose another RUN_DIR."
        ) from error


def check_python(version: tuple[int, ...] = sys.version_info[:2]) -> None:
    """Raise `ProfileError` unless this is Python 3.11, 3.12 or 3.13."""
    if not (3, 11) <= version[:2] <= (3, 13):
        raise ProfileError(f"This tutorial needs Python 3.11, 3.12 or 3.13; this is {version[0]}.{version[1]}.")


# ------------------------------------------------------------------------------------------ the report


def read_scores(run_folder: Path) -> list[dict[str, Any]]:
    """Return `metrics/*.json` of the models trained on the present `comments.parquet`, best AUROC last.

    Files that are not JSON objects are skipped.
    """
    record_path, comments_path = run_folder / "run.json", run_folder / "comments.parquet"
    known = json.loads(record_path.read_text(encoding="utf-8"))["models"] if record_path.exists() else {}
    comments_hash = sha256_of(comments_path) if comments_path.exists() else None
    scores = []
    for path in sorted((run_folder / "metrics").glob("*.json")):
        try:
            score = {"model": path.stem, **json.loads(path.read_text(encoding="utf-8"))}
        except (json.JSONDecodeError, TypeError):
            continue
        if known.get(path.stem, {}).get("comments") == comments_hash:
            scores.append(score)
    return sorted(scores, key=lambda score: score.get("auroc") or 0.0)


def score_table(scores: Sequence[Mapping[str, Any]]) -> str:
    """Return the scores as text, one model a line; a score that is not there is a dash."""
    shown_columns = [column for column in SCORE_COLUMNS if any(column in score for score in scores)]
    rows = [["model", *shown_columns]]
    for score in scores:
        rows.append([str(score["model"]), *(_number(score.get(column)) for column in shown_columns)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    aligned = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
    return "\n".join(aligned)


def _number(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    return "-" if value is None else str(value)


def _report(timings: Mapping[str, Mapping[str, Any]], run_folder: Path) -> str:
    from utils.execution import clock

    rows = [["notebook", "time", "peak memory"]]
    for name, timing in timings.items():
        memory = f"{timing['peak_mib'] / 1024:.1f} GiB" if timing["peak_mib"] else "-"
        rows.append([name, clock(timing["seconds"]), memory])
    rows.append(["all", clock(sum(timing["seconds"] for timing in timings.values())), ""])
    scores = read_scores(run_folder)
    parts = ["\n".join(f"{row[0]:<26} {row[1]:>7}  {row[2]:>11}".rstrip() for row in rows)]
    if scores:
        parts.append("Scores on the test split:\n" + score_table(scores))
    parts.append(
        f"Everything is in {shown(run_folder)}: executed notebooks *.ipynb, comments.parquet, predictions/, metrics/, "
        "models/, figures/."
    )
    return "\n\n".join(parts)


# ------------------------------------------------------------------------------------------ the run


def run_profile(steps: Sequence[Step], run_folder: Path) -> str:
    """Run planned steps in order and return the report; `timings.json` is brought up to date after each.

    Raises
    ------
    NotebookFailed
        A notebook stopped; the ones after it are not run.
    """
    # Imported here because papermill takes seconds to import, and notebooks import this module for `prepare_run`.
    from utils.execution import run_notebook

    timings: dict[str, dict[str, Any]] = {}
    timings_path = run_folder / "timings.json"
    earlier = json.loads(timings_path.read_text(encoding="utf-8")) if timings_path.exists() else {}
    for step in steps:
        timings[step.name] = run_notebook(
            step.notebook, step.name, step.parameters, run_folder=run_folder, cell_timeout=step.cell_timeout
        )
        with atomic_path(timings_path) as path:
            path.write_text(json.dumps({**earlier, **timings}, indent=2) + "\n", encoding="utf-8")
    return _report(timings, run_folder)


def prepare_run(
    run_dir: str | os.PathLike[str],
    *,
    dataset: str,
    columns: Mapping[str, str | None],
    seed: int,
    needs: Sequence[str] = (),
) -> Run:
    """Open the run folder, first running the earlier notebooks whose results it lacks.

    A notebook can so be run by itself from an empty folder: notebook 01 labels the comments, and `needs` names what
    else must be there. The earlier notebooks run with their default settings.

    Parameters
    ----------
    run_dir, dataset, columns, seed
        The notebook's RUN_DIR, DATASET, COLUMNS and SEED.
    needs : sequence of {"models/bert-tiny", "predictions"}, optional
        The checkpoint of notebook 03; any model's predictions (notebooks 02 and 04).

    Returns
    -------
    Run

    Raises
    ------
    RunFolderError
        The folder was made with another DATASET, COLUMNS or SEED, or an earlier notebook failed.
    """
    unknown = set(needs) - {"models/bert-tiny", "predictions"}
    if unknown:
        raise ValueError(f"needs: {sorted(unknown)[0]!r} is neither 'models/bert-tiny' nor 'predictions'")
    missing = missing_notebooks(run_dir, dataset=dataset, columns=columns, seed=seed, needs=needs)
    if missing:
        print(f"{run_dir} lacks what this notebook starts from; running {', '.join(missing)} first.", flush=True)
        _run_notebooks(missing, run_dir, {"DATASET": dataset, "COLUMNS": dict(columns), "SEED": seed})
    return open_run(run_dir, dataset=dataset, columns=columns, seed=seed)


def missing_notebooks(
    run_dir: str | os.PathLike[str], *, dataset: str, columns: Mapping[str, str | None], seed: int, needs: Sequence[str]
) -> list[str]:
    """Return the notebooks `prepare_run` must run first, in order."""
    folder = repository_path(run_dir)
    notebooks, run = [], None
    if (folder / "run.json").exists() and (folder / "comments.parquet").exists():
        run = open_run(run_dir, dataset=dataset, columns=columns, seed=seed)
    else:
        notebooks.append("01_labelling.ipynb")
    without_predictions = "predictions" in needs and (run is None or read_predictions(run).empty)
    if without_predictions:
        notebooks.append("02_text_cnn_word2vec.ipynb")
    if ("models/bert-tiny" in needs or without_predictions) and (run is None or not has_checkpoint(run, "bert-tiny")):
        notebooks.append("03_bert_pretraining.ipynb")
    if without_predictions:
        notebooks.append("04_kcbert_finetuning.ipynb")
    return notebooks


def _run_notebooks(notebooks: Sequence[str], run_dir: str | os.PathLike[str], parameters: Mapping[str, Any]) -> None:
    """Run notebooks in a process of their own, whose progress is printed here."""
    steps = [{"notebook": name, "name": Path(name).stem, "parameters": dict(parameters)} for name in notebooks]
    with tempfile.TemporaryDirectory() as folder:
        profile = Path(folder) / "earlier-notebooks.yaml"
        profile.write_text(yaml.safe_dump(steps, allow_unicode=True), encoding="utf-8")
        command = [sys.executable, "-m", "utils.run_all", "--profile", str(profile), "--run-dir", str(run_dir)]
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8"
        )
        assert process.stdout is not None
        lines = []
        try:
            for line in process.stdout:
                print(line, end="", flush=True)
                lines.append(line)
        finally:
            if process.poll() is None and sys.exc_info()[0] is not None:
                process.terminate()
            process.wait()
    if process.returncode != 0:
        failure = "".join(lines).rpartition("Stopped: ")[2].strip()
        raise RunFolderError(f"An earlier notebook failed. {failure}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a profile from the command line and return the exit status: 0, 1, or 128 plus a signal's number."""
    from utils.execution import NotebookFailed

    parser = argparse.ArgumentParser(
        prog="python -m utils.run_all", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--profile", required=True, help="name in notebooks/profiles, or path to a .yaml file")
    parser.add_argument("--dataset", help="sample, movie-reviews or a path; stands in for every notebook's DATASET")
    parser.add_argument("--run-dir", help="where everything is written (default: runs/<profile name>)")
    parser.add_argument("--resume", action="store_true", help="keep finished models whose inputs are unchanged")
    parser.add_argument("--dry-run", action="store_true", help="check every step and print the plan, run nothing")
    options = parser.parse_args(arguments)
    run_dir = options.run_dir or f"runs/{Path(options.profile).stem}"
    run_folder = repository_path(run_dir)
    os.environ["RESUME"] = "1" if options.resume else "0"
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"  # the kernel of this environment, not one the user has installed
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    os.environ.setdefault("MALLOC_TOP_PAD_", str(2**28))  # glibc hands a step's memory back and fetches it anew: slow
    os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(2**30))
    try:
        check_python()
        steps = plan(read_profile(options.profile), run_dir=run_dir, dataset=options.dataset)
        if options.dry_run:
            print(_plan_text(steps))
            return 0
        check_run_folder(run_folder)
        count = f"{len(steps)} notebook{'s' if len(steps) > 1 else ''}"
        print(f"Profile {Path(options.profile).stem}: {count} into {shown(run_folder)}", flush=True)
        report = run_profile(steps, run_folder)
    except ProfileError as error:
        print(f"Stopped: {error}", file=sys.stderr)
        return 1
    except NotebookFailed as error:
        print(f"\nStopped: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        print("\nStopped: Interrupted (SIGINT).", file=sys.stderr)
        return 128 + signal.SIGINT
    print(f"\n{report}")
    return 0


def _plan_text(steps: Sequence[Step]) -> str:
    lines = []
    for step in steps:
        lines.append(f"{step.name}  ({step.notebook.name}, {step.cell_timeout} s a cell)")
        lines += [f"    {name} = {value!r}" for name, value in step.parameters.items()]
    return "\n".join([*lines, f"{len(steps)} notebooks, every parameter is known. Nothing was run."])


if __name__ == "__main__":
    sys.exit(main())
