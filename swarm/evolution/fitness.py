"""Fitness of systems: many of them evaluated side by side by one eval."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from swarm.data.example import Dataset, Example
from swarm.engines.base import GenerationParams
from swarm.errors import UserError
from swarm.evals.eval import Eval, Judgement
from swarm.system.prompts import Query
from swarm.system.query_trace import QueryTrace
from swarm.system.scheduler import Heard, Scheduler
from swarm.system.system import System


@dataclass(frozen=True)
class Judged:
    """A system's scores, and how it came to them.

    Attributes:
      judgement: scorer -> scores, shape (examples,).
      passes: for every pass of the eval what the nodes were asked and answered, a trace for each query.
    """

    judgement: Judgement
    passes: list[list[QueryTrace]]

    def in_order(self, examples: int) -> bool:
        """Whether every pass asked about all examples in order, so that a query's place says whose it is."""
        return all(traces and len(traces) % examples == 0 for traces in self.passes)


class QuestionsSkippedError(Exception):
    """Raised where dev questions turn out to have no score for some system, because the judge refuses them.

    Attributes:
      indices: of these examples in dev.
    """

    def __init__(self, indices: Sequence[int]):
        super().__init__(f"dev questions without a score: {list(indices)}")
        self.indices = tuple(indices)


@dataclass(frozen=True)
class Fitness:
    """Evaluates systems on one dataset.

    Attributes:
      scheduler: what has the systems answer.
      evaluation: what scores the answers.
      dataset: its dev split is what a search sees.
      params: how every node generates.
      scorer: the score that is the utility, "strict" or "compat".
      skipped: indices of dev examples that are left out of every system's mean.
    """

    scheduler: Scheduler
    evaluation: Eval
    dataset: Dataset
    params: GenerationParams
    scorer: str
    skipped: tuple[int, ...] = ()

    def utilities(self, systems: Sequence[System], ahead: Sequence[System] = ()) -> list[float]:
        """Every system's utility on dev: the mean of its scores, higher is better.

        The systems `ahead` answer beside them, so that their answers are remembered when they are asked for.
        """
        return [self.utility(judgement) for judgement in self.judge_dev(systems, ahead)]

    def judge_dev(self, systems: Sequence[System], ahead: Sequence[System] = ()) -> list[Judgement]:
        """As `judge`, on dev; for a search, whose scores of all steps must be means over the same examples.

        Raises QuestionsSkippedError where an example has no score that had one so far.
        """
        judgements = self.judge(systems, self.dataset.dev, ahead)
        missing = np.flatnonzero(np.isnan(judgements[0][self.scorer])) if judgements else ()
        if more := set(map(int, missing)) - set(self.skipped):
            raise QuestionsSkippedError(sorted(more))
        return judgements

    def utility(self, judgement: Judgement) -> float:
        """The utility of a system with these scores on dev."""
        return self.evaluation.utility(judgement[self.scorer], self.dataset.dev)

    def solved(self, judgement: Judgement) -> np.ndarray:
        """Which examples of dev have the highest score that there is, booleans, shape (examples,)."""
        return self.evaluation.solved(judgement[self.scorer], self.dataset.dev)

    def solved_by(self, judgements: Sequence[Judgement]) -> tuple[str, ...]:
        """For each judgement a text with a 1 for every solved example and a 0 for others; none of a judge's ratings."""
        if self.evaluation.judge_calls:
            return ()
        return tuple("".join("01"[int(one)] for one in self.solved(judgement)) for judgement in judgements)

    def judge(
        self, systems: Sequence[System], examples: Sequence[Example], ahead: Sequence[System] = ()
    ) -> list[Judgement]:
        """Every system's scores, {scorer: one per example}; the systems `ahead` answer and are not scored.

        Raises UserError if the eval gives a score that is missing, not finite or out of its range.
        """
        return [judged.judgement for judged in self.judge_traced(systems, examples, ahead)]

    def judge_traced(
        self,
        systems: Sequence[System],
        examples: Sequence[Example],
        ahead: Sequence[System] = (),
        on_request: Heard | None = None,
    ) -> list[Judged]:
        """As `judge`, with what all nodes have answered; `on_request` as in `Scheduler.trace_all`, by system."""
        answering = [*systems, *ahead]
        judgings = [self.evaluation.judge(self.dataset, examples) for _ in answering]
        asked = {i: next(judging) for i, judging in enumerate(judgings)}
        judgements: list[Judgement] = [{} for _ in systems]
        passes: list[list[list[QueryTrace]]] = [[] for _ in answering]
        number = 0
        while asked:
            order = list(asked)
            tasks = [(answering[i].in_pass(number), asked[i]) for i in order]
            heard = None if on_request is None else _by_system(on_request, order)
            traced = self.scheduler.trace_all(tasks, self.params, on_request=heard)
            number += 1
            for i, traces in zip(order, traced, strict=True):
                passes[i].append(traces)
                if i >= len(systems) and number == self.evaluation.passes:
                    del asked[i]
                    continue
                try:
                    asked[i] = judgings[i].send([trace.text for trace in traces])
                except StopIteration as finished:
                    judgements[i] = check_judgement(self.evaluation, finished.value, len(examples), self.scorer)
                    del asked[i]
        if self.evaluation.skips:
            judgements = in_common(judgements, self.skipped if examples is self.dataset.dev else ())
        return [Judged(judgement, own) for judgement, own in zip(judgements, passes, strict=False)]

    def queries(self) -> list[Query]:
        """The queries of the dev examples in the first pass."""
        return next(self.evaluation.judge(self.dataset, self.dataset.dev))

    def score_texts(self, texts: Sequence[str], examples: Sequence[Example]) -> np.ndarray:
        """The scores of texts that answer these examples, shape (texts,), of an eval that asks about each once.

        Raises UserError for an eval that asks further.
        """
        judging = self.evaluation.judge(self.dataset, examples)
        next(judging)
        try:
            judging.send(list(texts))
        except StopIteration as finished:
            checked = check_judgement(self.evaluation, finished.value, len(examples), self.scorer)
            return np.asarray(checked[self.scorer], dtype=np.float64)
        raise UserError(f"eval {self.evaluation.name} asks more than once about a text; wanted one that scores at once")


