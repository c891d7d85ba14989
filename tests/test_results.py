"""The page of results says what the run's files say."""

import json
from pathlib import Path
from typing import Any

import pytest

from utils.results import write_results

RUN = {
    "dataset": "/somewhere/reviews.parquet",
    "dataset_sha256": "ab" * 32,
    "versions": {"python": "3.11"},
    "seed": 0,
    "checkpoints": {},
    "models": {"tfidf-logreg": {"hash": "0", "comments": "1", "parameters": {"c": 1.0}}},
}
COMPARISON = {
    "dataset": "own file",
    "labelling": {"band": [0.3, 0.7], "confidence_level": 0.95, "min_votes": 20},
    "splits": [{"split": "test", "comments": 7, "groups": 2, "controversial": "20.0%"}],
    "prevalence": 0.2,
    "bootstrap": {"samples": 1000, "confidence_level": 0.95},
    "scores": [{"model": "tfidf-logreg", "seeds": 1}],
    "intervals": [
        {"model": "tfidf-logreg", "metric": metric, "score": 0.75, "low": 0.7, "high": 0.8125}
        for metric in ("auroc", "macro_f1", "accuracy", "recall_1", "recall_0")
    ],
    "differences_auroc": {"rating": [{"model": "tfidf-logreg", "difference": 0.05, "low": None, "high": 0.1}]},
    "label_budgets": [
        {"model": "tfidf-logreg", "label_budget": 100, "seed": seed, "auroc": auroc}
        for seed, auroc in ((0, 0.5), (1, 0.6))
    ],
}


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    (folder / "figures").mkdir(parents=True)
    (folder / "figures" / "comparison_auroc.png").write_bytes(b"png")
    (folder / "figures" / "comparison_words_tfidf-logreg.png").write_bytes(b"shows a comment")
    write(folder / "run.json", RUN)
    write(folder / "timings.json", {"01_labelling": {"seconds": 90.0, "peak_mib": 512}})
    write(folder / "comparison.json", COMPARISON)
    return folder


def write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def test_the_page_holds_scores_differences_budgets_and_times(run_folder: Path, tmp_path: Path) -> None:
    page = write_results(run_folder, tmp_path / "results" / "reviews", command="make run-all").read_text("utf-8")
    assert "| tfidf-logreg | 1 | 0.750 (0.700 to 0.812) |" in page
    assert "| tfidf-logreg | 0.050 |  | 0.100 |" in page
    assert "| tfidf-logreg | 100 | 2 | 0.550 | 0.500 | 0.600 |" in page
    assert "| 01_labelling | 1.500 | 0.500 |" in page
    assert "make run-all" in page


def test_figures_that_show_a_comment_and_folder_names_stay_out(run_folder: Path, tmp_path: Path) -> None:
    page = write_results(run_folder, tmp_path / "results" / "reviews", command="make run-all")
    assert [path.name for path in page.with_suffix("").iterdir()] == ["comparison_auroc.png"]
    assert "somewhere" not in page.read_text("utf-8") + page.with_suffix(".json").read_text("utf-8")


def test_an_unfinished_run_names_what_is_missing_and_writes_nothing(run_folder: Path, tmp_path: Path) -> None:
    (run_folder / "comparison.json").unlink()
    with pytest.raises(FileNotFoundError, match="comparison.json"):
        write_results(run_folder, tmp_path / "results" / "reviews", command="make run-all")
    assert not (tmp_path / "results").exists()


def test_a_run_on_a_files_own_labels_has_a_recall_for_each_class(run_folder: Path, tmp_path: Path) -> None:
    interval = COMPARISON["intervals"][0] | {"metric": "recall_2", "score": 0.25, "low": 0.125, "high": 0.5}
    changed = {"labelling": {}, "prevalence": None, "intervals": [*COMPARISON["intervals"], interval]}
    write(run_folder / "comparison.json", COMPARISON | changed)
    page = write_results(run_folder, tmp_path / "results" / "mine", command="make run-all").read_text("utf-8")
    assert "The labels are those of the file; seed 0." in page
    assert "| accuracy | recall 2 | recall 1 | recall 0 |" in page
    assert "| 0.250 (0.125 to 0.500) |" in page
    assert "Prevalence" not in page
