"""Every notebook opened in JupyterLab and run from the keyboard, as a student does it, with the `test` profile."""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from tests.runs import live_problems
from utils import notebooks
from utils.run_all import Step, plan, read_profile

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

# Minutes a notebook may take: several times what it needs on two cores.
MINUTES = {"01": 10, "02": 20, "03": 20, "04": 20, "05": 20}
# What one click or the start of a kernel may take.
SECONDS_TO_ANSWER = 180
SECONDS_OF_QUIET = 20
WINDOW = {"width": 1280, "height": 1600}
RUN_DIR = "runs/browser"
STEPS = {step.name: step for step in plan(read_profile("test"), run_dir=RUN_DIR)}
KOREAN = {"ko_01_labelling": STEPS["01_labelling"]}
# Leave the cell's text, select every cell, run what is selected; Shift+Enter would also add an empty cell at the end.
RUN_ALL_CELLS = ("Escape", "Control+a", "Control+Enter")

STATE = """() => ({
  prompts: [...document.querySelectorAll('.jp-Notebook .jp-Cell')].map(
    cell => cell.classList.contains('jp-CodeCell') ? cell.querySelector('.jp-InputPrompt').textContent : ''),
  kernel: document.querySelector('.jp-Notebook-ExecutionIndicator')?.dataset.status,
})"""
SCROLL_TO = """top => {
  const scroller = document.querySelector('.jp-NotebookPanel .jp-WindowedPanel-outer');
  scroller.scrollTop = top;
  return [scroller.scrollTop, scroller.clientHeight, scroller.scrollHeight];
}"""
# The table that answers a comment, row by row, and whatever of the comment has become an element of the page.
ANSWER = """table => [
  [...table.tBodies[0].rows].map(row => {
    const words = [...row.querySelectorAll('span')];
    return {
      model: row.cells[0].textContent,
      probability: row.cells[1].textContent,
      words: words.map(word => word.firstChild.textContent),
      colours: words.map(word => getComputedStyle(word).backgroundColor),
    };
  }),
  [...table.querySelectorAll('script, img')].map(element => element.outerHTML),
]"""
TYPED = "<script>alert(1)</script> <img/src=x/onerror=alert(2)> 민트 초코는 치약 맛이라 싫지만 카레는 좋아요"
WIDER_THAN_THE_PAGE = """() => [...document.querySelectorAll('.jp-Notebook .jp-Cell')].map(
  cell => [...cell.querySelectorAll('.jp-OutputArea-output, .jp-MarkdownOutput')].some(
    output => output.scrollWidth > output.clientWidth + 1))"""


@pytest.mark.parametrize("name", [*STEPS, *KOREAN])
def test_a_notebook_runs_without_trouble_and_fits_the_page(name, lab, lab_page, screenshots, unreadable):
    step = STEPS.get(name) or KOREAN[name]
    folder = lab.repository / "notebooks" / ("ko" if name in KOREAN else "")
    path = with_parameters(step, folder / step.notebook.name, folder / f"{name}.ipynb")
    run_all_cells(lab_page, lab, path, 60 * MINUTES[step.notebook.name[:2]])
    save_pieces(lab_page, screenshots, name)
    faults = seen_faults(lab_page, path)
    faults += unreadable(lab_page, [".jp-RenderedMarkdown", ".jp-RenderedText pre", ".cm-content"])
    choose(lab_page, "Kernel", "Shut Down Kernel")
    assert faults == []


def test_errors_warnings_and_wide_outputs_are_seen(lab, lab_page):
    path = written(
        lab,
        wide="from IPython.display import HTML\nHTML('<div style=\"width: 3000px\">wide</div>')",
        warning="import warnings\nwarnings.warn('old')",
        broken="1 / 0",
        never="1",
    )
    run_all_cells(lab_page, lab, path, 120)
    faults = " ".join(seen_faults(lab_page, path))
    choose(lab_page, "Kernel", "Shut Down Kernel")
    said = ["cells were not run", "cell warning writes to stderr", "cell broken raised Zero", "cell wide is wider"]
    assert [sentence for sentence in said if sentence not in faults] == []


def test_a_cell_that_hangs_is_named(lab, lab_page):
    path = written(lab, quick="1", endless="import time\ntime.sleep(60)")
    with pytest.raises(pytest.fail.Exception, match="toy.ipynb: cell endless still runs after 15 s"):
        run_all_cells(lab_page, lab, path, 15)


