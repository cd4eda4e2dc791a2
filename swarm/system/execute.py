"""Many systems answer many queries side by side: the work is requests, not graphs (design, decision 5)."""

from collections.abc import Sequence
from dataclasses import replace

from swarm.engines.base import Engine, GenerationParams, Request
from swarm.system.messages import Query, node_prompt, tidy_answer
from swarm.system.system import System

Task = tuple[System, Sequence[Query]]


def answer(
    engine: Engine, system: System, queries: Sequence[Query | str], params: GenerationParams | None = None
) -> list[str]:
    """One system's answers, in the order of the queries; `params` overrides those that it was found with.

    Raises ValueError if neither says how to generate.
    """
    params = params or system.params
    if params is None:
        raise ValueError("this system was not saved with generation parameters: hand in params")
    return answer_all(engine, [(system, [Query(q) if isinstance(q, str) else q for q in queries])], params)[0]


def answer_all(engine: Engine, tasks: Sequence[Task], params: GenerationParams) -> list[list[str]]:
    """Every task's answers, in the order of its queries.

    All requests whose predecessors are answered go to the engine together, whatever system they belong to.
    """
    walks = [_Walk(system, queries) for system, queries in tasks]
    while True:
        ready = [(walk, index, place) for walk in walks for index, place in walk.take_ready()]
        if not ready:
            return [walk.answers() for walk in walks]
        requests = [walk.request(index, place, params) for walk, index, place in ready]
        for position, completion in engine.generate(requests):
            walk, index, place = ready[position]
            walk.texts[index][place] = tidy_answer(completion.text)


class _Walk:
    """One system on its way through its queries: texts[query][place] is what a place has answered."""

    def __init__(self, system: System, queries: Sequence[Query]):
        self.system = system
        self.queries = queries
        self.texts: list[dict[int, str]] = [{} for _ in queries]
        self._listens = {place: system.listens_to(place) for place in system.graph}
        self._position = {place: position for position, place in enumerate(system.order)}
        self._left = list(self._position)

    def take_ready(self) -> list[tuple[int, int]]:
        """(query, place) pairs that can be asked now and were not handed out before."""
        if not self.texts:
            return []
        answered = self.texts[0].keys()
        ready = [place for place in self._left if all(source in answered for source in self._listens[place])]
        self._left = [place for place in self._left if place not in ready]
        return [(index, place) for place in ready for index in range(len(self.queries))]

    def request(self, index: int, place: int, params: GenerationParams) -> Request:
        """What a place is asked for a query."""
        query, told = self.queries[index], [self.texts[index][source] for source in self._listens[place]]
        prompt = node_prompt(query, told, self._position[place], len(self._position))
        if query.max_new_tokens is not None:
            params = replace(params, max_new_tokens=query.max_new_tokens)
        return Request(self.system.expert_at(place), prompt, params)

    def answers(self) -> list[str]:
        """What the end said."""
        end = self.system.end
        return [texts[end] for texts in self.texts]
