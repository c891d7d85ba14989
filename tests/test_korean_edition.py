import re
import tomllib
from pathlib import Path

import nbformat
import pytest
from markdown_it import MarkdownIt
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from utils import notebooks
from utils.files import ROOT
from utils.korean_edition import korean_notebook, marker, read_translations, source_hash, translation_faults

NAMES = [path.name for path in notebooks.notebook_paths()]
KOREAN = ROOT / "notebooks" / "ko"
every_notebook = pytest.mark.parametrize("name", NAMES)
LINK = re.compile(r"\]\(([^)\s]+)\)")
FORMULA = re.compile(r"\$\$[^$]+\$\$|\$[^$\n]+\$")
KEPT = (r"(?s)```.*?```", r"(?<!`)`[^`\n]+`(?!`)", FORMULA.pattern, r"(?m)^#+ (?:\d+\.)?", r"</?details>")


def english(name: str) -> nbformat.NotebookNode:
    return nbformat.read(ROOT / "notebooks" / name, as_version=4)


def korean(name: str) -> nbformat.NotebookNode:
    return nbformat.read(KOREAN / name, as_version=4)


def prose(notebook: nbformat.NotebookNode) -> dict[str, str]:
    return {cell.id: cell.source for cell in notebook.cells if cell.cell_type == "markdown"}


def relative_links(text: str) -> list[str]:
    return [link.partition("#")[0] for link in LINK.findall(text) if not re.match(r"https?:|#|mailto:", link)]


# ----------------------------------------------------------------------------- the committed edition


def test_there_is_a_korean_notebook_for_each_english_one_and_no_other():
    assert sorted(path.name for path in KOREAN.glob("*.ipynb")) == NAMES
    assert sorted(path.name for path in KOREAN.glob("*.md")) == [f"{name[:2]}.md" for name in NAMES]


@every_notebook
def test_every_cell_is_translated_and_no_translation_is_outdated(name):
    file = KOREAN / f"{name[:2]}.md"
    faults = translation_faults(english(name), file.read_text(encoding="utf-8"))
    assert faults == [], f"notebooks/ko/{file.name}; then make korean"


@every_notebook
def test_the_built_notebook_is_what_the_builder_gives(name):
    built = nbformat.writes(notebooks.build_korean(ROOT / "notebooks" / name)).rstrip("\n") + "\n"
    assert (KOREAN / name).read_text(encoding="utf-8") == built, "make korean"


@every_notebook
def test_code_outputs_ids_and_metadata_are_those_of_the_english_notebook(name):
    ours, theirs = korean(name), english(name)
    for cell in [*ours.cells, *theirs.cells]:
        if cell.cell_type == "markdown":
            cell.source = ""
    assert ours == theirs


@every_notebook
def test_the_file_is_fit_to_be_committed(name):
    assert notebooks.problems(korean(name)) == []


@every_notebook
def test_the_badge_leads_to_the_korean_file_and_the_title_to_the_english_one(name):
    title = korean(name).cells[0].source
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["tutorial"]
    base = f"https://colab.research.google.com/github/{settings['repository']}/blob/{settings['revision']}"
    assert re.findall(r"https://colab\.research\.google\.com/github/[^)\s]+", title) == [f"{base}/notebooks/ko/{name}"]
    assert relative_links(title) == [f"../{name}"]
    assert "이 노트북에서 하는 일" in title


@every_notebook
def test_relative_links_lead_to_files_of_the_same_edition(name):
    """A link to a notebook stays within `notebooks/ko`, one to the README leads to the Korean one."""
    for cell_id, source in prose(korean(name)).items():
        links = [(KOREAN / link).resolve() for link in relative_links(source)]
        assert [link for link in links if not link.exists()] == [], cell_id
        theirs = [(ROOT / "notebooks" / link).resolve() for link in relative_links(prose(english(name))[cell_id])]
        expected = [counterpart(link) for link in theirs]
        assert links == ([ROOT / "notebooks" / name] if cell_id == "title" else []) + expected, cell_id


def counterpart(path: Path) -> Path:
    """The Korean file for an English one, where there is one."""
    if path == ROOT / "README.md":
        return ROOT / "README.ko.md"
    return KOREAN / path.name if path.parent == ROOT / "notebooks" and path.suffix == ".ipynb" else path


@every_notebook
def test_every_cell_is_korean_and_keeps_code_formulas_and_section_numbers(name):
    for cell_id, translated in prose(korean(name)).items():
        source = prose(english(name))[cell_id]
        assert re.search("[가-힣]", translated), cell_id
        for kind in KEPT:
            missing = sorted(set(re.findall(kind, source)) - set(re.findall(kind, translated)))
            assert missing == [], cell_id


