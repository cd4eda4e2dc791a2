"""Exact match: does the reply give the gold answer? For gsm8k, nlgraph, gaia and whatever has one short right answer.

Two scorers: `compat`, the published program's substring test, under which scores can be compared with its own, and
`strict`, which picks the final answer out of the reply and so cannot be won by a reply that holds every answer.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from swarm.data.example import Dataset, Example
from swarm.engines.base import GenerationParams
from swarm.evals.eval import USUAL, Eval, Judging
from swarm.system.prompts import Query, written
from swarm.text.numbers import as_number, final_number
from swarm.text.phrases import lists_candidates, names
from swarm.text.replies import NO_LETTER, after_markers, one_line, own_part_first, own_text, unjoined
from swarm.text.thoughts import without_thoughts

_PUBLISHED = {
    "gsm8k": GenerationParams(max_new_tokens=100, chat=True),
    "nlgraph": GenerationParams(max_new_tokens=80, chat=True),
    "gaia": GenerationParams(max_new_tokens=50, chat=True),
}
_GSM8K_REQUEST = " Please end your response with 'The answer is'."

_OPPOSITES = (("yes", "no"), ("true", "false"))
_OPPOSITE = {"true": "false", "false": "true"}
_NEGATED = re.compile(r"(?:\b(?:not(?!\s+only\b)|never|cannot)|n't)\b[^.,;:!?]{0,40}?\b(true|false)\b", re.IGNORECASE)
# "no path", "no direct edge" say no less than "No, ..." does. What follows an answer is another clause or nothing.
_NO_WHAT = r"\s+(?!(?:there|it|because|since|as|the|this|that|these|they|we|you|node|not|but|and|or)\b)[a-z]"


class ExactMatch(Eval):
    """The share of examples whose gold answer the reply gives."""

    name = "exact_match"
    scorers = ("strict", "compat")

    def params(self, dataset: Dataset) -> GenerationParams:
        """The published program's generation parameters for this dataset; the dataset's own settings come first.

        A dataset that it does not know gets 100 new tokens and the chat template: the longest answers that it allows
        under this eval, and the template that it uses for all of them.
        """
        return dataset.settings(_PUBLISHED.get(dataset.name, USUAL))

    def judge(self, dataset: Dataset, examples: Sequence[Example]) -> Judging:
        """Asks every question once; each scorer gives 1.0 or 0.0 per example."""
        prompts = [exact_match_prompt(dataset, example) for example in examples]
        replies = yield [Query(text, example.chunks) for text, example in zip(prompts, examples, strict=True)]
        rows = list(zip(replies, examples, prompts, strict=True))
        return {
            "strict": np.array([strict(reply, example, asked) for reply, example, asked in rows], dtype=float),
            "compat": np.array([compat(reply, example, dataset.name) for reply, example, _ in rows], dtype=float),
        }

    def ballot(self, reply: str, example: Example) -> str | None:
        """The final number where the gold answer is one, yes or no (true or false) where it is that, else the text."""
        text, gold = own_text(written(reply), example.question), gold_of(example.answer)
        if as_number(gold) is not None:
            number = final_number(text)
            return None if number is None else str(number.normalize())
        for words in _OPPOSITES:
            if gold.casefold() in words:
                return final_word(text, words)
        return super().ballot((after_markers(own_part_first(text)[0]) or [text])[0], example)

    def readable(self, reply: str, example: Example) -> bool:
        """Whether there is a final number where the gold answer is one, yes or no where it is that, else any text."""
        said = written(reply)
        return _is_read(said, gold_of(example.answer), example.question if example.question[:20] in said else "")


@lru_cache(maxsize=4096)  # many replies are short, and most are there again and again
def _is_read(reply: str, gold: str, question: str) -> bool:
    said = own_text(reply, question)
    if as_number(gold) is not None:
        return final_number(said) is not None
    for words in _OPPOSITES:
        if gold.casefold() in words:
            return final_word(said, words) is not None
    return bool(said.strip())


def exact_match_prompt(dataset: Dataset, example: Example) -> str:
    """The question's prompt; gsm8k's names the words to end with."""
    return dataset.headed(f"{example.question}{_GSM8K_REQUEST if dataset.name == 'gsm8k' else ''}")


def compat(reply: str, example: Example, dataset_name: str) -> bool:
    """Does the gold answer occur anywhere in the reply, or for gsm8k in its last five space-separated words?

    The published rule, with its effects: "Node" holds the gold answer "No", "17" holds "7".
    """
    if dataset_name == "gsm8k":
        reply = " ".join(reply.split(" ")[-5:])
    return example.answer in reply


def strict(reply: str, example: Example, asked: str = "") -> bool:
    """Is the final answer that the reply gives the gold answer?

    A number is compared as a number; yes and no (true and false) by whole words that must not contradict each other;
    any other gold answer must stand in the reply, after its last answer marker if it has one, as a whole phrase.
    `asked` is the prompt: what a reply merely repeats of it, or of the question, does not count.
    """
    return gives_answer(written(reply), example.answer, example.question, asked)


@lru_cache(maxsize=4096)  # the systems of a step have many a reply in common
def gives_answer(reply: str, answer: str, question: str, asked: str) -> bool:
    """`strict` for the fields of an example."""
    gold = gold_of(answer)
    said = own_text(reply, asked, question)
    if one_line(without_thoughts(reply)).casefold() in (gold.casefold(), f"{gold}.".casefold()):
        return True
    value = as_number(gold)
    if value is not None:
        return final_number(said) == value
    for words in _OPPOSITES:
        if gold.casefold() in words:
            return not lists_candidates(said) and final_word(said, words) == gold.casefold()
    return names(gold, said)


@lru_cache(maxsize=4096)
def gold_of(answer: str) -> str:
    """The right answer itself: of a chain of thought as the hub's GSM8K has it, what stands behind its last "####"."""
    gold = one_line(answer.rpartition("####")[2] if "####" in answer else answer)
    return gold.rstrip(".") or gold


def final_word(text: str, words: tuple[str, str]) -> str | None:
    """The one of two opposite words that the text settles on; None where it has neither, or both with none in front.

    What stands before a "Question:" that the model asks itself comes first.
    """
    settled = (_settled_word(part.replace("\n", " "), words) for part in own_part_first(unjoined(text)))
    return next((word for word in settled if word is not None), None)


def _settled_word(text: str, words: tuple[str, str]) -> str | None:
    """The word that opens the text, follows its last answer marker or a "therefore", or is the only one of the two.

    The "no" of "no direct edge" counts where there is no other word.
    """
    either = rf"(?<!\w)(?<!\w-)(?i:{'|'.join(words)})(?!\w)(?!-\w)"
    text = _NEGATED.sub(lambda found: f" {_OPPOSITE[found[1].casefold()]} ", text)
    alone = rf"(?!(?i:no){_NO_WHAT}){either}"
    text = re.sub(rf"{either}\s*(?:/|\b(?i:or|and)\b)\s*{either}", " ", text)  # "yes or no" is no answer
    opening = re.match(rf"(?:[^\w{NO_LETTER}]|_)*({alone})", text)
    if opening:
        return opening[1].casefold()
    for segment in after_markers(text):
        found = re.search(alone, segment) or re.search(either, segment)
        if found:
            return found[0].casefold()
    concluded = re.findall(rf"\b(?i:therefore|thus|hence|so)\b,?\s+({alone})", text)
    if concluded:
        return str(concluded[-1]).casefold()
    for pattern in (alone, either):
        found_words = {str(word).casefold() for word in re.findall(pattern, text)}
        if found_words:
            return found_words.pop() if len(found_words) == 1 else None
    return None
