"""Particles and sentence endings of Korean, as far as the sample's sentences need them.

A Hangul syllable is one code point: ``0xAC00 + (initial * 21 + vowel) * 28 + final`` (Unicode, chapter 3.12),
so "does it end in a consonant?" and "put ㄴ under it" are arithmetic. Predicates are written in the plain present
(``"비싸다"`` adjective, ``"늘어난다"`` verb, ``"문제이다"`` noun + copula), from which their kind can be read off.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

FIRST_SYLLABLE, LAST_SYLLABLE = 0xAC00, 0xD7A3
INITIALS = "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ"
VOWELS = "ㅏㅐㅑㅒㅓㅔㅕㅖㅗㅘㅙㅚㅛㅜㅝㅞㅟㅠㅡㅢㅣ"
FINALS = ("", *"ㄱㄲㄳㄴㄵㄶㄷㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅄㅅㅆㅇㅈㅊㅋㅌㅍㅎ")

# With a final consonant, without one.
PARTICLES = {
    "은": ("은", "는"),
    "이": ("이", "가"),
    "을": ("을", "를"),
    "이나": ("이나", "나"),
    "이랑": ("이랑", "랑"),
    "으로": ("으로", "로"),
}
REGULAR_P_ADJECTIVES = ("좁",)
IRREGULAR_P_VERBS = ("돕", "눕", "줍", "굽")
L_VERBS = ("든다", "돈다")  # their ㄹ drops before ㄴ, so the plain form hides it
CONTRACTED_VOWELS = {"ㅗ": "ㅘ", "ㅚ": "ㅙ", "ㅜ": "ㅝ", "ㅣ": "ㅕ"}


def split_syllable(syllable: str) -> tuple[str, str, str]:
    """Return initial, vowel and final (``""`` for none) of one Hangul syllable; ValueError for anything else."""
    code = ord(syllable) - FIRST_SYLLABLE
    if not 0 <= code <= LAST_SYLLABLE - FIRST_SYLLABLE:
        raise ValueError(f"{syllable!r} is not a Hangul syllable")
    return INITIALS[code // 588], VOWELS[code % 588 // 28], FINALS[code % 28]


def join_syllable(initial: str, vowel: str, final: str = "") -> str:
    """Return the Hangul syllable of these letters."""
    return chr(FIRST_SYLLABLE + (INITIALS.index(initial) * 21 + VOWELS.index(vowel)) * 28 + FINALS.index(final))


def with_final(word: str, final: str) -> str:
    """Return `word` with the final consonant of its last syllable replaced by `final` (``""`` removes it)."""
    initial, vowel, _ = split_syllable(word[-1])
    return word[:-1] + join_syllable(initial, vowel, final)


def final_of(word: str) -> str:
    """Return the final consonant of the last syllable of `word`, ``""`` for none."""
    return split_syllable(word[-1])[2]


def add_particle(noun: str, particle: str) -> str:
    """Return `noun` with a particle (named by its form after a consonant) in the form that fits: 밥이, 차가.

    Particles that have one form only (``"도"``, ``"부터"``) are appended as they are.
    """
    after_consonant, after_vowel = PARTICLES.get(particle, (particle, particle))
    final = final_of(noun)
    if final == "" or (particle == "으로" and final == "ㄹ"):
        return noun + after_vowel
    return noun + after_consonant


@dataclass(frozen=True)
class Predicate:
    """A predicate taken apart: its stem and whether it is a ``verb``, an ``adjective`` or a noun + ``copula``."""

    stem: str
    kind: str
    plain: str

    @property
    def irregular_p(self) -> bool:
        """Whether the final ㅂ turns into 우 before a vowel (덥다, 더워)."""
        if final_of(self.stem) != "ㅂ":
            return False
        if self.kind == "verb":
            return self.stem.endswith(IRREGULAR_P_VERBS)
        return not self.stem.endswith(REGULAR_P_ADJECTIVES)


@cache
def parse_predicate(plain: str) -> Predicate:
    """Take a predicate in the plain present apart; ValueError where it does not end in 다."""
    if not plain.endswith("다"):
        raise ValueError(f"a predicate is written in the plain present (…다), not {plain!r}")
    body = plain[:-1]
    if body.endswith("이"):
        return Predicate(body[:-1], "copula", plain)
    if body.endswith("는"):
        return Predicate(body[:-1], "verb", plain)
    if final_of(body) == "ㄴ":
        return Predicate(with_final(body, "ㄹ" if plain.endswith(L_VERBS) else ""), "verb", plain)
    return Predicate(body, "adjective", plain)


def informal(predicate: Predicate) -> str:
    """Return the informal present (해체): 비싸, 늘어나, 더워, 문제야."""
    stem = predicate.stem
    if predicate.kind == "copula":
        return stem + ("이야" if final_of(stem) else "야")
    if stem.endswith("아니"):
        return stem + "야"
    initial, vowel, final = split_syllable(stem[-1])
    if stem.endswith("하"):
        return stem[:-1] + "해"
    if predicate.irregular_p:
        return with_final(stem, "") + ("와" if stem.endswith("돕") else "워")
    if stem.endswith("낫"):
        return stem[:-1] + "나아"
    if stem.endswith("듣"):
        return stem[:-1] + "들어"
    if stem.endswith("렇"):
        return stem[:-1] + "래"
    if final:
        bright = vowel in "ㅏㅑㅗ" and final != "ㅆ"
        return stem + ("아" if bright else "어")
    if vowel == "ㅡ":
        return _drop_eu(stem, initial)
    if vowel in "ㅟㅢ":
        return stem + "어"
    return stem[:-1] + join_syllable(initial, CONTRACTED_VOWELS.get(vowel, vowel))


def _drop_eu(stem: str, initial: str) -> str:
    """Return the informal form of a stem that ends in ㅡ: 크 -> 커, 바쁘 -> 바빠, 다르 -> 달라."""
    before = stem[:-1]
    bright = bool(before) and before[-1] != " " and split_syllable(before[-1])[1] in "ㅏㅗ"
    vowel = "ㅏ" if bright else "ㅓ"
    if initial == "ㄹ" and before and not stem.endswith(("따르", "치르")):
        return with_final(before, "ㄹ") + join_syllable("ㄹ", vowel)
    return before + join_syllable(initial, vowel)


def _before_vowel(predicate: Predicate, final: str, syllable: str) -> str:
    """Join the stem with an ending in ㄴ, ㄹ, ㅁ or ㅂ: under an open syllable, as `syllable` after a closed one."""
    stem = predicate.stem
    if predicate.irregular_p:
        return with_final(stem, "") + join_syllable("ㅇ", "ㅜ", final)
    if stem.endswith("낫"):
        return stem[:-1] + "나" + syllable
    if stem.endswith("듣"):
        return stem[:-1] + "들" + syllable
    if stem.endswith("렇"):
        return with_final(stem, final)
    if final_of(stem) == "":
        return with_final(stem, final)
    if final_of(stem) == "ㄹ":
        return with_final(stem, "ㄻ" if final == "ㅁ" else final)
    return stem + syllable


def _copula_stem(predicate: Predicate) -> str:
    """Return the stem to which 지, 네, 더라 ... attach: 문제, 핵심이, 비싸."""
    if predicate.kind == "copula" and final_of(predicate.stem):
        return predicate.stem + "이"
    return predicate.stem


def _background(predicate: Predicate) -> str:
    """Return the form in -는데: 늘어나는데, 비싼데, 문제인데."""
    stem = predicate.stem
    if predicate.kind == "copula":
        return stem + "인데"
    if predicate.kind == "verb" or stem.endswith(("있", "없")) or final_of(stem) == "ㅆ":
        return (with_final(stem, "") if final_of(stem) == "ㄹ" else stem) + "는데"
    return _before_vowel(predicate, "ㄴ", "은") + "데"


@cache
def conjugate(plain: str, ending: str) -> str:
    """Return a predicate, given in the plain present, in another ending.

    Parameters
    ----------
    plain : str
        ``"비싸다"``, ``"늘어난다"``, ``"문제이다"``; words may stand before it.
    ending : str
        One of the keys used in `lexicon.ENDINGS`: 다 어 어요 지 죠 네 네요 잖아 잖아요 거든 거든요 더라 더라고요
        음 ㄹ듯 ㄹ듯요 는데 는데요 습니다.

    Raises
    ------
    ValueError
        The predicate is not in the plain present, or the ending is unknown.

    """
    predicate = parse_predicate(plain)
    stem, copula = predicate.stem, predicate.kind == "copula"
    if ending == "다":
        return stem + ("이다" if final_of(stem) else "다") if copula else plain
    if ending == "어":
        return informal(predicate)
    if ending == "어요":
        if copula:
            return stem + ("이에요" if final_of(stem) else "예요")
        return stem + "에요" if stem.endswith("아니") else informal(predicate) + "요"
    if ending in ("지", "죠", "잖아", "잖아요", "거든", "거든요", "더라", "더라고요"):
        return _copula_stem(predicate) + ending
    if ending in ("네", "네요"):
        base = _copula_stem(predicate)
        return (with_final(base, "") if final_of(base) == "ㄹ" and not copula else base) + ending
    if ending == "음":
        return stem + "임" if copula else _before_vowel(predicate, "ㅁ", "음")
    if ending in ("ㄹ듯", "ㄹ듯요"):
        return (stem + "일" if copula else _before_vowel(predicate, "ㄹ", "을")) + " 듯" + ending[2:]
    if ending in ("는데", "는데요"):
        return _background(predicate) + ending[2:]
    if ending == "습니다":
        if copula:
            return stem + "입니다"
        closed = final_of(stem) not in ("", "ㄹ")
        return stem + "습니다" if closed else with_final(stem, "ㅂ") + "니다"
    raise ValueError(f"unknown ending {ending!r}")
