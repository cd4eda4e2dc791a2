"""The walks of systems under evaluation through their graphs, and who waits for which answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from swarm.engines.base import Completion, GenerationParams, Request
from swarm.members.composite import Relay
from swarm.members.relaying import answer_or_more
from swarm.system.prompts import Query
from swarm.system.query_trace import MemberAnswer, QueryTrace, member_answer
from swarm.system.system import System


@dataclass(frozen=True)
class Known:
    """What is known of a task's answers before it begins.

    Attributes:
      answers: for each of its queries node -> answer, of nodes whose predecessors' answers are there, too.
      indices: of its queries, for `on_answer`; by default they are counted.
    """

    answers: Sequence[dict[int, MemberAnswer]]
    indices: Sequence[int]


class Receiver(Protocol):
    """An object that waits for an answer."""

    @property
    def ahead(self) -> int:
        """The number of further answers that depend on this one, one after the other."""
        ...

    @property
    def task(self) -> int:
        """The index of the task that needs the answer."""
        ...

    def request(self) -> Request:
        """The request whose answer is waited for."""
        ...

    def receive(self, completion: Completion, asked: tuple[MemberAnswer, ...] = ()) -> Sequence["Receiver"]:
        """Takes the answer, and what a composite asked for it; returns the receivers that are ready because of it."""
        ...


@dataclass(frozen=True, slots=True)
class Node:
    """One node of one task's graph, for one of its queries."""

    walk: "Walk"
    index: int
    node: int

    @property
    def ahead(self) -> int:
        return self.walk.ahead[self.node]

    @property
    def task(self) -> int:
        return self.walk.number

    def request(self) -> Request:
        return self.walk.request(self.index, self.node)

    def receive(self, completion: Completion, asked: tuple[MemberAnswer, ...] = ()) -> list["Node"]:
        return self.walk.receive(self.index, self.node, completion, asked)


@dataclass(frozen=True, slots=True)
class Whole:
    """A request to a relay, which waits for its members' answers, stage after stage."""

    relay: Relay
    asked: Request
    receiver: Receiver
    answered: list[dict[int, Completion]] = field(default_factory=list)  # of every stage, by index of the part
    said: list[dict[int, MemberAnswer]] = field(default_factory=list)  # the same, to be looked at
    counts: list[int] = field(default_factory=list)  # parts of every stage

    def ask(self, further: Sequence[Request]) -> list["Part"]:
        self.answered.append({})
        self.said.append({})
        self.counts.append(len(further))
        return [Part(self, request, index) for index, request in enumerate(further)]

    def receive(self, part: "Part", completion: Completion, asked: tuple[MemberAnswer, ...]) -> Sequence[Receiver]:
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
class Part:
    """One of a relay's requests to its members."""

    whole: Whole
    asked: Request
    index: int

    @property
    def ahead(self) -> int:
        return self.whole.receiver.ahead + 1

    @property
    def task(self) -> int:
        return self.whole.receiver.task

    def request(self) -> Request:
        return self.asked

    def receive(self, completion: Completion, asked: tuple[MemberAnswer, ...] = ()) -> Sequence[Receiver]:
        return self.whole.receive(self, completion, asked)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request, and the receivers of its answer."""

    request: Request
    receivers: list[Receiver] = field(default_factory=list)


class Walk:
    """The evaluation of one system on its queries: answers[query][node] is a node's answer.

    Attributes:
      number: the task's index.
      ahead: by node, the length of the longest path from it to the end node.
    """

    def __init__(
        self,
        number: int,
        system: System,
        queries: Sequence[Query],
        params: GenerationParams,
        on_answer: Callable[[int, MemberAnswer], None] | None,
        known: Known | None = None,
    ):
        self.number = number
        self._system = system
        self._on_answer = on_answer
        self._queries = queries
        self._params = [query.params(params) for query in queries]
        self._predecessors = {node: system.predecessors(node) for node in system.graph}
        self._successors = {node: sorted(system.graph.successors(node)) for node in system.graph}
        self.ahead: dict[int, int] = {}
        for node in reversed(system.order):
            self.ahead[node] = max((1 + self.ahead[after] for after in self._successors[node]), default=0)
        self._indices: Sequence[int] = known.indices if known else range(len(queries))
        self._answers: list[dict[int, MemberAnswer]] = (
            [dict(each) for each in known.answers] if known else [{} for _ in queries]
        )

    def start(self) -> list[Node]:
        """The nodes whose predecessors have answered, or that have none, for every query."""
        return [
            Node(self, index, node)
            for node in self._system.order
            for index, answers in enumerate(self._answers)
            if node not in answers and all(source in answers for source in self._predecessors[node])
        ]

    def request(self, index: int, node: int) -> Request:
        """The request of a node for a query."""
        earlier = [self._answers[index][source].text for source in self._predecessors[node]]
        prompt = self._system.prompt(self._queries[index], node, earlier)
        return Request(self._system.member_at(node), prompt, self._params[index], self._queries[index].history)

    def receive(self, index: int, node: int, completion: Completion, asked: tuple[MemberAnswer, ...]) -> list[Node]:
        """Records an answer; returns the nodes whose predecessors have now all answered."""
        answers = self._answers[index]
        member, params = self._system.member_at(node), self._params[index]
        answers[node] = member_answer(member, params, completion, asked, tidy=self._system.tidy)
        if self._on_answer:
            self._on_answer(self._indices[index], answers[node])
        return [
            Node(self, index, after)
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
