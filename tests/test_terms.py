"""No technical term comes up before the cell that explains it: see terms.yaml."""

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