def _by_system(on_request: Heard, order: Sequence[int]) -> Heard:
    return lambda task, key, completion: on_request(order[task], key, completion)


def in_common(judgements: Sequence[Judgement], skipped: Sequence[int] = ()) -> list[Judgement]:
    """The judgements, where an example without a score for one system has none for any: they are compared."""
    missing = np.any([np.isnan(scores) for judgement in judgements for scores in judgement.values()], axis=0)
    missing[list(skipped)] = True
    return [{scorer: np.where(missing, np.nan, scores) for scorer, scores in each.items()} for each in judgements]


def check_judgement(evaluation: Eval, judgement: Judgement, size: int, scorer: str) -> Judgement:
    """The judgement, checked for shape, range and finiteness."""
    if scorer not in judgement:
        raise UserError(
            f"eval {evaluation.name} gives the scores {', '.join(sorted(judgement)) or 'none'}, not {scorer}: name one "
            "of them with --scorer, or add it to the eval"
        )
    for name, scores in judgement.items():
        if np.shape(scores) != (size,):
            raise UserError(f"eval {evaluation.name} gave {name} scores of shape {np.shape(scores)}, wanted ({size},)")
        with np.errstate(invalid="ignore"):
            inside = (scores >= evaluation.lowest) & (scores <= evaluation.highest) & np.isfinite(scores)
            wrong = ~(inside | (np.isnan(scores) & evaluation.skips))
        if wrong.any():
            index = int(np.flatnonzero(wrong)[0])
            raise UserError(
                f"eval {evaluation.name} gave example {index} the {name} score {scores[index]}; wanted a number from "
                f"{evaluation.lowest:g} to {evaluation.highest:g}: mend the eval, then --resume"
            )
    return judgement
