"""The interface of evals: examples become queries, a system's answers become scores."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence

import numpy as np

from swarm.data.example import Dataset, Example
from swarm.engines.base import GenerationParams
from swarm.errors import UserError
from swarm.evals.judges.budget import NO_WORK, JudgeUsage
from swarm.evals.judges.judge import Judge
from swarm.maths.interval import Estimate, estimate
from swarm.system.prompts import Query

USUAL = GenerationParams(max_new_tokens=100, chat=True)  # the published program's most common setting

Judgement = dict[str, np.ndarray]
"""Scorer name -> one score per example, shape (examples,), higher is better.

"strict" is what a search maximises by default; the published program's evals also fill "compat", its own scorer. NaN
is for an example that a judge refuses, where such examples are skipped.
"""

Judging = Generator[list[Query], list[str], Judgement]
"""A conversation with a system: yields a list of queries, is sent the list of its texts, returns the judgement.

An eval with one pass yields once. Written this way, the queries of many systems under evaluation can be answered
side by side, whatever number of passes the eval needs.
"""


def with_score(scores: np.ndarray) -> np.ndarray:
    """The scores without those of skipped examples. Raises UserError if none is left."""
    kept: np.ndarray = scores[~np.isnan(scores)]
    if not len(kept):
        raise UserError("the judge refuses every question, so that nothing can be compared; use another judge model")
    return kept


def query_of(dataset: Dataset, example: Example, text: str = "") -> Query:
    """The query that asks an example in these words of an eval, or in those of its record."""
    own = dataset.headed(example.question)
    return Query(text or own, example.chunks, question=own, choices=example.choices)


class Eval(ABC):
    """An eval: scores answers. Higher is better: of a loss, return the negative.

    Attributes:
      name: under which it is asked for.
      lowest, highest: the range of the scores that an example can get.
      scorers: names of the scores that `judge` returns.
      passes: how often a system is asked about an example.
      judge_calls: how many questions an example asks a judge (another model); 0 for evals without one.
      in_order: whether every pass asks about all examples in their order, once or several times over.
      higher_is_better: a declaration; an eval that says otherwise is refused.
      rater: the judge that this eval asks, if it has one.
      code: for an eval that is not part of this package, what identifies its code; "" for those that are.
    """

    name: str
    lowest: float = 0.0
    highest: float = 1.0
    scorers: tuple[str, ...] = ("strict",)
    passes: int = 1
    judge_calls: int = 0
    in_order: bool = True
    higher_is_better: bool = True
    code: str = ""
    rater: Judge | None = None

    def check(self, dataset: Dataset) -> None:
        """Raises UserError if the dataset lacks what this eval needs; called before anything is loaded."""
        return

    def prepare(self) -> None:
        """Raises UserError if what this eval needs beside data, such as its judge, cannot be had; called once."""
        if self.rater is not None:
            self.rater.client.check()

    @property
    def skips(self) -> bool:
        """Whether an example may be left without a score, because the judge refuses it and the user skips such ones."""
        return self.rater is not None and self.rater.on_refusal == "skip"

    @property
    def refused(self) -> int:
        """How many different questions the judge has refused."""
        return 0 if self.rater is None else len(self.rater.refused)

    @property
    def range(self) -> tuple[float, float]:
        """The lowest and the highest score that an example can get."""
        return self.lowest, self.highest

    @property
    def judge_usage(self) -> JudgeUsage:
        """The usage of the judge model."""
        return NO_WORK if self.rater is None else self.rater.usage

    def watch_judge(self, on_change: Callable[[JudgeUsage], None], other_limit: Callable[[], str] = lambda: "") -> None:
        """Calls `on_change` whenever the judge's usage changes, so that it outlives a kill.

        The judge is asked no further where `other_limit` names a limit that is used up.
        """
        if self.rater is not None:
            self.rater.watch(on_change, other_limit)

    def hold_back(self, questions: int) -> None:
        """Reserves so many of the judge's calls for later; 0 frees them."""
        if self.rater is not None:
            self.rater.hold_back(questions)

    def params(self, dataset: Dataset) -> GenerationParams:
        """The default generation parameters for this dataset; the dataset's own settings come first."""
        return dataset.settings(USUAL)

    @abstractmethod
    def judge(self, dataset: Dataset, examples: Sequence[Example]) -> Judging:
        """Asks the systems about every example and scores their answers.

        Each pass asks about all examples in their order, once or several times over.
        """

    def later_queries(self, dataset: Dataset, examples: Sequence[Example]) -> list[list[Query]]:
        """Stand-ins for the queries of every pass after the first, for a forecast of cost."""
        return []

    def utility(self, scores: np.ndarray, examples: Sequence[Example]) -> float:
        """What a search maximises: the mean of the examples' scores that are there."""
        return float(with_score(scores).mean())

    def estimate(self, scores: np.ndarray, examples: Sequence[Example]) -> Estimate:
        """The mean of the scores that are there, with its interval."""
        return estimate(with_score(scores), *self.range)

    def solved(self, scores: np.ndarray, examples: Sequence[Example]) -> np.ndarray:
        """Which examples have the highest score that there is, booleans, shape (examples,)."""
        return np.asarray(scores >= self.highest)

    def ballot(self, reply: str, example: Example) -> str | None:
        """The reply's vote where several experts vote on an answer; None abstains."""
        return " ".join(reply.split()).casefold() or None

    def readable(self, reply: str, example: Example) -> bool:
        """Whether an answer of some kind is found in the reply, right or wrong."""
        return self.ballot(reply, example) is not None
