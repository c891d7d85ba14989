"""What `utils.explain` promises: words left out, answers shown safely, a box only where somebody can use it."""

import html.parser
import sys
import types

import numpy as np
import pytest

from utils import explain
from utils.explain import LONGEST, ask_models, can_show_widgets, occlusion, text_box

WEIGHTS = {"민트": 1.5, "카레": -0.5, "듯": 0.0}
BIAS = -0.2


def count_of_a(texts):
    """A stand-in classifier: each 가 adds 0.1 to the probability."""
    positive = np.array([0.1 * text.count("가") for text in texts])
    return np.stack([1 - positive, positive], axis=1)


class Linear:
    """A logistic regression on counts of words, its weights known; remembers how it was asked."""

    def __init__(self):
        self.batches = []

    def predict_proba(self, texts):
        self.batches.append(list(texts))
        logits = np.array([BIAS + sum(WEIGHTS.get(word, 0.0) for word in text.split()) for text in texts])
        positive = 1 / (1 + np.exp(-logits))
        return np.stack([1 - positive, positive], axis=1).astype(np.float32)


def log_odds(probability):
    return np.log(probability / (1 - probability))


# Occlusion


def test_a_word_s_change_is_what_the_probability_loses_without_it():
    table = occlusion(count_of_a, "가가 나다  가")
    assert table["word"].tolist() == ["가가", "나다", "가"]
    assert table["change"].tolist() == pytest.approx([0.2, 0.0, 0.1])
    assert table["without"].tolist() == pytest.approx([0.1, 0.3, 0.2])
    assert ["가가 나다  가"[a:b] for a, b in zip(table["start"], table["end"], strict=True)] == ["가가", "나다", "가"]


def test_for_a_linear_model_leaving_a_word_out_takes_its_weight_off_the_log_odds():
    table = occlusion(Linear().predict_proba, "민트 카레 듯")
    moved = log_odds(table["without"] + table["change"]) - log_odds(table["without"])
    assert moved.tolist() == pytest.approx([1.5, -0.5, 0.0], abs=1e-5)


def test_only_the_word_itself_is_left_out_even_where_it_stands_twice():
    seen = []
    occlusion(lambda texts: seen.extend(texts) or count_of_a(texts), "a b  a")
    assert seen == ["a b  a", "b  a", "a a", "a b  "]


def test_a_replacement_stands_in_the_word_s_place():
    seen = []
    occlusion(lambda texts: seen.extend(texts) or count_of_a(texts), "a.b c", replacement=r"\1")
    assert seen == ["a.b c", r"\1 c", r"a.b \1"]


def test_a_text_without_words_is_refused():
    with pytest.raises(ValueError, match="no word to leave out"):
        occlusion(count_of_a, " \n ")


# Asking models


def test_every_model_answers_and_is_asked_in_one_batch():
    first, second = Linear(), Linear()
    answers = ask_models({"first": first, "second": second}, "민트 카레")
    expected = 1 / (1 + np.exp(-0.8))  # -0.2 + 1.5 - 0.5
    assert answers.probability == pytest.approx({"first": expected, "second": expected})
    assert [first.batches, second.batches] == [[["민트 카레", "카레", "민트 "]]] * 2


def test_another_class_can_be_asked_about():
    answers = ask_models({"linear": Linear()}, "민트", positive=0, name="not controversial")
    assert answers.probability["linear"] == pytest.approx(1 / (1 + np.exp(1.3)))
    assert "P(not controversial)" in answers._repr_html_()


@pytest.mark.parametrize("comment", ["", " \n\t"])
def test_a_comment_without_words_gets_a_probability_and_a_note(comment):
    answers = ask_models({"linear": Linear()}, comment)
    assert answers.probability["linear"] == pytest.approx(1 / (1 + np.exp(0.2)))
    assert len(answers.words["linear"]) == 0
    assert "no word" in answers._repr_html_() and "no word" in repr(answers)


@pytest.mark.parametrize("comment", ["😀😀😀", "[CLS] 민트 [SEP] [MASK] <pad>", "가", "$민트$ \\(x\\)"])
def test_emoji_and_typed_special_tokens_are_words_like_others(comment):
    answers = ask_models({"linear": Linear()}, comment)
    assert answers.words["linear"]["word"].tolist() == comment.split()
    assert text_of(answers._repr_html_()).count("linear") == 1


@pytest.mark.parametrize("comment", ["민트 카레 " * 1700, "ㅋ" * 10_000], ids=["words", "one word"])
def test_of_a_very_long_comment_the_beginning_is_read_and_that_is_said(comment):
    model = Linear()
    answers = ask_models({"linear": model}, comment)
    assert max(map(len, model.batches[0])) == LONGEST
    assert len(model.batches[0]) <= LONGEST // 2 + 1
    note = f"The first {LONGEST} of {len(comment):,} characters were read."
    assert note in repr(answers) and note in answers._repr_html_()
    assert "overflow-wrap:anywhere" in answers._repr_html_()


