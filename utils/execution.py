"""Execute one notebook with papermill: progress by section, a time limit a cell, no process left behind.

Split from `run_all` because importing papermill takes seconds and notebooks import `run_all` for `prepare_run`.
"""

import os
import re
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import nbformat
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, NotebookExecutionManager, papermill_engines
from papermill.exceptions import PapermillExecutionError
from papermill.execute import execute_notebook

from utils.environment import UNATTENDED
from utils.files import ROOT, shown

SILENCE_SECONDS = 60
# Exceptions whose message is written for the person at the keyboard: shown without the class name.
PLAIN_ERRORS = (
    "CheckpointError",
    "ClassifierFolderError",
    "CommentDataError",
    "RunFolderError",
    "TooFewLabelsError",
    "TrainingDivergedError",
    "TrainingStateError",
    "SystemExit",
)


class NotebookFailed(Exception):
    """A notebook stopped; the message says which one, in which cell, and why.

    Attributes
    ----------
    status : int
        Exit status for the shell: 1, or 128 plus the number of the signal that stopped it.
    """

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


class Watch:
    """One notebook while it runs: prints progress, notes the kernel's memory and can end the kernel.

    Parameters
    ----------
    name : str
        Shown at the head of every line.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.cells: list[nbformat.NotebookNode] = []
        self.index = 0
        self.section = ""
        self.kernel: int | None = None  # process id, and that of the process group it leads
        self.peak_mib = 0
        self.signum = 0  # of the signal that stopped the run
        self.started = self.last_line = time.monotonic()

    def seconds(self) -> float:
        """Return the seconds since this notebook was started."""
        return time.monotonic() - self.started

    def kernel_started(self, kernel: int, cells: list[nbformat.NotebookNode]) -> None:
        """Note the kernel's process id and the cells, the injected parameters among them."""
        self.kernel, self.cells = kernel, list(cells)

    def cell_starts(self, index: int) -> None:
        """Note the cell and print a line when a new section begins."""
        self.index = index
        section = section_of(self.cells, index)
        if section != self.section:
            self.section = section
            self.say(section)

    def cell_ends(self) -> None:
        """Note the most memory the kernel has used so far; known on Linux only."""
        try:
            status = Path(f"/proc/{self.kernel}/status").read_text()
        except OSError:
            return
        peak = re.search(r"VmHWM:\s+(\d+) kB", status)
        self.peak_mib = int(peak.group(1)) // 1024 if peak else self.peak_mib

    def say(self, text: str) -> None:
        """Print one line of progress."""
        self.last_line = time.monotonic()
        count = f"cell {self.index + 1}/{len(self.cells)}" if self.cells else ""
        print(f"{self.name:<26} {clock(self.seconds()):>6}  {count:<11}  {text}", flush=True)

    def reassure(self, stop: threading.Event) -> None:
        """Print a line for every minute without one until `stop` is set; runs in a thread."""
        while not stop.wait(1):
            if time.monotonic() - self.last_line > SILENCE_SECONDS:
                self.say("... still running")

    def end_kernel(self, signum: int) -> None:
        """Send a signal to the kernel and everything it started."""
        if self.kernel is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.kernel, signum)

    def interrupt(self, signum: int) -> None:
        """End the kernel: politely, after five seconds or when asked again by force.

        No exception is raised: papermill sees that the kernel is gone, saves the notebook and stops.
        """
        self.end_kernel(signal.SIGKILL if self.signum else signal.SIGTERM)
        self.signum = signum
        killer = threading.Timer(5, self.end_kernel, args=(signal.SIGKILL,))
        killer.daemon = True
        killer.start()


class _Client(PapermillNotebookClient):
    """Papermill's client that reports to a `Watch`."""

    watch: Watch

    def execute_cell(self, cell: Any, cell_index: int, **kwargs: Any) -> Any:
        if self.watch.kernel is None and self.km is not None:
            self.watch.kernel_started(self.km.provisioner.pid, self.nb.cells)  # type: ignore[union-attr]
            if self.watch.signum:
                self.watch.interrupt(self.watch.signum)
        self.watch.cell_starts(cell_index)
        try:
            return super().execute_cell(cell, cell_index, **kwargs)
        finally:
            self.watch.cell_ends()


class WatchedEngine(Engine):
    """Papermill engine that runs the cells under a `Watch` and leaves no process behind."""

    @classmethod
    def execute_managed_notebook(
        cls,
        nb_man: NotebookExecutionManager,
        kernel_name: str,
        *,
        watch: Watch,
        kernel_log: Path,
        execution_timeout: int,
        start_timeout: int,
        **kwargs: Any,
    ) -> Any:
        """Run all cells, then end whatever the kernel has left running; native messages go to `kernel_log`."""
        client = _Client(
            nb_man,
            kernel_name=kernel_name,
            timeout=execution_timeout,
            startup_timeout=start_timeout,
            # Or every kernel warns about its transport, and what native libraries log goes into the notebook.
            extra_arguments=["--log-level=ERROR", "--IPKernelApp.capture_fd_output=False"],
        )
        client.watch = watch
        try:
            with kernel_log.open("wb") as log:
                return client.execute(stderr=log, env=os.environ | {UNATTENDED: "1"})
        finally:
            watch.end_kernel(signal.SIGKILL)
            if kernel_log.exists() and kernel_log.stat().st_size == 0:
                kernel_log.unlink()


