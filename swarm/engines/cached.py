"""Equal requests are asked once: a memory around any engine."""

from collections.abc import Iterator, Sequence

from swarm.engines.base import Completion, Engine, GenerationParams, Request

Key = tuple[str, str, GenerationParams]


class CachedEngine:
    """Remembers every completion of the running step and of the one before it.

    Two steps are enough: a weight step and the next role step ask the same experts; after that their weights have
    moved and no request comes again.

    Attributes:
      asked, saved: requests seen so far, and how many of them needed no generation.
    """

    def __init__(self, inner: Engine):
        self.inner = inner
        self.asked = 0
        self.saved = 0
        self._now: dict[Key, Completion] = {}
        self._before: dict[Key, Completion] = {}

    def facts(self) -> dict[str, str]:
        """The inner engine's: remembering changes no text."""
        return self.inner.facts()

    def next_step(self) -> None:
        """Forgets what was not asked for since the last call."""
        self._before, self._now = self._now, {}

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        """Known answers first, then the new ones as the inner engine finishes them."""
        waiting: dict[Key, list[int]] = {}
        self.asked += len(requests)
        for index, request in enumerate(requests):
            key = request.key
            known = self._now.get(key) or self._before.get(key)
            if known is not None:
                self._now[key] = known
                self.saved += 1
                yield index, known
            else:
                waiting.setdefault(key, []).append(index)
        keys = list(waiting)
        for position, completion in self.inner.generate([requests[waiting[key][0]] for key in keys]):
            key = keys[position]
            self._now[key] = completion
            self.saved += len(waiting[key]) - 1
            for index in waiting[key]:
                yield index, completion
