"""Parsing of replies: words, numbers and lettered choices, in any script."""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

# Thai to Khmer, Hangul, Kana, Han: written without blanks (Hangul with, but with its particles joined on), so that a
# neighbour in one of them does not make a word go on.
_UNBLANKED = (
    r"\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3130-\u318f\u31f0-\u31ff"
    r"\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff"
)
_WORD = rf"[^\W{_UNBLANKED}]"  # a character that makes a word go on
_UNBLANKED_CHARACTER = re.compile(f"[{_UNBLANKED}]")
NO_LETTER = "\u3013"

# "The answer is", "Answer:", "the answer to the question is", "\boxed{", gsm8k's own "####" where it opens no heading.
ANSWER_MARKER = re.compile(
    r"####(?=\s*[-$]?\d|\s*\S+$)|\\boxed\s*\{|"
    r"\banswers?\b[*_\"')]*(?:\s(?:to|for)\s[^.:?!]{1,80}?)?"
    r"(?:\s*[:=]|\s+(?:is|are|was|(?:would|should|must|will) be)\b(?!\s+not\b))",
    re.IGNORECASE,
)
# Words that an article "A" cannot stand before, so that the "A" in front of them is a letter.
_AFTER_LETTER = "because|since|is|as|with|in|by|for|from|but|due|based|which|that|if|so|according|at|on|of"
_NUMBER = re.compile(
    r"(?:(?<![\w)\]])(?P<minus>-))?[$€£]?"
    r"(?P<digits>(?<![A-Za-z0-9_^])(?<![0-9][.:])(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?"
    r"(?![0-9]|:[0-9])|(?<![A-Za-z0-9_^.])\.[0-9]+)"  # "5:30" is no number
    r"(?:/(?P<under>[0-9]+))?"
)
_MOST_DIGITS = 100  # a longer run is no number: to reckon with thousands of digits is slow or fails
# Of "16 -> 3 -> 19", "16-3-19", "16 to 3 to 19" the nodes are not what a reply ends up with, nor, if it has another
# number, those of "16,3,19"; "1,234,567" is a number.
_PATH = re.compile(r"(?<![\w.])\d+(?:(?:\s*(?:->|→|=>|-)\s*|\s+to\s+)(?:node\s+)?\d+){2,}", re.IGNORECASE)
_NODE = r"(?![1-9]\d{0,2}(?:,\d{3})+(?!\d|,\d))\d{1,3}(?!\d)"
_COMMA_PATH = re.compile(rf"(?<![\w.,]){_NODE}(?:\s*,\s*(?:and\s+)?(?:node\s+)?{_NODE}){{2,}}(?!\.\d)", re.IGNORECASE)
_STANDS_ALONE = re.compile(r"%?[*_)\]]*(?:\s*$|[.:](?:\s|$)|\s*\(|\s+[A-Z][a-z])")
# After "the answer is": "42", "about 42 apples", with the clause over behind it, so that no sum goes on there.
_LEAD = re.compile(r"[\s*_(\[:\"'\\]*(?:(?:about|approximately|exactly|only|just)\s+)?[*_(]*")
_CLAUSE_END = re.compile(
    r"%?(?:\s+(?!(?:plus|minus|times|x|by|of|divided|multiplied|and|or|over|more|less|out)\b)[A-Za-z]+)?"
    r"[$*_)\]}\"']*(?:\s*$|[.,;:!](?:\s|$)|\s+(?:because|since|as)\b)"
)
_OR = re.compile(
    r"%?(?P<unit>\s+[A-Za-z]+)?(?:,\s+\d+)*,?\s+or\s+(?:(?:maybe|perhaps|possibly|about)\s+)?", re.IGNORECASE
)
_FRACTION = re.compile(r"(?<!\d)\\[dt]?frac\s*\{\s*(\d+)\s*\}\s*\{\s*(\d+)\s*\}")
_MINUS_WORD = re.compile(r"(^|[=:]\s*|\b(?:is|be|are|was|equals|get|gives)\s+)(?:minus|negative)\s+(?=[$€£.\d])", re.I)
_SENTENCE_END = re.compile(r"[.!?](?:\s|$)")
_NEXT_QUESTION = "Question:"


