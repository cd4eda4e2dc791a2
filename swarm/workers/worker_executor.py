"""The executor of several workers: a batch of a worker that is lost is asked again elsewhere."""

import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from swarm.engines.base import Finished, Member, Request
from swarm.engines.executor import Executor, IdleWorker
from swarm.engines.statistics import Tally, Work, total
from swarm.errors import UserError
from swarm.workers.health import ENOUGH, Health, slow_workers
from swarm.workers.roster import BUSY, GONE, IDLE, STARTING, Roster
from swarm.workers.transport import Answered, Event, Failed, Lost, Ready, Transport

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """Timeouts in seconds, and numbers of attempts.

    Attributes:
      answer: between one answer of a worker and the next, before it is taken to hang.
      start: until a worker has loaded its models.
      tries: of a batch, each with the loss of a worker.
      starts: of a worker in a row without an answer.
    """

    answer: float = 600.0
    start: float = 1800.0
    tries: int = 3
    starts: int = 3


@dataclass
class _SentBatch:
    requests: Sequence[Request]
    left: list[int]  # indices into the batch that are not answered
    losses: list[str] = field(default_factory=list)  # why workers were lost at it
    not_by: int | None = None  # the worker that was lost last

    @property
    def title(self) -> str:
        return f"{len(self.left)} prompts for {self.requests[0].member.name}"


@dataclass
class _Worker:
    location: str = ""
    batch: int = 0  # that it is at, while it is busy
    sent: list[int] = field(default_factory=list)  # of that batch, the indices that it was sent
    idle: IdleWorker = IdleWorker(0)  # noqa: RUF009 (frozen)
    starts: int = 0  # without an answer
    health: Health = field(default_factory=Health)


