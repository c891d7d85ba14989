"""The run folder: what a run was made from, and everything it writes.

`run.json` says from which dataset, columns, seed and labelling settings the run was made, and for each model
and checkpoint the hash of what it was trained on. Nothing is trusted that `run.json` does not vouch for.
"""

import hashlib
import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from utils.classes import CONTROVERSY, probability_columns
from utils.files import atomic_path, remove, repository_path, sha256_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PACKAGES = (
    "numpy",
    "pandas",
    "scikit-learn",
    "tensorflow",
    "keras",
    "keras-hub",
    "transformers",
    "gensim",
    "kiwipiepy",
)
SETTING = ["fold", "seed", "label_budget", "tuning"]
PREDICTION_TYPES = {
    "id": "string",
    "group": "string",
    "split": "string",
    "fold": "Int32",
    "seed": "Int32",
    "label_budget": "Int32",
    "tuning": "string",
    "label": "int8",
}


class RunFolderError(ValueError):
    """The run folder does not fit what was asked of it; the message says what to do."""


@dataclass(frozen=True)
class Run:
    """A run folder and the settings that everything in it was made with.

    Attributes
    ----------
    folder : Path
        Absolute path of the run folder.
    dataset : str
        `"sample"`, `"movie-reviews"` or a file's path.
    columns : dict
        Our column name -> the dataset's.
    seed : int
        Seed of the split and of the models.
    labelling : dict
        `band` [low, high], `confidence_level`, `min_votes`; empty where the file brought its labels.
    class_names : tuple of str
        The name of each class, in the order of the codes in `label`.
    """

    folder: Path
    dataset: str
    columns: dict[str, str | None]
    seed: int
    labelling: dict[str, Any]
    class_names: tuple[str, ...] = CONTROVERSY

    @property
    def prediction_types(self) -> dict[str, str]:
        """Columns of `predictions/<model>.parquet` and their types."""
        return PREDICTION_TYPES | dict.fromkeys(probability_columns(self.class_names), "float64")

    @property
    def comments_path(self) -> Path:
        """The table of comments with label and split."""
        return self.folder / "comments.parquet"

    def model_path(self, model: str) -> Path:
        """Folder of a saved model."""
        return self.folder / "models" / model

    def predictions_path(self, model: str) -> Path:
        """Parquet file of a model's predictions."""
        return self.folder / "predictions" / f"{model}.parquet"

    def metrics_path(self, model: str) -> Path:
        """JSON file of a model's scores."""
        return self.folder / "metrics" / f"{model}.json"

    def pretraining_state(self, checkpoint: str) -> Path:
        """File that `utils.training.Resume` keeps while a checkpoint is being pretrained."""
        return self.folder / "training" / "checkpoints" / checkpoint / "state.npz"

    def training_state(
        self, model: str, *, seed: int, label_budget: int | None = None, tuning: str = "full", fold: int | None = None
    ) -> Path:
        """File that `utils.training.Resume` keeps while a model is being trained in one setting."""
        setting = f"seed-{seed}-{label_budget or 'all'}-{tuning}" + ("" if fold is None else f"-fold-{fold}")
        return self.folder / "training" / "models" / model / f"{setting}.npz"


