"""The usage of a judge model, and the user's limits of calls and cost."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from swarm.errors import BudgetReached, UserError
from swarm.evals.judges.client import Reply, Ticket

_TOKENS_PER_BYTE = 1 / 3  # what English takes in most vocabularies is less; what a judge reports may raise it


@dataclass(frozen=True)
class JudgeUsage:
    """Usage so far: calls made, tokens read and written, cost in units of currency."""

    calls: int = 0
    prompt_tokens: int = 0
    new_tokens: int = 0
    cost: float = 0.0


@dataclass(frozen=True)
class JudgeLimits:
    """The most calls, and the highest cost in units of currency; None is no limit."""

    calls: int | None = None
    cost: float | None = None


NO_WORK = JudgeUsage()
NO_LIMITS = JudgeLimits()


@dataclass(frozen=True)
class Price:
    """Units of currency per million tokens, read and written."""

    read: float
    written: float

    def of(self, prompt_tokens: float, new_tokens: float) -> float:
        """The price of these tokens."""
        return (self.read * prompt_tokens + self.written * new_tokens) / 1e6


class Meter:
    """Counts calls and lets them through as far as the limits go; see `Gate`.

    Every attempt is a call. One in flight counts at the most that it can cost: its tokens are estimated from its length
    until the judge says how many there were. A reply that is lost on the way keeps that cost, as it may be billed; one
    that the server refused costs nothing.

    Attributes:
      on_change: is called with the usage before each call and after it.
      other_limit: a limit that is not the judge's own and is used up, in words; "" where there is none.
    """

    def __init__(self, limits: JudgeLimits, price: Price | None, usage: JudgeUsage, max_new_tokens: int):
        """Raises UserError if there is a limit of cost but no price."""
        if limits.cost is not None and price is None:
            raise UserError(
                f"--max_cost is {limits.cost:g} but the judge's price is not known; give its price per million tokens, "
                "or --max_judge_calls instead"
            )
        self._limits = limits
        self._price = price or Price(0.0, 0.0)
        self._usage = usage
        self._max_new_tokens = max_new_tokens
        self._tokens_per_byte = _TOKENS_PER_BYTE
        self._reserved = 0.0
        self._lock = threading.Lock()
        self._reached = ""
        self._held_back = 0
        self.on_change: Callable[[JudgeUsage], None] = lambda usage: None
        self.other_limit: Callable[[], str] = lambda: ""

    def hold_back(self, calls: int) -> None:
        """Reserves room for so many more calls, each at the cost of the one that is admitted."""
        with self._lock:
            self._held_back = calls

    @property
    def usage(self) -> JudgeUsage:
        """Work done so far, calls in flight included, at what is known of their cost."""
        with self._lock:
            return self._usage

    def admit(self, prompt: str) -> Ticket | None:
        """A ticket if a call may be made now."""
        if reached := self.other_limit():  # without the lock: it may look at what is used here
            self._reached = reached
            return None
        with self._lock:
            used, limits = self._usage, self._limits
            cost = self._price.of(len(prompt.encode()) * self._tokens_per_byte, self._max_new_tokens)
            if limits.calls is not None and used.calls + self._held_back >= limits.calls:
                self._reached = f"--max_judge_calls {limits.calls} reached{self._what_is_left()}"
                return None
            if limits.cost is not None and used.cost + self._reserved + cost * (1 + self._held_back) > limits.cost:
                self._reached = f"--max_cost {limits.cost:g} reached{self._what_is_left()}"
                return None
            self._usage = replace(used, calls=used.calls + 1)
            self._reserved += cost
            self._tell()
            return Ticket(prompt, cost)

    def _what_is_left(self) -> str:
        return f" but for {self._held_back} calls that are kept for later" if self._held_back else ""

    def readmit(self, prompt: str) -> Ticket:
        """A ticket, or BudgetReached is raised."""
        ticket = self.admit(prompt)
        if ticket is None:
            raise self.reached()
        return ticket

    def reached(self) -> BudgetReached:
        """The limit that last kept a call back, to be raised."""
        return BudgetReached(self._reached)

    def settle(self, ticket: Ticket, reply: Reply) -> None:
        """Books the reply's cost; where the judge does not report it, the estimate."""
        with self._lock:
            self._reserved -= ticket.cost
            used = self._usage
            known = reply.prompt_tokens > 0
            self._usage = JudgeUsage(
                used.calls,
                used.prompt_tokens + reply.prompt_tokens,
                used.new_tokens + reply.new_tokens,
                used.cost + (self._price.of(reply.prompt_tokens, reply.new_tokens) if known else ticket.cost),
            )
            self._tell()
            self._tokens_per_byte = max(self._tokens_per_byte, reply.prompt_tokens / (len(ticket.prompt.encode()) or 1))

    def settle_lost(self, ticket: Ticket, perhaps_billed: bool) -> None:
        """Books what a call without a reply may have cost."""
        with self._lock:
            self._reserved -= ticket.cost
            if perhaps_billed:
                self._usage = replace(self._usage, cost=self._usage.cost + ticket.cost)
            self._tell()

    def _tell(self) -> None:
        """Reports the usage with calls in flight at their highest cost, which a kill may leave to be paid."""
        self.on_change(replace(self._usage, cost=self._usage.cost + self._reserved))
