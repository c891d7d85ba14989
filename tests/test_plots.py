"""What `utils.plots` promises: readable Hangul, nothing clipped, the data in the picture."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib import font_manager

from tests.figures import draw, shared_style  # noqa: F401
from utils import plots


def occluded(*words, changes=None):
    return pd.DataFrame({"word": words, "change": np.linspace(-0.2, 0.3, len(words)) if changes is None else changes})


def test_the_font_has_every_modern_hangul_syllable_and_the_letters_of_laughter():
    name = plots.use_korean_font()
    font = font_manager.get_font(font_manager.findfont(name, fallback_to_default=False))
    needed = [*range(ord("가"), ord("힣") + 1), *range(ord("ㄱ"), ord("ㅣ") + 1), *map(ord, "·…“”–")]
    assert [chr(code) for code in needed if not font.get_char_index(code)] == []


def test_a_minus_sign_and_hangul_draw_without_a_missing_glyph():
    figure, axes = plt.subplots()
    axes.plot([-2, -1], [-1, 1])
    axes.set_title("논쟁 댓글 ㅋㅋㅋ ㅠㅠ")
    draw(figure)


def test_the_style_can_be_set_twice_and_keeps_the_korean_font():
    plots.set_style()
    assert plt.rcParams["font.family"][0] == "Noto Sans KR"


def test_the_vote_histogram_counts_every_voted_comment_and_names_the_others():
    figure = plots.vote_histogram([0, 0, 0, 1, 1, 2, 19, 20, 500], min_votes=20, title="Few have 20 votes")
    draw(figure)
    axes = figure.axes[0]
    assert sum(bar.get_height() for bar in axes.patches) == 6
    assert "3 comments without a vote" in axes.get_xlabel()
    left_of_line = sum(bar.get_height() for bar in axes.patches if bar.get_x() + bar.get_width() <= 19.5 + 1e-9)
    assert left_of_line == 4


def test_a_histogram_of_nothing_but_zeros_still_draws():
    draw(plots.vote_histogram([0, 0], min_votes=20, title="Nobody voted"))


def test_the_interval_is_drawn_between_its_ends():
    table = pd.DataFrame({"votes": [10, 100], "ratio": 0.5, "ci_low": [0.2, 0.4], "ci_high": [0.8, 0.6]})
    figure = plots.interval_growth(table, band=(0.3, 0.7), title="More votes, less doubt")
    draw(figure)
    corners = figure.axes[0].collections[0].get_paths()[0].vertices
    assert {(10, 0.2), (10, 0.8), (100, 0.4), (100, 0.6)} <= {(x, round(y, 6)) for x, y in corners}


def test_the_heat_map_writes_each_number_in_its_cell():
    table = pd.DataFrame([[1200, 30], [7, 0]], index=[0.95, 0.99], columns=["0.3-0.7", "0.4-0.6"])
    figure = plots.yield_heatmap(table, title="Stricter labels fewer", xlabel="band", ylabel="confidence level")
    draw(figure)
    assert [text.get_text() for text in figure.axes[0].texts] == ["1,200", "30", "7", "0"]


def test_the_split_bars_are_as_long_as_the_splits():
    table = pd.DataFrame({"controversial": [40, 5], "not": [60, 6]}, index=["train", "test"])
    figure = plots.split_sizes(table, title="80:10:10")
    draw(figure)
    assert [text.get_text().strip() for text in figure.axes[0].texts] == ["100", "11"]


def test_training_curves_draw_training_dashed_and_validation_solid():
    histories = {"rand": {"loss": [0.7, 0.5], "val_loss": [0.7, 0.6]}, "static": {"loss": [0.6, 0.4]}}
    figure = plots.training_curves(histories, title="Overfits", metrics=["loss"])
    draw(figure)
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert set(lines) == {"rand, training", "rand, validation", "static, training"}
    assert lines["rand, training"].get_linestyle() == "--"
    assert lines["rand, validation"].get_ydata().tolist() == [0.7, 0.6]


def test_training_curves_of_a_single_epoch_have_no_ticks_between_epochs():
    figure = plots.training_curves({"rand": {"loss": [0.7]}}, title="One epoch", metrics=["loss"])
    draw(figure)
    assert [tick for tick in figure.axes[0].get_xticks() if tick != round(tick)] == []


def test_every_word_stands_on_the_map_even_with_dollar_signs():
    figure = plots.word_map([[0, 0], [1, 1]], ["급식", "$100$"], title="Prices", topics=["학교", "돈"])
    draw(figure)
    assert [text.get_text() for text in figure.axes[0].texts] == ["급식", "$100$"]
    assert not any(text.get_parse_math() for text in figure.axes[0].texts)


def boxes(texts):
    return [text.get_window_extent() for text in texts]


def test_words_of_a_crowded_map_cover_neither_each_other_nor_the_edge():
    places = np.random.default_rng(0).normal(size=(60, 2)) * [3, 1]
    figure = plots.word_map(places, [f"엘리베이터{number}" for number in range(60)], title="A crowd")
    axes = draw(figure).axes[0]
    found = boxes(axes.texts)
    assert len(found) >= 30
    assert [box for number, box in enumerate(found) if box.count_overlaps(found[:number])] == []
    assert all(axes.bbox.contains(*corner) for box in found for corner in box.corners())


def test_of_words_at_one_point_those_that_find_a_place_are_drawn():
    figure = plots.word_map(
        [[0, 0]] * 20 + [[1, 1]], [*"가나다라마바사아자차카타파하거너더러머버", "끝"], title="One point"
    )
    shown = [text.get_text() for text in draw(figure).axes[0].texts]
    assert shown[0] == "가" and shown[-1] == "끝" and 2 <= len(shown) < 21
    assert len(figure.axes[0].collections[0].get_offsets()) == 21


def test_the_learning_curve_runs_through_the_means_and_shows_every_seed():
    scores = pd.DataFrame(
        {"model": "bert-tiny", "label_budget": [100, 100, 300, 300], "seed": [0, 1] * 2, "auroc": [0.5, 0.6, 0.7, 0.7]}
    )
    figure = plots.learning_curve(scores, metric="auroc", title="More labels help")
    draw(figure)
    assert figure.axes[0].lines[0].get_ydata().tolist() == pytest.approx([0.55, 0.7])
    points = [list(map(tuple, dots.get_offsets().tolist())) for dots in figure.axes[0].collections]
    assert [(100.0, 0.5), (100.0, 0.6), (300.0, 0.7), (300.0, 0.7)] in points


def test_the_interval_plot_puts_the_best_model_on_top():
    table = pd.DataFrame({"model": ["a", "b"], "score": [0.8, 0.6], "low": [0.7, 0.5], "high": [0.9, 0.7]})
    figure = plots.interval_plot(table, value="score", title="a beats b", xlabel="AUROC", lines={"chance": 0.5})
    draw(figure)
    axes = figure.axes[0]
    names = dict(zip(axes.get_yticks(), (label.get_text() for label in axes.get_yticklabels()), strict=True))
    assert names == {0: "b", 1: "a"}
    bars = {tuple(map(tuple, path.vertices.tolist())) for path in axes.collections[1].get_paths()}
    assert bars == {((0.5, 0.0), (0.7, 0.0)), ((0.7, 1.0), (0.9, 1.0))}


def test_rows_of_a_confusion_matrix_are_shares_of_the_true_class():
    predictions = pd.DataFrame(
        {"model": "m", "label": [0, 0, 0, 0, 1, 1], "probability": [0.1, 0.2, 0.3, 0.9, 0.5, 0.4]}
    )
    figure = plots.confusion_matrices(predictions, title="Half of them are missed")
    draw(figure)
    assert [text.get_text() for text in figure.axes[0].texts] == ["75%", "25%", "50%", "50%"]


def test_a_confusion_matrix_of_three_classes_names_them():
    probability = {"probability_a": [0.7, 0.1, 0.1], "probability_b": [0.2, 0.8, 0.7], "probability_c": [0.1, 0.1, 0.2]}
    predictions = pd.DataFrame({"model": "m", "label": [0, 1, 2], **probability})
    figure = plots.confusion_matrices(
        predictions, title="c is taken for b", class_names=["긍정", "부정", "이름이 아주 긴 클래스"]
    )
    draw(figure)
    shares = [text.get_text() for text in figure.axes[0].texts]
    assert shares == ["100%", "0%", "0%", "0%", "100%", "0%", "0%", "100%", "0%"]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["긍정", "부정", "이름이 아주 …"]


def test_a_class_that_a_model_never_calls_has_a_column_of_zeros():
    predictions = pd.DataFrame({"model": "majority", "label": [0, 1], "probability": [0.2, 0.2]})
    figure = plots.confusion_matrices(predictions, title="It never says controversial")
    assert [text.get_text() for text in figure.axes[0].texts] == ["100%", "0%", "100%", "0%"]


def test_in_a_short_last_row_the_panels_above_the_gap_keep_their_labels():
    rows = [pd.DataFrame({"model": f"m{i}", "label": [0, 1], "probability": [0.2, 0.8]}) for i in range(5)]
    figure = plots.confusion_matrices(pd.concat(rows), title="All the same")
    draw(figure)
    assert [axes.get_xlabel() for axes in figure.axes] == ["", "called", "called", "called", "called"]
    assert [axes.get_ylabel() for axes in figure.axes] == ["true", "", "", "", "true"]
    boxes = [axes.get_tightbbox() for axes in figure.axes]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_a_figure_that_was_saved_once_still_has_its_title_clear_of_the_panels(tmp_path):
    predictions = pd.DataFrame({"model": "m", "label": [0, 1], "probability": [0.2, 0.8]})
    figure = plots.confusion_matrices(predictions, title="Saved to a file, then shown in the notebook")
    for _ in range(2):
        figure.savefig(tmp_path / "figure.png", bbox_inches="tight")
    draw(figure)
    assert not figure._suptitle.get_window_extent().overlaps(figure.axes[0].title.get_window_extent())


def test_a_reliability_panel_shows_the_share_against_the_probability():
    curve = pd.DataFrame({"probability": [0.2, 0.8], "share": [0.3, 0.6], "ci_low": [0.1, 0.4], "ci_high": [0.5, 0.8]})
    figure = plots.reliability({"a": curve, "b": curve}, title="Too sure")
    draw(figure)
    assert len(figure.axes) == 2
    assert figure.axes[1].lines[1].get_xydata().tolist() == [[0.2, 0.3], [0.8, 0.6]]


def test_a_comment_is_drawn_word_for_word_as_plain_text():
    figure = plots.word_importance(occluded("<b>맛</b>도", "$돈$", "없다", "😀"), title="“없다” counts most")
    draw(figure)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts[::2] == ["<b>맛</b>도", "$돈$", "없다", "😀"]
    assert texts[1::2] == ["-20", "-3", "+13", "+30"]


def test_words_for_and_against_have_different_grounds_and_no_change_is_neutral():
    figure = plots.word_importance(occluded("a", "b", "c", changes=[-0.1, 0.0, 0.1]), title="c against a")
    against, neutral, in_favour = (text.get_bbox_patch().get_facecolor() for text in figure.axes[0].texts[::2])
    assert against[2] > against[0]  # bluish
    assert in_favour[0] > in_favour[2]  # reddish
    assert max(neutral[:3]) - min(neutral[:3]) < 0.02  # grey


def test_a_long_comment_wraps_inside_the_figure():
    figure = plots.word_importance(occluded(*["주차장이"] * 40), title="Long")
    draw(figure)
    frame = figure.bbox
    for text in figure.axes[0].texts:
        box = text.get_window_extent()
        assert frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1


def test_a_character_that_no_font_has_becomes_a_box_without_a_warning():
    figure = plots.word_importance(occluded("고슴도치🦔"), title="A hedgehog")
    draw(figure)
    assert figure.axes[0].texts[0].get_text() == "고슴도치□"


def test_a_classifier_that_no_word_moves_draws_too():
    draw(plots.word_importance(occluded("가", "나", changes=[0.0, 0.0]), title="Nothing moves it"))


def ngrams(*rows: tuple[int, int, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["start", "end", "contribution"])


def test_ngrams_are_bars_under_their_words_with_the_contribution_beside_them():
    words = ["배송", "이", "너무", "늦", "다"]
    table = ngrams((2, 4, 0.5), (0, 2, -0.25), (5, 5, 9.0))  # the last is no n-gram of the comment
    figure = plots.ngram_bars(words, table, title="“너무 늦” counts most")
    draw(figure)
    texts = {text.get_text(): text for text in figure.axes[0].texts}
    assert list(texts) == [*words, "+0.50", "-0.25"]
    first, second = figure.axes[0].patches
    assert first.get_x() == texts["너무"].get_position()[0] and second.get_x() == texts["배송"].get_position()[0]
    assert first.get_x() + first.get_width() > texts["늦"].get_position()[0]
    assert first.get_facecolor()[0] > first.get_facecolor()[2]  # orange, for
    assert second.get_facecolor()[2] > second.get_facecolor()[0]  # blue, against


def test_words_and_bars_of_a_long_comment_stay_inside_the_figure_and_apart():
    words = ["주차장이", "$돈$", "🦔", "abc"] * 20
    table = ngrams(*((start, start + 5, 0.1 * start) for start in range(0, 75, 3)))
    figure = plots.ngram_bars(words, table, title="Long", strongest=25)
    draw(figure)
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    frame = figure.bbox
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1 for box in boxes)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert len(figure.axes[0].patches) == 25


def test_a_comment_without_ngrams_draws_too():
    draw(plots.ngram_bars(["가"], ngrams(), title="Nothing"))
    draw(plots.ngram_bars([], ngrams(), title="Empty"))