class WorkerExecutor(Executor):
    """An executor of several workers behind one transport.

    A lost worker is started again and its batch asked again, elsewhere if there is another one, a bounded number of
    times; so is one that does not answer in time. What an engine raises by itself reaches the caller: it would raise
    it again.

    Attributes:
      health: what each worker has done, by number.
    """

    def __init__(self, transport: Transport, limits: Limits = Limits()):
        """Starts all workers and waits until they are ready.

        Raises UserError if one cannot be started, or if they would give different answers.
        """
        self.workers = transport.workers
        self._transport, self._limits = transport, limits
        self._facts: dict[str, str] = {}
        self._workers = [_Worker() for _ in range(self.workers)]
        self._roster = Roster({STARTING: limits.start, BUSY: limits.answer})
        self._batches: dict[int, _SentBatch] = {}
        self._again: deque[int] = deque()  # batches without a worker
        self._numbers = 0
        self._lost: set[int] = set()  # in this round of events; what else they tell of these is of before
        self._warned: set[int] = set()
        self._compared = -ENOUGH  # when the workers' speeds were compared last
        try:
            for number in range(self.workers):
                self._start(number)
            while self._roster.count(STARTING):
                self._listen()
        except BaseException:
            transport.close()
            raise

    @property
    def health(self) -> list[Health]:
        """The health of each worker."""
        return [worker.health for worker in self._workers]

    def facts(self) -> dict[str, str]:
        """The facts of the engines, which are the same for all."""
        return dict(self._facts)

    def expect(self, members: Sequence[Member]) -> None:
        """Does nothing: no worker knows which of the members it will be asked for."""

    def free(self) -> list[IdleWorker]:
        """The idle workers, after batches of lost ones were sent again."""
        if not self._roster.count(BUSY):  # nobody has listened for a while, and who was lost meanwhile had no batch
            self._listen(at_once=True)
        self._ask_again()
        return [self._workers[number].idle for number in self._roster.idle]

    def submit(self, worker: int, requests: Sequence[Request]) -> int:
        """Sends a batch to an idle worker; returns its number."""
        self._numbers += 1
        self._batches[self._numbers] = _SentBatch(requests, list(range(len(requests))))
        self._send(worker, self._numbers)
        return self._numbers

    def wait(self) -> list[tuple[int, Finished]]:
        """Completions by batch; none if a worker has become idle.

        Raises UserError for a batch that has ended too many workers, and when no worker is left; RuntimeError for what
        an engine raised.
        """
        while True:
            self._ask_again()
            idle = len(self._roster.idle)
            answered = self._listen()
            if answered or len(self._roster.idle) > idle:
                return answered

    def abandon(self) -> None:
        """Forgets all batches; busy workers become idle when they have finished theirs."""
        self._batches.clear()
        self._again.clear()

    def tally(self) -> Tally:
        """The sum of all engines' tallies: work beside answering."""
        return total(each.tally() for each in self.health)

    def work(self) -> list[Work]:
        """The `Work` of each worker so far."""
        now = self._transport.now()
        return [each.work(now) for each in self.health]

    def glance(self) -> str:
        """How many workers are busy, in words."""
        return f"{self._roster.count(BUSY)} of {self.workers} workers busy"

    def close(self) -> None:
        """Ends all workers."""
        self._transport.close()

    def _start(self, number: int) -> None:
        worker = self._workers[number]
        worker.idle = IdleWorker(number)
        worker.starts += 1
        self._roster.put(number, STARTING, self._transport.now())
        self._transport.start(number)

    def _send(self, number: int, batch: int) -> None:
        worker, asked = self._workers[number], self._batches[batch]
        worker.batch, worker.sent = batch, list(asked.left)
        worker.idle = replace(worker.idle, resident=asked.requests[0].member.digest)
        self._roster.put(number, BUSY, self._transport.now())
        self._transport.send(number, batch, [asked.requests[index] for index in worker.sent])

    def _ask_again(self) -> None:
        """Sends batches of lost workers to idle ones, rather to others than those that were lost at them."""
        for batch in list(self._again):
            idle, not_by = self._roster.idle, self._batches[batch].not_by
            other = next((number for number in idle if number != not_by), None)
            alone = other is None and not self._roster.count(BUSY)  # who has yet to start may never do so
            if other is not None or (idle and alone):
                self._again.remove(batch)
                self._send(idle[0] if other is None else other, batch)

    def _listen(self, at_once: bool = False) -> list[tuple[int, Finished]]:
        """Handles the next events (or those that are there already) and workers that are overdue."""
        end = None if at_once else self._roster.next_end()
        answered: list[tuple[int, Finished]] = []
        self._lost.clear()
        for event in self._transport.events(0 if end is None else max(end - self._transport.now(), 0)):
            answered += [] if event.worker in self._lost else self._handle(event)
        now = self._transport.now()
        for number, since in self._roster.overdue(now):
            self._transport.stop(number)
            self._lose(number, f"gave no sign for {now - since:.0f} s")
        return answered

    def _handle(self, event: Event) -> list[tuple[int, Finished]]:
        worker = self._workers[event.worker]
        if isinstance(event, Ready):
            self._check_facts(event)
            now = self._transport.now()
            worker.location = event.location
            worker.idle = IdleWorker(event.worker, mixes=event.mixes)
            worker.health.started(event.location, now)
            self._roster.put(event.worker, IDLE, now)
        elif isinstance(event, Answered):
            return self._answered(worker, event)
        elif isinstance(event, Lost):
            self._lose(event.worker, event.reason, event.blameless)
        elif isinstance(event, Failed):
            self._failed(event)
        return []

    def _answered(self, worker: _Worker, event: Answered) -> list[tuple[int, Finished]]:
        worker.health.answered(event)
        worker.starts = 0
        self._roster.put(event.worker, IDLE if event.done else BUSY, self._transport.now())
        batch = self._batches.get(event.batch)  # none if it was abandoned
        finished = [(worker.sent[index], completion) for index, completion in event.finished]
        if event.done:
            self._warn_of_slow_ones()
        if batch is None:
            return []
        answered = {index for index, _ in finished}
        batch.left = [index for index in batch.left if index not in answered]
        if not batch.left:
            del self._batches[event.batch]
        elif event.done:
            raise RuntimeError(f"worker {event.worker} did not answer {batch.title}")
        return [(event.batch, finished)] if finished else []

    def _failed(self, event: Failed) -> None:
        worker = self._workers[event.worker]
        if event.memory:
            self._transport.stop(event.worker)
            self._lose(event.worker, "ran out of memory")
            return
        if self._roster[event.worker] == BUSY:
            self._roster.put(event.worker, IDLE, self._transport.now())  # its engine can be asked again
            if worker.batch not in self._batches:
                return  # abandoned: nobody wants to know
        elif worker.location:  # it was ready before, and the others can go on without it
            log.info("worker %d: %s", event.worker, event.message, extra={"file_only": True})
            self._transport.stop(event.worker)
            self._lose(event.worker, f"could not be replaced: {event.message.splitlines()[-1]}")
            return
        if event.cure:
            raise UserError(event.message)
        raise RuntimeError(f"worker {event.worker} ({worker.location or 'starting'}) failed: {event.message}")

    def _lose(self, number: int, reason: str, blameless: bool = False) -> None:
        worker = self._workers[number]
        self._lost.add(number)
        worker.health.lost(reason)
        batch = self._batches.get(worker.batch) if self._roster[number] == BUSY else None
        log.warning("worker %d (%s) was lost: it %s%s", number, worker.location or "starting", reason,
                    f"; {batch.title} are asked again" if batch else "")  # fmt: skip
        if batch:
            batch.losses += [] if blameless else [f"worker {number} {reason}"]
            batch.not_by = number
            if len(batch.losses) >= self._limits.tries:
                raise UserError(
                    f"{batch.title} have ended {len(batch.losses)} workers ({'; '.join(batch.losses)}): see the log, "
                    "give a smaller --token_budget, more memory or a longer --worker_timeout, then --resume"
                )
            self._again.append(worker.batch)
        if worker.starts >= self._limits.starts:
            self._roster.put(number, GONE, self._transport.now())
            log.warning("worker %d is given up: it was lost %d times without an answer", number, worker.starts)
            if self._roster.all_gone():
                raise UserError(f"no worker is left (the last one {reason}): see the log, mend it, then --resume")
            return
        self._start(number)

    def _check_facts(self, event: Ready) -> None:
        """Raises UserError if a worker's answers could differ from the others'."""
        self._facts = self._facts or event.facts
        for fact, value in self._facts.items():
            if event.facts.get(fact) != value:
                raise UserError(
                    f"worker {event.worker} ({event.location}) has {fact} {event.facts.get(fact)!r}, another one "
                    f"{value!r}: the same is wanted everywhere, or texts would depend on who writes them"
                )

    def _warn_of_slow_ones(self) -> None:
        if self._transport.now() < self._compared + ENOUGH:
            return
        self._compared = self._transport.now()
        for number, text in slow_workers(self.health):
            if number not in self._warned:
                self._warned.add(number)
                log.warning("worker %d (%s) is slow: %s", number, self._workers[number].location, text)
