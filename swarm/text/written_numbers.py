"""Numbers that are written in other ways than digits with a point, made plain: LaTeX, groups, powers, words."""

import re
from decimal import Decimal

from swarm.text.replies import has_any

MOST_DIGITS = 100  # a longer number is none: to reckon with thousands of digits is slow or fails


def _fraction(found: re.Match[str]) -> str:
    """A fraction as "3/4"; behind a digit it is the part of a mixed number."""
    between = " " if found.string[: found.start()][-1:].isdigit() else ""
    return f"{between}{found[1]}/{found[2]}"


_LATEX = (
    (re.compile(r"(?<=\d)\{,\}(?=\d)"), ","),
    (re.compile(r"(?<=\d)\\[,;:! ](?=\d{3}(?!\d))"), " "),
    (re.compile(r"\\(?:text|textbf|mathrm|mathbf|mathit|mbox|operatorname)\s*\{([^{}]*)\}"), r"\1"),
    (re.compile(r"\\(?:times|cdot)(?![a-zA-Z])"), "×"),
    (re.compile(r"\^\s*\{\s*([+-]?\d+)\s*\}"), r"^\1"),
    (re.compile(r"\\([%$#&])"), r"\1"),
    (re.compile(r"\\(?:left|right|displaystyle)(?![a-zA-Z])"), ""),
    (re.compile(r"\\[dtc]?frac\s*\{\s*(\d+)\s*\}\s*\{\s*(\d+)\s*\}"), _fraction),
    (re.compile(r"\\[dtc]?frac\s*(\d)\s*(\d)(?!\d)"), _fraction),
    (re.compile(r"\\[dtc]?frac\s*\{\s*(\d+)\s*\}\s*(\d)(?!\d)"), _fraction),
)
_EMPHASIS = re.compile(r"(?<![\w*])(?:_{1,3}|\*{1,3})([-+$€£]?\d[^_*\s]{0,40})(?:_{1,3}|\*{1,3})(?![\w*])")
_HOUR = re.compile(r"(?<![\d:])(\d{1,2}):00(?=\s?[ap]\.?m\b)", re.IGNORECASE)
_DASH = re.compile(r"(?<![\w)\]%.])[–‐‑‒](?=\s?[$€£]?\.?\d)")
_MINUS_WORD = re.compile(
    r"(^|[=:]\s*|\b(?:is|be|are|was|equals|get|gives|ist|est|es)\s+)(?:minus|negative|moins|menos)\s+(?=[$€£.\d])",
    re.IGNORECASE,
)
_GROUPS = re.compile(r"(?<![\w.,/'])(?<!\d[ -])(\d{1,3})((?: \d{3})+|(?:'\d{3})+)(?![\d'/]|[.,]?\d| \d)")
_MIXED = re.compile(r"(?<![\d./,])(\d{1,6})\s+(\d{1,6})/(\d{1,6})(?![\d/])")
_POWER = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)\s*[×x*·]\s*10\s*\^\s*([+-]?\d{1,3})(?!\d)")
_TEN = re.compile(r"(?<![\w.^])10\s?\^\s?(\d{1,2})(?!\d|\.\d)")
_EXPONENT = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)[eE]([+-]?\d{1,3})(?![\w.]\d|\w)")
_MAGNITUDES = {
    "hundred": 2, "thousand": 3, "million": 6, "millions": 6, "billion": 9, "billions": 9, "trillion": 12, "tausend": 3,
    "millionen": 6, "mio": 6, "milliarde": 9, "milliarden": 9, "mille": 3, "milliard": 9, "milliards": 9, "mil": 3,
    "millón": 6, "millones": 6, "тысяч": 3, "тысячи": 3, "миллион": 6, "миллиона": 6, "миллионов": 6,
    "万": 4, "萬": 4, "亿": 8, "億": 8,
}  # fmt: skip
_MAGNITUDE = re.compile(
    rf"(?<![\w.,/])(\d[\d,]{{0,40}}(?:\.\d+)?)\s?({'|'.join(sorted(_MAGNITUDES, key=len, reverse=True))})"
    r"(?![^\W\d_])(?!\s+\d)",
    re.IGNORECASE,
)
# Quick looks, without which the slow pattern behind each has nothing to find.
_MINUS_WORDS = ("minus", "negative", "moins", "menos")
_POINT = re.compile(r"\d\.\d{3}")
_APART = re.compile(r"\d[ ']\d{3}")
_E = re.compile(r"\d[eE][+-]?\d")
_EUROPEAN = re.compile(r"(?<![\d.,])(\d{1,3}(?:\.\d{3})+)(?:,(\d+))?(?![\d,]|\.\d)")  # 1.234.567 and 1.234,5
_CENTS = re.compile(r"(?<![\d.,])(\d+),(\d\d)(?=\s?€)")
_DECIMAL_COMMA = re.compile(r"(?<![\d.,])(\d+),(\d{1,2})(?![\d,]|\.\d)")

