"""The final scores: the found system and what it has to beat, on dev and on test, with intervals."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from swarm.data.example import Dataset, Example
from swarm.evals.eval import Eval, Judgement
from swarm.evals.joint_eval import JointEval
from swarm.evolution.answer_records import answer_records
from swarm.evolution.fitness import Fitness, Judged
from swarm.evolution.problem import Problem
from swarm.evolution.state import SearchState
from swarm.maths.gain import buckets
from swarm.system.system import System


@dataclass(frozen=True)
class FinalScores:
    """The final scores.

    Attributes:
      table: {who: {split: {scorer: estimate}}}, and some words about who that is.
      judged: split -> who -> scores and traces behind it.
    """

    table: dict[str, Any]
    judged: dict[str, dict[str, Judged]]


def final_scores(problem: Problem, state: SearchState) -> FinalScores:
    """The final scores of the found system, the best expert and the average.

    And for the best composite, where there are any. test is read here for the first time. The best single expert is
    the one with the best dev score, alone; so is the best composite.
    """
    assert state.best is not None
    fitness, initial = replace(problem.fitness, skipped=state.skipped), problem.pool.experts()
    chosen = initial[int(np.argmax(state.singles[: len(initial)]))]
    average = problem.pool.expert("average", [1 / len(initial)] * len(initial))
    systems: dict[str, System] = {
        "found": problem.best_system(state.best),
        "best_single": problem.single(chosen),
        "uniform_average": problem.single(average),
    }
    composites = problem.members.initial()[len(initial) :]
    if composites:
        best_composite = composites[int(np.argmax(state.singles[len(initial) :]))]
        systems["best_composite"] = problem.single(best_composite)
    table: dict[str, Any] = {who: {} for who in systems}
    judged: dict[str, dict[str, Judged]] = {}
    for split, examples in (("dev", fitness.dataset.dev), ("test", fitness.dataset.test)):
        judged[split] = dict(zip(systems, fitness.judge_traced(list(systems.values()), examples), strict=True))
        for who, each in judged[split].items():
            table[who][split] = summarise(each.judgement, fitness.evaluation, examples)
    table["best_single"]["name"] = chosen.name
    if composites:
        table["best_composite"]["name"] = best_composite.name
    table["found"]["score_in_search"] = state.best.score
    return FinalScores(table, judged)


def records_of(scores: FinalScores, fitness: Fitness) -> dict[str, list[dict[str, Any]]]:
    """split -> the record of every question, with all that was answered."""
    return {
        split: list(answer_records(split, getattr(fitness.dataset, split), judged, fitness.evaluation))
        for split, judged in scores.judged.items()
    }


def by_dataset(scores: FinalScores, fitness: Fitness) -> list[dict[str, Any]]:
    """What a search over several datasets says of each: its eval, weight and floor, everybody's scores; else empty."""
    evaluation = fitness.evaluation
    if not isinstance(evaluation, JointEval):
        return []
    estimates = {
        split: {who: evaluation.estimates(each.judgement, getattr(fitness.dataset, split)) for who, each in own.items()}
        for split, own in scores.judged.items()
    }
    return [
        {
            "name": part.name,
            "eval": part.evaluation.name,
            "weight": part.weight,
            "at_least": part.at_least,
            "scores": {
                who: {split: estimates[split][who][part.name] for split in estimates} for who in scores.judged["dev"]
            },
        }
        for part in evaluation.parts
    ]


def gain_on_dev(scores: FinalScores, state: SearchState, fitness: Fitness, experts: int) -> list[dict[str, int]]:
    """The collaborative gain on dev over the pool's `experts`, a bucket for each number of them that solve alone.

    Empty where it is not known which questions they solve.
    """
    if not state.solved:
        return []
    alone = np.array([[solved == "1" for solved in row] for row in state.solved[:experts]])
    together = fitness.solved(scores.judged["dev"]["found"].judgement)
    return [asdict(bucket) for bucket in buckets(alone, together)]


def questions_of_the_end(evaluation: Eval, dataset: Dataset, composites: bool = False) -> int:
    """The number of questions that the final scores ask a judge: on dev, all but the average were asked before.

    A reply that cannot be read, or that is lost, costs calls beyond that.
    """
    return (len(dataset.dev) + (4 if composites else 3) * len(dataset.test)) * evaluation.judge_calls


def summarise(judgement: Judgement, evaluation: Eval, examples: Sequence[Example]) -> dict[str, dict[str, float | int]]:
    """Estimates per scorer: mean, 95 % interval and size, over the examples that have a score."""
    return {scorer: vars(evaluation.estimate(scores, examples)) for scorer, scores in judgement.items()}
