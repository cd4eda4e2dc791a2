"""A cache of tokenised prompts, since the experts of a step share many of them."""

from collections.abc import Callable, Hashable
from typing import TypeVar

from swarm.engines.local.shared_prefixes import Tokens

MOST = 150_000  # tokens that are kept from call to call, some 6 MB

Kind = TypeVar("Kind", bound=Hashable)


class TokenMemory:
    """Tokens by prompt and by how it was tokenised; begins anew when it is full."""

    def __init__(self, most: int = MOST):
        self._most = most
        self._rows: dict[tuple[Hashable, str], Tokens] = {}
        self._held = 0

    def clear(self) -> None:
        """Empties the cache."""
        self._rows, self._held = {}, 0

    def tokens(
        self, prompts: list[str], kind: Kind, tokenise: Callable[[list[str], Kind], list[Tokens]]
    ) -> list[Tokens]:
        """Every prompt's tokens, which are not to be written into; `tokenise` is given those that are not known."""
        new = list(dict.fromkeys(prompt for prompt in prompts if (kind, prompt) not in self._rows))
        if new:
            rows = tokenise(new, kind)
            self._rows |= {(kind, prompt): row for prompt, row in zip(new, rows, strict=True)}
            self._held += sum(map(len, rows))
        answer = [self._rows[kind, prompt] for prompt in prompts]
        if self._held > self._most:
            self.clear()
        return answer
