"""The tutorial's figures: one style, readable Hangul (한글), colour-blind safe.

Every function takes data, draws, and returns the `matplotlib.figure.Figure`. The title is passed in: it states what the
reader should see. In a notebook assign the result (``figure = vote_histogram(...)``): Jupyter shows it at the end of
the cell, and a bare last line would show it twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pylopdf_fonts_ko
import seaborn as sns
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.ticker import FuncFormatter, NullFormatter
from matplotlib.transforms import Bbox
from numpy.typing import ArrayLike

from utils.evaluation import called_class, stated_probability

PALETTE = sns.color_palette("colorblind")
# Where a word may stand beside its point on a map, the first choice first, and how many points (1/72 inch) away.
LABEL_PLACES = [(x, y) for x in ("left", "right") for y in ("bottom", "top", "center")]
LABEL_PLACES += [("center", "bottom"), ("center", "top")]
SHIFT = {"left": 4, "right": -4, "bottom": 2, "top": -2, "center": 0}
BLUE, ORANGE, GREY = PALETTE[0], PALETTE[1], "#666666"


def use_korean_font() -> str:
    """Make matplotlib draw Hangul with Noto Sans KR, from a file the project installs, and return the font's name.

    Needs no restart, no font cache and no network. DejaVu Sans, which comes with matplotlib, adds the common emoji. The
    minus sign is the ASCII one, which every font has.
    """
    path = pylopdf_fonts_ko.sans_path()
    font_manager.fontManager.addfont(path)
    name = font_manager.FontProperties(fname=path).get_name()
    plt.rcParams["font.family"] = [name, "DejaVu Sans"]
    plt.rcParams["axes.unicode_minus"] = False
    return name


def set_style() -> None:
    """Set the look all notebooks share: seaborn's white grid, colour-blind palette, Korean font, small PNGs."""
    sns.set_theme(context="notebook", style="whitegrid", palette="colorblind")
    use_korean_font()
    plt.rcParams.update(
        {
            "figure.figsize": (7.5, 4.0),
            "figure.dpi": 80,
            "savefig.dpi": 110,
            "axes.titlesize": 12,
            "axes.titlelocation": "left",
            "axes.labelsize": 10,
            "xtick.labelsize": 9,
            "ytick.labelsize": 9,
            "legend.fontsize": 9,
            "legend.title_fontsize": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
        }
    )


def vote_histogram(votes: ArrayLike, *, min_votes: int, title: str) -> Figure:
    """Histogram of votes per comment on logarithmic axes, with the line that `min_votes` draws through it.

    `votes` are likes + dislikes, shape (N,). Comments without a vote have no place on a logarithmic axis: they are
    counted in the axis label.
    """
    counts = np.asarray(votes)
    voted = counts[counts > 0]
    edges = np.unique(np.geomspace(1, max(voted.max(initial=1), 2) + 1, 40).astype(int)) - 0.5
    figure, axes = plt.subplots(layout="constrained")
    sns.histplot(x=voted, bins=edges.tolist(), color=BLUE, ax=axes)
    axes.set(xscale="log", yscale="log", title=title, ylabel="comments")
    axes.set_xlabel(f"votes (likes + dislikes); {int((counts == 0).sum()):,} comments without a vote are not drawn")
    axes.axvline(min_votes - 0.5, color=ORANGE, linestyle="--", label=f"at least {min_votes} votes")
    axes.legend()
    _plain_log_ticks(axes)
    return figure


def interval_growth(intervals: pd.DataFrame, *, band: tuple[float, float], title: str) -> Figure:
    """Confidence interval of the sympathy ratio (공감률) for growing numbers of votes, against the band.

    `intervals` has one row per number of votes and the columns ``votes``, ``ratio``, ``ci_low``, ``ci_high``.
    """
    figure, axes = plt.subplots(layout="constrained")
    axes.axhspan(*band, color=ORANGE, alpha=0.18, label=f"band {band[0]:g} to {band[1]:g}")
    axes.fill_between(
        intervals["votes"], intervals["ci_low"], intervals["ci_high"], color=BLUE, alpha=0.35, label="interval"
    )
    axes.plot(intervals["votes"], intervals["ratio"], color=BLUE, marker="o", markersize=3, label="ratio")
    axes.set(xscale="log", ylim=(0, 1), title=title, xlabel="votes", ylabel="sympathy ratio (공감률)")
    _plain_log_ticks(axes)
    axes.legend(loc="upper right")
    return figure


