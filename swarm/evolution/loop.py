"""The search as a whole: steps until the end, each state handed out before the next begins."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from swarm.engines.metered import Budget, Metered
from swarm.errors import BudgetReached
from swarm.evolution.fitness import QuestionsSkippedError
from swarm.evolution.problem import Problem
from swarm.evolution.rounds import Rounds
from swarm.evolution.state import SearchState, first_state
from swarm.evolution.steps import STEPS


class Watcher:
    """Callbacks of a search, which do nothing here."""

    def before(self, state: SearchState) -> None:
        """Called before a step from this state."""

    def after(self, before: SearchState, state: SearchState) -> None:
        """Called after a step has led to this state."""

    def again(self, state: SearchState) -> None:
        """Called where the search begins again, from this state, without the dev examples that it names as skipped."""


def search(
    problem: Problem,
    state: SearchState,
    meter: Metered,
    watcher: Watcher,
    budget: Budget,
    rounds: Rounds | None = None,
) -> SearchState:
    """Runs steps from `state` to the end of the search, where the next step is "final".

    The steps are the swarm's, or the `rounds` of an optimizer of candidates, which keep account of calls and tokens
    themselves: of these, the `budget` has only the time then. A state that says why they ended is the end.

    A budget that is used up in mid-step gives back the state before that step, with the reason; it can go on from
    there under a larger budget.

    Where the judge refuses a question and such ones are skipped, the search begins again without it: every score that
    it remembers would else be a mean over other questions than those to come. What was answered and rated is kept, so
    that up to where something changes nothing is asked a second time.
    """
    meter.budget = budget
    try:
        while state.next_step != "final" and not (rounds and state.stop_reason):
            meter.check_time()
            watcher.before(state)
            problem.fitness.scheduler.cache.next_step()
            try:
                step = rounds.step if rounds else _step_of_swarm(problem, state)
                done = replace(step(state), usage=meter.usage)
            except QuestionsSkippedError as missing:
                skipped = tuple(sorted({*state.skipped, *missing.indices}))
                first = first_state(problem.config.seed, rounds is not None)
                state = replace(first, skipped=skipped, usage=meter.usage)
                watcher.again(state)
                continue
            watcher.after(state, done)
            state = done
    except BudgetReached as reached:
        return replace(state, stop_reason=str(reached), usage=meter.usage)
    finally:
        meter.budget = None
    return state


def _step_of_swarm(problem: Problem, state: SearchState) -> Callable[[SearchState], SearchState]:
    return partial(STEPS[state.next_step], _without(problem, state.skipped))


def _without(problem: Problem, skipped: tuple[int, ...]) -> Problem:
    """The problem with these dev examples left out of every mean."""
    return replace(problem, fitness=replace(problem.fitness, skipped=skipped)) if skipped else problem
