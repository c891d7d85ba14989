"""Cells that have nothing to do with the data at hand, passed over with one sentence."""

from collections.abc import Callable

from IPython.core.getipython import get_ipython


def skip_cells(marker: str, *, because: str | None) -> None:
    """Let cells whose first line is `marker` print why they do nothing, from the next cell on.

    A cell that needs, say, votes begins with the comment `# Needs votes`, and runs as it stands unless this was called.

    Parameters
    ----------
    marker : str
        A comment, such as `"# Needs votes"`.
    because : str or None
        What such a cell prints after "Skipped: "; None lets them run again.
    """
    shell = get_ipython()
    if shell is None:
        return
    hooks: list[Callable[[list[str]], list[str]]] = shell.input_transformers_cleanup
    hooks[:] = [hook for hook in hooks if getattr(hook, "marker", None) != marker]
    if because is not None:
        hooks.append(_Skip(marker, because))


class _Skip:
    """Replaces the lines of a marked cell by a print; IPython hands it the lines of every cell before it is run."""

    def __init__(self, marker: str, because: str) -> None:
        self.marker, self.because = marker, because

    def __call__(self, lines: list[str]) -> list[str]:
        marked = bool(lines) and lines[0].strip() == self.marker
        return [f"print({'Skipped: ' + self.because!r})\n"] if marked else lines
