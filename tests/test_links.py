"""Every link of the READMEs, notebooks, data cards and results leads somewhere.

Outside addresses stand in `tests/outside_links.txt`, each with what is found there, so that they can be looked over in
one place; nothing here asks the network. Links inside the project are followed to their file and their heading.
"""

import re
import tomllib
from collections import Counter
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
from markdown_it import MarkdownIt

from utils.files import ROOT

LIST = ROOT / "tests" / "outside_links.txt"
DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "data").rglob("*.md"),
        *(ROOT / "results").rglob("*.md"),
        *(ROOT / "notebooks").rglob("*.ipynb"),
    ]
)
ADDRESS = re.compile(r"https?://[^\s)\]>\"'`\\{}|]+")
every_document = pytest.mark.parametrize("path", DOCUMENTS, ids=[str(path.relative_to(ROOT)) for path in DOCUMENTS])


def text_of(path: Path, *, code: bool = True) -> str:
    """A document's Markdown; of a notebook also its code, not its outputs."""
    if path.suffix != ".ipynb":
        return path.read_text(encoding="utf-8")
    cells = nbformat.read(path, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if code or cell.cell_type == "markdown")


def outside_addresses(text: str) -> set[str]:
    """Addresses in a text, without those of this project and those that lead nowhere on purpose."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["tutorial"]
    found = {match.rstrip(".,;:") for match in ADDRESS.findall(text)}
    reserved = {address for address in found if urlsplit(address).hostname in ("example.com", "example.org")}
    return {address for address in found - reserved if f"/{settings['repository']}" not in address}


def listed() -> dict[str, str]:
    """The addresses of the list and what is found there."""
    lines = [line for line in LIST.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    pairs = [line.partition(" ") for line in lines]
    return {address: what.strip() for address, _, what in pairs}


def tokens_of(text: str):
    for block in MarkdownIt("commonmark").enable("table").parse(text):
        yield block
        yield from block.children or []


def inside_links(text: str) -> list[str]:
    links = [token.attrGet("href") or token.attrGet("src") for token in tokens_of(text) if token.type != "html_inline"]
    return [link for link in links if link and not urlsplit(link).scheme]


def anchors(text: str) -> set[str]:
    """Anchors of a document's headings, as GitHub makes them: lower case, no punctuation, hyphens for blanks."""
    blocks = MarkdownIt("commonmark").enable("table").parse(text)
    headings = [after for before, after in zip(blocks, blocks[1:], strict=False) if before.type == "heading_open"]
    words = ["".join(part.content for part in heading.children or []) for heading in headings]
    slugs = [re.sub(r"[^\w\- ]", "", word.strip().lower()).replace(" ", "-") for word in words]
    seen: Counter[str] = Counter()
    found = set()
    for slug in slugs:
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def faults(text: str, path: Path, root: Path = ROOT) -> list[str]:
    """What is wrong with the inside links of a document that stands at `path`."""
    wrong = []
    for link in inside_links(text):
        parts = urlsplit(link)
        target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        if not target.exists() or not target.is_relative_to(root):
            wrong.append(f"{link} leads to no file of the project")
        elif parts.fragment and unquote(parts.fragment) not in anchors(text_of(target, code=False)):
            wrong.append(f"{link} leads to no heading")
    return wrong


@every_document
def test_links_inside_the_project_lead_to_a_file_and_a_heading(path):
    assert faults(text_of(path, code=False), path) == []


@every_document
def test_every_outside_address_is_in_the_list(path):
    assert sorted(outside_addresses(text_of(path)) - set(listed())) == [], "add them to tests/outside_links.txt"


def test_every_address_of_the_list_is_used():
    used = set().union(*(outside_addresses(text_of(path)) for path in DOCUMENTS))
    assert sorted(set(listed()) - used) == []


def test_the_list_says_what_is_found_at_each_address_and_names_none_twice():
    lines = [line for line in LIST.read_text(encoding="utf-8").splitlines() if line.startswith("http")]
    assert len(lines) == len(listed())
    assert [address for address, what in listed().items() if not what] == []


# ----------------------------------------------------------------------------- toy documents


def test_addresses_are_found_in_prose_and_code_and_end_where_they_end():
    text = "See [a](https://a.org/x_1.html), https://b.org/y. `https://c.org`\n\n```\nget('http://d.org/z?q=1')\n```\n"
    assert outside_addresses(text) == {
        "https://a.org/x_1.html",
        "https://b.org/y",
        "https://c.org",
        "http://d.org/z?q=1",
    }


def test_addresses_of_this_project_and_reserved_ones_need_no_entry():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["tutorial"]
    own = f"https://colab.research.google.com/github/{settings['repository']}/blob/main/notebooks/01_labelling.ipynb"
    assert outside_addresses(f"[x]({own}) https://github.com/{settings['repository']} https://example.com/a") == set()


@pytest.mark.parametrize(
    ("link", "fault"),
    [
        ("[a](other.md)", []),
        ("[a](other.md#the-2nd-part-둘째)", []),
        ("[a](#here)", []),
        ("![a](figure.png)", ["figure.png leads to no file of the project"]),
        ("[a](other.md#third)", ["other.md#third leads to no heading"]),
        ("[a](#there)", ["#there leads to no heading"]),
        ("[a](../../etc/hosts)", ["../../etc/hosts leads to no file of the project"]),
        ("`[a](missing.md)`", []),
        ("| x |\n|---|\n| [a](missing.md) |", ["missing.md leads to no file of the project"]),
        ("[a](https://a.org/missing.md)", []),
    ],
)
def test_a_link_to_nothing_is_found(tmp_path, link, fault):
    (tmp_path / "other.md").write_text("# Other\n\n## The 2nd part (둘째)\n", encoding="utf-8")
    path = tmp_path / "page.md"
    path.write_text(f"# Here\n\n{link}\n", encoding="utf-8")
    assert faults(text_of(path), path, tmp_path) == fault
