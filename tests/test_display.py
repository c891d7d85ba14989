"""Comments are other people's text: wherever one is shown, its HTML is shown as text.

Pandas escapes what it displays, so the notebooks show comments in its tables and by no other way to HTML, but for one:
`utils.explain` paints the words of a comment. tests/test_explain.py says that it escapes them.
"""

import ast
import re
from pathlib import Path

import nbformat
import pandas as pd
import papermill
import pytest
from IPython.core.formatters import DisplayFormatter

from utils.files import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
MODULES = sorted((ROOT / "utils").rglob("*.py"))
SCRIPT = "<script>alert('x')</script> & <b>굵게</b>"
ESCAPED = "&lt;script&gt;alert('x')&lt;/script&gt; &amp; &lt;b&gt;굵게&lt;/b&gt;"

# What makes HTML, or something a browser takes for it, of a string as it stands.
UNESCAPED_NAMES = {"HTML", "Markdown", "Latex", "Javascript", "SVG", "IFrame", "display_html", "display_markdown"} | {
    *("publish_display_data", "to_html", "Styler"),
    *("_repr_html_", "_repr_markdown_", "_repr_latex_", "_repr_mimebundle_"),
}
ESCAPES_BY_ITSELF = {ROOT / "utils" / "explain.py": {"_repr_html_", "HTML"}}


def code_of(path: Path) -> str:
    """A module's code, or that of a notebook's cells."""
    if path.suffix == ".py":
        return path.read_text(encoding="utf-8")
    cells = nbformat.read(path, as_version=4).cells
    return "\n".join(cell.source for cell in cells if cell.cell_type == "code")


def unescaped(code: str) -> set[str]:
    """What in the code could show a string as HTML: names, `escape=False`, `raw=True`, cell magics."""
    found = set(re.findall(r"^%%\w+", code, flags=re.MULTILINE))
    for node in ast.walk(ast.parse(re.sub(r"^[%!].*$", "", code, flags=re.MULTILINE))):
        name = getattr(node, "id", None) or getattr(node, "attr", None) or getattr(node, "name", None)
        found |= {name} & UNESCAPED_NAMES
        if isinstance(node, ast.Attribute):
            found |= {node.attr} & {"style"}  # pandas' Styler, which escapes nothing
        if isinstance(node, ast.keyword) and isinstance(node.value, ast.Constant):
            found |= {node.arg} if (node.arg, node.value.value) in {("escape", False), ("raw", True)} else set()
    return found


@pytest.mark.parametrize("path", [*NOTEBOOKS, *MODULES], ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_shows_a_string_as_html(path):
    assert unescaped(code_of(path)) == ESCAPES_BY_ITSELF.get(path, set())


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("display(HTML(comments['text'][0]))", "HTML"),
        ("from IPython.display import HTML as show", "HTML"),
        ("import IPython\nIPython.display.Markdown(text)", "Markdown"),
        ("comments.to_html(escape=True)", "to_html"),
        ("comments.head().style.format(precision=2)", "style"),
        ("table(comments, escape=False)", "escape"),
        ("display({'text/html': text}, raw=True)", "raw"),
        ("class Shown:\n    def _repr_html_(self):\n        return self.text", "_repr_html_"),
        ("%%html\ntext", "%%html"),
    ],
)
def test_a_way_round_the_escaping_is_found(code, found):
    assert found in unescaped(code)


def display_options() -> dict[str, object]:
    """Pandas' display options that the notebooks set."""
    options = {}
    for path in NOTEBOOKS:
        for name, value in re.findall(r"""^pd\.set_option\(["'](display\.[\w.]+)["'], (.+?)\)""", code_of(path), re.M):
            options[name] = ast.literal_eval(value)
    return options


def html_of(shown: object) -> str:
    """What a notebook puts on the page for a value that stands last in a cell or in display()."""
    options = [part for item in display_options().items() for part in item]
    with pd.option_context(*options):
        return DisplayFormatter().format(shown)[0]["text/html"]


@pytest.mark.parametrize(
    "table",
    [
        pd.DataFrame({"text": [SCRIPT], "likes": [3]}),
        pd.DataFrame({"likes": [3]}, index=pd.Index([SCRIPT], name="text")),
        pd.DataFrame({SCRIPT: [3]}),
        pd.DataFrame({"text": [SCRIPT] * 200, "likes": 3}),
        pd.Series([3], index=[SCRIPT]).to_frame("votes"),
        pd.DataFrame({"text": [SCRIPT], "label": [1]}).groupby(["text", "label"]).size().unstack(),
    ],
    ids=["cell", "index", "column name", "long table", "counts", "pivot"],
)
def test_a_table_shows_a_script_as_text(table):
    page = html_of(table)
    assert ESCAPED in page
    assert "<script" not in page and "<b>" not in page


def test_the_display_options_of_the_notebooks_are_read():
    assert display_options()["display.max_colwidth"] >= 60


@pytest.mark.notebooks
def test_notebook_01_shows_comments_full_of_scripts_as_text(tmp_path):
    comments = pd.read_csv(ROOT / "data" / "sample_comments_2000.csv")
    comments["text"] = "<script>" + comments["text"]
    comments["group"] = "<b>" + comments["group"]
    comments.to_csv(tmp_path / "scripts.csv", index=False)
    parameters = {"DATASET": str(tmp_path / "scripts.csv"), "RUN_DIR": str(tmp_path / "run")}
    source, target = ROOT / "notebooks" / "01_labelling.ipynb", tmp_path / "executed.ipynb"
    executed = papermill.execute_notebook(source, target, parameters, cwd=ROOT, progress_bar=False)
    outputs = [output.get("data", {}) for cell in executed.cells for output in cell.get("outputs", [])]
    pages = [data["text/html"] for data in outputs if "text/html" in data]
    assert sum("&lt;script&gt;" in page for page in pages) >= 2
    assert not any("<script" in page or "<b>" in page for page in pages)
    assert all(data.keys() <= {"text/html", "text/plain", "image/png"} for data in outputs)
