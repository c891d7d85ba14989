"""Each exercise makes a student change something; its solution runs, and what it is said to show is so.

The solutions run behind the cells of their notebooks, in the run of the `test` profile that other tests look at, too.
"""

import re
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_markdown_cell, new_notebook

from tests.exercises import solutions, with_solutions
from utils.files import ROOT

PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
every_notebook = pytest.mark.parametrize("path", PATHS, ids=[path.stem for path in PATHS])


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


# What the exercises look like


@every_notebook
def test_each_of_three_solutions_is_code(path):
    assert [bool(code) for code in solutions(read(path))] == [True, True, True]


@every_notebook
def test_the_korean_edition_has_the_same_solutions(path):
    assert solutions(read(path.parent / "ko" / path.name)) == solutions(read(path))


@every_notebook
def test_a_solution_fits_into_a_cell(path):
    for code in solutions(read(path)):
        compile(code, path.name, "exec")
        assert len(code.splitlines()) <= 30
        assert max(map(len, code.splitlines())) <= 120


@every_notebook
def test_each_solution_ends_with_what_one_sees(path):
    exercises = next(cell.source for cell in read(path).cells if cell.id == "exercises")
    for folded in re.findall(r"(?s)<details>(.*?)</details>", exercises):
        assert re.search(r"(?s)```\n+ *\S.{60,}$", folded.rstrip()), folded[:80]


def test_code_blocks_of_a_solution_are_one_cell_and_prose_is_none():
    source = (
        "1. Change it.\n   <details><summary>Solution</summary>\n\n"
        "   ```python\n   for n in (1, 2):\n       print(n)\n   ```\n"
        "   And then\n\n   ```python\n   n + 1\n   ```\n   </details>\n2. Why?\n   <details>Because.</details>\n"
    )
    notebook = new_notebook(cells=[new_markdown_cell(source, id="exercises")])
    assert solutions(notebook) == ["for n in (1, 2):\n    print(n)\n\nn + 1", ""]
    assert [cell.id for cell in with_solutions(notebook).cells] == ["exercises", "solution-1", "solution-2"]


# What one sees


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
