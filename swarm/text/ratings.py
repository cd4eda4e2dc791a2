"""Ratings as judges give them: fractions, words, stars, JSON, tables, other scales, with or without a report."""

import json
import re
from collections.abc import Iterator
from typing import Any

from swarm.text.replies import lined
from swarm.text.thoughts import without_answer_tags, without_thoughts
from swarm.text.written_numbers import plain_numbers

_NAMES = (
    r"rating|score|grade|overall|total|verdict|evaluation|similarity|bewertung|note|punktzahl|gesamtbewertung|puntuación|"
    r"puntaje|calificación|valoración|nota|pontuação|avaliação|évaluation|voto|valutazione|оценка|рейтинг|评分|得分|分数|評価|点数|"
    r"평점|점수|평가|beoordeling|cijfer|ocena|alama|রেটিং"
)
# "Rating:", "**Rating** (1-10) =", "the rating is", "a rating of"
_MARKER = re.compile(
    rf"(?<![^\W_])(?:{_NAMES})(?![^\W_])[\s*_\"'`|]{{0,12}}(?:\([^)\n]{{0,40}}\)[\s*_\"'`|]{{0,12}})?"
    r"(?:[:=]|\bis\b|\bof\b|\bwould\s+be\b|\bist\b|\bes\b|\best\b|\bvon\b|\bde\b|[-–—](?=\s))",
    re.IGNORECASE,
)
_LEAD = re.compile(
    r"[\s*_\"'`\[({$|:<]{0,12}(?:\\boxed\s?\{)?(?:(?:about|approximately|around|roughly|circa|ca\.|an?|~|etwa|environ|unos)\s*)?"
    r"[*_\"'`\[({$]{0,6}",
    re.IGNORECASE,
)
_SCALE = r"(?:\s*(?:/|out\s+of|von|sur|sobre|de|из|su|分?中)\s*|\s*\\/\s*)"
_RATED = re.compile(
    rf"(?P<number>\d{{1,4}}(?:\.\d{{1,4}})?)[*_]{{0,3}}(?:(?:{_SCALE})[*_]{{0,3}}(?P<scale>\d{{1,4}}))?(?P<percent>\s?%)?"
    r"(?![\d%]|[.,/]\d|\s?(?:-|–|\bto\b)\s?\d)",
    re.IGNORECASE,
)
_RANGED = re.compile(r"\d{1,4}(?:\.\d{1,4})?\s?(?:-|–|\bto\b)\s?\d")
_CLAUSE_END = re.compile(r"[*_)\]\"'`]*(?:\s*$|\s*[.,;:!\n–—-]|\s+(?:because|since|as|for|due|given|from)\b)")
_STARS = re.compile(r"(?P<full>[★⭐]{1,10})(?P<empty>☆{0,10})")
_NO_RATING = re.compile(r"[\s*_]*[?_xXNn]\s*/\s*\d")  # "?/10", as the question has it
_SCALES = (3, 4, 5, 6, 7, 10, 20, 50, 100)
_JSON_KEYS = re.compile(rf"^(?:overall|final)?[\s_-]*(?:{_NAMES})$", re.IGNORECASE)
_NUMBER_WORDS = {word: str(index) for index, word in
                 enumerate("one two three four five six seven eight nine ten".split(), start=1)}  # fmt: skip
_WORD = re.compile(rf"\b(?:{'|'.join(_NUMBER_WORDS)})\b", re.IGNORECASE)
_MOST_JSON = 20_000  # characters of JSON that are read; what a judge was asked for has thirty


def read_rating(text: str) -> int | None:
    """The rating that a judge gives, a whole number from 1 to 10; None where it gives none, several, or a range.

    What the judge thinks before is passed over. In this order: what a JSON object says; a text that is a rating, or
    begins with one; the last "Rating:" that begins a line, the one of a table, the last in a line; the only fraction.
    Other scales are carried over (4/5 is 8, 80 % is 8), and a broken rating is rounded down: 8.5 has not reached 9.
    """
    said = lined(without_answer_tags(without_thoughts(text)))
    found = _from_json(said)
    if found is not None:
        return _whole(found)
    plain = plain_numbers(said)
    for read in (_opening, _line_markers, _table, _inline_markers, _only_fraction):
        for value in read(plain):
            return _whole(value)
    return None


def _whole(value: float) -> int | None:
    return int(value) if 1 <= value <= 10 else None