def test_every_model_answers_what_is_typed_into_the_text_box_and_none_of_it_is_run(lab, lab_page, screenshots):
    step, folder, alerts = STEPS["05_model_comparison"], lab.repository / "notebooks", []
    path = with_parameters(step, folder / step.notebook.name, folder / "text_box.ipynb")
    run_all_cells(lab_page, lab, path, 60 * MINUTES["05"])
    lab_page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
    ask = [cell.id for cell in notebooks.read(path).cells].index("ask")
    cell = lab_page.locator(".jp-Notebook .jp-Cell").nth(ask)
    cell.locator("textarea").press_sequentially(TYPED)
    cell.get_by_role("button", name="Ask").click()
    table = cell.locator(".widget-html table", has_text="민트")
    table.wait_for()
    cell.screenshot(path=screenshots / "text_box.png")
    rows, elements = table.evaluate(ANSWER)
    choose(lab_page, "Kernel", "Shut Down Kernel")
    saved = lab.repository.glob(f"{RUN_DIR}/models/*/classifier.json")
    assert alerts == [] and elements == []
    assert {row["model"] for row in rows} == {path.parent.name.removesuffix("-fine-tuned") for path in saved} != set()
    assert [row for row in rows if row["words"] != TYPED.split()] == []
    assert [row for row in rows if not re.fullmatch(r"0\.\d\d|1\.00", row["probability"])] == []
    assert {colour for row in rows for colour in row["colours"]} - {"rgb(255, 255, 255)"} != set()


@pytest.fixture
def lab_page(browser: "Browser") -> Iterator["Page"]:
    page = browser.new_page(viewport=WINDOW)
    page.set_default_timeout(1000 * SECONDS_TO_ANSWER)
    yield page
    page.close()


def written(lab: Any, **cells: str) -> Path:
    """Write a notebook of code cells, given by their ids, among those that JupyterLab shows."""
    path = lab.repository / "notebooks" / "toy.ipynb"
    code = [new_code_cell(source, id=cell_id) for cell_id, source in cells.items()]
    nbformat.write(new_notebook(cells=code, metadata=notebooks.METADATA), path)
    return path


def with_parameters(step: Step, source: Path, target: Path) -> Path:
    """Write the notebook with the step's parameters and without outputs, as papermill would run it."""
    notebook = parameterize_notebook(load_notebook_node(str(source)), step.parameters)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(notebook, target)
    return target


def run_all_cells(page: "Page", lab: Any, path: Path, seconds: float) -> None:
    """Open a notebook, run it from the keyboard, wait until it is done, and save it."""
    ids = [cell.id for cell in notebooks.read(path).cells]
    page.goto(lab.url(path))
    # In the status bar: the sign above the notebook says idle before there is a kernel.
    page.locator("#jp-main-statusbar", has_text="| Idle").wait_for()
    page.locator(".jp-Notebook .jp-Cell").nth(len(ids) - 1).wait_for(state="attached")
    page.locator(".jp-Notebook .jp-InputPrompt").first.click()
    for keys in RUN_ALL_CELLS:
        page.keyboard.press(keys)
    wait_until_done(page, path.name, ids, seconds)
    page.keyboard.press("Control+s")
    page.locator(".jp-mod-dirty").wait_for(state="detached")


def seen_faults(page: "Page", path: Path) -> list[str]:
    """Return what a student would wonder about: errors, warnings, local paths, outputs wider than the page."""
    saved = notebooks.read(path)
    wider = page.evaluate(WIDER_THAN_THE_PAGE)
    too_wide = [cell.id for cell, is_wider in zip(saved.cells, wider, strict=True) if is_wider]
    return live_problems(saved) + [f"cell {cell_id} is wider than the page" for cell_id in too_wide]


def choose(page: "Page", menu: str, item: str) -> None:
    page.locator(".lm-MenuBar-item", has_text=menu).first.click()
    page.get_by_role("menuitem", name=item, exact=True).click()


def wait_until_done(page: "Page", name: str, ids: list[str], seconds: float) -> None:
    """Wait until every code cell has its number, or the kernel has long had nothing to do: then a cell has failed."""
    end, quiet_since = time.monotonic() + seconds, None
    while True:
        state, now = page.evaluate(STATE), time.monotonic()
        waiting = [cell for cell, prompt in zip(ids, state["prompts"], strict=True) if re.search(r"\[[* ]\]", prompt)]
        quiet = state["kernel"] == "idle" and not any("*" in prompt for prompt in state["prompts"])
        quiet_since = (quiet_since or now) if quiet else None
        if quiet_since and (not waiting or now - quiet_since > SECONDS_OF_QUIET):
            return
        if now > end:
            pytest.fail(f"{name}: cell {waiting[0] if waiting else ids[-1]} still runs after {seconds:.0f} s.")
        page.wait_for_timeout(500)


def save_pieces(page: "Page", folder: Path, name: str) -> None:
    """Save the whole notebook, a screenful a picture."""
    top, number = 0, 1
    while True:
        position, shown, whole = page.evaluate(SCROLL_TO, top)
        page.wait_for_timeout(300)
        page.locator(".jp-NotebookPanel").screenshot(path=folder / f"{name}-{number:02}.png")
        if position + shown >= whole - 1:
            return
        top, number = position + shown - 60, number + 1