@every_notebook
def test_lists_and_tables_have_as_many_lines_as_the_english_ones(name):
    lines = {"bullets": r"(?m)^ *[*-] ", "numbered": r"(?m)^ *\d+\. ", "table rows": r"(?m)^\|"}
    translations = prose(korean(name))
    for cell_id, source in prose(english(name)).items():
        expected = {kind: len(re.findall(line, source)) for kind, line in lines.items()}
        assert {kind: len(re.findall(line, translations[cell_id])) for kind, line in lines.items()} == expected, cell_id


@every_notebook
def test_emphasis_is_not_broken_by_a_particle(name):
    """Markdown does not close `**...)**` before a letter, so that the asterisks of `**뜻(meaning)**은` would show."""
    for cell_id, source in prose(korean(name)).items():
        for block in MarkdownIt("commonmark").parse(FORMULA.sub("", source)):
            shown = [token.content for token in block.children or [] if token.type == "text"]
            assert [text for text in shown if "*" in text] == [], cell_id


@pytest.mark.parametrize("name", notebooks.READMES)
def test_relative_links_of_the_readme_lead_somewhere(name):
    links = relative_links((ROOT / name).read_text(encoding="utf-8"))
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_readmes_lead_to_each_other_and_the_korean_one_to_the_korean_notebooks():
    texts = {name: (ROOT / name).read_text(encoding="utf-8") for name in notebooks.READMES}
    assert "README.ko.md" in relative_links(texts["README.md"])
    assert "README.md" in relative_links(texts["README.ko.md"])
    assert set(relative_links(texts["README.ko.md"])) >= {f"notebooks/ko/{name}" for name in NAMES}
    badges = [match[3] for match in notebooks.COLAB_LINK.finditer(texts["README.ko.md"])]
    assert badges == [f"notebooks/ko/{name}" for name in NAMES]


def code_blocks(text: str) -> list[tuple[str, list[str]]]:
    """Language and lines of each fenced block, without what stands behind two spaces: the translated comments."""
    blocks = re.findall(r"(?ms)^```(\w*)\n(.*?)^```", text)
    return [(language, [re.split(" {2,}", line.strip())[0] for line in code.splitlines()]) for language, code in blocks]


def test_the_readmes_have_the_same_code_blocks():
    english, korean = (code_blocks((ROOT / name).read_text(encoding="utf-8")) for name in notebooks.READMES)
    assert len(english) >= 8
    assert korean == english


# ----------------------------------------------------------------------------- toy notebooks


def toy() -> nbformat.NotebookNode:
    cells = [
        new_markdown_cell("# Toy\n\nA toy.", id="title"),
        new_code_cell("1 + 1", id="sum", execution_count=1, metadata={"tags": ["keep"]}),
        new_markdown_cell("Two.", id="reading"),
    ]
    cells[1].outputs = [new_output("execute_result", {"text/plain": "2"}, execution_count=1)]
    return new_notebook(cells=cells)


def translation(notebook: nbformat.NotebookNode, **texts: str) -> str:
    """The text of a file of translations whose hashes are current."""
    cells = {cell.id: cell for cell in notebook.cells}
    return "\n".join(f"{marker(cells[cell_id])}\n{text}\n" for cell_id, text in texts.items())


def good() -> str:
    return translation(toy(), title="# 장난감\n\n장난감입니다.", reading="둘입니다.")


def test_a_marker_holds_the_id_and_the_hash_of_the_english_cell():
    # printf 'Two.' | sha256sum | cut -c 1-12
    assert marker(toy().cells[2]) == "<!-- cell: reading · 1eb32d1ee445 -->"


def test_another_repository_in_the_badge_outdates_no_translation():
    badges = [notebooks.colab_badge("notebooks/01_toy.ipynb", name, "main") for name in ("old/name", "new/name")]
    first, second = (source_hash(f"# Toy\n\n{badge}\n\nA toy.") for badge in badges)
    assert first == second != source_hash(f"# Toy\n\n{badges[0]}\n\nA new toy.")


def test_translations_are_read_without_the_blank_lines_around_them():
    assert [entry.prose for entry in read_translations(good())] == ["# 장난감\n\n장난감입니다.", "둘입니다."]


def test_the_korean_notebook_has_korean_prose_and_the_rest_of_the_english_one():
    built = korean_notebook(toy(), good())
    assert [cell.source for cell in built.cells] == ["# 장난감\n\n장난감입니다.", "1 + 1", "둘입니다."]
    assert built.cells[1] == toy().cells[1]
    assert [cell.id for cell in built.cells] == ["title", "sum", "reading"]


def test_building_leaves_the_english_notebook_as_it_is():
    notebook = toy()
    korean_notebook(notebook, good()).cells[1].outputs.clear()
    assert notebook == toy()


def test_complete_translations_have_no_fault():
    assert translation_faults(toy(), good()) == []


