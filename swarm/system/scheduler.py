"""One queue of ready requests over all systems of a step: the work is requests, not graphs (design, decision 5)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from swarm.engines.base import Completion, Engine, GenerationParams, Request
from swarm.engines.cache.completion_cache import CompletionCache
from swarm.engines.executor import Executor, executor_of
from swarm.members.composite import Relay, used_members
from swarm.members.relaying import answer_or_more, first_requests
from swarm.system.prompts import Query
from swarm.system.query_trace import MemberAnswer, QueryTrace, member_answer
from swarm.system.request_queue import Queue
from swarm.system.system import System

Task = tuple[System, Sequence[Query]]


class Scheduler:
    """Answers many tasks side by side, asking every distinct request once.

    Attributes:
      executor: what answers requests.
      cache: what was answered before; one of its own, in memory, if none is handed in.
      asked, shared: requests of all graphs so far, and how many of them needed no generation.
      on_answer: is called for every answer of a node, remembered ones included: (index of the query, answer).
    """

    def __init__(
        self,
        engine: Engine | Executor,
        cache: CompletionCache | None = None,
        on_answer: Callable[[int, MemberAnswer], None] | None = None,
    ):
        self.executor = executor_of(engine)
        self.cache = cache or CompletionCache(engine.facts())
        self.asked = 0
        self.shared = 0
        self.on_answer = on_answer

    def answer_all(self, tasks: Sequence[Task], params: GenerationParams) -> list[list[str]]:
        """Every task's answers, in the order of its queries."""
        return [[trace.text for trace in traces] for traces in self.trace_all(tasks, params)]

    def trace_all(self, tasks: Sequence[Task], params: GenerationParams) -> list[list[QueryTrace]]:
        """What every task's nodes answered, in the order of its queries.

        Whoever is free takes requests of the member with most of them, so that batches are large and experts seldom
        exchanged; the answers make further requests ready, of whatever graph, without any level waiting for another.
        """
        walks = [_Walk(system, queries, params, self.on_answer) for system, queries in tasks]
        by_digest = {member.digest: member for system, _ in tasks for member in map(system.member_at, system.graph)}
        self.executor.expect([part for member in by_digest.values() for part in used_members(member)])
        queue: Queue[_Waiting] = Queue(self.executor.workers)
        ready: list[_Receiver] = [node for walk in walks for node in walk.start()]
        try:
            while ready or queue:
                idle_workers = self.executor.free() if ready or queue.ready else []
                if ready and (idle_workers or not queue.flying):
                    self._line_up(ready, queue)
                    ready = []
                for idle in idle_workers:
                    if not (batch := queue.take(idle)):
                        break
                    queue.sent(self.executor.submit(idle.worker, [waiting.request for _, waiting in batch]), batch)
                if queue.flying or (queue and not idle_workers):
                    ready += self._receive(queue)
        except BaseException:
            self.executor.abandon()
            raise
        return [walk.traces() for walk in walks]

    def _line_up(self, ready: list["_Receiver"], queue: "Queue[_Waiting]") -> None:
        """Queues requests, equal ones once; answers those in the cache, and the ones that become ready by that."""
        while ready:
            asked = [(receiver, receiver.request()) for receiver in ready]
            woken = self._pass_on([each for each in asked if isinstance(each[1].member, Relay)])
            asked = [each for each in asked if not isinstance(each[1].member, Relay)]
            self.asked += len(asked)
            keys = [self.cache.key(request) for _, request in asked]
            known = self.cache.get_many(keys)
            for (receiver, request), key in zip(asked, keys, strict=True):
                if key in known:
                    self.shared += 1
                    woken += receiver.receive(known[key])
                    continue
                waiting = queue.add(request.group, key, _Waiting(request), receiver.ahead)
                self.shared += bool(waiting.receivers)
                waiting.receivers.append(receiver)
            ready = woken

    def _pass_on(self, asked: Sequence[tuple["_Receiver", Request]]) -> list["_Receiver"]:
        """The requests of relays to their members, for all that are asked of a relay at once."""
        of_relay: dict[str, list[tuple[_Receiver, Request]]] = {}
        for each in asked:
            of_relay.setdefault(each[1].member.digest, []).append(each)
        parts: list[_Receiver] = []
        for waiting in of_relay.values():
            relay = waiting[0][1].member
            assert isinstance(relay, Relay)
            passed_on = first_requests(relay, [request for _, request in waiting])
            for (receiver, request), further in zip(waiting, passed_on, strict=True):
                parts += _Whole(relay, request, receiver).ask(further)
        return parts

    def _receive(self, queue: "Queue[_Waiting]") -> list["_Receiver"]:
        """Waits for answers; returns the requests that became ready by them."""
        ready: list[_Receiver] = []
        for number, finished in self.executor.wait():
            answered = queue.answered(number, [index for index, _ in finished])
            kept = self.cache.put_many(
                {key: completion for (key, _), (_, completion) in zip(answered, finished, strict=True)}
            )
            for key, waiting in answered:
                for receiver in waiting.receivers:
                    ready += receiver.receive(kept[key])
        return ready