def yield_heatmap(table: pd.DataFrame, *, title: str, xlabel: str, ylabel: str, number_format: str = ",.0f") -> Figure:
    """Heat map of how many comments a setting labels: rows and columns of `table` are settings, values are numbers."""
    figure, axes = plt.subplots(figsize=(7.5, 0.5 * len(table) + 1.8), layout="constrained")
    sns.heatmap(table, annot=True, fmt=number_format, cmap="viridis", linewidths=0.5, annot_kws={"size": 9}, ax=axes)
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
    axes.tick_params(axis="y", rotation=0)
    return figure


def split_sizes(table: pd.DataFrame, *, title: str) -> Figure:
    """Stacked bars: one bar per row of `table` (splits), one part per column (labels), values are comments."""
    figure, axes = plt.subplots(figsize=(7.5, 0.45 * len(table) + 1.5), layout="constrained")
    left = np.zeros(len(table))
    colours = [BLUE, ORANGE, "#bbbbbb", *PALETTE[2:]]
    for column, colour in zip(table.columns, colours, strict=False):
        axes.barh(table.index.astype(str), table[column], left=left, color=colour, label=str(column))
        left += table[column].to_numpy(dtype=float)
    for row, total in enumerate(left):
        axes.annotate(f" {total:,.0f}", (total, row), va="center", fontsize=9)
    axes.margins(x=0.1)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set(title=title, xlabel="comments")
    axes.legend(loc="lower right")
    return figure