def _spelling() -> dict[int, str]:
    """Plain quotes and minus signs; and what NFKC would make a wrong number or word of: "5²" no 52, "№" no "No"."""
    table = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "−": "-", "№": "Nr. ", "⁄": "/"})
    for code in (*range(0xB2, 0xBF), *range(0x2070, 0x208A), *range(0x2150, 0x215F)):
        kind, _, parts = unicodedata.decomposition(chr(code)).partition(" ")
        plain = "".join(chr(int(part, 16)) for part in parts.split())
        if kind == "<fraction>":
            table[code] = " " + plain.replace("⁄", "/")
        elif kind in ("<super>", "<sub>") and plain.isdigit():
            table[code] = ("^" if kind == "<super>" else "_") + plain
    return table


_SPELLING = _spelling()


def one_line(text: str) -> str:
    """The text with runs of blanks and line ends as one space, with plain quotes and minus signs, and under NFKC."""
    return " ".join(unicodedata.normalize("NFKC", text.translate(_SPELLING)).translate(_SPELLING).split())


def unjoined(text: str, keep: Iterable[str] = ()) -> str:
    """The text, as long as before, with a sign for each character that makes no word go on, except those in `keep`.

    For patterns with many a word's end in them: to spell such characters out there would make them slow to build.
    """
    own = "".join(keep)
    return text if text.isascii() else _UNBLANKED_CHARACTER.sub(lambda c: c[0] if c[0] in own else NO_LETTER, text)


def own_part_first(text: str) -> tuple[str, ...]:
    """The text before the next "Question:", for a model may go on with one of its own; then all of the text.

    The second is for where the first says nothing.
    """
    return tuple(dict.fromkeys((text.partition(_NEXT_QUESTION)[0], text)))


def after_markers(text: str) -> list[str]:
    """The texts behind each answer marker, up to the next one; the last marker first."""
    segments, end = [], len(text)
    for marker in reversed(list(ANSWER_MARKER.finditer(text))):
        segments.append(text[marker.end() : end])
        end = marker.start()
    return segments


def sentence_at(text: str, position: int) -> str:
    """The sentence that holds this position of a text on one line."""
    start = max(text.rfind(f"{mark} ", 0, position) for mark in ".!?") + 1
    end = _SENTENCE_END.search(text, position)
    return text[start : end.end() if end else len(text)]


def phrase_spans(phrase: str, text: str) -> list[tuple[int, int]]:
    """Spans of the phrase in the text as whole words, in any case; in characters of the case-folded text.

    "no" does not stand in "none" or "no-one", nor does "5" in "1.5", "-5", "1/5" or "5,000".
    """
    phrase, text = phrase.casefold(), text.casefold()
    found, start = [], text.find(phrase) if phrase else -1
    while start >= 0:
        end = start + len(phrase)
        if not (_joined_before(text[max(0, start - 2) : start], phrase) or _joined_after(text[end : end + 2], phrase)):
            found.append((start, end))
        start = text.find(phrase, start + 1)
    return found


def _joined_before(left: str, phrase: str) -> bool:
    """Does the phrase go on to the left, where these two characters stand?"""
    if phrase[0].isdigit() and re.search(r"\d[.,:/]$|[-^/]$", left):
        return True
    return _in_word(phrase[0]) and bool(re.search(rf"{_WORD}[-'’]?$", left))


def _joined_after(right: str, phrase: str) -> bool:
    """Does the phrase go on to the right, where these two characters stand?"""
    if phrase[-1].isdigit() and re.match(r"[.,:/]\d|\^", right):
        return True
    return _in_word(phrase[-1]) and bool(re.match(rf"[-'’]?{_WORD}", right))


def _in_word(character: str) -> bool:
    """Is it a letter or digit that its neighbours can make part of a longer word?"""
    return character.isalnum() and re.match(_WORD, character) is not None


