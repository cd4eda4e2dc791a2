"""The search by candidates: an optimizer proposes, dev answers and scores, the optimizer learns, round after round."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from swarm.errors import BudgetReached
from swarm.evolution.answer_table import AnswerTable
from swarm.evolution.candidate import Candidate, Proposal, Scored, candidate
from swarm.evolution.fitness import QuestionsSkippedError
from swarm.evolution.ledger import Ledger
from swarm.evolution.optimizers.watched import Watched
from swarm.evolution.problem import Problem
from swarm.evolution.racing import Raced, blocks_of, question_weights, race
from swarm.evolution.state import Best, SearchState
from swarm.evolution.whole_systems import WholeSystems

IDLE = 1000  # candidates in a row that cost nothing, after which a search ends


class Rounds:
    """The steps of such a search. What it holds beside the state follows from the state, or only saves time.

    Attributes:
      ledger: what is charged.
      seen: key -> utility (None: left the race) of all candidates so far, in their order.
      last: the candidates of the last step.
    """

    def __init__(self, problem: Problem, optimizer: Watched, ledger: Ledger, calls: int | None = None):
        """`calls` is the limit that ends the search as its own stopping rule, if that is none of the user's."""
        self._problem, self._optimizer, self.ledger = problem, optimizer, ledger
        self._own_limit = calls is not None
        if calls is not None:
            ledger.most_calls = calls
        evaluation, dev = problem.fitness.evaluation, problem.fitness.dataset.dev
        at_once = evaluation.passes == 1 and evaluation.in_order and len(problem.fitness.queries()) == len(dev)
        self._examiner = AnswerTable(problem, ledger) if at_once else WholeSystems(problem, ledger)
        self._weights = question_weights(evaluation, dev)
        self.seen: dict[str, float | None] = {}
        self.last: list[Scored] = []

    def step(self, state: SearchState) -> SearchState:
        """The state after the start, or after a round. Where a limit is passed in it, nothing is charged for it."""
        while len(self.seen) > state.tried:
            self.seen.popitem()
        self.last = []
        self.ledger.back_to(state.charged)
        try:
            return self._start(state) if state.next_step == "start" else self._round(state)
        except BudgetReached as reached:
            self.ledger.back_to(state.charged)
            if not self.ledger.passed or state.next_step == "start":
                raise
            return self._one_by_one(state, str(reached))
        except BaseException:
            self.ledger.back_to(state.charged)
            raise

    def _start(self, state: SearchState) -> SearchState:
        """Scores every member alone, which is what the search begins from and has to beat."""
        rng = state.generator("optimizer")
        alone = [Proposal(candidate([], [who]), (), ("alone",)) for who in self._problem.space.initial]
        scored = self._scored(alone, None, state, rng)
        utilities = [one.utility for one in scored if one.utility is not None]
        first = scored[int(np.argmax(utilities))]
        learnt = self._optimizer.start(self._problem.space, scored, rng)
        best = Best.of(first.candidate, max(utilities), state.title)
        changes = {"optimizer": learnt, "singles": tuple(utilities), "solved": self._solved(scored), "first": best}
        return self._after(state, scored, best, rng, **changes)

    def _round(self, state: SearchState, one_by_one: bool = False) -> SearchState:
        assert state.best is not None
        rng, space, best = state.generator("optimizer"), self._problem.space, state.best
        proposed = self._optimizer.propose(space, state.optimizer, rng)
        if not proposed:
            reason = f"the optimizer {self._optimizer.name} proposes nothing more"
            return replace(state, next_step="final", stop_reason=reason)
        new = {one.candidate.key: one for one in reversed(proposed) if one.candidate.key not in self.seen}
        bar = self._optimizer.bar(space, state.optimizer) if self._problem.config.racing else None
        scored: list[Scored] = []
        for some in [[one] for one in reversed(new.values())] if one_by_one else [list(reversed(new.values()))]:
            mark = self.ledger.mark()
            try:
                scored += self._scored(some, bar, state, rng)
            except BudgetReached:
                self.ledger.back_to(mark)
                if not one_by_one or not self.ledger.passed:
                    raise
                break
        for one in scored:
            if one.utility is not None and one.utility > best.score:
                best = Best.of(one.candidate, one.utility, state.title)
        idle = 0 if any(one.calls for one in scored) else state.idle + len(proposed)
        return self._after(
            state, scored, best, rng, optimizer=self._optimizer.learn(state.optimizer, scored), idle=idle
        )

    def _one_by_one(self, state: SearchState, reason: str) -> SearchState:
        """The end of a search in a round that would pass a limit: with those of its candidates that can be paid."""
        end = self._round(state, one_by_one=True)
        return replace(end, next_step="final" if self._own_limit else "round", stop_reason=reason)

    def _after(
        self, state: SearchState, scored: list[Scored], best: Best, rng: np.random.Generator, **changes: Any
    ) -> SearchState:
        self.last = scored
        self.seen |= {one.candidate.key: one.utility for one in scored}
        wanted = sum(len(one.candidate.nodes) for one in scored) * self._problem.space.questions
        asked = sum(len(one.candidate.nodes) * int((~np.isnan(one.scores)).sum()) for one in scored)
        state = state.after({"optimizer": rng}, **changes)
        reason = f"{state.idle} candidates in a row cost nothing" if state.idle >= IDLE else ""
        return replace(
            state,
            next_step="final" if reason else "round",
            stop_reason=reason,
            iteration=state.iteration + 1,
            best=best,
            best_history=(*state.best_history, best.score),
            charged=self.ledger.mark(),
            tried=state.tried + len(scored),
            raced=(state.raced[0] + wanted, state.raced[1] + asked),
        )

    def _scored(
        self, proposals: Sequence[Proposal], bar: np.ndarray | None, state: SearchState, rng: np.random.Generator
    ) -> list[Scored]:
        dev = self._problem.fitness.dataset.dev
        places = [place for place in range(len(dev)) if place not in state.skipped]
        blocks = [places] if bar is None else blocks_of(places, rng)
        raced = race([one.candidate for one in proposals], blocks, self._examined, bar, self._weights)
        return [self._as_scored(*each, places) for each in zip(proposals, raced, strict=True)]

    def _examined(self, candidates: Sequence[Candidate], places: Sequence[int]) -> tuple[np.ndarray, list[int]]:
        found, charged = self._examiner.scores(candidates, places)
        if missing := [place for place, nans in zip(places, np.isnan(found).any(axis=0), strict=True) if nans]:
            raise QuestionsSkippedError(sorted(missing))
        return found, charged

    def _as_scored(self, proposal: Proposal, raced: Raced, places: Sequence[int]) -> Scored:
        fitness, finished = self._problem.fitness, not np.isnan(raced.scores[list(places)]).any()
        utility = fitness.evaluation.utility(raced.scores, fitness.dataset.dev) if finished else None
        return Scored(proposal, utility, tuple((self._weights * raced.scores).tolist()), raced.calls)

    def _solved(self, scored: Sequence[Scored]) -> tuple[str, ...]:
        fitness = self._problem.fitness
        scores = [np.array(one.scores) / self._weights for one in scored]
        return fitness.solved_by([{fitness.scorer: own} for own in scores])
