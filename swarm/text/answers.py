"""The final answer of a reply, set beside a right answer: a number, one of two opposite words, or a text."""

import re
from dataclasses import dataclass
from functools import lru_cache

from swarm.text.numbers import as_number, final_number
from swarm.text.phrases import lists_candidates, names
from swarm.text.replies import (
    NO_LETTER,
    after_markers,
    has_any,
    matches,
    one_line,
    own_part_first,
    own_text,
    unjoined,
)
from swarm.text.thoughts import without_thoughts
from swarm.text.unsaid import lists_only, without_cut_repetition, without_questions

OPPOSITES = (("yes", "no"), ("true", "false"))
_OPPOSITE = {"true": "false", "false": "true"}
_NEGATED = re.compile(r"(?:\b(?:not(?!\s+only\b)|never|cannot)|n't)\b[^.,;:!?]{0,40}?\b(true|false)\b", re.IGNORECASE)
_THE_ANSWER = "the answer is"
_CHAIN_END = re.compile(r":?\s+([$€£]?-?[\d.,/]*\d%?)\s?\.?\s*")
_CONCLUDING = ("therefore", "thus", "hence", "so")
# "no path", "no direct edge" say no less than "No, ..." does. What follows an answer is another clause or nothing.
_NO_WHAT = r"\s+(?!(?:there|it|because|since|as|the|this|that|these|they|we|you|node|not|but|and|or)\b)[a-z]"


@lru_cache(maxsize=4096)  # the systems of a step have many a reply in common
def gives_answer(reply: str, answer: str, question: str, asked: str) -> bool:
    """Is the final answer that the reply gives the right one?

    A number is compared as a number; yes and no (true and false) by whole words that must not contradict each other;
    any other right answer must stand in the reply, after its last answer marker if it has one, as a whole phrase.
    What the reply merely repeats of `asked`, its prompt, or of the question, does not count.
    """
    gold = gold_of(answer)
    said = own_text(reply, asked, question)
    if one_line(without_thoughts(reply)).casefold() in (gold.casefold(), f"{gold}.".casefold()):
        return True
    value = as_number(gold)
    if value is not None:
        return final_number(said) == value
    for words in OPPOSITES:
        if gold.casefold() in words:
            return not lists_candidates(said) and final_word(said, words) == gold.casefold()
    return names(gold, said)


@lru_cache(maxsize=4096)
def gold_of(answer: str) -> str:
    """The right answer itself, of a chain of thought what it ends with.

    That stands behind the last "####", as the hub's GSM8K has it, or is a number behind "the answer is" at the end of
    several sentences.
    """
    if "####" in answer:
        answer = answer.rpartition("####")[2]
    elif (start := answer.casefold().rfind(_THE_ANSWER)) > 0 and re.search(r"[.!?\n]", answer[:start]):
        end = _CHAIN_END.fullmatch(answer, start + len(_THE_ANSWER))
        answer = end[1] if end else answer
    gold = one_line(answer)
    return gold.rstrip(".") or gold


def final_word(text: str, words: tuple[str, str]) -> str | None:
    """The one of two opposite words that the text settles on; None where it has neither, or both with none in front.

    What stands before a "Question:" that the model asks itself comes first.
    """
    for part in own_part_first(without_cut_repetition(unjoined(text))):
        stated = "" if lists_only(part) else without_questions(part)
        word = _settled_word(stated.replace("\n", " "), words)
        if word is not None:
            return word
    return None


@dataclass(frozen=True)
class _Opposites:
    """Patterns of two opposite words as they stand in a text."""

    words: tuple[str, str]
    either: re.Pattern[str]
    alone: re.Pattern[str]  # not the "no" of "no direct edge"
    offered: re.Pattern[str]  # "yes or no"
    opening: re.Pattern[str]
    concluded: re.Pattern[str]


@lru_cache(maxsize=8)
def _opposites(words: tuple[str, str]) -> _Opposites:
    either = rf"(?<!\w)(?<!\w-)(?i:{'|'.join(words)})(?!\w)(?!-\w)"
    alone = rf"(?!(?i:no){_NO_WHAT}){either}"
    return _Opposites(
        words,
        either=re.compile(either),
        alone=re.compile(alone),
        offered=re.compile(rf"{either}\s*(?:/|\b(?i:or|and)\b)\s*{either}"),
        opening=re.compile(rf"(?:[^\w{NO_LETTER}]|_)*({alone})"),
        concluded=re.compile(rf"\b(?i:therefore|thus|hence|so)\b,?\s+({alone})"),
    )


def _settled_word(text: str, words: tuple[str, str]) -> str | None:
    """The word that opens the text, follows its last answer marker or a "therefore", or is the only one of the two.

    The "no" of "no direct edge" counts where there is no other word.
    """
    told = _opposites(words)
    if not has_any(text.casefold(), words):
        return None
    if words[0] in _OPPOSITE:
        text = _NEGATED.sub(lambda found: f" {_OPPOSITE[found[1].casefold()]} ", text)
    if len(list(matches(told.either, text, words))) > 1:
        text = told.offered.sub(" ", text)  # "yes or no" is no answer
    said = _words_of(told.either, text, words)
    if said and not re.search(r"\w", told.either.sub("", text)):  # nothing but "yes no yes"
        return said.pop() if len(said) == 1 else None
    if opening := told.opening.match(text):
        return opening[1].casefold()
    for segment in after_markers(text):
        found = next(matches(told.alone, segment, words), None) or next(matches(told.either, segment, words), None)
        if found:
            return found[0].casefold()
    concluded = [found[1] for found in matches(told.concluded, text, _CONCLUDING)]
    if concluded:
        return str(concluded[-1]).casefold()
    only = _words_of(told.alone, text, words) or said
    return only.pop() if len(only) == 1 else None


def _words_of(pattern: re.Pattern[str], text: str, words: tuple[str, str]) -> set[str]:
    return {found[0].casefold() for found in matches(pattern, text, words)}


@lru_cache(maxsize=4096)  # many replies are short, and most are there again and again
def is_read(reply: str, gold: str, question: str) -> bool:
    """Is a final answer of the gold answer's kind found in the reply, right or wrong?"""
    said = own_text(reply, question)
    if as_number(gold) is not None:
        return final_number(said) is not None
    for words in OPPOSITES:
        if gold.casefold() in words:
            return final_word(said, words) is not None
    return bool(said.strip())
