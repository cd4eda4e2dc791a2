"""A function as the model: for tests, and for trying a search without any weights."""

from collections.abc import Callable, Iterator, Sequence

from swarm.engines.base import Completion, Request


class ScriptedEngine:
    """Answers every request by calling `function(request)`; tokens are counted as words."""

    def __init__(self, function: Callable[[Request], str], name: str = "scripted"):
        self.function = function
        self.name = name

    def facts(self) -> dict[str, str]:
        """Only the name: the function is the caller's to keep the same."""
        return {"engine": self.name}

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        """Answers in the given order."""
        for index, request in enumerate(requests):
            text = self.function(request)
            yield index, Completion(text, len(request.prompt.split()), len(text.split()))