papermill_engines.register("watched", WatchedEngine)


def run_notebook(
    notebook: Path, name: str, parameters: Mapping[str, Any], *, run_folder: Path, cell_timeout: int
) -> dict[str, Any]:
    """Execute a notebook into the run folder and return its seconds and peak memory.

    While it runs it is `.<name>.running.ipynb`; it becomes `<name>.ipynb` when it ends well and
    `<name>.failed.ipynb` when it does not. What native libraries write to stderr goes to `<name>.log`.

    Parameters
    ----------
    notebook : Path
    name : str
        Name of the executed notebook, without `.ipynb`.
    parameters : mapping
        Values for its `parameters` cell.
    run_folder : Path
    cell_timeout : int
        Seconds one cell may take.

    Returns
    -------
    dict
        `seconds` (float) and `peak_mib` (int, MiB of the kernel; None where the system does not tell).

    Raises
    ------
    NotebookFailed
        A cell raised an error, took too long, lost its kernel, or was interrupted by Ctrl-C or SIGTERM.
    """
    running = run_folder / f".{name}.running.ipynb"
    done, failed = run_folder / f"{name}.ipynb", run_folder / f"{name}.failed.ipynb"
    for leftover in (running, done, failed):
        leftover.unlink(missing_ok=True)
    watch, stop = Watch(name), threading.Event()
    threading.Thread(target=watch.reassure, args=(stop,), daemon=True).start()
    watch.say("starts")
    try:
        with interrupting(watch):
            execute_notebook(
                notebook,
                str(running),
                parameters=dict(parameters),
                engine_name="watched",
                watch=watch,
                kernel_log=run_folder / f"{name}.log",
                execution_timeout=cell_timeout,
                start_timeout=120,
                kernel_name="python3",
                language="python",
                progress_bar=False,
                cwd=ROOT,
            )
    except Exception as error:  # papermill, nbclient and the kernel raise many kinds
        if running.exists():
            os.replace(running, failed)
        raise _failure(notebook, watch, error, failed) from error
    finally:
        stop.set()
    os.replace(running, done)
    watch.say("done")
    return {"seconds": round(watch.seconds(), 1), "peak_mib": watch.peak_mib or None}


@contextmanager
def interrupting(watch: Watch) -> Iterator[None]:
    """Within the block Ctrl-C and SIGTERM end the notebook's kernel and all it started."""

    def handle(signum: int, frame: FrameType | None) -> None:
        watch.interrupt(signum)

    before = {signum: signal.signal(signum, handle) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _failure(notebook: Path, watch: Watch, error: Exception, saved: Path) -> NotebookFailed:
    lines = [_reason(watch, error), f"  notebook  {shown(notebook)} (step {watch.name})"]
    if watch.cells:
        cell = watch.cells[watch.index]
        lines.append(f"  cell      {watch.index + 1} of {len(watch.cells)}, id {cell.get('id')}, in '{watch.section}'")
    if isinstance(error, PapermillExecutionError) and not watch.signum:
        lines.append(f"  line      {_innermost_line(error.traceback)}")
    if saved.exists():
        lines.append(f"  saved as  {shown(saved)}")
    return NotebookFailed("\n".join(lines), 128 + watch.signum if watch.signum else 1)


def _reason(watch: Watch, error: Exception) -> str:
    if watch.signum:
        return f"Interrupted ({signal.Signals(watch.signum).name})."
    if isinstance(error, PapermillExecutionError):
        message = str(error.evalue).strip()
        return message if error.ename in PLAIN_ERRORS else f"{error.ename}: {message}"
    if isinstance(error, CellTimeoutError):
        return "The cell took longer than the step's cell_timeout allows."
    if isinstance(error, DeadKernelError):
        return "The kernel died: it was killed from outside or crashed, most often because memory ran out."
    return f"The notebook could not be run: {type(error).__name__}: {error}"


def _innermost_line(traceback: Sequence[str]) -> str:
    """Return the last line marked with an arrow in IPython's traceback: where the error was raised."""
    plain = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(traceback))
    arrows = re.findall(r"(?m)^-+> *(\d+) (.*)$", plain)
    return arrows[-1][1].strip() if arrows else ""


def section_of(cells: Sequence[nbformat.NotebookNode], index: int) -> str:
    """Return the Markdown heading that cell `index` stands under, "" above the first."""
    for cell in reversed(cells[: index + 1]):
        heading = re.search(r"(?m)^#{1,2} +(.+)$", cell.source) if cell.cell_type == "markdown" else None
        if heading:
            return heading.group(1).strip()
    return ""


def clock(seconds: float) -> str:
    """Return a duration as `42 s` or `3:05`."""
    return f"{seconds:.0f} s" if seconds < 60 else f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
