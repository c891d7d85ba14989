"""What `utils.diagrams` promises: the model's own numbers, every glyph, nothing cut off or on top of another."""

import functools
import itertools
import logging

import numpy as np
import pytest
from keras_hub.models import BertBackbone
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from tests.figures import draw, shared_style  # noqa: F401
from utils import diagrams
from utils.bert import build_bert_classifier
from utils.text_cnn import build_text_cnn

TOKENS = ["[CLS]", "배", "##송", "##이", "너", "##무", "[SEP]"]
WORDS = ["배송", "이", "너무", "늦", "어서", "화나", "었", "는데"]


@functools.cache
def classifier(pooling: str = "mean", *, layers: int = 2, num_classes: int = 2):
    backbone = BertBackbone(
        vocabulary_size=1000,
        num_layers=layers,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=48,
        max_sequence_length=40,
    )
    return build_bert_classifier(backbone, pooling=pooling, num_classes=num_classes, dropout=0.25)


@functools.cache
def text_cnn(variant: str = "non-static", **settings):
    table = None if variant == "rand" else np.zeros((60, 7), np.float32)
    start = {"max_length": 9, "embeddings": table, "embedding_dim": 7, "variant": variant, "maps": 20}
    return build_text_cnn(60, **start | settings)


FIGURES = {
    "steps": lambda: diagrams.transfer_learning_steps(
        layers=24, width=1024, unlabelled=9_100_000, labelled=79_000, title="The encoder stays"
    ),
    "bert, mean": lambda: diagrams.bert_architecture(classifier(), TOKENS, title="Mean"),
    "bert, cls, five classes": lambda: diagrams.bert_architecture(
        classifier("cls", num_classes=5), ["[CLS]", "좋", "[SEP]"], title="Short"
    ),
    "text-cnn": lambda: diagrams.text_cnn_architecture(text_cnn(), WORDS, title="Three windows"),
    "text-cnn, two tables": lambda: diagrams.text_cnn_architecture(text_cnn("multichannel"), WORDS, title="Two"),
    "text-cnn, one window": lambda: diagrams.text_cnn_architecture(
        text_cnn("static", windows=(1,), num_classes=5), WORDS[:2], title="One window, few words"
    ),
    "text-cnn, four windows": lambda: diagrams.text_cnn_architecture(
        text_cnn("rand", windows=(2, 3, 4, 5), maps=100), WORDS, title="Four windows"
    ),
}
every_figure = pytest.mark.parametrize("name", FIGURES)


def words_of(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.axes[0].texts)


@every_figure
def test_every_glyph_is_in_the_fonts_and_nothing_is_logged(name, caplog):
    with caplog.at_level(logging.WARNING):
        draw(FIGURES[name]())
    assert caplog.records == []


@every_figure
def test_no_text_leaves_the_picture_or_touches_another(name):
    figure = draw(FIGURES[name]())
    texts = [text for text in [*figure.axes[0].texts, figure.axes[0].title] if text.get_text()]
    boxes = {text: text.get_window_extent() for text in texts}
    frame = figure.bbox
    for text, box in boxes.items():
        inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
        assert inside, text.get_text()
    for (one, first), (other, second) in itertools.combinations(boxes.items(), 2):
        assert not first.overlaps(second), (one.get_text(), other.get_text())


@every_figure
def test_text_fits_its_box_and_boxes_are_apart(name):
    figure = draw(FIGURES[name]())
    patches = [patch for patch in figure.axes[0].patches if isinstance(patch, FancyBboxPatch) and patch.get_gid()]
    texts = {text.get_gid(): text.get_window_extent() for text in figure.axes[0].texts if text.get_gid()}
    assert patches
    for patch in patches:
        box, text = patch.get_window_extent(), texts[patch.get_gid()]
        assert box.width >= text.width and box.height >= text.height, patch.get_gid()
    for one, other in itertools.combinations(patches, 2):
        assert not one.get_window_extent().overlaps(other.get_window_extent()), (one.get_gid(), other.get_gid())


