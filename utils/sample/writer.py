"""Write one comment: choose its content, put it into words, and rough the words up as people on the web do."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from .korean import add_particle, conjugate, final_of
from .lexicon import (
    EMOJI,
    ENDINGS,
    JUDGEMENTS,
    KINDS,
    LAUGHS,
    LINK_COMMENTS,
    LINKS,
    OPENERS,
    REASONS,
    SHORT,
    TYPOS,
    WEIGHTS,
)

Choice = TypeVar("Choice")

POLITE_SHARE = 0.25
CASUAL_TONES = {"informal": 0.60, "clipped": 0.24, "plain": 0.16}
AGAINST_SHARE = 0.5
REASON_IS_LINKED = 0.9
MARKS = {".": 0.62, "!": 0.12, "?": 0.0, "...": 0.08, "": 0.18}


@dataclass(frozen=True)
class Content:
    """What a comment says, before any words: all that its true ratio depends on."""

    kind: str
    topic: str
    stance: str
    reason: str
    polite: bool


def weighted(rng: random.Random, weights: dict[str, float]) -> str:
    """Draw a key with probability proportional to its weight."""
    return rng.choices(list(weights), weights=list(weights.values()))[0]


def draw_content(rng: random.Random, kind: str, topic: str) -> Content:
    """Draw stance, reason and politeness of a comment under an article on `topic`."""
    stance = "against" if rng.random() < AGAINST_SHARE else "for"
    return Content(kind, topic, stance, rng.choice(list(REASONS)), rng.random() < POLITE_SHARE)


def tone_of(rng: random.Random, content: Content) -> str:
    """Draw the tone of one sentence: who is polite stays polite, others mix."""
    return "polite" if content.polite else weighted(rng, CASUAL_TONES)


def say(rng: random.Random, plain: str, content: Content) -> str:
    """Put a predicate into one of the endings of the comment's tone."""
    endings = ENDINGS[tone_of(rng, content)]
    ending = rng.choice(endings)
    if ending.startswith("더라") and final_of(plain[:-1]) == "ㅆ":  # 더라 reports what others did
        ending = endings[0]
    return conjugate(plain, ending)


def judgement(rng: random.Random, content: Content) -> str:
    """Say where the comment stands, and nothing else: 별로야."""
    return say(rng, rng.choice(JUDGEMENTS[content.stance]), content)


def setting(rng: random.Random, content: Content, share: float) -> str:
    """Say where or when, in a share of the sentences."""
    return f"{rng.choice(KINDS[content.kind].settings)} " if rng.random() < share else ""


def stance_sentence(rng: random.Random, content: Content) -> str:
    """Say what the comment is about and where it stands: 사무실 에어컨은 별로야."""
    kind = KINDS[content.kind]
    name = rng.choice(kind.topics[content.topic])
    form = rng.random()
    if form < 0.45:
        subject = setting(rng, content, 0.4) + add_particle(name, "은")
    elif form < 0.53:
        sibling = rng.choice([topic for topic in kind.topics if topic != content.topic])
        subject = f"{add_particle(rng.choice(kind.topics[sibling]), '이나')} {add_particle(name, '이나')}"
    else:
        subject = name if form < 0.85 else f"{name}?"
    return f"{subject} {judgement(rng, content)}"


def list_nouns(rng: random.Random, content: Content, most: int) -> str:
    """List one to `most` of the reason's nouns, as people do on the web: 관리비 전기세."""
    return " ".join(rng.sample(REASONS[content.reason].nouns, rng.randint(1, most)))


def because(rng: random.Random, content: Content) -> str:
    """Name the reason in passing: 관리비 전기세 때문에."""
    return f"{list_nouns(rng, content, 3)} {rng.choice(('때문에', '생각하면', '보면', '따지면'))}"


def reason_sentence(rng: random.Random, content: Content) -> str:
    """Say why, in one of the reason's many wordings: 관리비 용돈이 먼저지. 지갑이 얇아지거든."""
    where = setting(rng, content, 0.2)
    if rng.random() < 0.2:
        return where + say(rng, rng.choice(REASONS[content.reason].clauses), content)
    particle, predicate = rng.choice(WEIGHTS)
    return f"{where}{add_particle(list_nouns(rng, content, 4), particle)} {say(rng, predicate, content)}"