def _value(text: str, start: int = 0) -> float | None:
    """The rating from `start` on, on a scale of ten; NaN for what is none, None where there is no number at all."""
    lead = _LEAD.match(text, start)
    at = lead.end() if lead else start
    if _WORD.match(text, at):  # "eight out of ten"
        text, at = _WORD.sub(lambda word: _NUMBER_WORDS[word[0].lower()], text[at : at + 40]), 0
    if text[max(at - 1, 0) : at] in ("-", "–"):
        return float("nan")
    if stars := _STARS.match(text, at):
        full, empty = len(stars["full"]), len(stars["empty"])
        return 10 * full / max(full + empty, 5)
    if _RANGED.match(text, at):
        return float("nan")
    found = _RATED.match(text, at)
    if not found:
        return float("nan") if text[at : at + 1].isdigit() else None
    number, scale = float(found["number"]), int(found["scale"] or 0)
    if found["percent"] and not scale:
        return number / 10
    if scale and (scale not in _SCALES or number > scale):
        return float("nan")
    return number * 10 / scale if scale else number


def _opening(text: str) -> Iterator[float]:
    """A text that is a rating, or begins with one: "8", "8/10 since ...", "8 - same city"."""
    first, _, rest = text.partition("\n")
    lead = _LEAD.match(first)
    at = lead.end() if lead else 0
    found = _RATED.match(first, at) or _STARS.match(first, at)
    if not found or _RANGED.match(first, at):
        return
    after = first[found.end() :].lstrip(" *_\"'`])}$")
    scaled = "scale" not in found.groupdict() or found["scale"]
    listed = re.match(r"[.)]\s", first[found.end() :]) is not None and (after.strip(" .") != "" or rest != "")
    if (
        (value := _value(first)) is not None
        and (scaled or not after.strip(" .!") or after[0] in "-–—:;,")
        and not (listed and not scaled)
    ):
        yield value


def _line_markers(text: str) -> Iterator[float]:
    """The ratings behind markers that begin a line, or are all of the line before; the last one first."""
    lines = text.split("\n")
    for index in range(len(lines) - 1, -1, -1):
        found = _MARKER.match(lines[index], len(lines[index]) - len(lines[index].lstrip("#*_>-| \"'`")))
        head = re.match(r"[#*_>\s\"'`-]*(?:(?:my|final|overall|the|total)\s+){0,2}", lines[index], re.IGNORECASE)
        found = found or (_MARKER.match(lines[index], head.end()) if head else None)
        if found:
            if _NO_RATING.match(lines[index], found.end()):
                continue
            value = _value(lines[index], found.end())
            if value is None and not lines[index][found.end() :].strip(" *_") and index + 1 < len(lines):
                value = _value(lines[index + 1])
        else:
            bare = re.fullmatch(
                rf"[#*_\s]*(?:(?:final|overall|my)\s+)?(?:{_NAMES})[*_\s:]*", lines[index], re.IGNORECASE
            )
            value = _value(lines[index + 1]) if bare and index + 1 < len(lines) else None
        if value is not None:
            yield value


def _table(text: str) -> Iterator[float]:
    """The rating in the first row of a table that has a column of that name."""
    lines = text.split("\n")
    for index, line in enumerate(lines):
        cells = [cell.strip(" *_") for cell in line.strip("| ").split("|")]
        columns = [number for number, cell in enumerate(cells) if re.fullmatch(_NAMES, cell, re.IGNORECASE)]
        if "|" not in line or not columns:
            continue
        for row in lines[index + 1 :]:
            found = [cell.strip() for cell in row.strip("| ").split("|")]
            if len(found) > columns[0] and (value := _value(found[columns[0]])) is not None:
                yield value
                return


def _inline_markers(text: str) -> Iterator[float]:
    """The ratings behind markers anywhere; the last one first."""
    for marker in reversed(list(_MARKER.finditer(text))):
        if not _NO_RATING.match(text, marker.end()) and (value := _value(text, marker.end())) is not None:
            yield value


def _only_fraction(text: str) -> Iterator[float]:
    """The only fraction on one of the scales, of no thing that is counted; not where a marker says something else."""
    if any(not _NO_RATING.match(text, marker.end()) for marker in _MARKER.finditer(text)):
        return
    fractions = (found for found in _RATED.finditer(text) if found["scale"] and _CLAUSE_END.match(text, found.end()))
    values = {_value(text, found.start()) for found in fractions}
    known = {value for value in values if value is not None and value == value}
    if len(known) == 1:
        yield known.pop()


def _from_json(text: str) -> float | None:
    """The rating that a JSON object in the text has; NaN where it is none; None where there is no object."""
    start, stop = text.find("{"), text.rfind("}")
    if start < 0 or stop < start or stop - start > _MOST_JSON or text[start - 6 : start] == "\\boxed":
        return None
    try:
        record = json.loads(text[start : stop + 1])
    except (ValueError, RecursionError):
        return None
    return next(_of_record(record), None) if isinstance(record, dict) else None


def _of_record(record: dict[str, Any]) -> Iterator[float]:
    for name, value in record.items():
        if not _JSON_KEYS.match(str(name)) or isinstance(value, bool):
            continue
        if isinstance(value, int | float):
            yield float(value) if abs(value) < 1e6 else float("nan")
        elif isinstance(value, str) and (found := _value(plain_numbers(value))) is not None:
            yield found
