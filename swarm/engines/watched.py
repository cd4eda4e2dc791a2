"""An engine whose requests somebody counts, for a progress bar."""

from collections.abc import Callable, Iterator, Sequence

from swarm.engines.base import Completion, Engine, Request


class WatchedEngine:
    """Calls `on_answer()` for every request that is answered, remembered answers included."""

    def __init__(self, inner: Engine, on_answer: Callable[[], None]):
        self.inner = inner
        self.on_answer = on_answer

    def facts(self) -> dict[str, str]:
        """The inner engine's."""
        return self.inner.facts()

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        """The inner engine's answers."""
        for answer in self.inner.generate(requests):
            self.on_answer()
            yield answer
