"""Programs that take turns on one machine: each works while the others wait, and tells what its turn took.

A program has a process of its own, so that its memory and its time to the first turn's end are its own.
"""

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from benchmarks.timing import peak_megabytes
from utils.files import ROOT

# Else the first program would take all memory of a GPU: JAX, TensorFlow.
SHARED_GPU = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}


class Turns:
    """The program's end: `begin` waits for a turn, `end` reports it. All else that it prints goes to stderr."""

    def __init__(self) -> None:
        self.reports, sys.stdout = sys.stdout, sys.stderr

    def begin(self) -> None:
        """Wait until it is this program's turn."""
        sys.stdin.readline()
        self.began = time.perf_counter()

    def end(self, **report: Any) -> None:
        """Report the turn's seconds, the peak memory so far, and what else is given."""
        seconds = time.perf_counter() - self.began
        report = {"seconds": seconds, "peak MB": round(peak_megabytes()), **report}
        print(json.dumps(report), file=self.reports, flush=True)


class Program:
    """The other end: ``python -m MODULE ARGUMENTS``, started now, to be used in a ``with``."""

    def __init__(self, module: str, *arguments: object) -> None:
        command = [sys.executable, "-m", module, *map(str, arguments)]
        ends = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, cwd=ROOT, env=os.environ | SHARED_GPU, **ends)

    def turn(self) -> dict[str, Any]:
        """Let the program work and return its report."""
        with suppress(BrokenPipeError):  # it has ended: then there is no report either
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(self.process.args)} ended with exit status {self.process.wait()}")
        return json.loads(line)

    def __enter__(self) -> Self:
        """Return the program."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End the program."""
        self.process.kill()
        self.process.communicate()
