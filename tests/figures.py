"""Drawing figures in the style of the notebooks, and refusing missing glyphs."""

import warnings
from collections.abc import Iterator

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pytest
from matplotlib.figure import Figure

from utils import plots


@pytest.fixture(autouse=True)
def shared_style() -> Iterator[None]:
    """The notebooks' style, for every test of a module that imports this."""
    with matplotlib.rc_context():
        plots.set_style()
        yield
        plt.close("all")


def draw(figure: Figure) -> Figure:
    """Render the figure; a missing glyph is a warning and so an error here."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.canvas.draw()
    return figure