def training_curves(
    histories: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    title: str,
    metrics: Sequence[str] = ("loss", "accuracy"),
    xlabel: str = "epoch",
) -> Figure:
    """Training curves of one or several models, one panel per metric.

    `histories` maps a model's name to a Keras ``history.history`` (``{"loss": [...], "val_loss": [...]}``). Dashed is
    training, solid is validation; a metric that a history lacks is left out of its panel.
    """
    figure, panels = plt.subplots(
        1, len(metrics), figsize=(4.2 * len(metrics) + 2.4, 3.6), squeeze=False, layout="constrained"
    )
    for axes, metric in zip(panels[0], metrics, strict=True):
        for (name, history), colour in zip(histories.items(), _colours(len(histories)), strict=True):
            for key, style in ((metric, "--"), (f"val_{metric}", "-")):
                values = history.get(key, ())
                part = "validation" if key != metric else "training"
                steps = range(1, len(values) + 1)
                if len(values):
                    axes.plot(steps, values, style, color=colour, marker="o", markersize=3, label=f"{name}, {part}")
        axes.set(xlabel=xlabel, ylabel=metric.replace("_", " "))
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    figure.legend(*panels[0][-1].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    return figure


def word_map(
    coordinates: ArrayLike, words: Sequence[str], *, title: str, topics: Sequence[str] | None = None
) -> Figure:
    """Words at their place in a plane: `coordinates` has shape (N, 2), `words` and `topics` (the colour) length N.

    A word stands where it covers no point and no word before it; one that finds no such place leaves only its point.
    """
    points = np.asarray(coordinates, dtype=float)
    figure, axes = plt.subplots(figsize=(7.5, 5.5), layout="constrained")
    sns.scatterplot(x=points[:, 0], y=points[:, 1], hue=topics, style=topics, s=25, ax=axes)
    axes.margins(0.08)
    axes.set(title=title, xlabel="first direction", ylabel="second direction", xticklabels=[], yticklabels=[])
    figure.draw_without_rendering()  # or the axes would have no size yet
    taken = [Bbox.from_bounds(x - 2, y - 2, 4, 4) for x, y in axes.transData.transform(points)]
    for point, word in zip(points.tolist(), words, strict=True):
        label = axes.annotate(word, point, (0, 0), textcoords="offset points", fontsize=9, parse_math=False)
        _place_label(label, taken)
    return figure


def _place_label(label: Annotation, taken: list[Bbox]) -> None:
    """Put a label beside its point, where it lies in the axes and covers none of the boxes `taken`, or remove it."""
    assert label.axes is not None
    for horizontal, vertical in LABEL_PLACES:
        label.set(ha=horizontal, va=vertical)
        label.set_position((SHIFT[horizontal], SHIFT[vertical]))
        box = label.get_window_extent()
        inside = all(label.axes.bbox.contains(x, y) for x, y in box.corners())
        if inside and not box.count_overlaps(taken):
            taken.append(box)
            return
    label.remove()


def learning_curve(scores: pd.DataFrame, *, metric: str, title: str, ylabel: str | None = None) -> Figure:
    """Score against the number of labelled training comments: a line through the means, a small point per seed.

    `scores` has one row per model, label budget and seed, with the columns ``model``, ``label_budget`` and `metric`.
    """
    figure, axes = plt.subplots(layout="constrained")
    names = list(dict.fromkeys(scores["model"]))
    colours = dict(zip(names, _colours(len(names)), strict=True))
    sns.lineplot(
        scores,
        x="label_budget",
        y=metric,
        hue="model",
        hue_order=names,
        palette=colours,
        style="model",
        style_order=names,
        markers=True,
        dashes=False,
        errorbar=("pi", 100),
        ax=axes,
    )
    for name in names:
        rows = scores[scores["model"] == name]
        axes.scatter(rows["label_budget"], rows[metric], s=12, color=colours[name], alpha=0.6, linewidths=0)
    axes.set(xscale="log", title=title, xlabel="labelled training comments", ylabel=ylabel or metric)
    budgets = sorted(scores["label_budget"].unique())
    axes.set_xticks(budgets, [f"{budget:,.0f}" for budget in budgets])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.legend(title=None)
    return figure


def interval_plot(
    table: pd.DataFrame, *, value: str, title: str, xlabel: str, lines: Mapping[str, float] | None = None
) -> Figure:
    """Forest plot: one row per model with its score (or difference) and interval, best on top.

    `table` has the columns ``model``, `value`, ``low`` and ``high``. `lines` maps a name to the place of a vertical
    line, such as ``{"chance": 0.5}``.
    """
    rows = table.sort_values(value).reset_index(drop=True)
    figure, axes = plt.subplots(figsize=(7.5, 0.32 * len(rows) + 1.5), layout="constrained")
    sns.scatterplot(x=rows[value], y=rows.index, color=BLUE, s=45, ax=axes, zorder=3)
    axes.hlines(rows.index, rows["low"], rows["high"], color=BLUE, linewidth=2)
    for (name, place), style in zip((lines or {}).items(), ("--", ":", "-."), strict=False):
        axes.axvline(place, color=ORANGE, linestyle=style, label=name)
    if lines:
        figure.legend(loc="outside lower right", ncols=len(lines), fontsize=8)
    axes.set_yticks(rows.index, rows["model"], parse_math=False)
    axes.set(title=title, xlabel=xlabel, ylabel="", ylim=(-0.6, len(rows) - 0.4))
    axes.grid(axis="y", visible=False)
    return figure


def confusion_matrices(
    predictions: pd.DataFrame, *, title: str, threshold: float = 0.5, class_names: Sequence[str] = ("not", "controv.")
) -> Figure:
    """One confusion matrix per model: of each true class, the shares that were called the one or the other.

    `predictions` has ``model``, ``label`` and the probabilities; several seeds of a model are pooled, so the shares are
    means over the seeds. Rows add up to 100 %, which makes the diagonal the recalls. `class_names` are the names of the
    classes on the axes, cut where they are long.
    """
    models = list(dict.fromkeys(predictions["model"]))
    classes = list(range(len(class_names)))
    ticks = [_drawable(name if len(name) <= 8 else f"{name[:7]}…") for name in class_names]
    side = max(1.55, 0.5 * len(classes))
    columns = 4 if len(classes) < 5 else 2
    figure, panels = _panels(len(models), columns=columns, side=side, wspace=0.12, hspace=0.3)
    for axes, model in zip(panels, models, strict=True):
        rows = predictions[predictions["model"] == model]
        called = pd.Series(called_class(stated_probability(rows), threshold=threshold), rows.index)
        shares = pd.crosstab(rows["label"], called, normalize="index").reindex(index=classes, columns=classes)
        # seaborn's heatmap draws the whole figure to see whether its labels fit: seconds, with a panel per model.
        axes.imshow(shares.fillna(0), cmap="Blues", vmin=0, vmax=1, aspect="auto")
        for (row, column), share in np.ndenumerate(shares.fillna(0)):
            ink = "white" if share > 0.5 else "#222222"
            axes.text(column, row, f"{share:.0%}", ha="center", va="center", color=ink)
        axes.set_title(model, fontsize=9, loc="center", parse_math=False)
        axes.set(xlabel="called", ylabel="true")
        axes.set_xticks(classes, ticks, parse_math=False)
        axes.set_yticks(classes, ticks, rotation=90, va="center", parse_math=False)
        axes.grid(visible=False)
    _label_outer_panels(panels, columns=columns)
    figure.suptitle(title, x=0.01, y=0.99, ha="left", va="top", fontsize=12)
    return figure


def reliability(curves: Mapping[str, pd.DataFrame], *, title: str, class_name: str = "controversial") -> Figure:
    """Reliability diagrams: the share of class 1 against the stated probability, one panel per model.

    `curves` maps a model to `utils.evaluation.reliability_curve`. On the diagonal the model states the true rate.
    `class_name` is the name of class 1.
    """
    figure, panels = _panels(len(curves), columns=3, side=2.1, wspace=0.12, hspace=0.3)
    for axes, (model, curve) in zip(panels, curves.items(), strict=True):
        axes.plot([0, 1], [0, 1], color=GREY, linestyle=":")
        axes.vlines(curve["probability"], curve["ci_low"], curve["ci_high"], color=BLUE, alpha=0.6)
        sns.lineplot(curve, x="probability", y="share", marker="o", color=BLUE, ax=axes)
        axes.set(xlabel="stated probability", ylabel=f"share {class_name}", xlim=(0, 1), ylim=(0, 1))
        axes.set_xticks([0.0, 0.25, 0.5, 0.75], ["0", "0.25", "0.5", "0.75"])
        axes.set_title(model, fontsize=9, loc="center", parse_math=False)
    _label_outer_panels(panels, columns=3)
    figure.suptitle(title, x=0.01, y=0.99, ha="left", va="top", fontsize=12)
    return figure


def word_importance(table: pd.DataFrame, *, title: str) -> Figure:
    """Draw a comment, each word on a coloured ground, and below it how many points of 100 it moves the probability.

    `table` is that of `utils.explain.occlusion`. Orange words speak for the class followed, blue ones against it;
    the stronger the colour the larger the change.
    """
    width = 7.5
    largest = max(float(table["change"].abs().max()), 1e-9)
    colours = sns.diverging_palette(245, 40, s=85, l=65, as_cmap=True)
    figure, axes = plt.subplots(figsize=(width, 1.0))
    x, line, line_height, gap = 0.0, 0, 0.62, 0.14
    for word, change in zip(table["word"], table["change"], strict=True):
        ground = {"facecolor": colours(0.5 + 0.5 * change / largest), "edgecolor": "none", "boxstyle": "round,pad=0.2"}
        drawn = axes.text(0, 0, _drawable(word), fontsize=12, va="center", bbox=ground, parse_math=False)
        inches = drawn.get_window_extent().width / figure.dpi
        if x > 0 and x + inches > width - 0.4:
            x, line = 0.0, line + 1
        drawn.set_position((x, -line * line_height))
        points = round(100 * change)
        axes.text(
            x + inches / 2,
            -line * line_height - 0.27,
            f"{points:+d}" if points else "0",
            ha="center",
            va="center",
            fontsize=8,
            color=GREY,
        )
        x += inches + gap
    height = (line + 1) * line_height
    figure.set_size_inches(width, height + 0.6)
    axes.set_position((0.02, 0.0, 0.96, height / (height + 0.6)))
    axes.set(xlim=(-0.1, 0.96 * width - 0.1), ylim=(-height + 0.22, 0.22), title=title)
    axes.set_axis_off()
    return figure


def ngram_bars(words: Sequence[str], table: pd.DataFrame, *, title: str, strongest: int = 10) -> Figure:
    """Draw a comment, and under its words the n-grams that decide most, each with its contribution.

    `table` is that of `utils.text_cnn.ngram_contributions`, the largest contributions first; `words` are the tokens it
    was made from. An orange bar speaks for the class, a blue one against it; the stronger the colour the more. A
    bar ends with the line that its n-gram begins in.
    """
    line_width, step, number_width = 58.0, 1.5, 4.0  # in widths of a Hangul letter
    spans = _text_lines(words, line_width)
    strong = table[table["end"] > table["start"]].head(strongest)
    bars = list(zip(strong["start"].tolist(), strong["end"].tolist(), strong["contribution"].tolist(), strict=True))
    largest = max((abs(contribution) for *_, contribution in bars), default=0.0) or 1.0
    colours = sns.diverging_palette(245, 40, s=85, l=65, as_cmap=True)
    figure, axes = plt.subplots()
    y = 0.0
    for line in range(spans[-1][0] + 1 if spans else 0):
        for word, (number, left, _) in zip(words, spans, strict=True):
            if number == line:
                axes.text(left, y, _drawable(word), fontsize=9, va="center", parse_math=False)
        ends: list[float] = []  # of the last bar in each row under this line
        for first, last, contribution in bars:
            number, left, _ = spans[first]
            if number != line:
                continue
            right = max(end for at, _, end in spans[first:last] if at == line)
            place = next((place for place, end in enumerate(ends) if end <= left), len(ends))
            ends[place : place + 1] = [right + number_width]
            bottom = y - step * (place + 1)
            colour = colours(0.5 + 0.5 * contribution / largest)
            axes.barh(bottom, right - left, 1.0, left, color=colour, edgecolor=GREY, linewidth=0.4)
            axes.text(right + 0.3, bottom, f"{contribution:+.2f}", fontsize=8, va="center", color=GREY)
        y -= step * (len(ends) + 1) + 0.7
    height = (1.0 - y) * 7.5 / (line_width + number_width)
    figure.set_size_inches(7.5, height + 0.5)
    axes.set_position((0.02, 0.0, 0.96, height / (height + 0.5)))
    axes.set(xlim=(-0.5, line_width + number_width), ylim=(y, 1.0), title=title)
    axes.set_axis_off()
    return figure


def _text_lines(words: Sequence[str], line_width: float) -> list[tuple[int, float, float]]:
    """Return each word's line and its left and right end, in widths of a Hangul letter, wrapped at `line_width`."""
    spans, line, left = [], 0, 0.0
    for word in words:
        width = sum(1.0 if ord(letter) > 0x7F else 0.65 for letter in word)
        if left > 0 and left + width > line_width:
            line, left = line + 1, 0.0
        spans.append((line, left, left + width))
        left += width + 0.7
    return spans


def _panels(count: int, *, columns: int, side: float, wspace: float, hspace: float) -> tuple[Figure, list[Axes]]:
    """Square panels, `side` inches wide, at most `columns` in a row, with room for a title above them all.

    Laid out by hand: matplotlib's constrained layout takes seconds for a dozen heat maps.
    """
    columns = min(count, columns)
    rows = -(-count // columns)
    inner_width = side * (columns + wspace * (columns - 1))
    inner_height = side * (rows + hspace * (rows - 1))
    left, bottom, right, top = 0.75, 0.55, 0.15, 0.75
    width, height = max(left + inner_width + right, 6.0), bottom + inner_height + top
    figure, grid = plt.subplots(rows, columns, figsize=(width, height), squeeze=False)
    figure.subplots_adjust(
        left=left / width,
        right=(left + inner_width) / width,
        bottom=bottom / height,
        top=1 - top / height,
        wspace=wspace,
        hspace=hspace,
    )
    for axes in grid.flat[count:]:
        axes.remove()
    return figure, list(grid.flat[:count])


def _label_outer_panels(panels: Sequence[Axes], *, columns: int) -> None:
    """Keep axis labels at the left and where no panel is below (the last row may be short)."""
    for number, axes in enumerate(panels):
        if number + columns < len(panels):
            axes.set_xlabel("")
            axes.tick_params(labelbottom=False)
        if number % columns:
            axes.set_ylabel("")
            axes.tick_params(labelleft=False)


def _drawable(word: str) -> str:
    """Put □ for characters that neither font has (rare emoji): matplotlib would warn about each of them."""
    fonts = [font_manager.get_font(font_manager.findfont(name)) for name in plt.rcParams["font.family"]]
    return "".join(letter if any(font.get_char_index(ord(letter)) for font in fonts) else "□" for letter in word)


def _colours(count: int) -> list[tuple[float, float, float]]:
    return sns.color_palette("colorblind", max(count, 1))[:count]


def _plain_log_ticks(axes: Axes) -> None:
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
