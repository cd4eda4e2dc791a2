"""The interface of judge clients, and of the gate that limits their calls."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Reply:
    """A judge's reply to one prompt.

    Attributes:
      text: "" where the reply was blocked or is empty.
      prompt_tokens, new_tokens: what was read and written; 0 where the judge does not say.
      finish: why the reply ended, in the judge's own word, or "".
    """

    text: str
    prompt_tokens: int
    new_tokens: int
    finish: str = ""


class TransportError(Exception):
    """Raised for a call without a reply that is worth a retry.

    Attributes:
      retry_after: seconds that the server asks to wait, or None.
      perhaps_billed: whether the call may cost something although its reply is lost.
    """

    def __init__(self, message: str, retry_after: float | None = None, perhaps_billed: bool = False):
        super().__init__(message)
        self.retry_after = retry_after
        self.perhaps_billed = perhaps_billed


@dataclass(frozen=True)
class Ticket:
    """An admitted call: its prompt, and its highest cost (estimated, in units of currency)."""

    prompt: str
    cost: float


class Gate(Protocol):
    """Admits calls up to the user's limits, and counts them; thread-safe."""

    def admit(self, prompt: str) -> Ticket | None:
        """A ticket if a call may be made now, which then counts at its highest cost until it is settled."""
        ...

    def readmit(self, prompt: str) -> Ticket:
        """A ticket for a call that cannot wait; raises BudgetReached if it may not be made."""
        ...

    def settle(self, ticket: Ticket, reply: Reply) -> None:
        """Books the call with its reply."""
        ...

    def settle_lost(self, ticket: Ticket, perhaps_billed: bool) -> None:
        """Books the call without a reply."""
        ...


class Client(Protocol):
    """Asks one judge model.

    Attributes:
      name: what messages call it.
      max_new_tokens: tokens that a reply may have at most.
    """

    name: str
    max_new_tokens: int

    def facts(self) -> dict[str, str]:
        """The facts that decide a reply besides the prompt: provider, model, tokens; never a key."""
        ...

    def check(self) -> None:
        """Raises UserError if the judge cannot be asked; called before anything expensive."""
        ...

    def ask(self, prompts: Sequence[str], gate: Gate) -> Generator[tuple[int, Reply], None, None]:
        """Asks as many of the prompts, in their order, as the gate admits.

        Yields pairs (index into `prompts`, reply) in whatever order they come, and ends early where the gate admits no
        more. Raises UserError for what the user can cure, after the calls in flight have ended.
        """
        ...
