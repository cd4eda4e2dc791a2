"""The states of workers: idle, starting, busy or gone; a change takes constant time."""

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Mapping

IDLE, STARTING, BUSY, GONE = "idle", "starting", "busy", "gone"


class Roster:
    """The states of workers by number.

    Attributes:
      idle: who can take a batch, in the order of their numbers.
    """

    def __init__(self, patience: Mapping[str, float]):
        """`patience`: for every state that must not last, the seconds that it may."""
        self.idle: list[int] = []
        self._patience = patience
        self._states: dict[int, str] = {}
        # who is in such a state, and since when it has given no sign; who has been silent longest comes first
        self._since: dict[str, OrderedDict[int, float]] = {state: OrderedDict() for state in patience}

    def __getitem__(self, number: int) -> str:
        """A worker's state."""
        return self._states[number]

    def count(self, *states: str) -> int:
        """The number of workers in these states, which must be states that must not last."""
        return sum(len(self._since[state]) for state in states)

    def put(self, number: int, state: str, now: float) -> None:
        """Sets a worker's state; setting it again is a sign of life."""
        before = self._states.get(number)
        if before == IDLE and state != IDLE:
            del self.idle[bisect_left(self.idle, number)]
        elif before in self._since:
            del self._since[before][number]
        self._states[number] = state
        if state == IDLE and before != IDLE:
            insort(self.idle, number)
        elif state in self._since:
            self._since[state][number] = now

    def all_gone(self) -> bool:
        """Whether all workers are gone."""
        return not self.idle and not any(self._since.values())

    def next_end(self) -> float | None:
        """The time at which the first worker will be overdue; None if all are idle or gone."""
        ends = [next(iter(since.values())) + self._patience[state] for state, since in self._since.items() if since]
        return min(ends, default=None)

    def overdue(self, now: float) -> list[tuple[int, float]]:
        """The overdue workers by number, each with the time of its last sign of life."""
        found = []
        for state, since in self._since.items():
            for number, begun in since.items():
                if begun + self._patience[state] > now:
                    break
                found.append((number, begun))
        return sorted(found)
