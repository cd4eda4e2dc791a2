"""Scores of a result file: the published program's metric, with its faults, beside a strict one.

The published metrics (arXiv 2404.12715, section 4.1, as its evaluation scripts have them) keep one record per question
text, and their exact match drops articles, so that an empty prediction is right where the gold answer is "A". The
strict ones score every record by its place, compare numbers as numbers, and read choices as letters.
"""

import re
import string
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from swarm.errors import UserError
from swarm.maths.interval import Estimate, estimate
from swarm.programs.deepen.published_data import choices_of
from swarm.programs.deepen.translation import corpus_scores, sentence_bleu, sentence_chrf
from swarm.text.numbers import final_number
from swarm.text.picks import picked_key
from swarm.text.replies import one_line

Record = Mapping[str, Any]

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_UNSIGNED = re.compile(r"\d+(?:\.\d+)?")
_SPECIAL = re.compile(r"</?s>|<unk>|<\|[a-z_]+\|>")  # written out at the end of the published program's answers

_BY_QUESTION = "records of equal questions count once, the last of them"
_ARTICLE_FAULT = "articles are dropped, so that an empty prediction or 'the' is right where the gold answer is 'A'"
_LETTER_FAULT = "a gold answer that is no list is taken letter by letter"
_NUMBER_FAULTS = (
    "the sign is ignored",
    "a number of the prompt is taken where the answer has none",
    "numbers are compared as they are written: 18.0 is not 18",
)


@dataclass(frozen=True)
class Scores:
    """What a result file is worth.

    Attributes:
      published: by the published program's metric, over what it counts.
      strict: by ours, over all records.
      faults: what the published metric does that the strict one does not.
      fork: for choices, by the later program's metric (upper-case letters that are equal).
      corpus: of translations, BLEU and chrF of all of them together, 0 to 100, as papers have them.
    """

    published: Estimate
    strict: Estimate
    faults: tuple[str, ...]
    fork: Estimate | None = None
    corpus: Mapping[str, float] | None = None


@dataclass(frozen=True)
class PublishedMetric:
    """How one kind of task is scored.

    Attributes:
      published, strict: whether one record is right, or how much of it, 0 to 1.
      by_question: whether the published one counts equal questions once.
      faults: of the published one.
      fork: the later program's, where it differs.
    """

    published: Callable[[Record], float]
    strict: Callable[[Record], float]
    by_question: bool
    faults: tuple[str, ...]
    fork: Callable[[Record], float] | None = None
    corpus: Callable[[Sequence[Record]], Mapping[str, float]] | None = None


def score(task: str, records: Sequence[Record]) -> Scores:
    """Scores of all records of a task, with sizes and 95 % intervals.

    Raises UserError for an unknown task (those there are), for no records, and for one without a field that is needed.
    """
    if task not in TASKS:
        raise UserError(f"there is no task {task!r}; wanted one of {', '.join(TASKS)}")
    if not records:
        raise UserError("the result file has no record to score; run the config first")
    metric = TASKS[task]
    for place, record in enumerate(records):
        missing = [name for name in ("question", "answer", "prediction", "all", "model_answer") if name not in record]
        if missing:
            raise UserError(f"record {place} has no {', '.join(missing)}; wanted a result file of the published format")
    counted = list({record["question"]: record for record in records}.values()) if metric.by_question else records
    return Scores(
        _share(metric.published, counted),
        _share(metric.strict, records),
        metric.faults,
        _share(metric.fork, counted) if metric.fork else None,
        metric.corpus(records) if metric.corpus else None,
    )


def published_task(name: str) -> str:
    """The task that a path of data or results speaks of; UserError that lists the tasks where it speaks of none."""
    words = re.split(r"[^a-z0-9]+", name.lower())
    for hint, task in _HINTS.items():
        if hint in words or (hint in "".join(words) and len(hint) > 2):
            return task
    raise UserError(f"{name!r} does not say which task it is of; name one of {', '.join(TASKS)}")


def _share(right: Callable[[Record], float], records: Sequence[Record]) -> Estimate:
    return estimate([float(right(record)) for record in records])


