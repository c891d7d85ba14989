"""The Korean edition of the notebooks: the English notebook's code and outputs, with Korean prose.

The prose stands in `notebooks/ko/<number>.md`. Above each cell a line says which cell of the English notebook it
translates and which state of it: `<!-- cell: wilson-interval · 1a2b3c4d5e6f -->`, the cell's id and the first 12 hex
digits of the SHA-256 of its English source. When the English changes, the hash no longer fits and the translation
is known to be outdated.
"""

import copy
import hashlib
import re
from typing import NamedTuple

from nbformat import NotebookNode

MARKER = re.compile(r"<!-- cell: (\S+) · ([0-9a-f]{12}) -->")
COLAB_BADGE = re.compile(r"\[!\[[^]]*\]\([^)]*\)\]\(https://colab\.research\.google\.com/[^)]*\)")


class Translation(NamedTuple):
    """The Korean of one Markdown cell."""

    cell_id: str
    source_hash: str
    prose: str


def source_hash(source: str) -> str:
    """Return the first 12 hex digits of the SHA-256 of an English cell, its Colab badge left out.

    `make badges` rewrites the badge, and that asks for no new translation.
    """
    return hashlib.sha256(COLAB_BADGE.sub("", source).encode()).hexdigest()[:12]


def marker(cell: NotebookNode) -> str:
    """Return the line that stands above the translation of an English cell as it reads now."""
    return f"<!-- cell: {cell.id} · {source_hash(cell.source)} -->"


def read_translations(text: str) -> list[Translation]:
    """Return the translations in the text of a `notebooks/ko/<number>.md`, in the order they stand there."""
    _, *parts = MARKER.split(text)
    return [
        Translation(cell_id, digits, prose.strip())
        for cell_id, digits, prose in zip(parts[0::3], parts[1::3], parts[2::3], strict=True)
    ]


def translation_faults(english: NotebookNode, text: str) -> list[str]:
    """Return what keeps the translations from fitting an English notebook, one sentence each.

    Parameters
    ----------
    english : NotebookNode
    text : str
        Of the notebook's `notebooks/ko/<number>.md`.

    Returns
    -------
    list of str
        Each names the cell and says what to do: unreadable markers; cells without translation, translated twice or
        empty; translations of an earlier English text or of no cell; another order than the notebook's.
    """
    translations = read_translations(text)
    ids = [translation.cell_id for translation in translations]
    found = {translation.cell_id: translation for translation in translations}
    cells = {cell.id: cell for cell in english.cells if cell.cell_type == "markdown"}
    faults = [
        f"the line {line!r} does not read '<!-- cell: <id> · <12 hex digits> -->'"
        for line in text.splitlines()
        if line.lstrip().startswith("<!-- cell") and not MARKER.fullmatch(line)
    ]
    for cell_id, cell in cells.items():
        if cell_id not in found:
            faults.append(f"cell {cell_id} has no translation: write it below the line {marker(cell)}")
        elif found[cell_id].source_hash != source_hash(cell.source):
            faults.append(f"cell {cell_id} changed in English: bring its translation up to date below {marker(cell)}")
        elif not found[cell_id].prose:
            faults.append(f"cell {cell_id} has an empty translation: write it below its line")
    for cell_id in found:
        if cell_id not in cells:
            faults.append(f"cell {cell_id} is not a Markdown cell of the English notebook: remove its translation")
        if ids.count(cell_id) > 1:
            faults.append(f"cell {cell_id} is translated {ids.count(cell_id)} times: keep one")
    if not faults and ids != list(cells):
        first = next(cell_id for cell_id, expected in zip(ids, cells, strict=True) if cell_id != expected)
        faults.append(f"cell {first} stands in another place than in the English notebook: move it")
    return faults


def korean_notebook(english: NotebookNode, text: str) -> NotebookNode:
    """Return the English notebook with Korean prose; code, outputs, ids, counts and metadata are the same.

    A cell without translation stays English, so that code and outputs can always follow: `translation_faults` says
    which those are.
    """
    prose = {translation.cell_id: translation.prose for translation in read_translations(text)}
    korean = copy.deepcopy(english)
    for cell in korean.cells:
        if cell.cell_type == "markdown":
            cell.source = prose.get(cell.id) or cell.source
    return korean
