"""What the benchmarks share: the clock and the table."""

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any


def fastest(call: Callable[[], Any], *, repeats: int = 3) -> float:
    """Return the seconds of the fastest of several calls, on the process's CPU clock: other processes do not count."""
    seconds = []
    for _ in range(repeats):
        began = time.process_time()
        call()
        seconds.append(time.process_time() - began)
    return min(seconds)


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