def argue(rng: random.Random, content: Content) -> str:
    """Write the one to four sentences of a comment that argues."""
    length = rng.random()
    claim = stance_sentence(rng, content)
    if length < 0.12 or rng.random() < REASON_IS_LINKED:
        claim = f"{because(rng, content)} {claim}"
    sentences = [claim]
    if length >= 0.12:
        sentences.append(reason_sentence(rng, content))
        if length < 0.30:
            sentences.reverse()
        if length > 0.63:
            sentences.append(reason_sentence(rng, content))
    if rng.random() < 0.15:
        sentences.insert(rng.choice((1, len(sentences))), judgement(rng, content))
    if rng.random() < 0.22:
        sentences[0] = f"{rng.choice(OPENERS[tone_of(rng, content)])}{rng.choice(('', '', ','))} {sentences[0]}"
    if len(sentences) > 1 and rng.random() < 0.12:
        sentences[-1] = f"{rng.choice(LINKS)} {sentences[-1]}"
    return join_sentences(rng, sentences)


def join_sentences(rng: random.Random, sentences: Sequence[str]) -> str:
    """Put marks, laughter and line breaks between and after sentences."""
    text = ""
    separator = "\n" if rng.random() < 0.08 else " "
    lazy = rng.random() < 0.1  # these write no full stops at all
    for number, sentence in enumerate(sentences, start=1):
        mark = rng.choice(("", "..", "~")) if lazy else weighted(rng, MARKS)
        if rng.random() < 0.10:
            mark = f"{mark if rng.random() < 0.5 else ''} {rng.choice(LAUGHS)}"
        if number < len(sentences) and mark == "" and rng.random() < 0.7:
            mark = "."
        text += sentence + mark + (separator if number < len(sentences) else "")
    if rng.random() < 0.06:
        text += f" {rng.choice(EMOJI) * rng.choice((1, 1, 1, 2, 3))}"
    return text


def rough_up(rng: random.Random, text: str) -> str:
    """Leave out spaces and slip on keys, in a minority of comments; runs of blanks become one."""
    if rng.random() < 0.10:
        text = "".join(char for char in text if char != " " or rng.random() > 0.35)
    if rng.random() < 0.06:
        text = swap_neighbours(rng, text)
    for right, wrong in TYPOS:
        if right in text and rng.random() < 0.12:
            text = text.replace(right, wrong, 1)
    return re.sub(" {2,}", " ", text)


def swap_neighbours(rng: random.Random, text: str) -> str:
    """Swap two neighbouring characters inside a word."""
    places = [i for i in range(len(text) - 1) if not text[i].isspace() and not text[i + 1].isspace()]
    if not places:
        return text
    place = rng.choice(places)
    return text[:place] + text[place + 1] + text[place] + text[place + 2 :]


def write_short(rng: random.Random, mood: str) -> str:
    """Write a comment of one or two words, or one around a link."""
    if mood == "link":
        address = f"https://example.com/{rng.choice(('p', 'post', 'view'))}/{rng.randrange(1000, 99999)}"
        words = rng.choice(LINK_COMMENTS)
        return f"{words} {address}" if rng.random() < 0.7 else f"{address} {words}"
    word = rng.choice(SHORT[mood])
    tail = rng.choice(
        ("", "", "!", "~", "..", "...", "ㅋ" * rng.randint(2, 9), f" {rng.choice(LAUGHS)}", rng.choice(EMOJI))
    )
    head = f"{rng.choice(OPENERS['informal'])} " if rng.random() < 0.25 else ""
    return head + word + tail


def copy_with_changes(rng: random.Random, text: str) -> str:
    """Copy a comment the way people do: almost."""
    change = rng.randrange(4)
    if change == 0:
        return f"{text} {rng.choice(LAUGHS)}"
    if change == 1:
        return text.replace(" ", "", 1)
    if change == 2:
        return text.rstrip(".!?~ ") + rng.choice(("!!", "...", "~", "."))
    return f"{text}{rng.choice(EMOJI)}"
