"""The interface of optimizers: a state in JSON, candidates proposed from it, and a new state after they were scored."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from swarm.evolution.candidate import Proposal, Scored, Space

State = Any
"""Whatever JSON can hold: it is written whole after each round, and read when a run is resumed."""


class Optimizer(Protocol):
    """Proposes candidates, and learns from their scores. It keeps nothing but what is in its state."""

    def start(self, space: Space, alone: Sequence[Scored], rng: np.random.Generator) -> State:
        """The first state, from what every member has scored alone."""
        ...

    def propose(self, space: Space, state: State, rng: np.random.Generator) -> Sequence[Proposal]:
        """The candidates of the next round; none ends the search. What was proposed before is passed over."""
        ...

    def learn(self, state: State, scored: Sequence[Scored]) -> State:
        """The state after a round, whose new candidates are `scored`."""
        ...

    def bar(self, state: State) -> Sequence[float] | None:
        """The scores on dev that candidates race against; None where each is to answer all of dev."""
        ...