class _Receiver(Protocol):
    """An object that waits for an answer."""

    @property
    def ahead(self) -> int:
        """The number of further answers that depend on this one, one after the other."""
        ...

    def request(self) -> Request:
        """The request whose answer is waited for."""
        ...

    def receive(self, completion: Completion, asked: tuple[MemberAnswer, ...] = ()) -> Sequence["_Receiver"]:
        """Takes the answer, and what a composite asked for it; returns the receivers that are ready because of it."""
        ...


@dataclass(frozen=True, slots=True)
class _Node:
    """One node of one task's graph, for one of its queries."""

    walk: "_Walk"
    index: int
    node: int

    @property
    def ahead(self) -> int:
        return self.walk.ahead[self.node]

    def request(self) -> Request:
        return self.walk.request(self.index, self.node)

    def receive(self, completion: Completion, asked: tuple[MemberAnswer, ...] = ()) -> list["_Node"]:
        return self.walk.receive(self.index, self.node, completion, asked)


@dataclass(frozen=True, slots=True)
class _Whole:
    """A request to a relay, which waits for its members' answers, stage after stage."""

    relay: Relay
    asked: Request
    receiver: _Receiver
    answered: list[dict[int, Completion]] = field(default_factory=list)  # of every stage, by index of the part
    said: list[dict[int, MemberAnswer]] = field(default_factory=list)  # the same, to be looked at
    counts: list[int] = field(default_factory=list)  # parts of every stage

    def ask(self, further: Sequence[Request]) -> list["_Part"]:
        self.answered.append({})
        self.said.append({})
        self.counts.append(len(further))
        return [_Part(self, request, index) for index, request in enumerate(further)]

    def receive(self, part: "_Part", completion: Completion, asked: tuple[MemberAnswer, ...]) -> Sequence[_Receiver]:
        own, request = None if part.asked.prompt == self.asked.prompt else part.asked.prompt, part.asked
        self.answered[-1][part.index] = completion
        self.said[-1][part.index] = member_answer(request.member, request.params, completion, asked, own)
        if len(self.answered[-1]) < self.counts[-1]:
            return []
        stages = [[stage[part] for part in range(len(stage))] for stage in self.answered]
        following = answer_or_more(self.relay, self.asked, stages)
        if not isinstance(following, Completion):
            return self.ask(following)
        said = tuple(stage[part] for stage in self.said for part in range(len(stage)))
        return self.receiver.receive(following, said)


@dataclass(frozen=True, slots=True)
class _Part:
    """One of a relay's requests to its members."""

    whole: _Whole
    asked: Request
    index: int

    @property
    def ahead(self) -> int:
        return self.whole.receiver.ahead + 1

    def request(self) -> Request:
        return self.asked

    def receive(self, completion: Completion, asked: tuple[MemberAnswer, ...] = ()) -> Sequence[_Receiver]:
        return self.whole.receive(self, completion, asked)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A request, and the receivers of its answer."""

    request: Request
    receivers: list[_Receiver] = field(default_factory=list)


class _Walk:
    """The evaluation of one system on its queries: answers[query][node] is a node's answer.

    Attributes:
      ahead: by node, the length of the longest path from it to the end node.
    """

    def __init__(
        self,
        system: System,
        queries: Sequence[Query],
        params: GenerationParams,
        on_answer: Callable[[int, MemberAnswer], None] | None,
    ):
        self._system = system
        self._on_answer = on_answer
        self._queries = queries
        self._params = [query.params(params) for query in queries]
        self._predecessors = {node: system.predecessors(node) for node in system.graph}
        self._successors = {node: sorted(system.graph.successors(node)) for node in system.graph}
        self.ahead: dict[int, int] = {}
        for node in reversed(system.order):
            self.ahead[node] = max((1 + self.ahead[after] for after in self._successors[node]), default=0)
        self._answers: list[dict[int, MemberAnswer]] = [{} for _ in queries]

    def start(self) -> list[_Node]:
        """The nodes without a predecessor, for every query."""
        sources = [node for node in self._system.order if not self._predecessors[node]]
        return [_Node(self, index, node) for node in sources for index in range(len(self._queries))]

    def request(self, index: int, node: int) -> Request:
        """The request of a node for a query."""
        earlier = [self._answers[index][source].text for source in self._predecessors[node]]
        prompt = self._system.prompt(self._queries[index], node, earlier)
        return Request(self._system.member_at(node), prompt, self._params[index], self._queries[index].history)

    def receive(self, index: int, node: int, completion: Completion, asked: tuple[MemberAnswer, ...]) -> list[_Node]:
        """Records an answer; returns the nodes whose predecessors have now all answered."""
        answers = self._answers[index]
        member, params = self._system.member_at(node), self._params[index]
        answers[node] = member_answer(member, params, completion, asked, tidy=self._system.tidy)
        if self._on_answer:
            self._on_answer(index, answers[node])
        return [
            _Node(self, index, after)
            for after in self._successors[node]
            if all(source in answers for source in self._predecessors[after])
        ]

    def traces(self) -> list[QueryTrace]:
        """What all nodes answered, in the order of the queries."""
        end = self._system.end
        return [
            QueryTrace(self._system, query, answers, end)
            for query, answers in zip(self._queries, self._answers, strict=True)
        ]
