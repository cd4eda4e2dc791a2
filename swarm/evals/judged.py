"""Answers in free text, rated by a judge model against the right one: for ltp, qasper and others alike."""

from collections.abc import Sequence

import numpy as np

from swarm.data.example import Dataset, Example
from swarm.engines.base import GenerationParams
from swarm.evals.eval import Eval, Judging, query_of
from swarm.evals.judges.judge import Judge
from swarm.text.ratings import read_rating

_PUBLISHED = GenerationParams(max_new_tokens=200, chat=True)
_STRICTER = 'Reply with "Rating: ?/10" and nothing else, where ? is a whole number from 1 to 10.'


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
        """Asks every question once, and the judge about every reply; NaN for a refused one that is skipped."""
        replies = yield [query_of(dataset, example) for example in examples]
        golds = [" | ".join(example.golds) for example in examples]
        questions = [judge_prompt(gold, text) for gold, text in zip(golds, replies, strict=True)]
        missing = np.nan if self.rater.on_refusal == "skip" else self.lowest
        read = self.rater.ask(questions, read_rating, _STRICTER)
        ratings = np.array([missing if rating is None else rating for rating in read], dtype=float)
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
