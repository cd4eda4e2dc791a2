"""What a search is charged: each request to a model once, the first time that the run asks it, cached or not."""

from dataclasses import dataclass, field
from itertools import islice

from swarm.engines.base import Completion
from swarm.errors import BudgetReached

KEY = 16  # bytes of a request's key that are kept: a chance of 10^-27 that two of a million share them


@dataclass
class Ledger:
    """The requests that a run has asked, and what they cost.

    Work is noted as it comes and counted when a block of evaluations is settled, candidate by candidate in their order:
    so whom a request is charged to does not hang on which worker was quicker.

    Attributes:
      calls, tokens: charged so far.
      most_calls, most_tokens: limits; None is none.
      keys: of the requests that are charged, in the order of their charge.
    """

    most_calls: int | None = None
    most_tokens: int | None = None
    calls: int = 0
    tokens: int = 0
    keys: dict[bytes, None] = field(default_factory=dict)
    _new: dict[bytes, int] = field(default_factory=dict)  # since it was settled, with their tokens
    _by_task: dict[int, dict[bytes, None]] = field(default_factory=dict)
    _new_calls: int = 0
    _new_tokens: int = 0
    _passed: bool = False

    def heard(self, task: int, key: bytes, completion: Completion) -> None:
        """Notes that a task has needed a request. Raises BudgetReached where a limit is passed."""
        short = key[:KEY]
        if short in self.keys:
            return
        self._by_task.setdefault(task, {})[short] = None
        if short not in self._new:
            tokens = self._new[short] = completion.prompt_tokens + completion.new_tokens
            self._new_calls += tokens > 0  # a router's choice is no call
            self._new_tokens += tokens
            self._check(self.calls + self._new_calls, self.tokens + self._new_tokens)

    def settle(self, tasks: int) -> list[int]:
        """Charges what was noted; returns the calls that each of so many tasks is charged."""
        charged = []
        for task in range(tasks):
            own = [key for key in sorted(self._by_task.get(task, ())) if key not in self.keys]
            charged.append(sum(self._new[key] > 0 for key in own))
            self.keys |= dict.fromkeys(own)
            self.calls += charged[-1]
            self.tokens += sum(self._new[key] for key in own)
        self._forget_notes()
        return charged

    @property
    def passed(self) -> bool:
        """Whether a limit was passed since it was made."""
        return self._passed

    def mark(self) -> tuple[int, int, int]:
        """Where it stands, for `back_to`."""
        return len(self.keys), self.calls, self.tokens

    def back_to(self, mark: tuple[int, int, int]) -> None:
        """Forgets what was noted and charged since then."""
        count, self.calls, self.tokens = mark
        while len(self.keys) > count:
            self.keys.popitem()
        self._forget_notes()

    def keys_from(self, count: int) -> bytes:
        """The keys charged after so many, one after the other."""
        return b"".join(list(islice(reversed(self.keys), len(self.keys) - count))[::-1])

    def _forget_notes(self) -> None:
        self._new, self._by_task, self._new_calls, self._new_tokens = {}, {}, 0, 0

    def _check(self, calls: int, tokens: int) -> None:
        for name, used, most in (("calls", calls, self.most_calls), ("tokens", tokens, self.most_tokens)):
            if most is not None and used > most:
                self._passed = True
                raise BudgetReached(f"--max_{name} {most} reached")
