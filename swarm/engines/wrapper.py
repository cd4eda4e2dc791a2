"""An engine around another one, which answers for members of a kind of its own."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from types import UnionType
from typing import Any, ClassVar, Generic, TypeVar

from swarm.engines.base import Engine, Finished, GenerationParams, Member, More, Request

Inner = TypeVar("Inner", bound=Engine)


class EngineWrapper(ABC, Generic[Inner]):
    """Answers for its own kind of members, group by group, and leaves all others to the inner engine.

    Attributes:
      inner: which answers for all other members; what it tells about itself (`halvings`, `counts`), this tells, too.
      own: the kind of members that this answers for.
    """

    own: ClassVar[type | UnionType]

    def __init__(self, inner: Inner):
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        if name == "inner":  # there is none yet
            raise AttributeError(name)
        return getattr(self.inner, name)

    def facts(self) -> dict[str, str]:
        """The inner engine's; what else changes an answer is in the digest of who is asked for it."""
        return self.inner.facts()

    def expect(self, members: Sequence[Member]) -> None:
        """Tells the inner engine."""
        self.inner.expect(members)

    def generate(self, requests: Sequence[Request], more: More | None = None) -> Iterator[Finished]:
        """The inner engine's answers, then its own; what comes meanwhile likewise."""
        sorting = _Sorting(self.own, more)
        sorting.take(requests)
        while sorting.others or sorting.groups:
            if sorting.others:
                numbers, others = sorting.begin()
                mixing: Any = self.inner
                answering = mixing.generate(others, sorting.more) if more else self.inner.generate(others)
                for finished in answering:
                    yield [(numbers[index], completion) for index, completion in finished]
            else:
                indices = sorting.groups.pop(next(iter(sorting.groups)))
                for finished in self._answer([sorting.requests[index] for index in indices]):
                    yield [(indices[place], completion) for place, completion in finished]
            sorting.take(more() if more else [])

    @abstractmethod
    def _answer(self, requests: Sequence[Request]) -> Iterator[Finished]:
        """The answers to requests of one group, in batches."""


class _Sorting:
    """Requests as they come: those of a wrapper's own members by group, and the others, which the inner engine takes.

    Attributes:
      requests: all so far.
      groups: of its own members, the indices of those that wait.
      others: the others that wait.
    """

    def __init__(self, own: type | UnionType, more: More | None):
        self._own, self._more = own, more
        self.requests: list[Request] = []
        self.groups: dict[tuple[str, GenerationParams], list[int]] = {}
        self.others: list[int] = []
        self._numbers: list[int] = []  # of what the running inner engine was given

    def take(self, requests: Sequence[Request]) -> None:
        start = len(self.requests)
        self.requests += requests
        for index, request in enumerate(requests, start):
            if isinstance(request.member, self._own):
                self.groups.setdefault(request.group, []).append(index)
            else:
                self.others.append(index)

    def begin(self) -> tuple[list[int], list[Request]]:
        """What waits for the inner engine, with its indices, which are continued by `more`."""
        self._numbers = []
        return self._numbers, self._taken()

    def more(self) -> list[Request]:
        """What has come for the inner engine."""
        assert self._more is not None
        self.take(self._more())
        return self._taken()

    def _taken(self) -> list[Request]:
        taken, self.others = self.others, []
        self._numbers += taken
        return [self.requests[index] for index in taken]