def test_a_list_of_comments_is_refused():
    with pytest.raises(TypeError, match="comment must be one string, got list"):
        ask_models({}, ["민트"])


def test_without_a_model_the_answer_says_which_notebooks_save_one():
    answers = ask_models({}, "민트")
    assert "notebooks 02 and 04" in repr(answers) and "notebooks 02 and 04" in answers._repr_html_()


# What is shown


class Page(html.parser.HTMLParser):
    """The text, the tags and the painted words of a page."""

    def __init__(self, page):
        super().__init__()
        self.text, self.tags, self.styles = "", [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.styles.append(dict(attributes).get("style", ""))

    def handle_data(self, data):
        self.text += data


def text_of(page):
    return Page(page).text


def ground(page, number):
    """Red, green and blue of a painted word."""
    style = [style for style in Page(page).styles if "rgb" in style][number]
    return tuple(int(part) for part in style.partition("rgb(")[2].partition(")")[0].split(","))


def test_html_in_a_comment_a_model_s_name_or_a_class_is_shown_as_text():
    comment = "<script>alert('x')</script> & <b>굵게</b> \" onload=x"
    page = ask_models({"<i>model</i>": Linear()}, comment, name="<u>class</u>")._repr_html_()
    assert {"script", "b", "i", "u"} & set(Page(page).tags) == set()
    shown = text_of(page)
    for text in [*comment.split(), "<i>model</i>", "<u>class</u>"]:
        assert text in shown, text
    assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;" in page
    assert " &amp;</span>" in page or ">&amp;</span>" in page


def test_words_for_the_class_are_orange_those_against_it_blue_and_the_others_white():
    page = ask_models({"linear": Linear()}, "민트 카레 듯")._repr_html_()
    for_it, against, neither = (ground(page, number) for number in range(3))
    assert for_it == explain.FOR  # the strongest word has the full colour
    assert against[0] < against[2]  # more blue than red
    assert neither == (255, 255, 255)


def test_the_points_stand_beside_a_word_so_that_colour_is_not_needed():
    probability = {logit: 100 / (1 + np.exp(-logit)) for logit in (0.8, -0.7, 1.3)}
    shown = text_of(ask_models({"linear": Linear()}, "민트 카레 듯")._repr_html_())
    assert f"민트{round(probability[0.8] - probability[-0.7]):+d}" in shown
    assert f"카레{round(probability[0.8] - probability[1.3]):+d}" in shown
    assert shown.endswith("듯")


def test_changes_that_are_noise_stay_pale():
    class Unmoved:
        def predict_proba(self, texts):
            positive = np.array([0.5 + 0.001 * ("민트" in text) for text in texts])
            return np.stack([1 - positive, positive], axis=1)

    assert min(ground(ask_models({"unmoved": Unmoved()}, "민트 카레")._repr_html_(), 0)) > 240


def test_the_bar_is_as_long_as_the_probability():
    page = ask_models({"linear": Linear()}, "민트")._repr_html_()
    assert "width:79%" in page  # 1 / (1 + exp(-1.3)) = 0.786
    assert "0.79" in text_of(page)


def test_without_html_each_model_has_a_line_with_its_strongest_word():
    lines = repr(ask_models({"linear": Linear()}, "카레 민트")).splitlines()
    assert lines[0] == "P(controversial): 카레 민트"
    assert lines[1].split() == ["linear", "0.69", "민트", "+0.36"]


# The text box


@pytest.fixture
def opened(monkeypatch):
    """As in a kernel that JupyterLab started."""
    monkeypatch.setenv("JPY_SESSION_NAME", "notebooks/05_model_comparison.ipynb")


def test_nobody_sees_a_widget_outside_jupyter_vs_code_and_colab(monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    assert not can_show_widgets()


def test_widgets_are_shown_in_jupyter_where_ipywidgets_is_installed(opened):
    pytest.importorskip("ipywidgets")
    assert can_show_widgets()


def test_widgets_are_shown_in_colab(monkeypatch):
    pytest.importorskip("ipywidgets")
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("colab"))
    assert can_show_widgets()


def test_without_ipywidgets_there_is_no_box_and_no_error(opened, monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    assert not can_show_widgets()


def test_the_box_shows_the_answer_to_what_was_typed_when_the_button_is_pressed():
    pytest.importorskip("ipywidgets")
    asked = []
    linear = {"linear": Linear()}
    box, button, answer = text_box(lambda text: asked.append(text) or ask_models(linear, text), "카레").children
    assert (box.value, answer.value, asked) == ("카레", "", [])
    box.value = "<script> 민트"
    button.click()
    assert asked == ["<script> 민트"]
    assert answer.value == ask_models(linear, "<script> 민트")._repr_html_()
    assert not button.disabled


def test_an_error_is_shown_below_the_box():
    pytest.importorskip("ipywidgets")

    def fails(text):
        raise ValueError("<b>out of memory</b>")

    _, button, answer = text_box(fails).children
    button.click()
    assert answer.value == "<p>ValueError: &lt;b&gt;out of memory&lt;/b&gt;</p>"
    assert not button.disabled
