"""The trace of a step: prompts and answers of every node, replayed from the cache."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from swarm.engines.base import Completion, GenerationParams, Member, Request
from swarm.engines.cache.completion_cache import CompletionCache
from swarm.members.composite import Relay
from swarm.members.relaying import answer_or_more, first_requests
from swarm.system.prompts import Query, tidy_answer
from swarm.system.system import System


@dataclass(frozen=True)
class TracedNode:
    """The prompt of a node for one query.

    Attributes:
      index: of the query that it belongs to.
      prompt: all of it, the answers of earlier nodes included.
      params: how it was to be answered.
    """

    index: int
    prompt: str
    params: GenerationParams


class Trace:
    """Prompts and answers of a step, which depend on its systems alone: not on what a cache remembers beyond them.

    Attributes:
      prompts: the distinct prompts of all nodes, in the order of the walks.
    """

    def __init__(self, cache: CompletionCache):
        """`cache` is the scheduler's, which holds the running step's answers in memory."""
        self._cache = cache
        self._given: dict[tuple[tuple[str, GenerationParams], str, int], Completion] = {}
        self.prompts: dict[TracedNode, None] = {}

    def walk(self, system: System, queries: Sequence[Query], params: GenerationParams) -> None:
        """Adds the prompts and answers of a system that the step has asked these queries."""
        order = system.order
        sources = {node: system.predecessors(node) for node in order}
        for index, query in enumerate(queries):
            own = query.params(params)
            texts: dict[int, str] = {}
            for node in order:
                prompt = system.prompt(query, node, [texts[source] for source in sources[node]])
                self.prompts[TracedNode(index, prompt, own)] = None
                answer = _answer(Request(system.member_at(node), prompt, own), self._remembered)
                if answer is None:
                    break  # not in the cache, so that the prompts of later nodes are not known
                texts[node] = system.tidy(answer.text)

    def answer(self, member: Member, node: TracedNode) -> str | None:
        """A member's answer to a node's prompt, also of a composite by its members' answers; None if not known."""
        found = _answer(Request(member, node.prompt, node.params), lambda asked: self._given.get(_key(asked)))
        return None if found is None else tidy_answer(found.text)

    def _remembered(self, request: Request) -> Completion | None:
        key = _key(request)
        if key not in self._given:
            in_cache = self._cache.key(request)
            found = self._cache.get_many([in_cache]).get(in_cache)
            if found is not None:
                self._given[key] = found
        return self._given.get(key)


def _key(request: Request) -> tuple[tuple[str, GenerationParams], str, int]:
    return request.group, request.prompt, request.drawn


def _answer(request: Request, known: Callable[[Request], Completion | None]) -> Completion | None:
    """The answer to a request by the known answers; a relay's is made of its members'."""
    relay = request.member
    if not isinstance(relay, Relay):
        return known(request)
    stages: list[list[Completion]] = []
    [asked] = first_requests(relay, [request])
    while True:
        answers = [_answer(part, known) for part in asked]
        there = [answer for answer in answers if answer is not None]
        if len(there) < len(answers):
            return None
        stages.append(there)
        following = answer_or_more(relay, request, stages)
        if isinstance(following, Completion):
            return following
        asked = following
