"""Terms are explained where they first come up (terms.yaml); figures have a question and a description."""

import re

import nbformat
import pytest
import yaml

from utils.files import ROOT

TERMS = yaml.safe_load((ROOT / "tests" / "terms.yaml").read_text(encoding="utf-8"))
ENTRIES = [
    (number, cell, english, korean)
    for number, cells in TERMS.items()
    for cell, terms in cells.items()
    for english, korean in terms.items()
]


def prose(number: str, language: str) -> dict[str, str]:
    """The Markdown of a notebook by cell, without the title, without emphasis and on one line."""
    (path,) = (ROOT / "notebooks" / ("ko" if language == "ko" else "")).glob(f"{number}_*.ipynb")
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"]
    return {cell.id: re.sub(r"[*`]", "", " ".join(cell.source.split())) for cell in cells if cell.id != "title"}


def first_use(term: str, cells: dict[str, str]) -> str | None:
    """The first cell with the term, in whatever case, but not from the middle of a word."""
    word = re.compile(rf"(?<![\w-]){re.escape(term)}", re.IGNORECASE)
    return next((cell for cell, text in cells.items() if word.search(text)), None)


@pytest.mark.parametrize(("number", "cell", "english", "korean"), ENTRIES)
def test_a_term_first_comes_up_where_it_is_explained(number, cell, english, korean):
    assert first_use(english, prose(number, "en")) == cell
    assert first_use(korean, prose(number, "ko")) == cell


def test_a_term_is_found_at_the_beginning_of_a_word_and_not_inside_one():
    assert first_use("hash", {"a": "the hashed one", "b": "a rehash"}) == "a"
    assert first_use("norm", {"a": "abnorm"}) is None


# ----------------------------------------------------------------------------- figures


def figures(number: str) -> list[tuple[str, str, str]]:
    """Each cell that makes a figure, the last prose before it, and the next prose after it."""
    (path,) = (ROOT / "notebooks").glob(f"{number}_*.ipynb")
    found, before = [], ""
    cells = nbformat.read(path, as_version=4).cells
    for place, cell in enumerate(cells):
        if cell.cell_type == "markdown" and cell.id != "title":
            before = cell.source
        elif "save_figure(" in cell.source:
            after = next(later.source for later in cells[place:] if later.cell_type == "markdown")
            found.append((cell.id, before, after))
    return found


every_figure = pytest.mark.parametrize(
    ("number", "cell", "before", "after"), [(number, *figure) for number in TERMS for figure in figures(number)]
)


@every_figure
def test_a_figure_answers_a_question_that_the_prose_asks_before_it(number, cell, before, after):
    assert "?" in before


@every_figure
def test_a_figure_is_described_for_those_who_cannot_see_it(number, cell, before, after):
    assert after.startswith("*The picture")
