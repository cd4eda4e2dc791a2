"""Work done by each worker, and which workers are slow."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from swarm.engines.statistics import Tally, Work, total
from swarm.workers.transport import Answered, Report

SLOW = 0.5  # of the others' median speed, below which a worker is named
ENOUGH = 20.0  # seconds of work before a speed is trusted


@dataclass
class Health:
    """The work of one worker over all its starts; times are in seconds.

    Attributes:
      location: machine, device and process of the worker.
      requests, tokens: that it answered; tokens read and written.
      losses: why it was lost.
      reports: its last report, one for each start.
    """

    location: str = ""
    requests: int = 0
    tokens: int = 0
    losses: list[str] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    _began: list[float] = field(default_factory=list)

    def started(self, location: str, now: float) -> None:
        """Records that the worker is ready."""
        self.location = location
        self._began.append(now)
        self.reports.append(Report())

    def answered(self, event: Answered) -> None:
        """Records a batch of completions."""
        self.requests += len(event.finished)
        self.tokens += sum(completion.prompt_tokens + completion.new_tokens for _, completion in event.finished)
        if event.done:
            most = max(event.report.memory, self.reports[-1].memory)  # a processor's falls again
            self.reports[-1] = replace(event.report, memory=most)

    def lost(self, reason: str) -> None:
        """Records that the worker was lost."""
        self.losses.append(reason)

    @property
    def seconds(self) -> float:
        """Seconds that its engine was busy."""
        return sum(report.seconds for report in self.reports)

    @property
    def memory(self) -> int:
        """Peak memory in bytes."""
        return max((report.memory for report in self.reports), default=0)

    def idle_share(self, now: float) -> float:
        """The share of the time since it was first ready in which it was idle."""
        return self.work(now).idle_share

    def work(self, now: float) -> Work:
        """The `Work` done until now."""
        there = now - self._began[0] if self._began else 0.0
        losses = tuple(self.losses)
        return Work(self.location, self.requests, self.tokens, there, self.seconds, self.memory, losses)

    def tally(self) -> Tally:
        """The `Tally` of its engines: work beside answering."""
        return total(report.tally for report in self.reports)

    @property
    def speed(self) -> float:
        """Tokens per second of work; 0 before the first."""
        return self.tokens / self.seconds if self.seconds > 0 else 0.0


def slow_workers(health: Sequence[Health]) -> list[tuple[int, str]]:
    """Numbers of the workers below half the others' median speed, each with a description."""
    known = [(number, each.speed) for number, each in enumerate(health) if each.seconds >= ENOUGH]
    ordered = sorted(speed for _, speed in known)
    found = []
    for number, speed in known:
        others = _median_without(ordered, bisect_left(ordered, speed))
        if others is not None and speed < SLOW * others:
            found.append((number, f"{speed:,.0f} tokens a second of work, the others {others:,.0f}"))
    return found


def _median_without(ordered: Sequence[float], left_out: int) -> float | None:
    """The median of ordered numbers but for one of them; None if there is no other."""
    count = len(ordered) - 1
    if count < 1:
        return None
    middle = [ordered[index + (index >= left_out)] for index in {(count - 1) // 2, count // 2}]
    return sum(middle) / len(middle)
