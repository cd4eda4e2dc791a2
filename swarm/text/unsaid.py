"""Parts of a reply that say nothing: questions, choices that a model makes up, a repetition that was cut short."""

import re
from collections.abc import Mapping

from swarm.text.replies import ANSWER_MARKER

_ASKING = re.compile(r"\b(?:how|what|which|who|whom|whose|where|when|why)\b", re.IGNORECASE)
_OFFERING = re.compile(r"\b(?:else|(?:can|may|could|shall|should)\s+(?:i|we)|about\s+you)\b", re.IGNORECASE)
_LABELLED = re.compile(r"[\s*_(\[-]*([A-Z])[*_]*\s?[.):\]][*_]*\s+(\S.*)")
_LABEL = re.compile(r"[\s*_(]*([A-Z])[*_.):]*")  # of a choice that was cut short
_CHOSEN = re.compile(r"[\s*_(\[\"':]*([A-Z])(?=[\s*_)\]\"'.,:;]|$)")
_LEAD_IN = re.compile(
    rf"[\s*_#:.]*(?:(?:the|my|final|correct)\s+){{0,3}}(?:(?:{ANSWER_MARKER.pattern}|answer|options?|choices?)[\s*_:]*)?",
    re.IGNORECASE,
)


def without_cut_repetition(lines: str) -> str:
    """The text less a last line that is the beginning of one that stands there several times: it was cut short."""
    earlier, _, last = lines.rpartition("\n")
    times = sum(line.startswith(last) and line != last for line in earlier.split("\n"))
    return earlier if last and times > 1 else lines


def without_questions(lines: str) -> str:
    """The text less lines that end by asking something ("How many are left?"), unless they name an answer, too.

    A model may repeat what it was asked in other words, or ask itself something: numbers in that are no answers.
    """
    if "?" not in lines:
        return lines
    return "\n".join(line for line in lines.split("\n") if not _asks(line))


def _asks(line: str) -> bool:
    if not line.rstrip("*_\"' ").endswith("?") or ANSWER_MARKER.search(line):
        return False
    sentence = max(line.rfind(mark, 0, -1) for mark in (". ", "! ", "? ")) + 1
    return _ASKING.search(line, sentence) is not None and not _OFFERING.search(line, sentence)


def lists_only(lines: str, choices: Mapping[str, str] | None = None) -> bool:
    """Whether a text is nothing but different lettered choices; with `choices`, nothing but some of these."""
    listed: dict[str, str] = {}
    for line in lines.split("\n"):
        if found := _LABELLED.match(line):
            label, text = found.groups()
            if choices is not None and choices.get(label, "").casefold() != text.casefold():
                return False
            listed[label] = text
        elif not _LEAD_IN.fullmatch(line) and not _is_cut_label(line, listed):
            return False
    return len(set(listed.values())) > 1


def _is_cut_label(line: str, listed: Mapping[str, str]) -> bool:
    """Whether a line is the label of a choice that was cut short, and no pick of one of those before it."""
    label = _LABEL.fullmatch(line)
    return label is not None and (label[1] not in listed or line.endswith(":"))


def own_choices(lines: str) -> dict[str, str]:
    """The lettered choices that a text has in lines of their own, such as those that a model makes up."""
    choices: dict[str, str] = {}
    for line in lines.split("\n"):
        if found := _LABELLED.match(line):
            choices.setdefault(found[1], found[2])
    return choices


def chosen(choices: Mapping[str, str], picked: str) -> str | None:
    """The text of the choice whose letter `picked` begins with; None where it begins with none."""
    letter = _CHOSEN.match(picked) if choices else None
    return choices.get(letter[1]) if letter else None