_SMALL = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen".split()
_UNITS = {word: value for value, word in enumerate([*_SMALL, "seventeen", "eighteen", "nineteen"])}
_TENS = {word: 20 + 10 * index
         for index, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split())}  # fmt: skip
_WORD = "|".join(sorted([*_UNITS, *_TENS, "hundred", "thousand", "million", "billion", "dozen"], key=len, reverse=True))
_WORDS = re.compile(rf"\b(?:(?:minus|negative)\s+)?(?:a\s+(?=hundred|thousand|million|dozen)|)(?:{_WORD})"
                    rf"(?:(?:\s+and)?[\s-]+(?:{_WORD}))*\b", re.IGNORECASE)  # fmt: skip


def plain_numbers(text: str, english: bool = True) -> str:
    """A text on one line with its numbers in digits, a point before decimals, and "3/4" for fractions.

    Where it is not `english`, "1.200" is a thousand and "7,5" has decimals; in any language 1.234.567 and 1.234,5 can
    be read in one way only.
    """
    if "\\" in text or "{,}" in text:
        for pattern, plain in _LATEX:
            text = pattern.sub(plain, text)
    folded = text.casefold()
    if "*" in text or "_" in text:
        text = _EMPHASIS.sub(r"\1", text)
    if ":00" in text:
        text = _HOUR.sub(r"\1", text)
    if not text.isascii():
        text = _DASH.sub("-", text)
    if has_any(folded, _MINUS_WORDS):
        text = _MINUS_WORD.sub(r"\1-", text)
    if _POINT.search(text):
        text = _EUROPEAN.sub(lambda found: _european(found, english), text)
    if "€" in text:
        text = _CENTS.sub(r"\1.\2", text)
    if not english:
        text = _DECIMAL_COMMA.sub(r"\1.\2", text)
    if _APART.search(text):
        text = _GROUPS.sub(lambda found: found[1] + re.sub("[ ']", "", found[2]), text)
    if "^" in text:
        text = _POWER.sub(lambda found: _scaled(found, int(found[2])), text)
    if _E.search(text):
        text = _EXPONENT.sub(lambda found: _scaled(found, int(found[2])), text)
    if "^" in text:
        text = _TEN.sub(lambda found: "1" + "0" * int(found[1]), text)
    if has_any(folded, _MAGNITUDES):
        text = _MAGNITUDE.sub(lambda found: _scaled(found, _MAGNITUDES[found[2].lower()]), text)
    return _MIXED.sub(_mixed, text) if "/" in text else text


def word_number(text: str) -> Decimal | None:
    """The last number that is written in English words ("forty-two"), for a text without digits; None without one."""
    if any(character.isdigit() for character in text):
        return None
    found = [each[0] for each in _WORDS.finditer(text)]
    # "one" alone is mostly no number ("this one")
    found = [words for words in found if words.lower() != "one" or text.strip(" .!").lower() == "one"]
    return _in_words(found[-1]) if found else None


def _in_words(words: str) -> Decimal:
    parts = [part for part in re.split(r"[\s-]+", words.lower()) if part not in ("and", "a")]
    negative = parts[0] in ("minus", "negative")
    total, current = 0, 0
    for part in parts[negative:]:
        if part in _UNITS or part in _TENS:
            current += _UNITS.get(part, 0) + _TENS.get(part, 0)
        elif part == "dozen":
            current = max(current, 1) * 12
        elif part == "hundred":
            current = max(current, 1) * 100
        else:
            total += max(current, 1) * 10 ** {"thousand": 3, "million": 6, "billion": 9}[part]
            current = 0
    return Decimal(-(total + current) if negative else total + current)


def _scaled(found: re.Match[str], power: int) -> str:
    """A number times a power of ten, in digits; as it was where that would take too many."""
    digits = found[1].replace(",", "")
    if len(digits) + abs(power) > MOST_DIGITS:
        return found[0]
    return f"{Decimal(digits).scaleb(power):f}"


def _mixed(found: re.Match[str]) -> str:
    whole, over, under = (int(found[index]) for index in (1, 2, 3))
    return f"{whole * under + over}/{under}" if 0 < over < under else found[0]


def _european(found: re.Match[str], english: bool) -> str:
    """Groups of thousands with points; one group alone is a decimal fraction in English."""
    if english and found[1].count(".") == 1 and found[2] is None:
        return found[0]
    return found[1].replace(".", "") + (f".{found[2]}" if found[2] else "")
