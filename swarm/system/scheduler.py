"""One queue of ready requests over all systems of a step: the work is requests, not graphs (design, decision 5)."""

from collections.abc import Callable, Sequence

from swarm.engines.base import Completion, Engine, GenerationParams, Request
from swarm.engines.cache.completion_cache import CompletionCache
from swarm.engines.executor import Executor, executor_of
from swarm.members.composite import Relay, used_members
from swarm.members.relaying import first_requests
from swarm.system.prompts import Query
from swarm.system.query_trace import MemberAnswer, QueryTrace
from swarm.system.request_queue import Queue
from swarm.system.system import System
from swarm.system.walk import Known, Receiver, Waiting, Walk, Whole

Task = tuple[System, Sequence[Query]]
Heard = Callable[[int, bytes, Completion], None]


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
        self._on_request: Heard | None = None

    def answer_all(self, tasks: Sequence[Task], params: GenerationParams) -> list[list[str]]:
        """Every task's answers, in the order of its queries."""
        return [[trace.text for trace in traces] for traces in self.trace_all(tasks, params)]

    def trace_all(
        self,
        tasks: Sequence[Task],
        params: GenerationParams,
        known: Sequence[Known] | None = None,
        on_request: Heard | None = None,
    ) -> list[list[QueryTrace]]:
        """What every task's nodes answered, in the order of its queries.

        Nodes that are `known`, a `Known` for each task, are not asked. `on_request` is called for every request to a
        model and every task that needs it, with (index of the task, key of the cache, completion).

        Whoever is free takes requests of the member with most of them, so that batches are large and experts seldom
        exchanged; the answers make further requests ready, of whatever graph, without any level waiting for another.
        """
        self._on_request = on_request
        walks = [
            Walk(number, *task, params, self.on_answer, known[number] if known else None)
            for number, task in enumerate(tasks)
        ]
        by_digest = {member.digest: member for system, _ in tasks for member in map(system.member_at, system.graph)}
        self.executor.expect([part for member in by_digest.values() for part in used_members(member)])
        queue: Queue[Waiting] = Queue(self.executor.workers)
        ready: list[Receiver] = [node for walk in walks for node in walk.start()]
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

    def _line_up(self, ready: list["Receiver"], queue: "Queue[Waiting]") -> None:
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
                    woken += self._hand_over(receiver, key, known[key])
                    continue
                waiting = queue.add(request.group, key, Waiting(request), receiver.ahead)
                self.shared += bool(waiting.receivers)
                waiting.receivers.append(receiver)
            ready = woken

    def _pass_on(self, asked: Sequence[tuple["Receiver", Request]]) -> list["Receiver"]:
        """The requests of relays to their members, for all that are asked of a relay at once."""
        of_relay: dict[str, list[tuple[Receiver, Request]]] = {}
        for each in asked:
            of_relay.setdefault(each[1].member.digest, []).append(each)
        parts: list[Receiver] = []
        for waiting in of_relay.values():
            relay = waiting[0][1].member
            assert isinstance(relay, Relay)
            passed_on = first_requests(relay, [request for _, request in waiting])
            for (receiver, request), further in zip(waiting, passed_on, strict=True):
                parts += Whole(relay, request, receiver).ask(further)
        return parts

    def _receive(self, queue: "Queue[Waiting]") -> list["Receiver"]:
        """Waits for answers; returns the requests that became ready by them."""
        ready: list[Receiver] = []
        for number, finished in self.executor.wait():
            answered = queue.answered(number, [index for index, _ in finished])
            kept = self.cache.put_many(
                {key: completion for (key, _), (_, completion) in zip(answered, finished, strict=True)}
            )
            for key, waiting in answered:
                for receiver in waiting.receivers:
                    ready += self._hand_over(receiver, key, kept[key])
        return ready

    def _hand_over(self, receiver: "Receiver", key: bytes, completion: Completion) -> Sequence["Receiver"]:
        if self._on_request is not None:
            self._on_request(receiver.task, key, completion)
        return receiver.receive(completion)