def test_a_missing_translation_is_reported_with_the_line_to_write():
    text = translation(toy(), title="# 장난감")
    said = f"cell reading has no translation: write it below the line {marker(toy().cells[2])}"
    assert translation_faults(toy(), text) == [said]
    assert korean_notebook(toy(), text).cells[2].source == "Two."


def test_a_cell_that_changed_in_english_is_reported_with_the_new_line():
    changed = toy()
    changed.cells[2].source = "It is two."
    said = f"cell reading changed in English: bring its translation up to date below {marker(changed.cells[2])}"
    assert translation_faults(changed, good()) == [said]
    assert korean_notebook(changed, good()).cells[2].source == "둘입니다."


def test_the_translation_of_a_cell_that_is_gone_is_reported():
    shorter = toy()
    del shorter.cells[2]
    said = "cell reading is not a Markdown cell of the English notebook: remove its translation"
    assert translation_faults(shorter, good()) == [said]


def test_the_translation_of_a_code_cell_is_reported():
    text = good() + "\n<!-- cell: sum · 0123456789ab -->\n하나 더하기 하나\n"
    said = "cell sum is not a Markdown cell of the English notebook: remove its translation"
    assert translation_faults(toy(), text) == [said]
    assert korean_notebook(toy(), text).cells[1].source == "1 + 1"


def test_a_cell_translated_twice_is_reported():
    text = good() + "\n" + translation(toy(), reading="2입니다.")
    assert translation_faults(toy(), text) == ["cell reading is translated 2 times: keep one"]


def test_an_empty_translation_is_reported():
    text = translation(toy(), title="# 장난감", reading="")
    assert translation_faults(toy(), text) == ["cell reading has an empty translation: write it below its line"]


def test_translations_in_another_order_are_reported():
    text = translation(toy(), reading="둘입니다.", title="# 장난감")
    said = "cell reading stands in another place than in the English notebook: move it"
    assert translation_faults(toy(), text) == [said]


@pytest.mark.parametrize("line", ["<!-- cell: reading -->", "<!-- cell: reading · 12345 -->", "<!-- cell reading"])
def test_a_marker_that_cannot_be_read_is_reported(line):
    text = good().replace(marker(toy().cells[2]), line)
    faults = translation_faults(toy(), text)
    assert faults[0] == f"the line {line!r} does not read '<!-- cell: <id> · <12 hex digits> -->'"
    assert faults[1].startswith("cell reading has no translation")


# ----------------------------------------------------------------------------- the commands


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A project of one toy notebook, in place of this one."""
    monkeypatch.setattr(notebooks, "ROOT", tmp_path)
    monkeypatch.setattr(notebooks, "NOTEBOOKS", tmp_path / "notebooks")
    monkeypatch.setattr(notebooks, "KOREAN", tmp_path / "notebooks" / "ko")
    (tmp_path / "notebooks" / "ko").mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text('[tool.tutorial]\nrepository = "someone/course"\nrevision = "v1"\n')
    nbformat.write(toy(), tmp_path / "notebooks" / "01_toy.ipynb")
    (tmp_path / "notebooks" / "ko" / "01.md").write_text(good())
    return tmp_path


def test_the_command_builds_the_edition_with_its_own_badge(project):
    assert notebooks.main(["korean"]) == 0
    built = nbformat.read(project / "notebooks" / "ko" / "01_toy.ipynb", as_version=4)
    badge = notebooks.colab_badge("notebooks/ko/01_toy.ipynb", "someone/course", "v1")
    assert built.cells[0].source == f"# 장난감\n\n{badge}\n\n장난감입니다."


def test_the_commands_fail_on_an_outdated_translation_and_name_file_and_cell(project, capsys):
    changed = toy()
    changed.cells[2].source = "It is two."
    nbformat.write(changed, project / "notebooks" / "01_toy.ipynb")
    for command in ("check-korean", "korean"):
        assert notebooks.main([command]) == 1
        assert re.search(r"notebooks/ko/01\.md: cell reading changed in English", capsys.readouterr().err)


def test_a_missing_file_of_translations_is_reported_cell_by_cell(project, capsys):
    (project / "notebooks" / "ko" / "01.md").unlink()
    assert notebooks.main(["check-korean"]) == 1
    assert capsys.readouterr().err.count("has no translation") == 2


def test_publish_builds_both_editions_even_where_a_translation_is_outdated(project):
    changed = toy()
    changed.cells[2].source = "It is two."
    nbformat.write(changed, project / "notebooks" / "01_toy.ipynb")
    changed.cells[1].outputs[0].data["text/plain"] = "3"
    (project / "run").mkdir()
    nbformat.write(changed, project / "run" / "01_toy.ipynb")
    assert notebooks.main(["publish", "--run-dir", str(project / "run")]) == 0
    for path in ("notebooks/01_toy.ipynb", "notebooks/ko/01_toy.ipynb"):
        cells = nbformat.read(project / path, as_version=4).cells
        assert cells[1].outputs[0].data["text/plain"] == "3"
