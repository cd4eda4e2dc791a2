"""The final scores: the found system and what it has to beat, on dev and on test, with intervals."""

from typing import Any

import numpy as np

from swarm.evals.base import Dataset, Eval, Judgement
from swarm.maths.interval import estimate
from swarm.search.state import SearchState
from swarm.search.steps import Problem
from swarm.system.system import System, single


def final_scores(problem: Problem, state: SearchState) -> dict[str, Any]:
    """{who: {split: {scorer: estimate}}} for the found system, the best single expert and the uniform average.

    test is read here for the first time. The best single expert is the one with the best dev score, alone.
    """
    assert state.best is not None
    fitness, initial = problem.fitness, problem.pool.experts()
    chosen = initial[int(np.argmax(state.singles))]
    average = problem.pool.expert("average", [1 / len(initial)] * len(initial))
    systems: dict[str, System] = {
        "found": problem.best_system(state.best),
        "best_single": single(chosen, fitness.params),
        "uniform_average": single(average, fitness.params),
    }
    table: dict[str, Any] = {who: {} for who in systems}
    for split, examples in (("dev", fitness.dataset.dev), ("test", fitness.dataset.test)):
        for who, judgement in zip(systems, fitness.judge(list(systems.values()), examples), strict=True):
            table[who][split] = summarise(judgement, fitness.evaluation)
    table["best_single"]["name"] = chosen.name
    table["found"]["score_in_search"] = state.best.score
    return table


def questions_of_the_end(evaluation: Eval, dataset: Dataset) -> int:
    """How many questions the final scores ask a judge: on dev, the found system and the best expert were asked before.

    A reply that cannot be read, or that is lost, costs calls beyond that.
    """
    return (len(dataset.dev) + 3 * len(dataset.test)) * evaluation.judge_calls


def summarise(judgement: Judgement, evaluation: Eval) -> dict[str, dict[str, float | int]]:
    """scorer -> mean, 95 % interval and size."""
    lowest, highest = evaluation.lowest, evaluation.highest
    return {scorer: vars(estimate(scores, lowest, highest)) for scorer, scores in judgement.items()}
