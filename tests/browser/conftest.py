"""A headless Chromium, the folder of its screenshots, JupyterLab and the built site."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from site_source.pages import base_address
from utils.files import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
NO_BROWSER = (
    "No Chromium: install it (Debian, Ubuntu: apt install chromium; macOS: brew install --cask chromium), "
    "or say where it is: make test-browser CHROMIUM=<its path>."
)
# What a kernel needs of the repository: JupyterLab opens a copy, so that no committed file changes.
COPIED = ("notebooks", "utils", "data", "results", "pyproject.toml")
# No question about news, whose toast would cover the screenshots, and every cell on the page, not only those in view.
LAB_SETTINGS = {
    "apputils-extension/notification": '{"fetchNews": "false", "checkForUpdates": false}',
    "notebook-extension/tracker": '{"windowingMode": "none", "scrollPastEnd": false}',
}
SECONDS_TO_START = 300


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if any(screenshot_folder().glob("*.png")):
        terminalreporter.write_line(f"Screenshots: {screenshot_folder()}")


def screenshot_folder() -> Path:
    return ROOT / os.environ.get("SCREENSHOTS", "runs/browser")


@pytest.fixture(scope="session")
def screenshots() -> Path:
    """The folder SCREENSHOTS names, runs/browser by default, without the pictures of an earlier run."""
    folder = screenshot_folder()
    folder.mkdir(parents=True, exist_ok=True)
    for picture in folder.glob("*.png"):
        picture.unlink()
    return folder


@pytest.fixture(scope="session")
def launch() -> Iterator[Callable[..., "Browser"]]:
    """Starts a headless Chromium with the given environment variables."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright: make test-browser installs it")
    names = [os.environ["CHROMIUM"]] if os.environ.get("CHROMIUM") else PROGRAMS
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        pytest.exit(NO_BROWSER, returncode=1)
    with playwright.sync_playwright() as started:
        yield lambda **environment: started.chromium.launch(executable_path=program, env=os.environ | environment)


@pytest.fixture(scope="session")
def browser(launch: Callable[..., "Browser"]) -> Iterator["Browser"]:
    browser = launch()
    yield browser
    browser.close()


# A font without Hangul draws every syllable as the same empty box.
DRAWN_ALIKE = """async selectors => {
  const found = [];
  for (const element of selectors.map(selector => document.querySelector(selector)).filter(Boolean)) {
    const font = `32px ${getComputedStyle(element).fontFamily}`;
    await document.fonts.load(font, '논쟁댓글').catch(() => null);
    const draw = text => {
      const context = Object.assign(document.createElement('canvas'), {width: 48, height: 48}).getContext('2d');
      context.font = font;
      context.fillText(text, 4, 40);
      return context.canvas.toDataURL();
    };
    if (new Set([...'논쟁댓글'].map(draw)).size < 4) found.push(element.className || element.tagName);
  }
  return found;
}"""


@pytest.fixture(scope="session")
def unreadable() -> Callable[["Page", list[str]], list[str]]:
    """Says which of a page's elements, given by selectors, show empty boxes instead of Hangul."""
    advice = "no font of this computer has Hangul (Debian, Ubuntu: apt install fonts-noto-cjk)"
    return lambda page, selectors: [f"{name}: {advice}" for name in page.evaluate(DRAWN_ALIKE, selectors)]


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab and the copy of the repository that it shows."""

    address: str
    token: str
    repository: Path

    def url(self, notebook: Path) -> str:
        shown = notebook.relative_to(self.repository / "notebooks").as_posix()
        # reset: without the notebooks of the pages before.
        return f"{self.address}/lab/tree/{shown}?reset&token={self.token}"


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """JupyterLab started as `make lab` does, without the settings of whoever runs the tests."""
    folder = tmp_path_factory.mktemp("lab")
    repository = folder / "repository"
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, repository / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        else:
            shutil.copy(source, repository / name)
    for name, settings in LAB_SETTINGS.items():
        path = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(settings)
    lab = Lab(f"http://127.0.0.1:{free_port()}", secrets.token_hex(), repository)
    options = [f"--ServerApp.port={urlsplit(lab.address).port}", f"--IdentityProvider.token={lab.token}"]
    command = [sys.executable, "-m", "jupyter", "lab", "--notebook-dir=notebooks", "--no-browser", "--allow-root"]
    folders = {"CONFIG_DIR": "config", "DATA_DIR": "data", "RUNTIME_DIR": "runtime"}
    environment = os.environ | {f"JUPYTER_{name}": str(folder / value) for name, value in folders.items()}
    environment |= {f"JUPYTERLAB_{name}_DIR": str(folder / name.lower()) for name in ("SETTINGS", "WORKSPACES")}
    with (folder / "log").open("w") as log:
        server = subprocess.Popen([*command, *options], cwd=repository, env=environment, stdout=log, stderr=log)
    try:
        wait_for_lab(lab, server, folder / "log")
        yield lab
    finally:
        server.terminate()
        try:
            server.wait(timeout=60)
        except subprocess.TimeoutExpired:
            server.kill()


def wait_for_lab(lab: Lab, server: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + SECONDS_TO_START
    while server.poll() is None and time.monotonic() < end:
        try:
            urllib.request.urlopen(f"{lab.address}/api/status?token={lab.token}", timeout=5).close()
        except OSError:
            time.sleep(0.5)
        else:
            return
    pytest.fail(f"JupyterLab did not start in {SECONDS_TO_START} s; its last lines:\n{log.read_text()[-2000:]}")


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


class LikeGitHubPages(SimpleHTTPRequestHandler):
    """Serves the site under its path on GitHub Pages; what is not there is answered with its 404.html."""

    prefix = urlsplit(base_address()).path

    def translate_path(self, path: str) -> str:
        below = urlsplit(path).path.removeprefix(self.prefix) if path.startswith(self.prefix) else "outside"
        return super().translate_path(f"/{below}")

    def send_error(self, code: int, *_: object) -> None:
        page = (Path(self.directory) / "404.html").read_bytes()
        self.send_response(code)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="session")
def site() -> Iterator[str]:
    """The address of the site that `make site` built, ending in a slash."""
    if not (ROOT / "site" / "index.html").exists():
        pytest.fail("site/ holds no pages: run make site, or make test-browser, which does.")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(LikeGitHubPages, directory=str(ROOT / "site")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}{LikeGitHubPages.prefix}"
    server.shutdown()
