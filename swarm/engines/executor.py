"""The interface of executors: batches run on one or several engines, and finish in any order."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from swarm.engines.base import Engine, Finished, Member, Request
from swarm.engines.statistics import Tally, Work, tally_of


@dataclass(frozen=True)
class IdleWorker:
    """A worker that can take a batch now.

    Attributes:
      worker: its number.
      resident: digest of the member that it answered for last, which costs nothing to ask again; "" for none.
      mixes: whether a batch may ask several members.
    """

    worker: int
    resident: str = ""
    mixes: bool = False


class Executor(ABC):
    """One or several engines, of which each answers one batch at a time.

    Attributes:
      workers: how many there are when none is missing.
    """

    workers: int

    @abstractmethod
    def facts(self) -> dict[str, str]:
        """The facts of the engines that can change a text; the same for all."""

    @abstractmethod
    def expect(self, members: Sequence[Member]) -> None:
        """Announces the members of the next requests."""

    @abstractmethod
    def free(self) -> list[IdleWorker]:
        """The idle workers."""

    @abstractmethod
    def submit(self, worker: int, requests: Sequence[Request]) -> int:
        """Submits a batch to an idle worker; returns the batch's number."""

    @abstractmethod
    def wait(self) -> list[tuple[int, Finished]]:
        """Completions since the last call: numbers of batches, and completions by index in the batch.

        Waits for completions, or for a worker that has become idle, such as the replacement of a lost one. To be
        called only while a batch is not answered or no worker is idle. Raises what an engine raised.
        """

    @abstractmethod
    def abandon(self) -> None:
        """Forgets the batches that are not answered; their completions are dropped."""

    @abstractmethod
    def tally(self) -> Tally:
        """The sum of all engines' tallies: work beside answering."""

    def work(self) -> list[Work]:
        """The `Work` of each of several workers so far; empty where there is one engine only."""
        return []

    def glance(self) -> str:
        """The current load in a few words; empty where there is one engine only."""
        return ""

    def close(self) -> None:
        """Ends the workers; nothing more can be submitted."""
        return


class SingleEngine(Executor):
    """An executor of one engine in this process."""

    workers = 1

    def __init__(self, engine: Engine):
        self.engine = engine
        self._running: Iterator[Finished] | None = None
        self._batches = 0
        self._arrived: list[Request] = []  # that the running engine has not taken yet
        self._places: list[tuple[int, int]] = []  # batch and index in it, of the running engine's requests
        self._left = 0  # requests that are not answered

    def facts(self) -> dict[str, str]:
        """The engine's."""
        return self.engine.facts()

    def expect(self, members: Sequence[Member]) -> None:
        """Announces the members to the engine."""
        self.engine.expect(members)

    def free(self) -> list[IdleWorker]:
        """Worker 0, unless it is busy with an engine that takes no further requests meanwhile."""
        return [] if self._running is not None and not self._mixes else [IdleWorker(0, mixes=self._mixes)]

    def submit(self, worker: int, requests: Sequence[Request]) -> int:
        """Keeps the batch; the engine begins in `wait`, or takes it beside what it answers then."""
        if self._running is not None and not self._mixes:
            raise RuntimeError("this engine is at work on a batch: wait for it first")
        self._batches += 1
        places = [(self._batches, index) for index in range(len(requests))]
        self._left += len(requests)
        if self._running is not None:
            self._arrived += requests
            self._places += places
        elif requests:
            self._places = places
            self._running = self._begin(requests)
        return self._batches

    @property
    def _mixes(self) -> bool:
        return bool(getattr(self.engine, "mixes", False))

    def _begin(self, requests: Sequence[Request]) -> Iterator[Finished]:
        if not self._mixes:
            return iter(self.engine.generate(requests))
        mixing: Any = self.engine
        return iter(mixing.generate(requests, self._take_arrived))

    def _take_arrived(self) -> list[Request]:
        arrived, self._arrived = self._arrived, []
        return arrived

    def wait(self) -> list[tuple[int, Finished]]:
        """The next completions. Raises RuntimeError if the engine ends with requests left."""
        if self._running is None:
            raise RuntimeError("there is no batch to wait for")
        running, self._running = self._running, None  # nobody's, should the engine raise
        finished = next(running, None)
        if finished is None:
            raise RuntimeError(f"the engine ended with {self._left} requests that it did not answer")
        self._left -= len(finished)
        if self._left:
            self._running = running
        else:
            next(running, None)  # what it does after its last answer belongs to the batch
        by_batch: dict[int, Finished] = {}
        for number, completion in finished:
            batch, index = self._places[number]
            by_batch.setdefault(batch, []).append((index, completion))
        return list(by_batch.items())

    def abandon(self) -> None:
        """Ends what the engine is doing."""
        running, self._running = self._running, None
        self._arrived, self._left = [], 0
        close = getattr(running, "close", None)
        if close is not None:
            close()

    def tally(self) -> Tally:
        """The engine's."""
        return tally_of(self.engine)


def executor_of(engine: Engine | Executor) -> Executor:
    """The executor itself, or a `SingleEngine` around an engine."""
    return engine if isinstance(engine, Executor) else SingleEngine(engine)
