"""Picks of lettered choices, read out of replies."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from swarm.text.choices import Letters, letters
from swarm.text.phrases import is_denied
from swarm.text.replies import (
    ANSWER_MARKER,
    MARKER_BEGINNINGS,
    matches,
    one_line,
    own_part_first,
    own_text,
    phrase_spans,
    sentence_at,
    unjoined,
)
from swarm.text.unsaid import lists_only

# What a pick follows. Filler between it and the pick says nothing; "not" is no filler.
_PICK_MARKER = re.compile(
    rf"{ANSWER_MARKER.pattern}|\banswer\s+[-–—]\s+|"
    r"\b(?:option|choice|solution|verdict|conclusion|decision|selection|correction|pick|final)\s*:|\bans(?:\s*[:=]|\.\s)|"
    r"\b(?:that|which|this)\s+(?:only\s+)?leaves(?:\s+(?:us\s+with|only|just))?\b|"
    r"\b(?:correct|right|best)\s+(?:option|choice|one)\s*(?:is|would be|:)",
    re.IGNORECASE,
)
# One of these begins every marker that is in ASCII.
_PICK_BEGINNINGS = (
    *MARKER_BEGINNINGS, "option", "choice", "solution", "verdict", "conclusion", "decision", "selection", "correct",
    "pick", "final", "ans", "that", "which", "this", "right", "best",
)  # fmt: skip
_WEAK_BEGINNINGS = (
    "choose",
    "chose",
    "select",
    "pick",
    "go with",
    "it",
    "i think",
    "i believe",
    "i'd say",
    "i would say",
)
# Before a marker: what follows is doubted.
_DOUBTED = re.compile(
    r"(?:\b(?:not|never|hardly)|n't)\s+(?:think|believe|say|agree|see|feel)\b[^.;:!?]*$|\bdoubt\b[^.;:!?]*$", re.I
)
# What a pick follows too, but also what people would choose, or how a thing is.
_WEAK_MARKER = re.compile(
    r"(?<!not )(?<!n't )\b(?:choose|chose|select|pick|go with)\b|"
    r"\b(?:it is|it's|it must be|i think|i believe|i'd say|i would say)\b",
    re.IGNORECASE,
)
# How firm a statement is: the firmest come first in order.
_PLAIN, _WOULD_BE, _WEAK, _SUPPOSED = range(4)
_WOULD = re.compile(r"\bwould\b", re.IGNORECASE)
# In such a sentence it is something else that is spoken of, or someone else who speaks.
_SUPPOSING = re.compile(
    r"\b(?:if|unless)\b|\b(?:many|some|most|people|others|they|one|you)\s+(?:\w+\s+){0,2}(?:say|think|believe|argue|assume)\b",
    re.IGNORECASE,
)
_FILLER = re.compile(
    r"[\W_]*(?:(?:the|that|to|be|it|is|it's|option|choice|letter|answer|correct|right|best|one|most|likely|probably|"
    r"clearly|definitely|therefore|thus|indeed|text|textbf|mathrm|mathbf)\b[\W_]*)*",
    re.IGNORECASE,
)
_RIGHT = ("correct", "right", "yes", "true")
_JOINT = re.compile(r"\W*\b(?:or|and)\b\W*|\s*/\s*")
_DENIAL = re.compile(
    r"(?:\bnot|n't|\bneither|\bnor|\bexcept|\bthan|\binstead of|\bcannot)\s+(?:be\s+)?"
    r"(?:(?:option|choice|answer)\s+)?\W?$",
    re.IGNORECASE,
)


def without_list(text: str, choices: Mapping[str, str]) -> str:
    """The text less a list of the choices; a single choice with its text ("B: no") is no list."""
    pieces = [piece for key, choice in choices.items() for mark in ":.)" if (piece := f"{key}{mark} {choice}") in text]
    for piece in pieces if len(pieces) > 1 else ():
        text = text.replace(piece, " ", 1)
    return text


@dataclass(frozen=True)
class PickReader:
    """Reads picks out of a text on one line.

    Attributes:
      letters: the keys' patterns.
      texts: key -> text of the choices that differ from a key.
    """

    letters: Letters
    texts: Mapping[str, str]

    def stated(self, text: str, plainly: bool = False) -> str | None:
        """The pick of the last of the firmest statements; with `plainly`, of those without ifs and buts alone."""
        picks = [
            (_WOULD_BE if _WOULD.search(found[0]) else _PLAIN, found.start(), found[1]) for found in self._praised(text)
        ]
        for pattern, beginnings, firmness in (
            (_PICK_MARKER, _PICK_BEGINNINGS, _PLAIN),
            (_WEAK_MARKER, _WEAK_BEGINNINGS, _WEAK),
        ):
            for marker in matches(pattern, text, beginnings):
                picked = self._picked(text, marker.end())
                if picked is not None and not _DOUBTED.search(text, max(0, marker.start() - 60), marker.start()):
                    would = firmness == _PLAIN and _WOULD.search(marker[0])
                    picks.append((_WOULD_BE if would else firmness, marker.start(), picked))
        ranked = [
            (-_SUPPOSED if _SUPPOSING.search(sentence_at(text, start)) else -firmness, start, key)
            for firmness, start, key in picks
        ]
        firmest = max(ranked, default=None)
        return firmest[2] if firmest and (firmest[0] == -_PLAIN or not plainly) else None

    def judged(self, text: str) -> str | None:
        """The only key that is called right where two or more are judged one by one ("A) Incorrect. B) Correct.")."""
        if {choice.casefold() for choice in self.texts.values()} & {*_RIGHT, "no", "false"}:
            return None  # "A: yes" is a choice
        verdicts: dict[str, bool] = {}
        for found in self.letters.judged.finditer(text):
            verdicts.setdefault(found[1], found[2].casefold() in _RIGHT)
        right = [key for key, verdict in verdicts.items() if verdict]
        return right[0] if len(verdicts) > 1 and len(right) == 1 else None

    def alone_in_line(self, lines: str) -> str | None:
        """The key that is all of the first of several lines, with or without its text."""
        first, _, rest = lines.partition("\n")
        found = re.fullmatch(r"[\W_]*(\w+)[\W_]*(.*?)[\W_]*", first)
        if not rest or not found or found[1] not in self.letters.keys:
            return None
        text = self.texts.get(found[1], "").casefold()
        others = {line.strip(" .:)(*-•") for line in rest.split("\n")} & set(self.letters.keys)
        return found[1] if (not found[2] or found[2].casefold() == text) and others <= {found[1]} else None

    def only_option(self, text: str) -> str | None:
        """The only "option B"."""
        return self._only(self.letters.option, self._bare(text), group=1)

    def opening(self, text: str) -> str | None:
        """The key that the text opens with as a pick, unless it belongs to a choice's text ("B. F. Skinner")."""
        start = re.match(r"[\W_]*", text)
        found = self.letters.opening.match(unjoined(text, self.letters.keys), start.end() if start else 0)
        if not found or self._leading_text(text) is not None or self._enumerates(text, found):
            return None
        if is_denied(text, *found.span()):
            return None
        return self.letters.key(found[0])

    def only_text(self, text: str) -> str | None:
        """The choice whose text alone stands in the text, not counting texts inside longer ones."""
        spans = {key: [span for span in phrase_spans(choice, text) if not is_denied(text.casefold(), *span)]
                 for key, choice in self.texts.items()}  # fmt: skip
        every = [span for found in spans.values() for span in found]
        keys = [key for key, found in spans.items() if any(not _inside(span, every) for span in found)]
        return keys[0] if len(keys) == 1 else None

    def only_key(self, text: str) -> str | None:
        """The only key that stands in the text as a letter and is not ruled out there."""
        return self._only(self.letters.alone, self._bare(text))

    def _enumerates(self, text: str, opening: re.Match[str]) -> bool:
        """Does the text open with the first key, to come to the second in the same form ("A. It is ... B. It is")?"""
        mark = text[opening.end() : opening.end() + 1]
        if len(self.letters.keys) < 2 or mark not in (".", ":", ")") or opening[0] != self.letters.keys[0]:
            return False
        return re.search(rf"[.,;:!?]\s+\(?{re.escape(self.letters.keys[1] + mark)}\s", text) is not None

    def _praised(self, text: str) -> list[re.Match[str]]:
        """Each "B is correct", "B: its text is correct" and "therefore B."."""
        for key, choice in self.texts.items():
            for mark in ":.)":
                text = text.replace(f"{key}{mark} {choice}", key + " " * (len(choice) + 2))
        bare = self._bare(text)
        praised = [
            found
            for found in self.letters.praised.finditer(bare)
            if not _DENIAL.search(bare, max(0, found.start() - 30), found.start())
        ]
        return [*praised, *self.letters.concluded.finditer(bare)]

    def _bare(self, text: str) -> str:
        """The text, as long as before, less the choice texts that hold letters themselves ("Both A and B")."""
        lettered = [choice for choice in self.texts.values() if self.letters.alone.search(choice)]
        for choice in sorted(lettered, key=len, reverse=True):
            text = re.sub(re.escape(choice), lambda found: "_" * len(found[0]), text, flags=re.IGNORECASE)
        return unjoined(text, self.letters.keys)

    def _only(self, pattern: re.Pattern[str], text: str, group: int = 0) -> str | None:
        """The one key that the pattern finds, leaving out those that are denied."""
        keys = {
            found[group]
            for found in pattern.finditer(text)
            if not self.letters.denied.match(text, found.end())
            and not _DENIAL.search(text, max(0, found.start() - 30), found.start())
            and not is_denied(text, *found.span(group))
        }
        return keys.pop() if len(keys) == 1 else None

    def _picked(self, text: str, start: int) -> str | None:
        """The choice that is named from `start` on, by its text or its key."""
        reach = 100 + 2 * max(map(len, self.texts.values()), default=0)  # filler, a choice, "or" and another
        text = text[start : start + reach]
        key = self._leading_text(text)
        if key is not None:
            return key
        filler = _FILLER.match(text)
        found = self.letters.picked.match(unjoined(text, self.letters.keys), filler.end() if filler else 0)
        return self.letters.key(found[0]) if found else None

    def _leading_text(self, text: str) -> str | None:
        """The choice with the longest text that the text begins with, filler aside; none of "yes or no"."""
        text = text.casefold()
        spans = [(*span, key) for key, choice in self.texts.items() for span in phrase_spans(choice, text)]
        leading = [(end, key) for start, end, key in spans if _FILLER.fullmatch(text, 0, start)]
        if not leading:
            return None
        end, key = max(leading)
        another = _JOINT.match(text, end)
        alike = sum(end == other for other, _ in leading) > 1  # two choices with one text
        return None if alike or (another and any(start == another.end() for start, _, _ in spans)) else key


