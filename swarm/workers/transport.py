"""The interface between the executor and its workers: processes of this machine, or actors of a Ray cluster."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from swarm.engines.base import Finished, Request
from swarm.engines.statistics import Tally


@dataclass(frozen=True)
class Report:
    """Counters of a worker since it was started.

    Attributes:
      seconds: that its engine was at work.
      memory: bytes that it has held at most on its device, or without one that it holds now.
      tally: what it has done beside answering.
    """

    seconds: float = 0.0
    memory: int = 0
    tally: Tally = field(default_factory=Tally)


@dataclass(frozen=True)
class Ready:
    """A worker has its engine; `facts` are the engine's, `location` is the worker's machine, device and process.

    `mixes` is whether a batch may ask several members.
    """

    worker: int
    facts: dict[str, str]
    location: str
    mixes: bool = False


@dataclass(frozen=True)
class Answered:
    """Completions of a batch by their index in it; `done` says that the batch is over."""

    worker: int
    batch: int
    finished: Finished
    done: bool
    report: Report = Report()


@dataclass(frozen=True)
class Failed:
    """A worker's engine raised an error. It is the caller's if `cure` is set: then `message` is one line for a person.

    Attributes:
      message: of the error; with the worker's traceback unless `cure`.
      memory: there was not enough of it.
    """

    worker: int
    message: str
    cure: bool = False
    memory: bool = False


@dataclass(frozen=True)
class Lost:
    """A worker is lost: it was killed, crashed, or its machine has left.

    Attributes:
      reason: of that, in words that follow the worker's name.
      blameless: whether that is nothing that its batch can have done.
    """

    worker: int
    reason: str
    blameless: bool = False


Event = Ready | Answered | Failed | Lost


class Transport(Protocol):
    """Starts workers and exchanges messages with them; faults are the executor's to handle.

    Attributes:
      workers: how many there can be.
    """

    workers: int

    def start(self, worker: int) -> None:
        """Begins to start a worker; an earlier one of this number is ended."""
        ...

    def send(self, worker: int, batch: int, requests: Sequence[Request]) -> None:
        """Hands a batch to a worker that is ready and has none."""
        ...

    def events(self, seconds: float) -> list[Event]:
        """The events since the last call; waits at most so long for the first one."""
        ...

    def stop(self, worker: int) -> None:
        """Ends a worker at once, whatever it does; there are no events of it afterwards."""
        ...

    def now(self) -> float:
        """Seconds on a clock that never goes back."""
        ...

    def close(self) -> None:
        """Ends all workers."""
        ...
