"""An engine around another one, which answers for members of a kind of its own."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from types import UnionType
from typing import Any, ClassVar, Generic, TypeVar

from swarm.engines.base import Engine, Finished, GenerationParams, Member, Request

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

    def generate(self, requests: Sequence[Request]) -> Iterator[Finished]:
        """The inner engine's answers, then its own."""
        groups: dict[tuple[str, GenerationParams], list[int]] = {}
        others = []
        for index, request in enumerate(requests):
            if isinstance(request.member, self.own):
                groups.setdefault(request.group, []).append(index)
            else:
                others.append(index)
        if others:
            for finished in self.inner.generate([requests[index] for index in others]):
                yield [(others[index], completion) for index, completion in finished]
        for indices in groups.values():
            for finished in self._answer([requests[index] for index in indices]):
                yield [(indices[place], completion) for place, completion in finished]

    @abstractmethod
    def _answer(self, requests: Sequence[Request]) -> Iterator[Finished]:
        """The answers to requests of one group, in batches."""