def as_number(text: str) -> Decimal | None:
    """The value of a text that is one number and nothing else, a percent sign aside."""
    found = _NUMBER.fullmatch(_plain_numbers(text).removesuffix("%"))
    return _value(found) if found else None


def final_number(text: str) -> Decimal | None:
    """The number that the text ends up with: the first after its last marker that has one, else the last of all.

    After "the answer is 3 * 5 = 15." it is the right side of the sum that counts. None where two are offered ("3 or
    4"). What stands before a "Question:" that the model asks itself comes first.
    """
    for part in own_part_first(_plain_numbers(text)):
        for segment in after_markers(part):
            found = _marked_number(segment)
            if found:
                return None if _hedged(segment, found) else _value(found)
        value = _opening_number(part)
        if value is not None:
            return value
        bare = _without_paths(part)
        numbers = _numbers(bare)
        if numbers:
            either = any(_hedged(bare, found) for found in numbers[-2:-1])
            return None if either else _value(numbers[-1])
    return None


def _plain_numbers(text: str) -> str:
    """The text with "\\frac{1}{2}" as "1/2" and "is minus 5" as "is -5"."""
    return _MINUS_WORD.sub(r"\1-", _FRACTION.sub(r"\1/\2", text))


def _marked_number(segment: str) -> re.Match[str] | None:
    """The number that what follows an answer marker names."""
    lead = _LEAD.match(segment)
    direct = _NUMBER.match(segment, lead.end() if lead else 0)
    if direct and _value(direct) is not None and _CLAUSE_END.match(segment, direct.end()):
        return direct
    sentence = _SENTENCE_END.split(segment, maxsplit=1)[0]
    equals = sentence.rfind("=") + 1
    left, right = _numbers(segment, 0, max(0, equals - 1)), _numbers(segment, equals, len(sentence))
    turned_round = len(left) == 1 and len(right) > 1  # "15 = 3 * 5"
    found = (left if turned_round else right) or _numbers(segment)
    return found[0] if found else None


def _hedged(text: str, found: re.Match[str]) -> bool:
    """Does another number, in the same unit and not of the same value, stand behind this one and an "or"?"""
    either = _OR.match(text, found.end())
    other = _NUMBER.match(text, either.end()) if either else None
    if not (either and other) or (either["unit"] and not text.startswith(either["unit"], other.end())):
        return False
    value, another = _value(found), _value(other)
    percent = 100 if text.startswith("%", other.end()) else 1
    return value is not None and another is not None and another not in (value, value * percent)


def _without_paths(text: str) -> str:
    """The text less its paths; those with commas stay where it has no other number."""
    text = _PATH.sub(" ", text)
    less = _COMMA_PATH.sub(" ", text)
    return less if _numbers(less) else text


def _opening_number(text: str) -> Decimal | None:
    """The number that a reply begins with and that stands there by itself: "**11** The path is 16-3-19."

    Not the 1 of an enumeration, nor a number that the sentence goes on from ("5 apples ...").
    """
    lead = re.match(r"[\s*_(\[]*", text)
    found = _NUMBER.match(text, lead.end() if lead else 0)
    if not found or not _STANDS_ALONE.match(text, found.end()):
        return None
    value = _value(found)
    enumerated = value is not None and value == int(value) and re.search(rf"(?<![\w.]){int(value) + 1}[.)]\s", text)
    return None if enumerated else value


def _numbers(text: str, start: int = 0, end: int | None = None) -> list[re.Match[str]]:
    """The numbers of a text, or of a stretch of it, in order; digits inside a word ("x2", "m^2") are none."""
    every = _NUMBER.finditer(text, start, len(text) if end is None else end)
    return [found for found in every if _value(found) is not None]


def _value(found: re.Match[str]) -> Decimal | None:
    """A written number's value, exact for decimals; None where it divides by zero or has too many digits."""
    digits, under = found["digits"].replace(",", ""), found["under"]
    if max(len(digits), len(under or "")) > _MOST_DIGITS:
        return None
    value = Decimal(digits)
    if under:
        if not int(under):
            return None
        value /= Decimal(under)
    return value.copy_negate() if found["minus"] else value


