"""The five notebooks on the `test` profile, one after another, with the solutions of their exercises."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml
from sklearn.metrics import roc_auc_score

from tests.exercises import profile_with_solutions
from tests.runs import metrics, predictions, read, run_all, runs_folder
from utils import notebooks
from utils.files import ROOT

NAMES = [path.name for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]


@pytest.fixture(scope="module")
def test_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The folder of the run, and what `run_all` printed."""
    folder = runs_folder(tmp_path_factory) / "test"
    profile = profile_with_solutions(
        ROOT / "notebooks" / "profiles" / "test.yaml", tmp_path_factory.mktemp("solutions")
    )
    result = run_all("--profile", str(profile), "--run-dir", str(folder))
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    return folder, result


@pytest.mark.notebooks
def test_the_five_notebooks_run_and_the_scores_are_shown(test_run):
    folder, result = test_run
    assert {path.name for path in folder.glob("*.ipynb")} == {*NAMES, "04_mini_finetuning.ipynb"}
    for model in metrics(folder):
        assert re.search(rf"(?m)^{model} +0\.\d+", result.stdout), model
    assert result.stderr == ""


@pytest.mark.notebooks
def test_no_notebook_warns_or_shows_a_path_of_this_machine(test_run):
    folder, _ = test_run
    names = [*NAMES, "04_mini_finetuning.ipynb"]
    assert {name: notebooks.problems(read(folder / name)) for name in names} == {name: [] for name in names}


@pytest.mark.notebooks
def test_every_model_is_scored_on_the_same_test_comments(test_run):
    folder, _ = test_run
    comments = pd.read_parquet(folder / "comments.parquet")
    labelled = comments[(comments["split"] == "test") & (comments["label"] != -1)]
    for model, rows in predictions(folder).items():
        for _, setting in rows[rows["split"] == "test"].groupby(["seed", "label_budget", "tuning"], dropna=False):
            assert sorted(setting["id"]) == sorted(labelled["id"]), model
    assert {scores["test_comments"] for scores in metrics(folder).values()} == {len(labelled)}


@pytest.mark.notebooks
def test_probabilities_are_probabilities_and_no_training_comment_is_predicted(test_run):
    folder, _ = test_run
    for model, rows in predictions(folder).items():
        assert rows["probability"].between(0, 1).all(), model
        assert set(rows["split"]) == {"validation", "test"}, model


@pytest.mark.notebooks
def test_the_scores_are_in_a_sane_range(test_run):
    folder, _ = test_run
    scores = metrics(folder)
    expected = {"majority", "tfidf-logreg", "text-cnn-rand", "text-cnn-static", "text-cnn-non-static"}
    expected |= {"bert-tiny", "bert-mini"}
    assert expected <= set(scores)
    assert "rating" not in scores  # the sample has none
    assert scores["majority"]["auroc"] == 0.5
    assert len({round(entry["prevalence"], 6) for entry in scores.values()}) == 1
    assert 0.3 < scores["majority"]["prevalence"] < 0.7
    ceiling = json.loads((folder / "comparison.json").read_text())["ceiling_auroc"]
    assert all(entry["auroc"] < ceiling and 0.2 <= entry["macro_f1"] <= 1 for entry in scores.values())
    for model, rows in predictions(folder).items():  # 69 comments, both held-out splits: a standard error is about 0.07
        on_all_labels = rows[(rows["tuning"] == "full") & rows["label_budget"].isna()]
        auroc = roc_auc_score(on_all_labels["label"], on_all_labels["probability"])
        assert (0.6 if model == "tfidf-logreg" else 0.4) <= auroc <= 0.95, model


@pytest.mark.notebooks
def test_labels_and_splits_are_the_same_on_every_run(test_run, tmp_path):
    profile = [step for step in yaml.safe_load((ROOT / "notebooks/profiles/test.yaml").read_text())][:1]
    (tmp_path / "labels.yaml").write_text(yaml.safe_dump(profile))
    result = run_all("--profile", str(tmp_path / "labels.yaml"), "--run-dir", str(tmp_path / "run"))
    assert result.returncode == 0, result.stderr
    first, second = (pd.read_parquet(folder / "comments.parquet") for folder in (test_run[0], tmp_path / "run"))
    pd.testing.assert_frame_equal(first, second)