def start_run(
    run_dir: str | os.PathLike[str],
    *,
    dataset: str,
    dataset_sha256: str,
    columns: Mapping[str, str | None],
    seed: int,
    labelling: Mapping[str, Any],
    class_names: Sequence[str] = CONTROVERSY,
) -> Run:
    """Write `run.json` anew and return the run; notebook 01 calls it.

    Models that an earlier run left in the folder stay on disk and in the record: they count again only if the
    comments come out the same, byte for byte.

    Raises
    ------
    RunFolderError
        The folder cannot be written.
    """
    folder = repository_path(run_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        record = _read_record(folder) if (folder / "run.json").exists() else {}
        settings = {"dataset": dataset, "columns": dict(columns), "seed": seed, "labelling": dict(labelling)}
        record = {
            **settings,
            "class_names": list(class_names),
            "dataset_sha256": dataset_sha256,
            "versions": _versions(),
            "checkpoints": record.get("checkpoints", {}),
            "models": record.get("models", {}),
        }
        _write_json(folder / "run.json", record)
    except OSError as error:
        raise RunFolderError(
            f"RUN_DIR {folder} cannot be written ({error.strerror}): choose another RUN_DIR or free the folder."
        ) from error
    return _run(folder, record)


def open_run(run_dir: str | os.PathLike[str], *, dataset: str, columns: Mapping[str, str | None], seed: int) -> Run:
    """Return the run that notebook 01 made in `run_dir`; notebooks 02 to 05 call it through `prepare_run`.

    Raises
    ------
    RunFolderError
        There is no labelled table yet, or it was made with another DATASET, COLUMNS or SEED (both are named).
    """
    folder = repository_path(run_dir)
    if not (folder / "run.json").exists() or not (folder / "comments.parquet").exists():
        raise RunFolderError(f"RUN_DIR {folder} has no labelled comments yet: run notebook 01 with the same RUN_DIR.")
    record = _read_record(folder)
    for name, asked in (("dataset", dataset), ("columns", dict(columns)), ("seed", seed)):
        if record[name] != asked:
            raise RunFolderError(
                f"{name.upper()} is {asked!r} here, but {folder / 'run.json'} was made with {record[name]!r}: "
                f"use the same value, or another RUN_DIR, or run notebook 01 again."
            )
    return _run(folder, record)


def save_comments(run: Run, comments: pd.DataFrame) -> None:
    """Write `comments.parquet`: one row a comment, with label and split."""
    with atomic_path(run.comments_path) as path:
        comments.to_parquet(path, index=False)


def read_comments(run: Run) -> pd.DataFrame:
    """Return the table that notebook 01 saved."""
    return pd.read_parquet(run.comments_path)


def begin_checkpoint(run: Run, name: str, *, parameters: Mapping[str, Any]) -> Path:
    """Register a checkpoint about to be pretrained and return its folder, `models/<name>`.

    An earlier one is removed, unless the environment says `RESUME=1` and it was begun from the same comments and
    parameters: then the folder is there, whole, and training can be skipped. The state of a training that was cut off
    (`Run.pretraining_state`) stays in any case as long as all these are the same.

    Parameters
    ----------
    run : Run
    name : str
        Such as `"bert-tiny"`.
    parameters : mapping
        Whatever changes the result and fits in JSON.
    """
    _register(run, "checkpoints", name, parameters, inputs=(), leftovers=[run.model_path(name)])
    return run.model_path(name)


def has_checkpoint(run: Run, name: str) -> bool:
    """Tell whether `models/<name>` is there and was pretrained on the present `comments.parquet`."""
    entry = _read_record(run.folder)["checkpoints"].get(name)
    return entry is not None and entry["comments"] == sha256_of(run.comments_path) and run.model_path(name).is_dir()


def begin_model(
    run: Run, model: str, *, parameters: Mapping[str, Any], inputs: Sequence[Path] = (), saved_as: str | None = None
) -> Path:
    """Register a classifier about to be trained and return the folder it is to be saved in.

    What an earlier run left of it is removed, unless the environment says `RESUME=1` and the model was begun from
    the same comments, inputs and parameters: then `is_finished` tells which settings are done. The state of a fit that
    was cut off (`Run.training_state`) stays in any case as long as all these are the same.

    Parameters
    ----------
    run : Run
    model : str
        Name of the model in every table, such as `"text-cnn-rand"`.
    parameters : mapping
        Whatever changes the result and fits in JSON.
    inputs : sequence of Path, optional
        Files or folders the model is made from besides `comments.parquet`, such as a checkpoint.
    saved_as : str, optional
        Name of its folder under `models/` where that is not the model's own (a fine-tuned BERT stands beside the
        checkpoint it came from: `"bert-tiny-fine-tuned"`).

    Returns
    -------
    Path
        The folder; not made yet: write it through `atomic_path`.
    """
    folder = run.model_path(saved_as or model)
    leftovers = [run.predictions_path(model), run.metrics_path(model), folder]
    _register(run, "models", model, parameters, inputs=inputs, leftovers=leftovers)
    return folder


def is_finished(
    run: Run, model: str, *, seed: int, label_budget: int | None = None, tuning: str = "full", fold: int | None = None
) -> bool:
    """Tell whether the predictions of this setting are there already; after `begin_model` only true on resume."""
    if not run.predictions_path(model).exists():
        return False
    done = pd.read_parquet(run.predictions_path(model), columns=SETTING)
    return bool(_same_setting(done, fold, seed, label_budget, tuning).any())


def save_predictions(
    run: Run,
    model: str,
    rows: pd.DataFrame,
    *,
    seed: int,
    label_budget: int | None = None,
    tuning: str = "full",
    fold: int | None = None,
) -> None:
    """Add one setting's predictions to `predictions/<model>.parquet`, in place of earlier ones of that setting.

    The setting is then finished: its `Run.training_state` is removed.

    Parameters
    ----------
    run : Run
    model : str
        A model that `begin_model` registered.
    rows : DataFrame
        Labelled validation and test rows with `id`, `group`, `split`, `label` (0 to K - 1) and, as floats in [0, 1],
        the columns of `utils.classes.probability_columns`: `probability`, that of class 1 (controversial), where there
        are two classes, else `probability_<name>` for each.
    seed, label_budget, tuning, fold
        The setting: `label_budget` None means all labels, `tuning` is "full", "last-layers" or "frozen".

    Raises
    ------
    ValueError
        A column of probabilities is missing, a probability is missing or outside [0, 1], or a label is not one of 0 to
        K - 1; the first bad row is named.
    """
    columns = probability_columns(run.class_names)
    if not set(columns) <= set(rows):
        raise ValueError(f"rows must have {', '.join(columns)} for the classes {', '.join(run.class_names)}")
    known = rows["label"].isin(range(len(run.class_names)))
    bad = ~(rows[columns].ge(0) & rows[columns].le(1)).all(axis=1).to_numpy() | ~known.to_numpy()
    if bad.any():
        row = rows.iloc[int(bad.argmax())]
        stated = ", ".join(f"{name} {row[name]}" for name in columns)
        raise ValueError(
            f"rows: id {row['id']} has label {row['label']} and {stated}; "
            f"labels must be 0 to {len(run.class_names) - 1} and probabilities in [0, 1]"
        )
    setting = {"fold": fold, "seed": seed, "label_budget": label_budget, "tuning": tuning}
    table = rows.assign(**setting)[list(run.prediction_types)].astype(run.prediction_types)
    path = run.predictions_path(model)
    if path.exists():
        earlier = pd.read_parquet(path).astype(run.prediction_types)
        earlier = earlier[~_same_setting(earlier, fold, seed, label_budget, tuning)]
        table = pd.concat([earlier, table], ignore_index=True)
    with atomic_path(path) as temporary:
        table.to_parquet(temporary, index=False)
    remove(run.training_state(model, seed=seed, label_budget=label_budget, tuning=tuning, fold=fold))


def save_metrics(run: Run, model: str, metrics: Mapping[str, Any]) -> None:
    """Write `metrics/<model>.json`."""
    _write_json(run.metrics_path(model), {"model": model, **metrics})


def save_figure(run: Run, figure: "Figure", name: str) -> None:
    """Write `figures/<name>.png`."""
    with atomic_path(run.folder / "figures" / f"{name}.png") as path:
        figure.savefig(path, dpi=120, bbox_inches="tight")


def read_predictions(run: Run) -> pd.DataFrame:
    """Return the predictions of all models that were trained on the present `comments.parquet`.

    Returns
    -------
    DataFrame
        `model` and the columns of `predictions/<model>.parquet`; models in the order of their names. What other
        comments or labels were behind is left out, with a line that says so.
    """
    comments_hash = sha256_of(run.comments_path)
    tables = []
    for model, entry in sorted(_read_record(run.folder)["models"].items()):
        path = run.predictions_path(model)
        if not path.exists():
            continue
        if entry["comments"] != comments_hash:
            print(f"{model}: left out, its predictions belong to other comments or labels; run its notebook again.")
            continue
        tables.append(pd.read_parquet(path).astype(run.prediction_types).assign(model=model))
    if not tables:
        return pd.DataFrame(columns=["model", *run.prediction_types])
    table = pd.concat(tables, ignore_index=True)
    return table[["model", *run.prediction_types]]


def _register(
    run: Run, kind: str, name: str, parameters: Mapping[str, Any], *, inputs: Sequence[Path], leftovers: Sequence[Path]
) -> None:
    record = _read_record(run.folder)
    comments_hash = sha256_of(run.comments_path)
    made_from = json.dumps([comments_hash, [sha256_of(path) for path in inputs], dict(parameters)], sort_keys=True)
    entry = {
        "hash": hashlib.sha256(made_from.encode()).hexdigest(),
        "comments": comments_hash,
        "parameters": dict(parameters),
    }
    same = record[kind].get(name, {}).get("hash") == entry["hash"]
    if not same:
        remove(run.folder / "training" / kind / name)
    if not (same and os.environ.get("RESUME") == "1"):
        for path in leftovers:
            remove(path)
        record[kind][name] = entry
        _write_json(run.folder / "run.json", record)


def _same_setting(
    table: pd.DataFrame, fold: int | None, seed: int, label_budget: int | None, tuning: str
) -> "pd.Series[bool]":
    same = (table["seed"] == seed) & (table["tuning"] == tuning)
    for column, value in (("fold", fold), ("label_budget", label_budget)):
        same &= table[column].isna() if value is None else (table[column] == value).fillna(False)
    return same.astype(bool)


def _read_record(folder: Path) -> dict[str, Any]:
    path = folder / "run.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise RunFolderError(f"{path} is not JSON ({error}): delete the folder and run notebook 01 again.") from error


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def _run(folder: Path, record: Mapping[str, Any]) -> Run:
    class_names = tuple(record.get("class_names", CONTROVERSY))  # folders made by earlier versions have none
    return Run(folder, record["dataset"], record["columns"], record["seed"], record["labelling"], class_names)


def _versions() -> dict[str, str]:
    installed = {}
    for package in PACKAGES:
        try:
            installed[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            installed[package] = "not installed"
    return {"python": platform.python_version(), **installed}
