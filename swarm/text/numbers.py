"""Numbers as replies write them: in LaTeX, in words, with units, in the separators of several languages."""

import re
from collections.abc import Mapping
from decimal import Decimal
from itertools import islice

from swarm.text.replies import BECAUSE, after_markers, has_any, own_part_first, speaks_english
from swarm.text.unsaid import chosen, lists_only, own_choices, without_cut_repetition, without_questions
from swarm.text.written_numbers import plain_numbers, word_number

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
    r"%?(?:\s+(?!(?:plus|minus|times|x|by|of|divided|multiplied|and|or|to|over|more|less|out)\b)[^\W\d_]+)?"
    rf"[$*_)\]}}\"']*(?:\s*$|[.,;:!。](?:\s|$|(?=[^\x00-\x7f]))|\s*{BECAUSE})"
)
_RANGE = re.compile(r"\s*(?:[-–—]|\bto\b)\s*[$€£]?\d", re.IGNORECASE)
_CORRECTION = re.compile(
    r"\b(?:no,?\s+wait|wait,?\s+no|wait,|scratch that|correction|oops|i mean|i meant|let me correct)\b[\s,:;.!-]*|"
    r"\bactually,?\s+(?=(?:it|that|the answer|this)\b|[$€£-]?\d)|(?<=\d)[.,;]?\s+no,\s+",
    re.IGNORECASE,
)
_CORRECTING = ("wait", "scratch", "correct", "oops", "i mean", "actually", "no,")  # no correction is without one
_OR = re.compile(
    r"%?(?P<unit>\s+[A-Za-z]+)?(?:,\s+\d+)*,?\s+or\s+(?:(?:maybe|perhaps|possibly|about)\s+)?", re.IGNORECASE
)
_REASON = re.compile(rf"[,;]?\s*{BECAUSE}", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!?。](?:\s|$)")
# What a number is the name of: "node 8", "nodes 5 and 3".
_NAME = re.compile(
    r"\b(?:nodes?|vert(?:ex|ices)|steps?|questions?|options?|examples?|problems?|exercises?|figures?|tables?|pages?|chapters?)"
    r"\s+(?:#\s?)?(?:\d{1,4}\s*(?:,|and|to|or|&|-|→|->)\s*(?:and\s+)?){0,9}\Z",
    re.IGNORECASE,
)
_BETWEEN_ITEMS = re.compile(r"\b(?:or|and|yes|no|true|false)\b|[ ,;/|.]", re.IGNORECASE)
_REACH = 60  # characters before a number that are looked at for what it names
_MOST_STATEMENTS = 8  # the last ones, of a text that says "the answer is" again and again


def as_number(text: str) -> Decimal | None:
    """The value of a text that is one number and nothing else, a percent sign aside."""
    found = _NUMBER.fullmatch(plain_numbers(text).removesuffix("%").rstrip())
    return _value(found) if found else None


def final_number(text: str) -> Decimal | None:
    """The number that the text ends up with: the first after its last marker that has one, else the last of all.

    After "the answer is 3 * 5 = 15." it is the right side of the sum that counts, after "16, no wait, 18" the 18. None
    where two are offered ("3 or 4", "3-4"). What stands before a question that the model asks itself comes first.
    """
    english = speaks_english(text)
    for part in own_part_first(without_cut_repetition(text)):
        stated = "" if lists_only(part) else without_questions(part)
        value = _final(plain_numbers(stated.replace("\n", " "), english), own_choices(part))
        if value is not None:
            return None if value.is_nan() else value
    return None


_SEVERAL = Decimal("nan")  # several numbers are offered, none of them alone


def _final(part: str, choices: Mapping[str, str]) -> Decimal | None:
    """The final number of a text without a question behind it; NaN where it offers several.

    `choices` are those that the model has made up, of which a letter behind a marker picks one.
    """
    marked = (_after_marker(chosen(choices, segment) or segment) for segment in after_markers(part))
    stated = list(islice((value for value in marked if value is not None), _MOST_STATEMENTS))
    if stated:
        takes_turns = len(stated) > 3 and min(stated.count(stated[0]), stated.count(stated[1])) > 1
        return _SEVERAL if takes_turns and stated[0] != stated[1] else stated[0]
    part = _corrected(part)
    value = _opening_number(part)
    if value is not None:
        return value
    bare = _without_paths(_less_reasons(part))
    numbers = _unnamed(bare, _numbers(bare))
    if len(numbers) > 2 and not _BETWEEN_ITEMS.sub("", _NUMBER.sub("", bare)):
        return _SEVERAL  # "18, 19, 18"
    if numbers:
        either = any(_hedged(bare, found) for found in numbers[-2:-1])
        return _SEVERAL if either else _known(numbers[-1])
    return word_number(part)


def _after_marker(segment: str) -> Decimal | None:
    """The number that a segment behind an answer marker names; NaN where it offers several."""
    corrected = _corrected(segment)
    found = _marked_number(corrected)
    if found:
        return _SEVERAL if _hedged(corrected, found) or _is_range(corrected, found) else _known(found)
    return word_number(corrected)


def _unnamed(text: str, numbers: list[re.Match[str]]) -> list[re.Match[str]]:
    """The numbers that are no names ("node 8", "step 2"); a name only where it is the only one, and alone."""
    plain = [found for found in numbers if not _NAME.search(text, max(0, found.start() - _REACH), found.start())]
    return plain or (numbers if len({_value(found) for found in numbers}) == 1 else [])


def _known(found: re.Match[str]) -> Decimal:
    value = _value(found)
    assert value is not None
    return value


def _corrected(text: str) -> str:
    """What follows the last correction that has a number of its own ("16. No wait, 18."), else the text."""
    if not has_any(text.casefold(), _CORRECTING):
        return text
    for found in reversed(list(_CORRECTION.finditer(text))):
        if _numbers(text, found.end()) and _numbers(text, 0, found.start()):
            return text[found.end() :]
    return text


def _is_range(text: str, found: re.Match[str]) -> bool:
    """Whether a number is the lower end of a range ("5-10", "5 to 10"), not the start of a sum."""
    after = _RANGE.match(text, found.end())
    sentence = _SENTENCE_END.split(text[found.end() :], maxsplit=1)[0]
    return after is not None and "=" not in sentence and len(_numbers(sentence)) == 1


def _less_reasons(text: str) -> str:
    """The text less a "because ..." behind its last number, where that has numbers of its own."""
    for found in reversed(list(_REASON.finditer(text))):
        sentence_end = _SENTENCE_END.search(text, found.end())
        stop = sentence_end.start() if sentence_end else len(text)
        start = max(text.rfind(mark, 0, found.start()) for mark in (". ", "! ", "? ", "。")) + 1
        if _numbers(text, start, found.start()) and not _numbers(text, stop):
            return text[: found.start()]
    return text


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
