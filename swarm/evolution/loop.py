"""The search as a whole: steps until the end, each state handed out before the next begins."""

from dataclasses import replace

from swarm.engines.metered import Budget, Metered
from swarm.errors import BudgetReached
from swarm.evolution.state import SearchState
from swarm.evolution.steps import STEPS, Problem


class Watcher:
    """Callbacks of a search, which do nothing here."""

    def before(self, state: SearchState) -> None:
        """Called before a step from this state."""

    def after(self, before: SearchState, state: SearchState) -> None:
        """Called after a step has led to this state."""


def search(problem: Problem, state: SearchState, meter: Metered, watcher: Watcher, budget: Budget) -> SearchState:
    """Runs steps from `state` to the end of the search, where the next step is "final".

    A budget that is used up in mid-step gives back the state before that step, with the reason; it can go on from
    there under a larger budget.
    """
    meter.budget = budget
    try:
        while state.next_step != "final":
            meter.check_time()
            watcher.before(state)
            problem.fitness.scheduler.cache.next_step()
            done = replace(STEPS[state.next_step](problem, state), usage=meter.usage)
            watcher.after(state, done)
            state = done
    except BudgetReached as reached:
        return replace(state, stop_reason=str(reached), usage=meter.usage)
    finally:
        meter.budget = None
    return state