def picked_key(reply: str, choices: Mapping[str, str], asked: Sequence[str] = ()) -> str | None:
    """The one choice that a reply picks, or None where it picks none or several.

    In this order: the only one that is called right where several are judged ("A: no, B: yes"), a plain statement ("the
    answer is B", "B is correct", "therefore B."; the last one counts), a key alone in the first line, a key at the
    start ("B. Because"), any other statement ("I think B"; last what would be if), the only "option B", the
    only choice text in the reply, the only key in the reply. `asked` holds texts, such as the prompt, that the reply
    may repeat without saying anything. A model may go on with a question of its own; so what stands before the next
    "Question:" is read first, and all of it only where that says nothing.
    """
    own_keys = {one_line(key) or key: key for key in choices}
    choices = {key: one_line(choices[own]) for key, own in own_keys.items()}
    names = {key.lower() for key in choices}
    texts = {key: text for key, raw in choices.items() if (text := raw.rstrip(".;, ")).lower() not in names}
    any_case = len(names) == len(choices) == len(texts)
    reader = PickReader(letters(tuple(choices), any_case), {key: text for key, text in texts.items() if text})
    for lines in own_part_first(own_text(reply, *asked)):
        part = lines.replace("\n", " ")
        rest = without_list(part, choices)
        picked = reader.judged(part)
        if picked is None and lists_only(lines, choices):
            continue
        picked = (
            picked
            or reader.stated(part, plainly=True)
            or reader.alone_in_line(lines)
            or reader.opening(rest)
            or reader.stated(part)
            or reader.only_option(part)
            or reader.only_text(rest)
            or reader.only_key(rest)
        )
        if picked is not None:
            return own_keys[picked]
    return None


def _inside(span: tuple[int, int], others: Sequence[tuple[int, int]]) -> bool:
    """Is this stretch of text part of a longer one?"""
    start, end = span
    return any(left <= start and end <= right and right - left > end - start for left, right in others)