def notebook_04_up_to_its_derived_values(**parameters: object) -> str:
    """What notebook 04 prints from its setup to the cell below its parameters, where there is no GPU."""
    cells = {cell.id: cell.source for cell in read(ROOT / "notebooks" / "04_kcbert_finetuning.ipynb").cells}
    given = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
    program = "\n".join([cells["setup"], cells["imports"], cells["parameters"], given, cells["derived"]])
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1"}
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout


@pytest.mark.notebooks
def test_without_a_gpu_kcbert_says_its_hours_and_gives_way_to_mini(test_run):
    data = {"DATASET": "data/sample_comments_2000.csv", "RUN_DIR": str(test_run[0])}
    said = notebook_04_up_to_its_derived_values(**data, CHECKPOINT="beomi/kcbert-base", CPU_HOURS=0.0)
    hours = re.search(r"No GPU: beomi/kcbert-base takes about (\d+\.\d) hours here, .* on a T4 \(estimates\)", said)
    assert hours and float(hours[1]) > 0
    assert '"mini" takes its place' in said and 'Quickest is DATASET = "sample"' in said
    assert said.endswith("bert-mini, computing in float32\n")


@pytest.mark.notebooks
def test_without_a_gpu_kcbert_stays_where_its_hours_are_granted(test_run, kcbert_shaped_checkpoint, tmp_path):
    (tmp_path / "kcbert-base").symlink_to(kcbert_shaped_checkpoint)
    data = {"DATASET": "data/sample_comments_2000.csv", "RUN_DIR": str(test_run[0])}
    said = notebook_04_up_to_its_derived_values(**data, CHECKPOINT=str(tmp_path / "kcbert-base"), CPU_HOURS=1e6)
    assert "hours here" in said and "takes its place" not in said
    assert said.endswith("kcbert-base, computing in float32\n")


# ----------------------------------------------------------------------------- what the solutions print


@pytest.fixture
def printed(test_run) -> Callable[[str, int], str]:
    """What the solution of an exercise printed, by the notebook's number and the exercise's."""
    folder, _ = test_run

    def of(notebook: str, number: int) -> str:
        (path,) = folder.glob(f"{notebook}_[!m]*.ipynb") if notebook == "04" else folder.glob(f"{notebook}_*.ipynb")
        cell = next(cell for cell in read(path).cells if cell.id == f"solution-{number}")
        return "".join(output.text for output in cell.outputs if output.output_type == "stream")

    return of


def numbers(pattern: str, text: str) -> list[float]:
    """The numbers that a pattern's one group finds, commas left out."""
    return [float(found.replace(",", "")) for found in re.findall(pattern, text)]


@pytest.mark.notebooks
@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("notebook", ["01", "02", "03", "04", "05"])
def test_every_solution_prints_something(printed, notebook, number):
    assert printed(notebook, number).strip()


@pytest.mark.notebooks
def test_01_half_the_band_takes_four_times_the_votes(printed):
    shown = printed("01", 1)
    assert numbers(r"needs (\d+) votes", shown) == [22, 94]
    wide, narrow = numbers(r"([\d,]+) comments", shown)
    assert narrow < wide / 2


@pytest.mark.notebooks
def test_01_correlated_votes_may_never_be_enough(printed):
    shown = printed("01", 2)
    assert numbers(r": (\d+) votes", shown) == [28, 39]
    assert "never: 100,000 votes are worth 20.0" in shown


@pytest.mark.notebooks
def test_01_copies_flatter_random_folds_and_leave_whole_articles_alone(printed):
    random, grouped, random_copied, grouped_copied = numbers(r"AUROC ([\d.]+)", printed("01", 3))
    assert random_copied > random + 0.1
    assert abs(grouped_copied - grouped) < 0.05


