"""Whether a reply names a phrase as its answer: not denied, not among several that it offers, and whole."""

import re
from collections.abc import Sequence

from swarm.text.choices import letters
from swarm.text.replies import after_markers, own_part_first, phrase_spans, unjoined

# "It was not X", "I don't think it is X", "never X", "rather than X": a few words between, no end of a clause.
_DENIED_BEFORE = re.compile(
    r"(?:\b(?:not(?!\s+only\b)|(?:any|every)thing\s+but|never|neither|nor|except|without|rather\s+than|instead\s+of|other\s+than|unlike|eliminated?|"
    r"excluded?|ruled?\s+out|nicht|kein|jamais|pas|nunca)|n't)\s+(?:(?!but\b|only\b)[^\W\d]+\s+){0,4}[\"'(*\[]*$",
    re.IGNORECASE,
)
_DENIED_AFTER = re.compile(
    r"[\"')*\]]*\s*(?:(?:is|was|are|were)(?:n't|\s+(?:\w+\s+)?(?:not|never))"
    r"(?=\s+(?:the|an?|it|correct|right|possible|valid|true|my|what)\b|\s*[.,;!]|\s*$)|"
    r"(?:is|was|are|were|would\s+be|seems)\s+(?:\w+\s+)?(?:wrong|incorrect|false|impossible|ruled\s+out|excluded|eliminated)\b|"
    r"can(?:not|'t|\s+not)\s+be\b|can\s+be\s+(?:excluded|eliminated|ruled\s+out)\b|[?]\s*(?:no|nope|never|(?:\w+\s+)?not)\b)",
    re.IGNORECASE,
)
_OR_BEFORE = re.compile(r"(?:^|[^(])\b(?:or|oder|ou|o)\s+[\"'(*]*$", re.IGNORECASE)
_OR_AFTER = re.compile(
    r"[\"')*]*\s*,?\s*\b(?:or|oder|ou)\s+(?!so\b|more\b|less\b|rather\b|in\s+other\b|simply\b)", re.IGNORECASE
)
_BETWEEN = re.compile(r"\s*(?:[;|/]|\n[-*•\s]*|,?\s+(?:and|or|und|et|y|e)\s+|,)\s*", re.IGNORECASE)
_STRONG = re.compile(r"[;|/\n]|\b(?:and|or|und|et)\b", re.IGNORECASE)
_SENTENCE_END = re.compile(r"(?<!\b[A-Z])(?<!\b(?:St|Mr|Dr|No|vs))(?<!\bMrs)[.!?](?=\s|$)|\n")
_TIGHT = re.compile(r"\s*([,;=()\[\]{}<>|+*/^])\s*")
_ITEM_WORDS = 5  # that one of several candidates has at most
# Separator, and how many items there are at least, of how many words at most, where all of a text is a list.
_LISTS = (
    (r"\s*;\s*|\s+\|\s+", 3, 15),
    (r",?\s+or\s+", 3, _ITEM_WORDS),
    (r",?\s+or\s+", 5, 15),
    (r"\s*,\s*", 6, _ITEM_WORDS),
    (r"\n", 6, 12),
)


def is_denied(text: str, start: int, end: int) -> bool:
    """Whether what stands at this stretch of a text is denied: "it is not X", "X can be excluded", "X? No"."""
    return bool(_DENIED_BEFORE.search(text, max(0, start - 60), start) or _DENIED_AFTER.match(text, end))


def lists_candidates(said: str) -> bool:
    """Whether a reply in lines, without an answer marker, is nothing but a list of candidates and picks none."""
    if after_markers(said):
        return False
    for separator, fewest, words in _LISTS:
        items = [item.strip() for item in re.split(separator, said.strip()) if re.search(r"\w", item)]
        if len(items) >= fewest and all(len(item.split()) <= words for item in items):
            # lines that are sentences are a text
            return separator != r"\n" or sum(item.endswith((".", ":", "!", "?")) for item in items) <= len(items) // 4
    return False


def names(gold: str, said: str) -> bool:
    """Whether a reply in lines gives the phrase, after its last answer marker if it has one.

    A list has to be there whole, whatever its blanks; a single letter in its own case.
    """
    segment, marked = _final(said)
    listed = re.search(r"[,;]", gold) is not None
    if not marked and not (listed and len(gold) > len(segment) / 2) and lists_candidates(segment):
        return False
    if len(gold) == 1:
        flat = segment.replace("\n", " ")
        if gold.isascii() and gold.isalpha():
            return letters((gold,), any_case=False).alone.search(unjoined(flat)) is not None
        return re.search(rf"(?<!\w){re.escape(gold)}(?!\w)", unjoined(flat, gold)) is not None
    if _TIGHT.search(gold):
        gold, segment = _TIGHT.sub(r"\1", gold), "\n".join(_TIGHT.sub(r"\1", line) for line in segment.split("\n"))
    lines = segment.casefold()
    segment = lines.replace("\n", " ")  # a phrase may go on in the next line
    stop = _first_clause(lines, phrase_spans(gold, segment)) if marked else len(segment)
    for start, end in phrase_spans(gold, segment):
        if start >= stop or is_denied(segment, start, end) or (listed and not _is_whole(gold, segment, start, end)):
            continue
        if not listed and _is_one_of_several(lines[:start] + segment[start:end] + lines[end:], start, end):
            continue
        return True
    return False


def _final(said: str) -> tuple[str, bool]:
    """The text behind the last answer marker that words follow, and whether there is one; else all of the text."""
    for part in own_part_first(said):
        for segment in after_markers(part):
            if re.search(r"\w", segment):
                return segment, True
        if re.search(r"\w", part):
            return part, False
    return said, False


def _first_clause(segment: str, spans: Sequence[tuple[int, int]]) -> int:
    """Where the first sentence with a word ends, not counting ends within the phrase itself ("St. Petersburg")."""
    for end in _SENTENCE_END.finditer(segment):
        inside = any(start < end.end() < stop for start, stop in spans)
        if re.search(r"\w", segment[: end.start()]) and not inside:
            return end.start()
    return len(segment)


def _is_whole(gold: str, text: str, start: int, end: int) -> bool:
    """Whether a list is not the part of a longer one: no further item of its kind on either side."""
    longest = max(map(len, re.split(r"[,;]", gold))) + 2
    after = re.match(rf"[,;]([^\s,;.]{{1,{longest}}})(?![^\s,;.)\]])", text[end:])
    before = re.search(rf"(?:^|[\s,;([])([^\s,;.:]{{1,{longest}}})[,;]$", text[:start])
    return not after and not before


def _is_one_of_several(text: str, start: int, end: int) -> bool:
    """Whether the phrase is one of the candidates that a reply lists, or stands beside an "or"."""
    if _OR_BEFORE.search(text, max(0, start - 12), start) or _OR_AFTER.match(text, end):
        return True
    begin, stop = _sentence_around(text, start, end)
    pieces = [piece.strip(" .:!\"'*()-") for piece in _BETWEEN.split(text[begin:stop])]
    items = [piece for piece in pieces if piece]
    if any(len(item.split()) > _ITEM_WORDS for item in items[1:]) or len(items) < 3:
        return False
    return len(items) >= 4 or _STRONG.search(text, begin, stop) is not None


def _sentence_around(text: str, start: int, end: int) -> tuple[int, int]:
    """The sentence, lines that are items of a list taken together, that holds this stretch."""
    ends = [found for found in re.finditer(r"[.!?](?=\s|$)", text) if not start <= found.start() < end]
    begin = max((found.end() for found in ends if found.end() <= start), default=0)
    return begin, min((found.start() for found in ends if found.start() >= end), default=len(text))