@every_figure
def test_letters_are_not_below_nine_pixels_on_a_phone_390_pixels_wide(name):
    figure = FIGURES[name]()
    pixels_per_point = 390 / figure.get_size_inches()[0] / 72
    assert min(text.get_fontsize() for text in figure.axes[0].texts) * pixels_per_point >= 9


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_the_parts_of_a_bert_add_up_to_all_its_weights(pooling):
    model = classifier(pooling, layers=3, num_classes=4)
    parts = diagrams.bert_weights(model)
    norm = 2 * 16
    assert parts == {
        "embeddings": (1000 + 2 + 40) * 16 + norm,
        "attention": 3 * (4 * (16 * 16 + 16) + norm),  # query, key, value, output
        "feed-forward": 3 * (16 * 48 + 48 + 48 * 16 + 16 + norm),
        "pooler": 16 * 16 + 16,
        "head": 16 * 4 + 4,
    }
    assert sum(parts.values()) == model.count_params()


def test_the_bert_picture_holds_the_numbers_of_its_model():
    model = classifier("cls", layers=3, num_classes=4)
    text = words_of(diagrams.bert_architecture(model, TOKENS, title="T"))
    for number in diagrams.bert_weights(model).values():
        assert f"{number:,} (" in text
    for said in ("1,000 × 16", "2 × 16", "40 × 16", "× 3 layers", "2 heads", "16 → 48 → 16", "16 → 4", "25%"):
        assert said in text
    assert f"all: {model.count_params():,}" in text
    assert "4 probabilities" in text


def test_the_bert_picture_shows_which_sentence_vector_is_used():
    assert "pooler: not used" in words_of(diagrams.bert_architecture(classifier("mean"), TOKENS, title="T"))
    cls = words_of(diagrams.bert_architecture(classifier("cls"), TOKENS, title="T"))
    assert "[CLS] through the pooler" in cls and "mean" not in cls


def test_a_long_comment_is_drawn_by_its_beginning_and_its_end():
    text = words_of(diagrams.bert_architecture(classifier(), TOKENS, title="T")).splitlines()
    assert [token for token in text if token in TOKENS or token == "…"] == ["[CLS]", "배", "##송", "##이", "…", "[SEP]"]


def test_the_text_cnn_picture_holds_the_numbers_of_its_model():
    text = words_of(diagrams.text_cnn_architecture(text_cnn("static", num_classes=3), WORDS, title="T"))
    assert "60 × 7: 420 weights" in text and "not trained" in text
    for window in (3, 4, 5):
        assert f"{window} tokens wide\n{20 * (window * 7 + 1):,} weights" in text
    assert "20 × 9 answers" in text
    assert f"60 → 3, softmax\n{60 * 3 + 3} weights" in text
    assert f"all: {420 + 20 * (12 * 7 + 3) + 183:,}" in text


def test_both_tables_of_the_multichannel_variant_are_counted():
    text = words_of(diagrams.text_cnn_architecture(text_cnn("multichannel"), WORDS, title="T"))
    assert "2 tables of 60 × 7: 840 weights" in text
    assert "trained and not trained" in text


def test_the_steps_name_the_comments_of_each_step_and_the_size_of_the_encoder():
    text = words_of(diagrams.transfer_learning_steps(layers=3, width=256, unlabelled=16073, labelled=3460, title="T"))
    assert "16,073 comments,\nno label needed" in text
    assert "3,460 comments\nwith a label" in text
    assert text.count("3 layers, 256 wide") == 2


def test_one_layer_and_one_token_are_not_called_layers_and_tokens():
    assert "× 1 layer (" in words_of(diagrams.bert_architecture(classifier(layers=1), TOKENS, title="T"))
    cnn = text_cnn("static", windows=(1,), num_classes=5)
    assert "1 token wide" in words_of(diagrams.text_cnn_architecture(cnn, WORDS, title="T"))
