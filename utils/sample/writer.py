"""Write one comment: choose its content, put it into words, and rough the words up as people on the web do."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from .korean import add_particle, conjugate, final_of
from .lexicon import (
    EMOJI,
    ENDINGS,
    KINDS,
    LAUGHS,
    LINK_COMMENTS,
    LINKS,
    OPENERS,
    REASONS,
    SHORT,
    STANCES,
    TYPOS,
    WEIGHTS,
)

Choice = TypeVar("Choice")

TONES = {"informal": 0.46, "polite": 0.30, "clipped": 0.14, "plain": 0.10}
AGAINST_SHARE = 0.5
TOPIC_IS_NAMED = 0.93
MARKS = {".": 0.62, "!": 0.12, "?": 0.0, "...": 0.08, "": 0.18}


@dataclass(frozen=True)
class Content:
    """What a comment says, before any words: all that its true ratio depends on."""

    kind: str
    topic: str
    stance: str
    reason: str
    tone: str


def weighted(rng: random.Random, weights: dict[str, float]) -> str:
    """Draw a key with probability proportional to its weight."""
    return rng.choices(list(weights), weights=list(weights.values()))[0]


def draw_content(rng: random.Random, kind: str, topic: str) -> Content:
    """Draw stance, reason and tone of a comment under an article on `topic`."""
    stance = "against" if rng.random() < AGAINST_SHARE else "for"
    return Content(kind, topic, stance, rng.choice(list(REASONS)), weighted(rng, TONES))


def say(rng: random.Random, plain: str, tone: str) -> str:
    """Put a predicate into one of the endings of a tone."""
    ending = rng.choice(ENDINGS[tone])
    if ending.startswith("더라") and final_of(plain[:-1]) == "ㅆ":  # 더라 reports what others did
        ending = ENDINGS[tone][0]
    return conjugate(plain, ending)


def judgement(rng: random.Random, content: Content) -> str:
    """Say where the comment stands, and nothing else: 별로야."""
    return say(rng, rng.choice(STANCES[content.stance]), content.tone)


def stance_sentence(rng: random.Random, content: Content) -> str:
    """Say what the comment is about and where it stands: 사무실 에어컨은 별로야."""
    kind = KINDS[content.kind]
    verdict = judgement(rng, content)
    if rng.random() > TOPIC_IS_NAMED:
        return f"{rng.choice(kind.settings)} 이런 건 {verdict}"
    name = rng.choice(kind.topics[content.topic])
    form = rng.random()
    if form < 0.34:
        return f"{add_particle(name, '은')} {verdict}"
    if form < 0.56:
        return f"{rng.choice(kind.settings)} {add_particle(name, '은')} {verdict}"
    if form < 0.70:
        sibling = rng.choice([topic for topic in kind.topics if topic != content.topic])
        other = rng.choice(kind.topics[sibling])
        return f"{add_particle(other, '이나')} {add_particle(name, '이나')} {verdict}"
    if form < 0.86:
        return f"{name} {verdict}"
    return f"{name}? {verdict}"


def reason_sentence(rng: random.Random, content: Content) -> str:
    """Say why, in one of the reason's many wordings: 관리비가 먼저지. 지갑이 얇아지거든."""
    reason = REASONS[content.reason]
    setting = f"{rng.choice(KINDS[content.kind].settings)} " if rng.random() < 0.3 else ""
    form = rng.random()
    if form < 0.5:
        return setting + say(rng, rng.choice(reason.clauses), content.tone)
    noun = rng.choice(reason.nouns)
    if form > 0.7:
        first = rng.choice([other for other in reason.nouns if other != noun])
        noun = f"{add_particle(first, '이랑')} {noun}"
    particle, predicate = rng.choice(WEIGHTS)
    return f"{setting}{add_particle(noun, particle)} {say(rng, predicate, content.tone)}"


def short_sentence(rng: random.Random, content: Content) -> str:
    """Put stance, topic and reason into one sentence: 전기세 생각하면 사무실 에어컨은 별로야."""
    noun = rng.choice(REASONS[content.reason].nouns)
    link = rng.choice((f"{noun} 때문에", f"{noun} 생각하면", f"{add_particle(noun, '을')} 보면", f"{noun} 따지면"))
    return f"{link} {stance_sentence(rng, content)}"


def argue(rng: random.Random, content: Content) -> str:
    """Write the one to four sentences of a comment that argues."""
    length = rng.random()
    if length < 0.12:
        sentences = [short_sentence(rng, content)]
    else:
        sentences = [stance_sentence(rng, content), reason_sentence(rng, content)]
        if length < 0.30:
            sentences.reverse()
        if length > 0.55:
            sentences.append(reason_sentence(rng, content))
    if rng.random() < 0.4:
        sentences.insert(rng.choice((1, len(sentences))), judgement(rng, content))
    if rng.random() < 0.22:
        sentences[0] = f"{rng.choice(OPENERS[content.tone])}{rng.choice(('', '', ','))} {sentences[0]}"
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
    """Leave out spaces and slip on keys, in a minority of comments."""
    if rng.random() < 0.10:
        text = "".join(char for char in text if char != " " or rng.random() > 0.35)
    if rng.random() < 0.06:
        text = swap_neighbours(rng, text)
    for right, wrong in TYPOS:
        if right in text and rng.random() < 0.12:
            text = text.replace(right, wrong, 1)
    return text


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
