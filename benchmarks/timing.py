"""What the benchmarks share: the clock, the memory and the table."""

import platform
import re
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any


def fastest(call: Callable[[], Any], *, repeats: int = 3) -> float:
    """Return the seconds of the fastest of several calls, on the process's CPU clock: other processes do not count."""
    seconds = []
    for _ in range(repeats):
        began = time.process_time()
        call()
        seconds.append(time.process_time() - began)
    return min(seconds)


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """Return what a call returns, and its seconds on the clock."""
    began = time.perf_counter()
    result = call()
    return result, time.perf_counter() - began


def fastest_in_turns(calls: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Return the seconds on the clock of each call's fastest turn, after one turn that does not count."""
    for call in calls.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            seconds[name].append(timed(call)[1])
    return {name: min(times) for name, times in seconds.items()}


def alone(call: Callable[[], Any]) -> tuple[float, float]:
    """Return CPU seconds of one call in a fresh process, and the most megabytes that the process has held."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_seconds_and_peak, call).result()


def _seconds_and_peak(call: Callable[[], Any]) -> tuple[float, float]:
    began = time.process_time()
    call()
    return time.process_time() - began, peak_megabytes()


def peak_megabytes() -> float:
    """Return the most memory that this process has held; on Linux `ru_maxrss` would count its parent's too."""
    if sys.platform == "linux":
        return 1.024e-3 * int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # bytes on macOS


def matmul_flops(multiply: Callable[[], Any], size: int, *, repeats: int = 10) -> float:
    """Return the most operations a second that a product of two square matrices of this size has reached."""
    multiply()
    return 2 * size**3 / min(timed(multiply)[1] for _ in range(repeats))


def print_table(title: str, command: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print measurements with the command, the date and the machine."""
    print(f"\n{title}")
    print(f"`{command}`, {datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, Python {platform.python_version()}\n")
    cells = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    for row in cells:
        print("  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)))


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
