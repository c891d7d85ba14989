"""What a run on real data gave, as numbers and figures that may be published: no comment's text among them."""

import argparse
import json
import os
import platform
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from utils.files import ROOT, atomic_path

FIGURES = {
    "votes": "Votes per comment",
    "yield": "Controversial comments for other bands and confidence levels",
    "splits": "Labelled comments in each split",
    "comparison_auroc": "AUROC on test with 95 % intervals",
    "comparison_differences": "Paired differences in AUROC",
    "comparison_confusion": "Confusion matrices on test",
    "comparison_reliability": "Reliability on test",
    "comparison_learning_curve": "AUROC by number of labelled training comments",
}
SCORES = {"auroc": "AUROC", "macro_f1": "macro F1", "accuracy": "accuracy"}  # then the recall of every class


def write_results(run_folder: Path, folder: Path, *, command: str) -> Path:
    """Write `<folder>.md`, `<folder>.json` and figures in `<folder>/` from a finished run.

    Parameters
    ----------
    run_folder : Path
        With `run.json`, `timings.json`, `comparison.json` (notebook 05 writes it) and `figures/`.
    folder : Path
        Such as `results/movie-reviews`.
    command : str
        What was run, for the reader to repeat.

    Returns
    -------
    Path
        The .md file.

    Raises
    ------
    FileNotFoundError
        The run is not finished: the missing file is named.
    """
    record = collect(run_folder, command=command)
    with atomic_path(folder) as figures:
        figures.mkdir()
        for name in FIGURES:
            source = run_folder / "figures" / f"{name}.png"
            if source.exists():
                shutil.copyfile(source, figures / source.name)
    with atomic_path(folder.with_suffix(".json")) as path:
        path.write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    with atomic_path(folder.with_suffix(".md")) as path:
        path.write_text(markdown(record, folder), encoding="utf-8")
    return folder.with_suffix(".md")


def collect(run_folder: Path, *, command: str) -> dict[str, Any]:
    """Return what a run was made from, on what machine, how long it took and what came out."""
    run, timings, comparison = (
        json.loads((run_folder / name).read_text(encoding="utf-8"))
        for name in ("run.json", "timings.json", "comparison.json")
    )
    return {
        "command": command,
        "machine": f"{os.cpu_count()} CPU cores ({platform.machine()}), no GPU",
        "versions": run["versions"],
        "dataset": Path(run["dataset"]).name,
        "dataset_sha256": run["dataset_sha256"],
        "seed": run["seed"],
        "parameters": {
            kind: {name: entry["parameters"] for name, entry in run[kind].items()} for kind in ("checkpoints", "models")
        },
        "timings": timings,
        **{name: value for name, value in comparison.items() if name != "dataset"},
    }


def markdown(record: Mapping[str, Any], folder: Path) -> str:
    """Return the record as a page: sizes, scores with intervals, differences, label budgets, times, figures."""
    labelling, bootstrap = record["labelling"], record["bootstrap"]
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    rule = "The labels are those of the file"
    if labelling:
        rule = (
            f"Band {labelling['band']}, confidence level {labelling['confidence_level']}, at least "
            f"{labelling['min_votes']} votes"
        )
    # Of more than two classes the table of the splits has the share of each.
    prevalence = "" if record["prevalence"] is None else f"Prevalence {record['prevalence']:.1%}. "
    parts = [
        f"# Results: {folder.name}",
        f"Written by `python -m utils.results` from a run of\n\n```sh\n{record['command']}\n```",
        f"on {record['machine']}; {versions}. Dataset file `{record['dataset']}`, "
        f"SHA-256 `{record['dataset_sha256']}`. {rule}; seed {record['seed']}. "
        f"Every parameter stands in `{folder.name}.json`.",
        "## Labelled comments in each split\n\n" + _table(record["splits"]),
        f"## Scores on test\n\n{prevalence}Intervals: {bootstrap['samples']:,} bootstrap "
        f"draws of whole groups, {bootstrap['confidence_level']:.0%}. Averages over the seeds named.\n\n"
        + _scores(record),
    ]
    for reference, rows in record["differences_auroc"].items():
        parts.append(f"## Difference in AUROC to {reference}, on the same draws\n\n" + _table(rows))
    if record["label_budgets"]:
        parts.append("## By number of labelled training comments\n\nAUROC on test.\n\n" + _label_budgets(record))
    times = [
        {"notebook": name, "minutes": timing["seconds"] / 60, "peak memory, GiB": timing["peak_mib"] / 1024}
        for name, timing in record["timings"].items()
    ]
    parts.append("## Time of each part\n\n" + _table(times))
    drawn = [name for name in FIGURES if (folder / f"{name}.png").exists()]
    parts.append("## Figures\n\n" + "\n\n".join(f"![{FIGURES[name]}]({folder.name}/{name}.png)" for name in drawn))
    return "\n\n".join(parts) + "\n"


def _scores(record: Mapping[str, Any]) -> str:
    intervals = {(row["model"], row["metric"]): row for row in record["intervals"]}
    named = {metric for _, metric in intervals if metric.startswith("recall_")}
    recalls = sorted(named, key=lambda metric: int(metric.removeprefix("recall_")), reverse=True)
    shown = SCORES | {metric: metric.replace("_", " ") for metric in recalls}
    rows = []
    for score in record["scores"]:
        row = {"model": score["model"], "seeds": score["seeds"]}
        for metric, name in shown.items():
            interval = intervals[score["model"], metric]
            row[name] = f"{interval['score']:.3f} ({interval['low']:.3f} to {interval['high']:.3f})"
        rows.append(row)
    return _table(rows)


def _label_budgets(record: Mapping[str, Any]) -> str:
    runs = pd.DataFrame(record["label_budgets"]).groupby(["model", "label_budget"])["auroc"]
    spread = runs.agg(seeds="count", mean="mean", lowest="min", highest="max").reset_index()
    return _table([dict(row) for _, row in spread.iterrows()])


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = list(rows[0])
    lines = [columns, ["---"] * len(columns), *([_cell(row[column]) for column in columns] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def main() -> None:
    """Run `python -m utils.results RUN_FOLDER RESULTS_FOLDER --command "..."`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run_folder", type=Path, help="a finished run, such as runs/movie")
    parser.add_argument("folder", type=Path, help="what to write, such as results/movie-reviews")
    parser.add_argument("--command", required=True, help="what was run, for the reader to repeat")
    arguments = parser.parse_args()
    print(write_results(ROOT / arguments.run_folder, ROOT / arguments.folder, command=arguments.command))


if __name__ == "__main__":
    main()
