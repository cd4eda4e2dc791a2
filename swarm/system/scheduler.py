"""One queue of ready requests over all systems of a step: the work is requests, not graphs (design, decision 5)."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from swarm.engines.base import Completion, Engine, GenerationParams, Request
from swarm.engines.completion_cache import CompletionCache
from swarm.system.messages import Query, node_prompt, tidy_answer
from swarm.system.system import System

Task = tuple[System, Sequence[Query]]


class Scheduler:
    """Answers many tasks side by side, asking every distinct request once.

    Attributes:
      engine: what answers requests.
      cache: what was answered before; one of its own, in memory, if none is handed in.
      asked, shared: requests of all graphs so far, and how many of them needed no generation.
      on_answer: is called for every request that is answered, remembered ones included.
    """

    def __init__(
        self, engine: Engine, cache: CompletionCache | None = None, on_answer: Callable[[], None] | None = None
    ):
        self.engine = engine
        self.cache = cache or CompletionCache(engine.facts())
        self.asked = 0
        self.shared = 0
        self.on_answer = on_answer

    def answer_all(self, tasks: Sequence[Task], params: GenerationParams) -> list[list[str]]:
        """Every task's answers, in the order of its queries.

        The expert with the most ready requests goes first, so that batches are large and experts seldom exchanged; its
        answers make further requests ready, of whatever graph, without any level waiting for another.
        """
        walks = [_Walk(system, queries, params) for system, queries in tasks]
        self.engine.expect([system.expert_at(place) for system, _ in tasks for place in system.graph])
        groups: dict[tuple[str, GenerationParams], dict[bytes, _Waiting]] = {}
        self._line_up([node for walk in walks for node in walk.start()], groups)
        while groups:
            largest = max(groups, key=lambda group: len(groups[group]))  # the oldest of equals
            ready = self._ask(list(groups.pop(largest).items()))
            self._line_up(ready, groups)
        return [walk.answers() for walk in walks]

    def _line_up(
        self, ready: list["_Node"], groups: dict[tuple[str, GenerationParams], dict[bytes, "_Waiting"]]
    ) -> None:
        """Puts requests into the queue, equal ones once; what is known is answered here, and what that makes ready."""
        while ready:
            self.asked += len(ready)
            requests = [node.walk.request(node.index, node.place) for node in ready]
            keys = [self.cache.key(request) for request in requests]
            known = self.cache.get_many(keys)
            woken: list[_Node] = []
            for node, request, key in zip(ready, requests, keys, strict=True):
                if key in known:
                    self.shared += 1
                    woken += self._deliver([node], known[key])
                    continue
                waiting = groups.setdefault(request.group, {}).setdefault(key, _Waiting(request))
                self.shared += bool(waiting.nodes)
                waiting.nodes.append(node)
            ready = woken

    def _ask(self, group: list[tuple[bytes, "_Waiting"]]) -> list["_Node"]:
        """Has the engine answer one expert's requests; gives what became ready by that."""
        ready: list[_Node] = []
        for finished in self.engine.generate([waiting.request for _, waiting in group]):
            kept = self.cache.put_many({group[index][0]: completion for index, completion in finished})
            for index, _ in finished:
                key, waiting = group[index]
                ready += self._deliver(waiting.nodes, kept[key])
        return ready

    def _deliver(self, nodes: Iterable["_Node"], completion: Completion) -> list["_Node"]:
        text = tidy_answer(completion.text)
        ready: list[_Node] = []
        for node in nodes:
            ready += node.walk.hear(node.index, node.place, text)
            if self.on_answer:
                self.on_answer()
        return ready


@dataclass(frozen=True, slots=True)
class _Node:
    """One place of one task's graph, for one of its queries."""

    walk: "_Walk"
    index: int
    place: int


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A request, and all nodes that wait for its answer."""

    request: Request
    nodes: list[_Node] = field(default_factory=list)


class _Walk:
    """One system on its way through its queries: texts[query][place] is what a place has answered."""

    def __init__(self, system: System, queries: Sequence[Query], params: GenerationParams):
        self._system = system
        self._queries = queries
        self._params = [
            params if query.max_new_tokens is None else replace(params, max_new_tokens=query.max_new_tokens)
            for query in queries
        ]
        self._end = system.end
        self._listens = {place: system.listens_to(place) for place in system.graph}
        self._tells = {place: sorted(system.graph.successors(place)) for place in system.graph}
        self._position = {place: position for position, place in enumerate(system.order)}
        self._texts: list[dict[int, str]] = [{} for _ in queries]

    def start(self) -> list[_Node]:
        """The places that listen to nobody, for every query."""
        sources = [place for place in self._position if not self._listens[place]]
        return [_Node(self, index, place) for place in sources for index in range(len(self._queries))]

    def request(self, index: int, place: int) -> Request:
        """What a place is asked for a query."""
        told = [self._texts[index][source] for source in self._listens[place]]
        prompt = node_prompt(self._queries[index], told, self._position[place], len(self._position))
        return Request(self._system.expert_at(place), prompt, self._params[index])

    def hear(self, index: int, place: int, text: str) -> list[_Node]:
        """Notes an answer; gives the places that now have heard all whom they listen to."""
        texts = self._texts[index]
        texts[place] = text
        return [
            _Node(self, index, told)
            for told in self._tells[place]
            if all(source in texts for source in self._listens[told])
        ]

    def answers(self) -> list[str]:
        """What the end said."""
        return [texts[self._end] for texts in self._texts]
