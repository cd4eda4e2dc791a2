"""How long a worker takes for what it is asked: the model of time behind a simulation."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

Tokens = tuple[int, int]  # of a request: read and written
Share = tuple[float, list[int]]  # seconds after the beginning of a batch, and the places that are answered then


@dataclass(frozen=True)
class Pace:
    """Seconds of a worker and of the process that hands batches out.

    The defaults are ASSUMED for Gemma-7B in bfloat16 on a card with 80 GB: nothing here was measured on one.

    Attributes:
      swap: to put together an expert that the worker does not have in place, and put it there.
      batch: to send a batch, prepare it and send its answers back.
      read: for every token of a prompt.
      step: for a decoding step, whatever its rows.
      row: on top for every row of a step.
      head: of the handing process for every request, shared ones included.
      start: until a worker has started.
      rows: that a worker holds at a time.
    """

    swap: float = 0.5
    batch: float = 0.05
    read: float = 1e-4
    step: float = 0.025
    row: float = 2.5e-4
    head: float = 2e-5
    start: float = 60.0
    rows: int = 128

    def answers(self, requests: Sequence[Tokens], swap: bool) -> list[Share]:
        """When the requests of a batch are answered.

        Rows that have ended leave at once and others are read in their places, which the rows beside them wait for.
        """
        time = self.batch + (self.swap if swap else 0.0)
        waiting = sorted(range(len(requests)), key=lambda place: -requests[place][0])  # the longest are read first
        waiting.reverse()
        active: list[tuple[int, int]] = []  # step after which a row has ended, its place
        steps, shares = 0, []
        while waiting or active:
            while waiting and len(active) < self.rows:
                place = waiting.pop()
                time += self.read * requests[place][0]
                heapq.heappush(active, (steps + requests[place][1], place))
            end = active[0][0]
            time += (end - steps) * (self.step + self.row * len(active))
            steps, ended = end, []
            while active and active[0][0] == end:
                ended.append(heapq.heappop(active)[1])
            shares.append((time, ended))
        return shares

    def alone(self, tokens: Tokens) -> float:
        """The seconds from asking to answer that nobody can do without, the expert being in place."""
        read, written = tokens
        return self.batch + read * self.read + written * (self.step + self.row)

    def least(self, tokens: Tokens) -> float:
        """What a request takes of a worker's time at least: its part of a batch that is full all the time."""
        read, written = tokens
        return read * self.read + written * (self.step / self.rows + self.row)