def normalised(text: str, articles: bool = True) -> str:
    """A text for comparison: NFD, lower case, without punctuation, `articles` and runs of blanks."""
    text = unicodedata.normalize("NFD", text).lower().translate(_PUNCTUATION)
    return " ".join((_ARTICLES.sub(" ", text) if articles else text).split())


def published_exact(record: Record) -> bool:
    """Is the normalised prediction one of the normalised gold answers, a lone string taken letter by letter?"""
    prediction = normalised(record["prediction"])
    return any(normalised(gold) == prediction for gold in record["answer"])


def strict_exact(record: Record) -> bool:
    """Is the prediction one of the gold answers but for case, punctuation and articles?

    Articles and punctuation count where nothing else is left of the gold answer, and nothing is no answer.
    """
    return any(_same_words(record["prediction"], gold) for gold in _golds(record))


def _same_words(prediction: str, gold: str) -> bool:
    if normalised(gold):
        return normalised(prediction) == normalised(gold)
    if normalised(gold, articles=False):
        return normalised(prediction, articles=False) == normalised(gold, articles=False)
    return bool(gold.strip()) and prediction.strip() == gold.strip()


def published_number(record: Record) -> bool:
    """Is the last number of prompt and answer together written as the last one of the gold answer?"""
    return _last_written(record["all"]) == _last_written(_golds(record)[0]) is not None


def strict_number(record: Record) -> bool:
    """Is the number that the generated text ends up with the gold answer's?"""
    gold = final_number(one_line(_golds(record)[0]))
    return gold is not None and final_number(one_line(_generated(record))) == gold


def _last_written(text: str) -> str | None:
    numbers = _UNSIGNED.findall(text.replace(",", ""))
    return numbers[-1] if numbers else None


def strict_choice(record: Record) -> bool:
    """Is the choice that the generated text picks the right one?"""
    gold = _golds(record)[0].strip()
    letters = choices_of(record) or {letter: letter for letter in "ABCD"}
    return picked_key(_generated(record), letters | ({} if gold in letters else {gold: gold})) == gold


def fork_choice(record: Record) -> bool:
    """Is the prediction the gold letter, in upper case and without blanks around it?"""
    return bool(record["prediction"].strip().upper() == _golds(record)[0].strip().upper())


def _golds(record: Record) -> list[str]:
    """The gold answers; a lone string is one."""
    answer = record["answer"]
    return [answer] if isinstance(answer, str) else list(answer)


def _generated(record: Record) -> str:
    """What was generated, up to a special token that is written out in it."""
    answers = record["model_answer"]
    return _SPECIAL.split(answers[0] if isinstance(answers, list) and answers else str(answers or ""))[0]


_EXACT = PublishedMetric(published_exact, strict_exact, True, (_BY_QUESTION, _ARTICLE_FAULT, _LETTER_FAULT))
_NUMBER = PublishedMetric(published_number, strict_number, False, _NUMBER_FAULTS)
_CHOICE = PublishedMetric(
    published_exact, strict_choice, True, (_BY_QUESTION, _ARTICLE_FAULT, _LETTER_FAULT), fork_choice
)
_TRANSLATION = PublishedMetric(
    sentence_bleu, sentence_chrf, False, ("it is the mean of sentences' BLEU, while papers give that of the corpus",),
    corpus=corpus_scores,
)  # fmt: skip
TASKS = {"nq": _EXACT, "triviaqa": _EXACT, "gsm8k": _NUMBER, "piqa": _CHOICE, "arc_c": _CHOICE, "mmlu": _CHOICE,
         "translation": _TRANSLATION}  # fmt: skip
_HINTS = {
    "naturalquestions": "nq", "nq": "nq", "triviaqa": "triviaqa", "gsm": "gsm8k",
    "piqa": "piqa", "physicaliqa": "piqa", "arcc": "arc_c", "mmlu": "mmlu", "flores": "translation",
    "translation": "translation", "wmt": "translation",
}  # fmt: skip
