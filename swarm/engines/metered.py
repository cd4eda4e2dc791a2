"""The usage of engines, and the user's budget for it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, replace

from swarm.engines.base import Completion, Engine, Finished, Member, Request
from swarm.engines.executor import Executor, IdleWorker, executor_of
from swarm.engines.statistics import Tally, Work
from swarm.errors import BudgetReached


@dataclass(frozen=True)
class Usage:
    """Work done so far: generations, tokens read and written, seconds spent in the run."""

    generations: int = 0
    prompt_tokens: int = 0
    new_tokens: int = 0
    seconds: float = 0.0

    @property
    def tokens(self) -> int:
        """Tokens read and written."""
        return self.prompt_tokens + self.new_tokens

    def plus(self, other: "Usage") -> "Usage":
        """The sum of both."""
        return Usage(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))

    def since(self, before: "Usage") -> "Usage":
        """The work that was done after `before`."""
        return Usage(*(max(now - then, 0) for now, then in zip(astuple(self), astuple(before), strict=True)))


@dataclass(frozen=True)
class Budget:
    """The most that a search may use; None is no limit. Times are in seconds."""

    generations: int | None = None
    tokens: int | None = None
    seconds: float | None = None

    def reached_by(self, usage: Usage) -> str | None:
        """The first limit that is used up, in words; None if there is none."""
        limits = (
            ("generations", usage.generations, self.generations),
            ("tokens", usage.tokens, self.tokens),
            ("time", usage.seconds, self.seconds),
        )
        for name, used, limit in limits:
            if limit is not None and used >= limit:
                return f"--max_{name} {limit:g} reached"
        return None


class Metered(Executor):
    """An executor that counts what the inner one generates, and stops at the budget.

    Attributes:
      usage: work so far, that of earlier sittings of a resumed run included.
      budget: None or a limit; the caller lifts it for the final scores.
      on_work: is called with the usage whenever there is more of it, before the answers are returned.
    """

    def __init__(
        self,
        inner: Engine | Executor,
        usage: Usage = Usage(),
        budget: Budget | None = None,
        began: float | None = None,
    ):
        """`began` is when the work of this sitting began, as `time.monotonic` tells it; now, if it is not given."""
        self.inner = executor_of(inner)
        self.workers = self.inner.workers
        self.budget = budget
        self._usage = usage
        self.on_work: Callable[[Usage], None] = lambda usage: None
        self._since = time.monotonic() if began is None else began
        self._left = 0  # requests that are handed in and not answered

    @property
    def usage(self) -> Usage:
        """Work done so far."""
        return replace(self._usage, seconds=self._usage.seconds + time.monotonic() - self._since)

    def late(self) -> str:
        """The budget's limit of time where it is used up, in words, else ""; time passes without any generation too."""
        budget = Budget(seconds=self.budget.seconds) if self.budget else Budget()
        return budget.reached_by(self.usage) or ""

    def check_time(self) -> None:
        """Raises BudgetReached if the time is used up."""
        if reason := self.late():
            raise BudgetReached(reason)

    def facts(self) -> dict[str, str]:
        """The inner executor's."""
        return self.inner.facts()

    def expect(self, members: Sequence[Member]) -> None:
        """Announces the members to the inner executor."""
        self.inner.expect(members)

    def free(self) -> list[IdleWorker]:
        """The inner executor's. Raises BudgetReached if the time is used up, though all answers may be known."""
        self.check_time()
        return self.inner.free()

    def submit(self, worker: int, requests: Sequence[Request]) -> int:
        """Submits a batch to the inner executor. Raises BudgetReached if a limit is used up."""
        if requests:
            self._stop_at_budget()
        self._left += len(requests)
        return self.inner.submit(worker, requests)

    def wait(self) -> list[tuple[int, Finished]]:
        """The inner executor's answers. Raises BudgetReached if a limit is used up and requests are left."""
        if self._left:
            self._stop_at_budget()
        answered = self.inner.wait()
        completions = [completion for _, finished in answered for _, completion in finished]
        self._usage = self._usage.plus(Usage(
            sum(map(_generated, completions)),
            sum(completion.prompt_tokens for completion in completions),
            sum(completion.new_tokens for completion in completions),
        ))  # fmt: skip
        self._left -= len(completions)
        if completions:
            self.on_work(self.usage)
        return answered

    def abandon(self) -> None:
        """Abandons the inner executor's batches."""
        self._left = 0
        self.inner.abandon()

    def tally(self) -> Tally:
        """The inner executor's."""
        return self.inner.tally()

    def work(self) -> list[Work]:
        """The inner executor's."""
        return self.inner.work()

    def glance(self) -> str:
        """The inner executor's."""
        return self.inner.glance()

    def close(self) -> None:
        """Closes the inner executor."""
        self.inner.close()

    def _stop_at_budget(self) -> None:
        reason = self.budget.reached_by(self.usage) if self.budget else None
        if reason:
            raise BudgetReached(reason)


def _generated(completion: Completion) -> bool:
    """Whether a language model has worked for a completion; a router's choice is no call."""
    return completion.prompt_tokens + completion.new_tokens > 0
