"""The final scores: the found system and what it has to beat, on dev and on test, with intervals."""

from typing import Any

import numpy as np

from swarm.data.example import Dataset
from swarm.evals.eval import Eval, Judgement
from swarm.evolution.state import SearchState
from swarm.evolution.steps import Problem
from swarm.maths.interval import estimate
from swarm.system.system import System, single


def final_scores(problem: Problem, state: SearchState) -> dict[str, Any]:
    """Final estimates, {who: {split: {scorer: estimate}}}, of the found system, the best expert and the average.

    And for the best composite, where there are any. test is read here for the first time. The best single expert is
    the one with the best dev score, alone; so is the best composite.
    """
    assert state.best is not None
    fitness, initial = problem.fitness, problem.pool.experts()
    chosen = initial[int(np.argmax(state.singles[: len(initial)]))]
    average = problem.pool.expert("average", [1 / len(initial)] * len(initial))
    systems: dict[str, System] = {
        "found": problem.best_system(state.best),
        "best_single": single(chosen, fitness.params),
        "uniform_average": single(average, fitness.params),
    }
    composites = problem.members.initial()[len(initial) :]
    if composites:
        best_composite = composites[int(np.argmax(state.singles[len(initial) :]))]
        systems["best_composite"] = single(best_composite, fitness.params)
    table: dict[str, Any] = {who: {} for who in systems}
    for split, examples in (("dev", fitness.dataset.dev), ("test", fitness.dataset.test)):
        for who, judgement in zip(systems, fitness.judge(list(systems.values()), examples), strict=True):
            table[who][split] = summarise(judgement, fitness.evaluation)
    table["best_single"]["name"] = chosen.name
    if composites:
        table["best_composite"]["name"] = best_composite.name
    table["found"]["score_in_search"] = state.best.score
    return table


def questions_of_the_end(evaluation: Eval, dataset: Dataset, composites: bool = False) -> int:
    """The number of questions that the final scores ask a judge: on dev, all but the average were asked before.

    A reply that cannot be read, or that is lost, costs calls beyond that.
    """
    return (len(dataset.dev) + (4 if composites else 3) * len(dataset.test)) * evaluation.judge_calls


def summarise(judgement: Judgement, evaluation: Eval) -> dict[str, dict[str, float | int]]:
    """Estimates per scorer: mean, 95 % interval and size."""
    lowest, highest = evaluation.lowest, evaluation.highest
    return {scorer: vars(estimate(scores, lowest, highest)) for scorer, scores in judgement.items()}
