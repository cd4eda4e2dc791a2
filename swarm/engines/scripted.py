"""An engine whose model is a Python function: for tests, and for trying a search without any weights."""

from collections.abc import Callable, Iterator, Sequence

from swarm.engines.base import Completion, Finished, Member, Request


class ScriptedEngine:
    """Answers every request by calling `function(request)`; tokens are counted as words."""

    def __init__(self, function: Callable[[Request], str], name: str = "scripted", rows: int = 1):
        """`rows` requests make a batch."""
        self.function = function
        self.name = name
        self.rows = rows

    def facts(self) -> dict[str, str]:
        """Only the engine's name: the caller has to keep the function the same."""
        return {"engine": self.name}

    def expect(self, members: Sequence[Member]) -> None:
        """Does nothing: there is nothing to prepare."""

    def generate(self, requests: Sequence[Request]) -> Iterator[Finished]:
        """Answers in the given order."""
        for start in range(0, len(requests), self.rows):
            batch = requests[start : start + self.rows]
            yield [(start + offset, self._answer(request)) for offset, request in enumerate(batch)]

    def _answer(self, request: Request) -> Completion:
        text = self.function(request)
        return Completion(text, len(request.prompt.split()), len(text.split()))
