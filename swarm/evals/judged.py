"""Answers in free text, rated by a judge model against the right one: for ltp, qasper and others alike."""

import re
from collections.abc import Sequence

import numpy as np

from swarm.data.example import Dataset, Example
from swarm.engines.base import GenerationParams
from swarm.evals.eval import Eval, Judging
from swarm.evals.judges.judge import Judge
from swarm.system.prompts import Query

_PUBLISHED = GenerationParams(max_new_tokens=200, chat=True)
_STRICTER = 'Reply with "Rating: ?/10" and nothing else, where ? is a whole number from 1 to 10.'

_THOUGHTS = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
_MARKER = re.compile(r"\brating\b[\s*_\"']*(?:\([^)]*\))?[\s*_\"']*(?::|=|\bis\b)", re.IGNORECASE)
# 8, 8.5, 8/10, 8 out of 10; not 8/5, 7-8, 8% or 1,000
_RATING = re.compile(
    r"[\s*_\"'\[(]*(?P<number>\d+)(?:\.\d+)?(?P<scale>[\s*_]*(?:/|out of)[\s*_]*10)?"
    r"(?![\d%/]|[.,]\d|\s*(?:/|-|–|to\b)\s*\d)",
    re.IGNORECASE,
)


class GeminiMatch(Eval):
    """The mean rating, from 1 to 10, of how similar a reply is to the right answer.

    Both scorers are the rating: the published program stops where it cannot read one, and has no milder rule.
    """

    name = "gemini_match"
    scorers = ("strict", "compat")
    lowest = 1.0
    highest = 10.0
    judge_calls = 1

    def __init__(self, judge: Judge):
        self.rater: Judge = judge

    def params(self, dataset: Dataset) -> GenerationParams:
        """The published program's generation parameters; the dataset's own settings come first."""
        return dataset.settings(_PUBLISHED)

    def judge(self, dataset: Dataset, examples: Sequence[Example]) -> Judging:
        """Asks every question once, and the judge about every reply."""
        replies = yield [Query(dataset.headed(example.question), example.chunks) for example in examples]
        questions = [judge_prompt(example.answer, text) for example, text in zip(examples, replies, strict=True)]
        ratings = np.array(self.rater.ask(questions, read_rating, _STRICTER), dtype=float)
        return {"strict": ratings, "compat": ratings}

    def ballot(self, reply: str, example: Example) -> str | None:
        """None: free texts are never equal, so there is nothing to vote on."""
        return None

    def readable(self, reply: str, example: Example) -> bool:
        """Whether there is a text, which a judge can rate."""
        return bool(reply.strip())


def judge_prompt(truth: str, reply: str) -> str:
    """The judge's prompt about one reply."""
    return (
        "Rate how similar the generated response is to the ground truth, on a scale from 1 (nothing in common) to 10 "
        '(the same content). Please respond with "Rating: ?/10" first and then provide your reason.\n'
        f"Ground truth: {truth}\n"
        f"Generated response: {reply}"
    )


def read_rating(text: str) -> int | None:
    """The rating that a judge gives, a whole number from 1 to 10; None where it gives none.

    It is an "8/10" that the text begins with, or a number that is all of the text, or what follows the first "Rating:"
    (also bold, "Rating (1-10):", "the rating is"): never a number out of the reason. What a model thinks between
    <think> tags is passed over. A broken rating is rounded down: 8.5 has not reached 9.
    """
    text = _THOUGHTS.sub("", text).strip()
    found = _RATING.match(text)
    if not found or not (found["scale"] or not text[found.end() :].strip(" *_.\"')]")):
        marker = _MARKER.search(text)
        found = _RATING.match(text, marker.end()) if marker else None
    rating = int(found["number"]) if found else 0
    return rating if 1 <= rating <= 10 else None
