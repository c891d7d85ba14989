"""Why did a model answer so? Leave out words and ask again; and a text box to try it with. Explained in notebook 05."""

import os
import re
import sys
from collections.abc import Callable, Mapping
from html import escape
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from utils.classifier import TextClassifier

LONGEST = 300  # characters; every word costs every model one more prediction
FAINTEST = 0.05  # the change that is painted in full colour is at least this: noise shall not look like a reason
AGAINST, NEUTRAL, FOR = (86, 180, 233), (255, 255, 255), (230, 159, 0)  # Okabe and Ito's blue and orange, white between


def occlusion(
    predict_proba: Callable[[list[str]], ArrayLike], text: str, *, replacement: str = "", positive: int = 1
) -> pd.DataFrame:
    """Leave out one word (eojeol, 어절) after the other and see how far the probability moves.

    Parameters
    ----------
    predict_proba : callable
        Takes a list of texts, gives probabilities of shape (N, K): any classifier of `utils.classifier`.
    text : str
        The comment. Words are what white space separates.
    replacement : str
        What stands in a word's place. The empty string takes the word and the space after it out.
    positive : int
        The column whose probability is followed.

    Returns
    -------
    DataFrame
        One row per word: ``word``, ``start`` and ``end`` (its place in `text`), ``without`` (the probability without
        it) and ``change`` (probability with it minus without it): positive where the word speaks for the class.
        Source: Zeiler and Fergus (2014), for pictures; Li, Monroe and Jurafsky (2016), for words.

    Raises
    ------
    ValueError
        If `text` has no word.
    """
    spans = [match.span() for match in re.finditer(r"\S+", text)]
    if not spans:
        raise ValueError(f"text {text!r} has no word to leave out")
    rests = [replacement + text[end:] if replacement else text[end:].lstrip() for _, end in spans]
    occluded = [text[:start] + rest for (start, _), rest in zip(spans, rests, strict=True)]
    probability = np.asarray(predict_proba([text, *occluded]), dtype=float)[:, positive]
    return pd.DataFrame(
        {
            "word": [text[start:end] for start, end in spans],
            "start": [start for start, _ in spans],
            "end": [end for _, end in spans],
            "without": probability[1:],
            "change": probability[0] - probability[1:],
        }
    )


class Answers(NamedTuple):
    """What models say of one comment; a notebook shows it as a table, with the words painted.

    Attributes
    ----------
    comment : str
        What was asked about: the comment, or its first `LONGEST` characters.
    length : int
        Characters of the whole comment.
    probability : dict of str to float
        Model -> its probability of the class.
    words : dict of str to DataFrame
        Model -> its table of `occlusion`; without rows where the comment has no word.
    name : str
        Of the class.
    """

    comment: str
    length: int
    probability: dict[str, float]
    words: dict[str, pd.DataFrame]
    name: str

    def __repr__(self) -> str:
        """Return a line per model, with the word that moved its answer most."""
        lines = [f"P({self.name}): {self.comment or '(empty comment)'}", *self.notes()]
        for model, probability in self.probability.items():
            line, table = f"{model:25} {probability:.2f}", self.words[model]
            if len(table):
                strongest = table.iloc[int(np.argmax(table["change"].abs()))]
                line += f"  {strongest['word']} {strongest['change']:+.2f}"
            lines.append(line)
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """Return a table with a row per model; whatever comes from outside is escaped."""
        largest = max([FAINTEST, *(float(table["change"].abs().max()) for table in self.words.values() if len(table))])
        heads = "".join(f"<th>{head}</th>" for head in ("model", f"P({escape(self.name)})", "", "words"))
        rows = "".join(
            f'<tr><td style="white-space:nowrap">{escape(model)}</td><td>{probability:.2f}</td>'
            f"<td>{_bar(probability)}</td>"
            f'<td style="text-align:left;white-space:normal;overflow-wrap:anywhere">'
            f"{_painted(self.words[model], largest)}</td></tr>"
            for model, probability in self.probability.items()
        )
        notes = "".join(f"<p>{escape(note)}</p>" for note in self.notes())
        classes = "tex2jax_ignore mathjax_ignore"  # a $ in a comment is a $
        return f'{notes}<table class="{classes}"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'

    def notes(self) -> list[str]:
        """Return what a reader must know of this answer, a sentence each."""
        notes = []
        if self.length > len(self.comment):
            notes.append(f"The first {len(self.comment)} of {self.length:,} characters were read.")
        if not self.comment.strip():
            notes.append("The comment has no word: this is what a model says of no text at all.")
        if not self.probability:
            notes.append("There is no model to ask: notebooks 02 and 04 save them.")
        return notes


