"""Characters that nobody sees: found, named and taken out. Pure.

What stays is what a script needs to be read: the joiners inside words of scripts that are written
with them (Persian, the Indic ones), those inside an emoji, and what chooses an emoji's form. What
only chooses among the forms of a letter goes: the letter stays. None of them stays twice in one
place: runs of them carry something else than a script.
"""

import re
import unicodedata
from collections import Counter
from enum import StrEnum

ZWNJ, ZWJ = "\u200c", "\u200d"
_EMOJI_FORMS = "\ufe0e\ufe0f"
_MONGOLIAN_FORMS = "\u180b\u180c\u180d\u180e\u180f"


class Unseen(StrEnum):
    """What was taken out, as a receipt names it."""

    CONTROL = "control characters"
    ZERO_WIDTH = "invisible characters"
    DIRECTION = "text direction controls"
    TAG = "tag characters"


_CLASSES = {
    # All but line feed and tab; half a pair, which is no character; line and paragraph separators.
    Unseen.CONTROL: r"\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029",
    Unseen.DIRECTION: r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069",
    # The whole block that they are in, the selectors of ideographs' forms too.
    Unseen.TAG: r"\U000e0000-\U000e0fff",
    # Of the general category Cf, whatever has no shape of its own (the signs before and around
    # Arabic, Syriac and Kaithi numbers have); letters and marks that are drawn as nothing;
    # selectors of forms; what is no character.
    Unseen.ZERO_WIDTH: (
        r"\xad\u034f\u070f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200d\u2060-\u2065"
        r"\u206a-\u206f\u3164\ufdd0-\ufdef\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff"
        r"\U00013430-\U0001345f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
        + "".join(rf"\U{plane:04x}fffe\U{plane:04x}ffff" for plane in range(1, 17))
    ),
}
_UNSEEN = re.compile("|".join(f"([{named}])" for named in _CLASSES.values()))
_KINDS = tuple(_CLASSES)
_SEPARATORS = "\u2028\u2029"

# Scripts whose words have joiners inside: Arabic and its neighbours, the Indic ones, Myanmar,
# Khmer, Mongolian, Balinese, and Arabic's presentation forms.
_JOINING = (
    (0x0600, 0x07FF),
    (0x0840, 0x0DFF),
    (0x1000, 0x109F),
    (0x1780, 0x18AF),
    (0x1B00, 0x1BBF),
    (0xFB50, 0xFDFF),
    (0xFE70, 0xFEFC),
    (0x11000, 0x1145F),
)
_PICTURES = ((0x2190, 0x2BFF), (0x1F000, 0x1FAFF))
_OTHER_PICTURES = frozenset("©®‼⁉™\u2139〰〽㊗㊙")
_KEYCAPS = frozenset("0123456789#*")
_SKINS = (0x1F3FB, 0x1F3FF)


def without_unseen(text: str) -> tuple[str, Counter[Unseen]]:
    """The text as it is seen, and how many characters of which kind are gone from it."""
    gone: Counter[Unseen] = Counter()

    def keep(found: re.Match[str]) -> str:
        if _needed(text, found.start()):
            return found[0]
        gone[_KINDS[(found.lastindex or 1) - 1]] += 1
        return " " if found[0] in _SEPARATORS else ""

    return _UNSEEN.sub(keep, text), gone


def is_unseen(text: str) -> bool:
    """Whether there is nothing but such characters in a text."""
    return bool(text) and all(_UNSEEN.fullmatch(character) for character in text)


def _needed(text: str, at: int) -> bool:
    """Whether the character at a place makes its neighbours readable."""
    this = text[at]
    before, after = text[at - 1 : at], text[at + 1 : at + 2]
    if not before:
        return False
    if this in _EMOJI_FORMS:
        return _is_picture(before) or before in _KEYCAPS
    if this in _MONGOLIAN_FORMS:
        return "\u1820" <= before <= "\u18aa"
    if this == ZWJ and _is_picture(after):
        return _ends_picture(text, at)
    return this in (ZWNJ, ZWJ) and _inside_word(before, after)


def _inside_word(before: str, after: str) -> bool:
    # At a word's end too, before a mark or punctuation: Persian abbreviates so.
    joins = _is_word(before) and _within(before, _JOINING)
    return joins and not (after and after in _EMOJI_FORMS + ZWNJ + ZWJ)


def _is_word(character: str) -> bool:
    return unicodedata.category(character)[0] in "LM"


def _ends_picture(text: str, at: int) -> bool:
    """Whether a picture ends before a place, with its form or the colour of its skin."""
    before = text[at - 1]
    if before in _EMOJI_FORMS or _within(before, (_SKINS,)):
        before = text[at - 2 : at - 1]
    return _is_picture(before)


def _is_picture(character: str) -> bool:
    return character != "" and (character in _OTHER_PICTURES or _within(character, _PICTURES))


def _within(character: str, ranges: tuple[tuple[int, int], ...]) -> bool:
    code = ord(character)
    return any(first <= code <= last for first, last in ranges)
