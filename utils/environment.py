"""What the notebooks need installed, checked in their setup cell before anything slow is imported."""

import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path

PYTHONS = ((3, 11), (3, 13))
UNATTENDED = "TUTORIAL_UNATTENDED"  # set in the environment where a program runs the notebooks and nobody looks on
# Distribution -> the first version that will do, and why.
NEEDED = {
    "tensorflow": (2, 20),
    "keras": (3, 13),
    "keras-hub": (0, 32),  # 0.31 was the first to build KcBERT's 300 positions
    "transformers": (5, 0),
    "pandas": (2, 2),
    "gensim": (4, 4),
    "kiwipiepy": (0, 21),
    "pylopdf-fonts-ko": (0, 1),
}
SHOWN = ("tensorflow", "keras", "keras-hub")


def check_environment(root: Path, *, in_colab: bool = False) -> None:
    """Print the versions in one line, or stop with one line that says what is wrong and what to do.

    In Colab two more lines name the commit that was cloned, and the GPU or how to get one. What native libraries write
    there, such as XLA on its first compilation, would stand among a cell's outputs and goes to `.native.log` instead.

    Parameters
    ----------
    root : Path
        The tutorial's folder; `utils` must have been imported from there.
    in_colab : bool, optional
        Whether the advice is for Colab or for a machine with `make`.

    Raises
    ------
    SystemExit
        Another `utils`, Python outside 3.11-3.13, or a package that is missing or too old.
    """
    ours = Path(__file__).resolve().parent
    if ours != (root / "utils").resolve():
        raise SystemExit(
            f"utils was imported from {ours}, not from {root}: restart the kernel and run this cell first."
        )
    trouble = environment_trouble(sys.version_info[:2])
    if trouble:
        remedy = "choose Runtime > Disconnect and delete runtime, then run this cell" if in_colab else "run make setup"
        raise SystemExit(f"{trouble}: {remedy}, and start the notebook again.")
    if os.environ.get(UNATTENDED):
        # A widget would be dead in the saved notebook, and its state keeps GitHub from showing it.
        sys.modules["ipywidgets"] = None  # type: ignore[assignment]
    warnings.filterwarnings("ignore", message="IProgress not found")  # tqdm shows text bars where there are no widgets
    logging.getLogger("tensorflow").addFilter(not_about_retracing)
    python = ".".join(map(str, sys.version_info[:3]))
    print(", ".join([f"Python {python}", *(f"{name} {metadata.version(name)}" for name in SHOWN)]))
    if in_colab:
        send_native_messages(root / ".native.log")
        print(f"Tutorial: commit {told('git', '-C', str(root), 'log', '-1', '--format=%h of %cs') or 'unknown'}")
        print(gpu_advice(told("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")))


def not_about_retracing(record: logging.LogRecord) -> bool:
    """Return whether to show a message: not the warning that a network meets a new width, or that it is new itself."""
    return "triggered tf.function retracing" not in record.getMessage()


def send_native_messages(log: Path) -> None:
    """Append to a file what C and C++ code writes to stderr; a notebook still shows Python's warnings."""
    with log.open("ab") as stream:
        os.dup2(stream.fileno(), 2)


def told(*command: str) -> str:
    """Return what a command prints, without the line's end; "" if it fails or is not installed."""
    try:
        result = subprocess.run(command, capture_output=True, text=True)
    except OSError:
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""


def gpu_advice(names: str) -> str:
    """Return one line on the GPUs of a Colab runtime, whose `names` the driver tells one a line, "" for none."""
    if names:
        return f"GPU: {', '.join(names.splitlines())}"
    return (
        "No GPU: enough for all five notebooks with the sample. Only KcBERT (notebook 04) wants one: "
        "Runtime > Change runtime type > T4 GPU, then this cell."
    )


def environment_trouble(
    python: tuple[int, ...],
    *,
    needed: Mapping[str, tuple[int, int]] = NEEDED,
    version: Callable[[str], str] = metadata.version,
) -> str:
    """Return what is wrong with the Python version or the first unfit package, "" if nothing is."""
    if not PYTHONS[0] <= python[:2] <= PYTHONS[1]:
        return f"Python 3.11, 3.12 or 3.13 is needed, this is {python[0]}.{python[1]}"
    for name, lowest in needed.items():
        wanted = f"{lowest[0]}.{lowest[1]}"
        try:
            found = version(name)
        except metadata.PackageNotFoundError:
            return f"{name} {wanted} or later is needed, it is not installed"
        if tuple(int(part) for part in found.split(".")[:2]) < lowest:
            return f"{name} {wanted} or later is needed, this is {found}"
    return ""