@pytest.mark.notebooks
def test_02_without_class_weights_recall_moves_and_the_ranking_stays(printed):
    weighted, unweighted = re.findall(r"(?m)^tfidf.*?((?: +[\d.]+){5})$", printed("02", 1))
    _, recall_0, recall_1, _, auroc = map(float, weighted.split())
    _, recall_0_without, recall_1_without, _, auroc_without = map(float, unweighted.split())
    assert recall_1_without < recall_1
    assert recall_0_without > recall_0
    assert abs(auroc_without - auroc) < 0.05


@pytest.mark.notebooks
def test_02_fewer_words_have_a_vector_without_unlabelled_text(printed):
    everything, labelled = numbers(r"(\d+)% of the rows", printed("02", 2))
    assert labelled < everything - 10


@pytest.mark.notebooks
def test_02_windows_of_one_word_do_not_see_the_order(printed):
    words_only, network = numbers(r"probability: ([\d.]+) on average", printed("02", 3))
    assert words_only == 0
    assert network > 0


@pytest.mark.notebooks
def test_03_a_large_vocabulary_halves_the_tokens_and_a_tiny_one_knows_too_little(printed):
    tiny, small, large = numbers(r"pieces: ([\d.]+) tokens", printed("03", 1))
    assert large < 0.7 * small
    assert tiny < small + 3
    assert numbers(r"([\d.]+)% of them unknown", printed("03", 1))[0] > 3


@pytest.mark.notebooks
def test_03_the_guess_of_bert_mini_follows_the_words_before_the_blank(printed):
    guesses = re.findall(r"\.: (\S+) ", printed("03", 2))
    assert guesses[:3] == ["음악이", "연기가", "정말"]


@pytest.mark.notebooks
def test_03_the_order_is_found_nearly_as_often_as_strangers_are(printed):
    replaced, swapped = numbers(r": ([\d.]+)% of", printed("03", 3))
    assert swapped > 50
    assert abs(replaced - swapped) < 15


@pytest.mark.notebooks
def test_04_batches_by_length_compute_less_padding_and_small_ones_least(printed):
    by_length = numbers(r"(\d+)% by length", printed("04", 1))
    as_they_come = numbers(r"(\d+)% as they come", printed("04", 1))
    assert all(ours > theirs for ours, theirs in zip(by_length, as_they_come, strict=True))
    assert as_they_come == sorted(as_they_come, reverse=True)


@pytest.mark.notebooks
def test_04_a_random_draw_of_a_rare_class_is_luck_and_one_with_equal_shares_is_not(printed):
    (low, high), (least, most) = re.findall(r": (\d+) to (\d+) rare", printed("04", 2))
    assert int(least) == int(most) == 5
    assert int(low) < 5 < int(high)


@pytest.mark.notebooks
def test_04_two_classes_of_ones_own_are_learned(printed):
    shown = printed("04", 3)
    (right,), (free,) = numbers(r"([\d.]+)% of \d+ right", shown), numbers(r"([\d.]+)% for free", shown)
    assert right > free + 5


@pytest.mark.notebooks
def test_05_other_sentences_get_other_answers_from_every_model(printed):
    answers = printed("05", 1).split("P(controversial): ")[1:]
    assert len(answers) == 3
    first, second, _ = (numbers(r"(?m)^[\w-]+ +([\d.]+)", answer) for answer in answers)
    assert len(first) == len(second) >= 6
    assert first != second


@pytest.mark.notebooks
def test_05_moving_the_odds_keeps_the_ranking(printed):
    shown = printed("05", 2)
    before, after = numbers(r"auroc ([\d.]+)", shown)
    assert before == after
    trained, moved = numbers(r"recall_1 ([\d.]+)", shown)
    assert moved <= trained


@pytest.mark.notebooks
def test_05_the_difference_is_the_same_whatever_is_drawn_but_not_its_interval(printed):
    shown = printed("05", 3)
    by_article, by_comment = re.findall(r"([+-][\d.]+) \(([+-][\d.]+) to ([+-][\d.]+)\)", shown)
    assert by_article[0] == by_comment[0]
    assert by_article[1:] != by_comment[1:]
