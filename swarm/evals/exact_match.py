"""Exact match: does the reply give the gold answer? For gsm8k, nlgraph, gaia and whatever has one short right answer.

Two scorers: `compat`, the published program's substring test, under which scores can be compared with its own, and
`strict`, which picks the final answer out of the reply and so cannot be won by a reply that holds every answer.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np

from swarm.engines.base import GenerationParams
from swarm.evals.base import USUAL, Dataset, Eval, Example, Judging
from swarm.system.messages import Query

_PUBLISHED = {
    "gsm8k": GenerationParams(max_new_tokens=100, chat=True),
    "nlgraph": GenerationParams(max_new_tokens=80, chat=True),
    "gaia": GenerationParams(max_new_tokens=50, chat=True),
}
_GSM8K_REQUEST = " Please end your response with 'The answer is'."

# "The answer is", "Answer:", "the answer to the question is", "\boxed{", gsm8k's own "####" where it opens no heading.
ANSWER_MARKER = re.compile(
    r"####(?=\s*[-$]?\d|\s*\S+$)|\\boxed\s*\{|"
    r"\banswers?\b[*_\"')]*(?:\s(?:to|for)\s[^.:?!]{1,80}?)?"
    r"(?:\s*[:=]|\s+(?:is|are|was|(?:would|should|must|will) be)\b(?!\s+not\b))",
    re.IGNORECASE,
)
_NUMBER = re.compile(
    r"(?:(?<![\w)\]])(?P<minus>-))?[$€£]?"
    r"(?P<digits>(?<![A-Za-z0-9_^])(?<![0-9]\.)(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?"
    r"|(?<![A-Za-z0-9_^.])\.[0-9]+)"
    r"(?:/(?P<under>[0-9]+))?"
)
# "16 -> 3 -> 19" or "16-3-19": the nodes of a path are not what the reply ends up with
_PATH = re.compile(r"(?<![\w.])\d+(?:\s*(?:->|→|=>|-)\s*\d+){2,}")
_STANDS_ALONE = re.compile(r"%?[*_)\]]*(?:\s*$|[.:](?:\s|$)|\s*\(|\s+[A-Z][a-z])")
_SENTENCE_END = re.compile(r"[.!?](?:\s|$)")
_PLAIN = str.maketrans("‘’“”−", "''\"\"-")
_OPPOSITES = (("yes", "no"), ("true", "false"))


class ExactMatch(Eval):
    """The share of examples whose gold answer the reply gives."""

    name = "exact_match"
    scorers = ("strict", "compat")

    def params(self, dataset: Dataset) -> GenerationParams:
        """How the published program generates for this dataset; the dataset's own settings come first.

        A dataset that it does not know gets 100 new tokens and the chat template: the longest answers that it allows
        under this eval, and the template that it uses for all of them.
        """
        own: dict[str, Any] = dict(dataset.generation)
        return replace(_PUBLISHED.get(dataset.name, USUAL), **own)

    def judge(self, dataset: Dataset, examples: Sequence[Example]) -> Judging:
        """Asks every question once; each scorer gives 1.0 or 0.0 per example."""
        prompts = [prompt(dataset, example) for example in examples]
        replies = yield [Query(text, example.chunks) for text, example in zip(prompts, examples, strict=True)]
        rows = list(zip(replies, examples, prompts, strict=True))
        return {
            "strict": np.array([strict(reply, example, asked) for reply, example, asked in rows], dtype=float),
            "compat": np.array([compat(reply, example, dataset.name) for reply, example, _ in rows], dtype=float),
        }

    def ballot(self, reply: str, example: Example) -> str | None:
        """The final number where the gold answer is one, yes or no (true or false) where it is that, else the text."""
        text, gold = without_echo(reply, example.question), one_line(example.answer).rstrip(".")
        if _NUMBER.fullmatch(gold.removesuffix("%")):
            number = _final_number(text)
            return None if number is None else str(number.normalize())
        for words in _OPPOSITES:
            if gold.casefold() in words:
                return final_word(text, words)
        return super().ballot((_after_markers(text) or [text])[0], example)


def prompt(dataset: Dataset, example: Example) -> str:
    """The question as it is put to the system; gsm8k's names the words to end with."""
    prefix = f"{dataset.prefix}\n" if dataset.prefix else ""
    return f"{prefix}{example.question}{_GSM8K_REQUEST if dataset.name == 'gsm8k' else ''}"


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
    gold = one_line(example.answer)
    gold = gold.rstrip(".") or gold
    if one_line(reply).casefold() in (gold.casefold(), f"{gold}.".casefold()):
        return True
    text = without_echo(reply, asked, example.question)
    number = _NUMBER.fullmatch(gold.removesuffix("%"))
    if number and (value := _value(number)) is not None:
        return _final_number(text) == value
    for words in _OPPOSITES:
        if gold.casefold() in words:
            return final_word(text, words) == gold.casefold()
    segments = [segment for segment in _after_markers(text) if re.search(r"\w", segment)]
    final = segments[0] if segments else text
    if len(gold) == 1:  # case counts, or the article "a" would be the answer "A"
        return re.search(rf"(?<!\w){re.escape(gold)}(?!\w)", final) is not None
    return bool(phrase_spans(gold, final))