def ask_models(
    classifiers: Mapping[str, "TextClassifier"], comment: str, *, positive: int = 1, name: str = "controversial"
) -> Answers:
    """Ask every model about a comment, and which of its words moved the answer; one batch per model.

    Parameters
    ----------
    classifiers : mapping of str to TextClassifier
        Model's name -> what `load_classifier` gave.
    comment : str
        Any text; of a longer one the first `LONGEST` characters are read.
    positive : int, optional
        The class asked about, a column of `predict_proba`.
    name : str, optional
        Its name, for people.

    Raises
    ------
    TypeError
        `comment` is not a string.
    """
    if not isinstance(comment, str):
        raise TypeError(f"comment must be one string, got {type(comment).__name__}")
    read = comment[:LONGEST]
    probability, words = {}, {}
    for model, classifier in classifiers.items():
        if read.strip():
            table = occlusion(classifier.predict_proba, read, positive=positive)
            probability[model] = float(table["without"].iloc[0] + table["change"].iloc[0])
        else:
            table = pd.DataFrame(columns=["word", "start", "end", "without", "change"])
            probability[model] = float(classifier.predict_proba([read])[0, positive])
        words[model] = table
    return Answers(read, len(comment), probability, words, name)


def text_box(ask: Callable[[str], Answers], comment: str = "") -> Any:
    """Return a box to type comments into, with the answers below it.

    Parameters
    ----------
    ask : callable
        Gives `Answers` for a comment.
    comment : str, optional
        What stands in the box at first.

    Returns
    -------
    ipywidgets.VBox
        Show it only where `can_show_widgets`.
    """
    import ipywidgets

    layout = ipywidgets.Layout(width="100%", max_width="50em")
    box = ipywidgets.Textarea(comment, placeholder="댓글을 써 보세요 (write a comment)", rows=3, layout=layout)
    button = ipywidgets.Button(description="Ask (물어보기)", button_style="primary")
    answer = ipywidgets.HTML(layout=layout)

    def show(_: Any) -> None:
        button.disabled = True
        try:
            answer.value = ask(box.value)._repr_html_()
        except Exception as error:  # whatever it is: Jupyter hides what a callback raises
            answer.value = f"<p>{escape(f'{type(error).__name__}: {error}')}</p>"
        finally:
            button.disabled = False

    button.on_click(show)
    return ipywidgets.VBox([box, button, answer])


def can_show_widgets() -> bool:
    """Return whether somebody has this notebook open (in Colab, Jupyter or VS Code) and ipywidgets can be imported.

    Under papermill, and so on GitHub and on the web pages, nobody does: a widget saved there would be dead, and its
    state keeps GitHub from showing the notebook.
    """
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    in_vs_code = "__vsc_ipynb_file__" in getattr(shell, "user_ns", {})
    opened = in_vs_code or "google.colab" in sys.modules or "JPY_SESSION_NAME" in os.environ
    return opened and find_spec("ipywidgets") is not None


def _bar(probability: float) -> str:
    inner = f'<div style="width:{probability:.0%};height:1em;background:#0072B2"></div>'
    return f'<div style="width:8em;background:#DDDDDD">{inner}</div>'


def _painted(table: pd.DataFrame, largest: float) -> str:
    """Return the words as HTML, each on its colour and with the points of 100 that it moves the probability."""
    shown = []
    for word, change in zip(table["word"], table["change"], strict=True):
        end, strength = (FOR if change > 0 else AGAINST), abs(change) / largest
        ground = ",".join(str(round(a + (b - a) * strength)) for a, b in zip(NEUTRAL, end, strict=True))
        points = round(100 * change)
        number = f"<sub>{points:+d}</sub>" if points else ""
        paint = f"background:rgb({ground});color:#222222;border-radius:3px;padding:0 2px"
        paint += ";display:inline-block;max-width:100%"  # a word and its number stay together
        shown.append(f'<span style="{paint}">{escape(word)}{number}</span>')
    return " ".join(shown)
