"""Candidates examined as whole systems: for evals that ask again, whose later questions hang on what was answered."""

from collections.abc import Sequence

import numpy as np

from swarm.evolution.candidate import Candidate
from swarm.evolution.ledger import Ledger
from swarm.evolution.problem import Problem


class WholeSystems:
    """Has candidates answer dev questions in every pass of the eval; nothing but the cache remembers an answer."""

    def __init__(self, problem: Problem, ledger: Ledger):
        self._problem, self._ledger = problem, ledger

    def scores(self, candidates: Sequence[Candidate], places: Sequence[int]) -> tuple[np.ndarray, list[int]]:
        """See `swarm.evolution.racing.Examiner`."""
        fitness = self._problem.fitness
        systems = [self._problem.candidate_system(one) for one in candidates]
        examples = [fitness.dataset.dev[place] for place in places]
        judged = fitness.judge_traced(systems, examples, on_request=self._ledger.heard)
        found = np.array([each.judgement[fitness.scorer] for each in judged])
        return found, self._ledger.settle(len(candidates))