def one_line(text: str) -> str:
    """The text with runs of blanks and line ends as one space, and with plain quotes and minus signs."""
    return " ".join(text.translate(_PLAIN).split())


def without_echo(reply: str, *asked: str) -> str:
    """The reply on one line, less every verbatim repetition of what was asked.

    Fewer than three words are not taken for an echo: an answer may well hold them.
    """
    reply = one_line(reply)
    for text in sorted(map(one_line, asked), key=len, reverse=True):
        if len(text.split()) >= 3:
            reply = reply.replace(text, " ")
    return reply


def phrase_spans(phrase: str, text: str) -> list[tuple[int, int]]:
    """Where the phrase stands in the text as whole words, in any case; in characters of the case-folded text.

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
    return phrase[0].isalnum() and bool(re.search(r"\w[-'’]?$", left))


def _joined_after(right: str, phrase: str) -> bool:
    """Does the phrase go on to the right, where these two characters stand?"""
    if phrase[-1].isdigit() and re.match(r"[.,:/]\d|\^", right):
        return True
    return phrase[-1].isalnum() and bool(re.match(r"[-'’]?\w", right))


def _after_markers(text: str) -> list[str]:
    """What follows each answer marker, up to the next one; the last marker first."""
    segments, end = [], len(text)
    for marker in reversed(list(ANSWER_MARKER.finditer(text))):
        segments.append(text[marker.end() : end])
        end = marker.start()
    return segments


def _final_number(text: str) -> Decimal | None:
    """The number that the text ends up with: the first after its last marker that has one, else the last of all.

    After "the answer is 3 * 5 = 15." it is the right side of the sum that counts.
    """
    for segment in _after_markers(text):
        sentence = _SENTENCE_END.split(segment, maxsplit=1)[0]
        left, right = (_numbers(side) for side in sentence.rpartition("=")[::2])
        turned_round = len(left) == 1 and len(right) > 1  # "15 = 3 * 5"
        found = (left if turned_round else right) or _numbers(segment)
        if found:
            return found[0]
    opening = _opening_number(text)
    found = _numbers(_PATH.sub(" ", text))
    return opening if opening is not None else found[-1] if found else None


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


def _numbers(text: str) -> list[Decimal]:
    """The numbers of a text in order; digits inside a word ("x2", "m^2") are none."""
    return [value for found in _NUMBER.finditer(text) if (value := _value(found)) is not None]


def _value(found: re.Match[str]) -> Decimal | None:
    """A written number's value, exact for decimals; None where it divides by zero."""
    value = Decimal(found["digits"].replace(",", ""))
    if found["under"]:
        under = Decimal(found["under"])
        if not under:
            return None
        value /= under
    return -value if found["minus"] else value


def final_word(text: str, words: tuple[str, str]) -> str | None:
    """Which of two opposite words the text settles on; None where it has neither, or both with none in front."""
    first, second = words
    pair = rf"(?<!\w)(?<!\w-)(?:{first}|{second})(?!\w)(?!-\w)"
    text = re.sub(rf"{pair}\s*(?:/|\bor\b|\band\b)\s*{pair}", " ", text.casefold())  # "yes or no" is no answer
    opening = re.match(rf"[\W_]*({pair})", text)
    if opening:
        return opening[1]
    for segment in _after_markers(text):
        found = re.search(pair, segment)
        if found:
            return found[0]
    found_words = set(re.findall(pair, text))
    return found_words.pop() if len(found_words) == 1 else None
