"""Drawings of how the models are built, in the style of `utils.plots`; the numbers are read from the Keras models.

Data flows from the bottom to the top. Blue is what pretraining has taught, orange what starts anew, grey is no weight.
The unit of all coordinates is the inch, so that text fits its box at any resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle

from utils.plots import BLUE, GREY, ORANGE, PALETTE

if TYPE_CHECKING:
    import keras
    from keras_hub.models import BertBackbone

WIDTH = 6.0  # inches: 11 points stay readable where a phone shows the picture 390 pixels wide
SMALL, NORMAL = 11, 12  # points
INK = "#222222"
PLAIN = "#dddddd"
ADD = "add, layer norm (층 정규화)"
ARROW = {"arrowstyle": "-|>", "color": GREY, "lw": 1.2, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 9}


def transfer_learning_steps(*, layers: int, width: int, unlabelled: int, labelled: int, title: str) -> Figure:
    """Draw pretraining and fine-tuning (사전학습, 미세조정) side by side: what stays, what is exchanged.

    Parameters
    ----------
    layers, width : int
        Of the encoder.
    unlabelled, labelled : int
        Comments that each step learns from.
    title : str
    """
    column, right = 2.6, WIDTH - 2.6
    axes = _canvas(5.72, title)
    for left, step in ((0.0, "Step 1: pretraining\n(사전학습)"), (right, "Step 2: fine-tuning\n(미세조정)")):
        _text(axes, left + column / 2, 5.2, step, size=NORMAL + 1)
    half = (column - 0.12) / 2
    questions = [("which word?\n→ 나물", "masked-LM\nhead"), ("does it follow?\n→ yes", "next-sentence\nhead")]
    columns = [(0.0, half, *questions[0]), (half + 0.12, half, *questions[1])]
    columns.append((right, column, "controversial (논쟁)?\n→ yes or no", "one dense layer\n+ softmax"))
    for left, width_of_box, answer, head in columns:
        _box(axes, left, 4.2, width_of_box, 0.62, answer, None)
        _box(axes, left, 3.3, width_of_box, 0.62, head, ORANGE)
        _arrow(axes, left + width_of_box / 2, 3.92, 4.2)
        _arrow(axes, left + width_of_box / 2, 3.02, 3.3)
    texts = ["급식에 [MASK]이 자주 나와요\n[SEP] 저는 좋던데요", "급식에 나물이 자주 나와요\n저는 좋던데요"]
    data = [f"{unlabelled:,} comments,\nno label needed", f"{labelled:,} comments\nwith a label (라벨)"]
    for left, text, comments in zip((0.0, right), texts, data, strict=True):
        _box(
            axes,
            left,
            2.0,
            column,
            1.02,
            f"encoder (인코더)\n{_counted(layers, 'layer')}, {width} wide",
            BLUE,
            strong=True,
        )
        _arrow(axes, left + column / 2, 1.74, 2.0)
        _box(axes, left, 1.12, column, 0.62, text, None)
        _text(axes, left + column / 2, 0.78, comments)
    axes.annotate("", (right, 2.51), (column, 2.51), arrowprops={"arrowstyle": "-|>", "color": BLUE, "lw": 3})
    _text(axes, WIDTH / 2, 2.74, "weights", colour=BLUE)
    _text(axes, WIDTH / 2, 2.28, "가중치", colour=BLUE)
    _legend(axes, {"carried over": BLUE, "of one step only": ORANGE, "text and answers": None})
    return _finished(axes)


def bert_weights(model: keras.Model) -> dict[str, int]:
    """Return how many weights each part of a BERT classifier has; together they are all its weights.

    Parameters
    ----------
    model : keras.Model
        From `utils.bert.build_bert_classifier`.

    Returns
    -------
    dict of str to int
        ``embeddings``, ``attention`` and ``feed-forward`` (all layers together, each with its layer norm),
        ``pooler``, ``head``.
    """
    backbone = _backbone(model)
    layers = [weight for layer in backbone.transformer_layers for weight in layer.weights]
    attention = sum(_size(weight) for weight in layers if "self_attention" in weight.path)
    in_layers = sum(map(_size, layers))
    pooler, head = backbone.pooled_dense.count_params(), model.get_layer("probabilities").count_params()
    parts = {"embeddings": backbone.count_params() - in_layers - pooler, "attention": attention}
    return parts | {"feed-forward": in_layers - attention, "pooler": pooler, "head": head}


def bert_architecture(model: keras.Model, tokens: Sequence[str], *, title: str) -> Figure:
    """Draw a BERT classifier from the tokens of a comment to the probabilities, with the weights of each part.

    Parameters
    ----------
    model : keras.Model
        From `utils.bert.build_bert_classifier`.
    tokens : sequence of str
        Of one comment, ``[CLS]`` and ``[SEP]`` among them; the first four and the last one are drawn.
    title : str
    """
    backbone, weights = _backbone(model), bert_weights(model)
    width, classes = backbone.hidden_dim, model.get_layer("probabilities").units
    mean = "mean" in [layer.name for layer in model.layers]
    column, total = 4.2, model.count_params()
    axes = _canvas(8.86, title)

    def part(y: float, height: float, text: str, colour: Any, count: int | None = None) -> None:
        _box(axes, 0.3, y, column - 0.6, height, text, colour)
        if count is not None:
            _weights(axes, column + 0.2, y + height / 2, count, total, colour)

    shown = [*tokens[:4], "…", tokens[-1]] if len(tokens) > 5 else list(tokens)
    cell = column / len(shown)
    _frame(axes, 0.0, 0.42, column, 0.48, "#bbbbbb")
    for place, token in enumerate(shown):
        _box(axes, place * cell + 0.05, 0.48, cell - 0.1, 0.36, token, None)
    tables = {
        "token\n(토큰)": backbone.vocabulary_size,
        "segment\n(세그먼트)": backbone.num_segments,
        "position\n(위치)": backbone.max_sequence_length,
    }
    third = (column - 0.5) / 3
    for place, (name, rows) in enumerate(tables.items()):
        left = place * (third + 0.25)
        _box(axes, left, 1.12, third, 0.86, f"{name}\n{rows:,} × {width:,}", BLUE)
        _arrow(axes, left + third / 2, 0.9, 1.12)
        axes.plot([left + third / 2] * 2, [1.98, 2.2], color=GREY, lw=1.2)
        if place:
            _text(axes, left - 0.125, 1.55, "+", size=NORMAL + 2)
    _weights(axes, column + 0.2, 1.55, weights["embeddings"], total, BLUE, name="embeddings (임베딩)")
    part(2.2, 0.34, ADD, BLUE)
    _arrow(axes, column / 2, 2.54, 2.78)
    _frame(axes, 0.0, 2.78, column, 2.98, BLUE)
    _text(axes, column / 2, 5.55, f"× {_counted(backbone.num_layers, 'layer')} (층)", colour=BLUE, size=NORMAL)
    heads = f"self-attention (셀프 어텐션)\n{_counted(backbone.num_heads, 'head')}, {width:,} wide"
    inner = f"feed-forward (피드포워드)\n{width:,} → {backbone.intermediate_dim:,} → {width:,}"
    for bottom, block, count in ((2.94, heads, weights["attention"]), (4.18, inner, weights["feed-forward"])):
        part(bottom, 0.62, block, BLUE, count)
        part(bottom + 0.74, 0.34, ADD, BLUE)
        for low, high in ((bottom - 0.16, bottom), (bottom + 0.62, bottom + 0.74)):
            axes.plot([column / 2] * 2, [low, high], color=GREY, lw=1.2)
        # What goes into the block is added to what comes out of it.
        axes.plot([column / 2, 0.13, 0.13], [bottom - 0.08, bottom - 0.08, bottom + 0.91], color=GREY, lw=1.2)
        axes.annotate("", (0.3, bottom + 0.91), (0.13, bottom + 0.91), arrowprops=ARROW)
    _arrow(axes, column / 2, 5.76, 6.02)
    if mean:
        part(6.02, 0.62, f"mean of the token vectors\n(평균 풀링): {width:,} numbers", None)
        note = f"pooler: not used\n({weights['pooler']:,} weights)"
        _text(axes, column + 0.2, 6.33, note, colour=GREY, ha="left")
    else:
        part(6.02, 0.62, f"[CLS] through the pooler\n(풀러) {width:,} → {width:,}", BLUE, weights["pooler"])
    _arrow(axes, column / 2, 6.64, 6.86)
    part(6.86, 0.34, f"dropout {model.get_layer('dropout').rate:.0%} (드롭아웃)", None)
    _arrow(axes, column / 2, 7.2, 7.42)
    part(7.42, 0.62, f"dense (밀집층) {width:,} → {classes}\nsoftmax", ORANGE, weights["head"])
    _arrow(axes, column / 2, 8.04, 8.3)
    _text(axes, column / 2, 8.45, f"{classes} probabilities (확률)")
    _text(axes, column + 0.2, 8.36, f"weights (가중치)\nall: {total:,}", ha="left")
    _legend(axes, {"pretrained": BLUE, "new": ORANGE, "no weights": None})
    return _finished(axes)


def text_cnn_architecture(model: keras.Model, words: Sequence[str], *, title: str) -> Figure:
    """Draw a Text-CNN from the words of a comment to the probabilities, with the weights of each part.

    Parameters
    ----------
    model : keras.Model
        From `utils.text_cnn.build_text_cnn`.
    words : sequence of str
        The first tokens of a comment, short ones; up to seven are drawn.
    title : str
    """
    tables = [layer for layer in model.layers if layer.name in ("vectors", "fixed_vectors")]
    convolutions = [layer for layer in model.layers if layer.name.startswith("window_")]
    dense, total, length = model.get_layer("classes"), model.count_params(), model.input.shape[1]
    rows, dim = tables[0].input_dim, tables[0].output_dim
    colours = [PALETTE[place] for place in (2, 4, 5, 6, 9)]
    axes = _canvas(8.05, title)
    shown = [*words[:7], "…"]
    cell, grid_height, row = 0.72, 4, 0.2
    left = (WIDTH - cell * len(shown)) / 2
    for place, word in enumerate(shown):
        _text(axes, left + (place + 0.5) * cell, 0.62, word)
        for level in range(grid_height):
            corner = (left + place * cell + 0.03, 0.84 + level * row)
            axes.add_patch(Rectangle(corner, cell - 0.06, row, fc=_tint(BLUE, 0.2), ec="white", lw=1))
    _text(axes, WIDTH / 2, 0.27, f"{length} tokens (토큰), each {dim:,} numbers from the embedding table (임베딩)")
    copies = f"{len(tables)} tables of " if len(tables) > 1 else ""
    trained = [str(table.trainable).replace("True", "trained").replace("False", "not trained") for table in tables]
    count = sum(table.count_params() for table in tables)
    line = f"{copies}{rows:,} × {dim:,}: {count:,} weights ({count / total:.0%}), {' and '.join(trained)}"
    _text(axes, WIDTH / 2, 0.02, line, colour=BLUE)
    base = 0.84 + grid_height * row
    gap, branch = 0.2, (WIDTH - 0.2 * (len(convolutions) - 1)) / len(convolutions)
    for number, (layer, colour) in enumerate(zip(convolutions, colours, strict=False)):
        window, filters = layer.kernel_size[0], layer.filters
        x = number * (branch + gap)
        centre = x + branch / 2
        first = round((centre - left) / cell - window / 2)
        start = left + cell * min(max(first, 0), max(len(shown) - window, 0))
        y = base + 0.12 + 0.13 * number
        end = start + cell * min(window, len(shown))
        axes.plot(
            [start + 0.06, start + 0.06, end - 0.06, end - 0.06], [y - 0.07, y, y, y - 0.07], color=colour, lw=2.5
        )
        axes.annotate("", (centre, 2.4), ((start + end) / 2, y), arrowprops=ARROW | {"color": colour})
        text = (
            f"{_counted(filters, 'filter')} (필터)\n{_counted(window, 'token')} wide\n{layer.count_params():,} weights"
        )
        _box(axes, x, 2.4, branch, 0.84, text, colour)
        _arrow(axes, centre, 3.24, 3.5)
        answers = [0.3, 0.15, 0.8, 0.25, 0.1, 0.4]
        small = min(0.26, branch / len(answers))
        for place, answer in enumerate(answers):
            corner = (centre + (place - len(answers) / 2) * small, 3.5)
            axes.add_patch(Rectangle(corner, small, 0.26, fc=_tint(colour, answer), ec="white", lw=1))
        loudest = centre + (answers.index(max(answers)) - len(answers) / 2) * small
        axes.add_patch(Rectangle((loudest, 3.5), small, 0.26, fc="none", ec=INK, lw=1.5, zorder=3))
        _text(axes, centre, 3.93, f"{filters} × {length} answers")
        _arrow(axes, centre, 4.08, 4.34)
        _box(axes, x, 4.34, branch, 0.62, f"max over time\n(최댓값 풀링): {filters}", None)
        _arrow(axes, centre, 4.96, 5.22)
        ends = (0 if number == 0 else x - gap / 2, WIDTH if number == len(convolutions) - 1 else x + branch + gap / 2)
        axes.add_patch(Rectangle((ends[0], 5.22), ends[1] - ends[0], 0.26, fc=_tint(colour, 0.6), ec="white", lw=1))
    features = sum(layer.filters for layer in convolutions)
    _text(axes, WIDTH / 2, 5.66, f"{features} numbers, one per filter: “is it anywhere?”")
    _arrow(axes, WIDTH / 2, 5.82, 6.06)
    middle = (WIDTH - 3.4) / 2
    _box(axes, middle, 6.06, 3.4, 0.34, f"dropout {model.get_layer('dropout').rate:.0%} (드롭아웃)", None)
    _arrow(axes, WIDTH / 2, 6.4, 6.62)
    text = f"dense (밀집층) {features} → {dense.units}, softmax\n{dense.count_params():,} weights"
    _box(axes, middle, 6.62, 3.4, 0.62, text, ORANGE)
    _arrow(axes, WIDTH / 2, 7.24, 7.48)
    _text(axes, WIDTH / 2, 7.63, f"{dense.units} probabilities (확률)")
    _text(axes, WIDTH, 7.63, f"weights (가중치)\nall: {total:,}", ha="right")
    return _finished(axes)


def _counted(count: int, thing: str) -> str:
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def _backbone(model: keras.Model) -> BertBackbone:
    return next(layer for layer in model.layers if hasattr(layer, "transformer_layers"))


def _size(weight: Any) -> int:
    size = 1
    for side in weight.shape:
        size *= side
    return size


def _canvas(height: float, title: str) -> Axes:
    """Axes without lines whose unit is the inch, `WIDTH` wide, with room for the title above them."""
    margin = 0.1
    figure = plt.figure(figsize=(WIDTH + 2 * margin, height + 0.4))
    size = figure.get_size_inches()
    axes = figure.add_axes((margin / size[0], margin / size[1], WIDTH / size[0], height / size[1]))
    axes.set(xlim=(0, WIDTH), ylim=(-0.12, height - 0.12), title=title)
    axes.set_axis_off()
    return axes


def _finished(axes: Axes) -> Figure:
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    return figure


def _tint(colour: Any, strength: float) -> tuple[float, float, float]:
    red, green, blue = (1 - strength * (1 - channel) for channel in to_rgb(colour))
    return red, green, blue


def _text(
    axes: Axes, x: float, y: float, text: str, *, colour: Any = INK, size: int = SMALL, ha: str = "center", **style: Any
) -> None:
    axes.text(x, y, text, color=colour, fontsize=size, ha=ha, va="center", parse_math=False, linespacing=1.3, **style)


def _box(
    axes: Axes, x: float, y: float, width: float, height: float, text: str, colour: Any, *, strong: bool = False
) -> None:
    """Draw a box with its text; without a colour it is grey, for what holds no weights."""
    style = f"round,pad=0,rounding_size={min(0.08, height / 3)}"
    fill, edge = (PLAIN, "#bbbbbb") if colour is None else (_tint(colour, 0.3), colour)
    patch = FancyBboxPatch(
        (x, y), width, height, boxstyle=style, fc=fill, ec=edge, lw=2.5 if strong else 1.2, clip_on=False
    )
    patch.set_gid(text)
    axes.add_patch(patch)
    _text(axes, x + width / 2, y + height / 2, text, gid=text)


def _frame(axes: Axes, x: float, y: float, width: float, height: float, colour: Any) -> None:
    style = "round,pad=0,rounding_size=0.1"
    axes.add_patch(FancyBboxPatch((x, y), width, height, boxstyle=style, fc="none", ec=colour, lw=1.5, clip_on=False))


def _arrow(axes: Axes, x: float, low: float, high: float) -> None:
    axes.annotate("", (x, high), (x, low), arrowprops=ARROW)


def _weights(axes: Axes, x: float, y: float, count: int, total: int, colour: Any, *, name: str = "") -> None:
    """Write how many of the model's weights a part has, over a bar as long as its share."""
    share = count / total
    percent = f"{share:.0%}" if share >= 0.01 else f"{share:.2%}" if share >= 0.0001 else "under 0.01%"
    label = f"{count:,} ({percent})"
    _text(axes, x, y + (0.22 if name else 0.12), f"{name}\n{label}" if name else label, ha="left")
    axes.add_patch(Rectangle((x, y - 0.2), (WIDTH - x) * share, 0.12, fc=colour, ec="none"))
    axes.add_patch(Rectangle((x, y - 0.2), WIDTH - x, 0.12, fc="none", ec="#bbbbbb", lw=0.8, clip_on=False))


def _legend(axes: Axes, colours: dict[str, Any]) -> None:
    for place, (name, colour) in enumerate(colours.items()):
        x = place * WIDTH / 3
        fill = PLAIN if colour is None else _tint(colour, 0.3)
        edge = "#bbbbbb" if colour is None else colour
        axes.add_patch(Rectangle((x, 0.02), 0.22, 0.16, fc=fill, ec=edge, clip_on=False))
        _text(axes, x + 0.3, 0.1, name, ha="left")