@dataclass(frozen=True)
class Letters:
    """Patterns of a question's keys where they are letters, not words or parts of words."""

    keys: tuple[str, ...]
    alone: re.Pattern[str]  # anywhere
    picked: re.Pattern[str]  # where a pick is expected
    opening: re.Pattern[str]  # at a reply's start
    praised: re.Pattern[str]  # "B is correct"
    concluded: re.Pattern[str]  # "therefore B."
    option: re.Pattern[str]  # "option B"
    denied: re.Pattern[str]  # what follows a key that is ruled out

    def key(self, written: str) -> str:
        """The key that was written, perhaps in the other case."""
        return written if written in self.keys else next(key for key in self.keys if key.lower() == written.lower())


@lru_cache(maxsize=256)
def letters(keys: tuple[str, ...], any_case: bool) -> Letters:
    """The patterns for these keys; with `any_case`, "b." means B where a pick is expected."""
    one_of = "|".join(sorted(map(re.escape, keys), key=len, reverse=True))
    # Not in "B-cell", "I'm", "1.5", "U.S.A", "A.M." or "5 °C".
    one = rf"(?<![\w°])(?<!\w[-'])(?<!\d[.,])(?<!\b\w\.)(?:{one_of})(?!\w)(?![-']\w)(?![.,]\d)(?!\.\w\b)"
    # "A" and "I" are words in "A good idea" and "I think", letters in "A because", "A is right" and "A or B".
    joined = rf"(?:and|or|not|and not)\s+\W?{one}"
    article = rf"[Aa]\s+(?!(?:{_AFTER_LETTER})\b|{joined})[a-z\d]"
    word = rf"{article}|[Ii]\s+(?!(?:because|since|is)\b|{joined})[a-z\d]|I,\s+[a-z]"
    alone = rf"(?!{word}){one}"
    closing, ruled_out = r"[)\]*\"'.]*", r"(?:\w+\s+)?(?:not|wrong|incorrect|false)"
    denied = rf"(?i:{closing}\s+(?:(?:is|are)(?:n't|\s+{ruled_out})|can't|cannot|doesn't|does\s+not)\b)"
    several = rf"[)\]*\"']*(?:\s*[,、/&]\s*(?:(?:and|or)\s+)?|\s+(?:(?:and|or)\s+)?)[(\[*\"']*{alone}"
    ended = r"(?=\s*$|[.):,;\]}*\"'。、]|\s+[-–—=]\s)"
    # A line's end in the reply has become a blank: "B Explanation: ..." opens with B, "A Tale" and "I Think" with none.
    led_on = r"(?=\s+(?:because|since|as|(?:Explanation|Reason(?:ing)?|Rationale):?)\b)|(?<![AI])(?=\s+[A-Z(])"
    loose = rf"|(?!{word})(?i:{one}){ended}(?!{several})" if any_case else ""
    return Letters(
        keys,
        alone=re.compile(alone),
        picked=re.compile(rf"(?:{alone}{loose})(?!{several})(?!{denied})"),
        opening=re.compile(rf"(?:{alone}(?:{ended}|{led_on}){loose})(?!{several})(?!{denied})"),
        praised=re.compile(
            rf"({one})(?i:{closing}\s+(?:is|would be)\s+(?:(?:the|my)\s+)?(?:(?:most|only)\s+)?"
            r"(?:correct|right|best|answer|accurate|appropriate|likely)\b)"
        ),
        concluded=re.compile(
            rf"(?i:\b(?:therefore|thus|hence|so)\b),?\s+[(\[*\"']*({alone})(?=[)\]*\"']*(?:\s*$|[.!]))"
        ),
        option=re.compile(rf"(?i:\b(?:option|choice|letter|answer))\s+[(\[*\"']*({alone})"),
        denied=re.compile(denied),
    )
