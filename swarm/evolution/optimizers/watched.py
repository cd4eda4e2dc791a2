"""An optimizer, watched: whatever is no candidate, no state or no score is refused by name, and the state is kept."""

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from swarm.errors import UserError
from swarm.evolution.candidate import Candidate, Proposal, Scored, Space
from swarm.evolution.optimizers.interface import Optimizer, State
from swarm.plugins import faults_named

T = TypeVar("T")
KEPT = "; the run is safe up to here: mend the optimizer, then --resume"


class Watched:
    """Asks an optimizer and checks what it gives."""

    def __init__(self, name: str, optimizer: Optimizer):
        self.name, self._optimizer = name, optimizer

    def start(self, space: Space, alone: Sequence[Scored], rng: np.random.Generator) -> State:
        """Its first state. Raises UserError if JSON cannot hold it."""
        return self._state("start", self._asked(lambda: self._optimizer.start(space, alone, rng)))

    def propose(self, space: Space, state: State, rng: np.random.Generator) -> list[Proposal]:
        """Its candidates. Raises UserError for anything else, and for a candidate that cannot be evaluated."""
        proposed: Any = self._asked(lambda: self._optimizer.propose(space, state, rng))
        if not isinstance(proposed, list | tuple):
            raise self._refused("propose", f"{type(proposed).__name__}, wanted a list of candidates")
        return [self._proposal(space, number, one) for number, one in enumerate(proposed)]

    def learn(self, state: State, scored: Sequence[Scored]) -> State:
        """Its next state. Raises UserError if JSON cannot hold it."""
        return self._state("learn", self._asked(lambda: self._optimizer.learn(state, scored)))

    def bar(self, space: Space, state: State) -> np.ndarray | None:
        """The scores that candidates race against. Raises UserError unless there is one for each question."""
        given: Any = self._asked(lambda: self._optimizer.bar(state))
        if given is None:
            return None
        try:
            scores = np.asarray([np.nan if value is None else value for value in given], dtype=np.float64)
        except (TypeError, ValueError):
            scores = np.zeros(0)
        if scores.shape != (space.questions,):
            raise self._refused("bar", f"{str(given)[:80]}, wanted {space.questions} numbers, one for each question")
        return scores

    def _asked(self, act: Callable[[], T]) -> T:
        with faults_named(f"optimizer {self.name}", self._optimizer):
            return act()

    def _proposal(self, space: Space, number: int, one: Any) -> Proposal:
        proposal = Proposal(one) if isinstance(one, Candidate) else one
        if not isinstance(proposal, Proposal) or not isinstance(proposal.candidate, Candidate):
            raise self._refused("propose", f"{type(one).__name__} as candidate {number}, wanted a Candidate")
        try:
            space.check(proposal.candidate)
        except (ValueError, TypeError, IndexError) as error:
            raise self._refused("propose", f"a candidate {number} that cannot be: {error}") from error
        return proposal

    def _state(self, where: str, state: State) -> State:
        try:
            # as it will be read again, so that a resumed run goes on from the very same value
            return json.loads(json.dumps(state, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise self._refused(where, f"a state that JSON cannot hold ({error})") from error

    def _refused(self, where: str, what: str) -> UserError:
        return UserError(f"optimizer {self.name}: {where} gave {what}{KEPT}")
