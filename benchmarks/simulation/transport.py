"""Workers in simulated time, with faults: what an executor is given instead of processes or actors."""

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.simulation.pace import Pace
from benchmarks.simulation.texts import Lengths, tokens_of, told, uniform
from swarm.engines.base import Request
from swarm.workers.transport import Answered, Event, Lost, Ready, Report


@dataclass(frozen=True)
class Faults:
    """What befalls a worker.

    Attributes:
      between_losses: seconds of a worker's life in the mean, exponentially distributed; infinite for none.
      hangs: share of the batches at which a worker gives no sign any more.
    """

    between_losses: float = math.inf
    hangs: float = 0.0


@dataclass
class _Simulated:
    life: int = 0  # how often it was started
    in_place: str = ""
    since: float = 0.0  # when it got its batch
    until: float = 0.0  # when it will be through with it
    seconds: float = 0.0  # at work in this life


@dataclass
class Tally:
    """What was done in a step.

    Attributes:
      busy: seconds of workers at work, lost work included.
      least: seconds that the work takes at least, if no worker is ever without a full batch.
      longest: seconds that the longest chain of requests which wait for each other takes at least.
      rows: requests that were sent; those of lost batches again.
      batches, swaps, losses: how many.
    """

    busy: float = 0.0
    least: float = 0.0
    longest: float = 0.0
    rows: int = 0
    batches: int = 0
    swaps: int = 0
    losses: int = 0


@dataclass
class SimulatedTransport:
    """Answers as the pace says; every draw follows from the seed and from what it is about.

    Attributes:
      tally: of the running step.
    """

    workers: int
    pace: Pace
    lengths: Lengths = Lengths()  # noqa: RUF009 (frozen)
    faults: Faults = Faults()
    seed: int = 0
    tally: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        self._clock = 0.0
        self._count = 0
        self._due: list[tuple[float, int, int, Event]] = []  # time, order, life of the worker that it is about, event
        self._workers = [_Simulated() for _ in range(self.workers)]
        self._earliest: dict[str, float] = {}  # answers of this step: seconds after which each can be there
        self._old: set[str] = set()  # members that some worker has had in place before this step
        self._placed: set[str] = set()
        self._counted: set[tuple[str, str]] = set()

    def next_step(self) -> Tally:
        """Begins a step; gives what was done in the last one."""
        done, self.tally = self.tally, Tally()
        self._earliest, self._counted = {}, set()
        self._old |= self._placed
        return done

    def pass_time(self, seconds: float) -> None:
        """The handing process is at work; so are the workers meanwhile."""
        self._clock += seconds

    def start(self, worker: int) -> None:
        """It is ready after a while, and lost after a longer one."""
        simulated = self._workers[worker]
        simulated.life += 1
        simulated.in_place, simulated.seconds, simulated.until = "", 0.0, self._clock
        self._later(self.pace.start, worker, Ready(worker, {"engine": "simulated"}, f"place {worker}"))
        if self.faults.between_losses < math.inf:
            life = -math.log(uniform(f"{self.seed} life {worker} {simulated.life}")) * self.faults.between_losses
            self._later(self.pace.start + life, worker, Lost(worker, "was killed"))

    def send(self, worker: int, batch: int, requests: Sequence[Request]) -> None:
        """Answers as the rows of the batch end, or none at all."""
        simulated, digest = self._workers[worker], requests[0].member.digest
        completions = [self.lengths.completion(request, self.seed) for request in requests]
        swap = simulated.in_place != digest
        for request, completion in zip(requests, completions, strict=True):
            self._reckon(request, completion.text, tokens_of(completion))
        simulated.in_place, simulated.since = digest, self._clock
        self._placed.add(digest)
        self.tally.rows += len(requests)
        self.tally.batches += 1
        self.tally.swaps += swap
        if uniform(f"{self.seed} hang {worker} {simulated.life} {batch}") < self.faults.hangs:
            simulated.until = math.inf
            return
        shares = self.pace.answers([tokens_of(completion) for completion in completions], swap)
        last = shares[-1][0]
        simulated.until = self._clock + last
        simulated.seconds += last
        self.tally.busy += last
        for seconds, places in shares:
            finished, done = [(place, completions[place]) for place in places], seconds == last
            report = Report(simulated.seconds) if done else Report()
            self._later(seconds, worker, Answered(worker, batch, finished, done, report))

    def _reckon(self, request: Request, text: str, tokens: tuple[int, int]) -> None:
        """Notes when a request can be answered at the earliest, and what it costs at least; but once."""
        digest = request.member.digest
        if (digest, request.prompt) in self._counted:
            return
        self._counted.add((digest, request.prompt))
        earlier = [self._earliest[each] for each in told(request.prompt) if each in self._earliest]
        begun = max(earlier, default=0.0 if digest in self._old else self.pace.swap)
        self._earliest[text] = begun + self.pace.alone(tokens)
        self.tally.longest = max(self.tally.longest, self._earliest[text])
        self.tally.least += self.pace.least(tokens)

    def _later(self, seconds: float, worker: int, event: Event) -> None:
        self._count += 1
        heapq.heappush(self._due, (self._clock + seconds, self._count, self._workers[worker].life, event))

    def events(self, seconds: float) -> list[Event]:
        """What is due next; what is due at once with it comes with it."""
        end = self._clock + seconds
        found: list[Event] = []
        while self._due and not found and self._due[0][0] <= end:
            self._clock = max(self._clock, self._due[0][0])
            while self._due and self._due[0][0] <= self._clock:
                _, _, life, event = heapq.heappop(self._due)
                if life == self._workers[event.worker].life:
                    found.append(event)
                    if isinstance(event, Lost):
                        self._end(event.worker)
        if not found:
            self._clock = max(self._clock, end)
        return found

    def stop(self, worker: int) -> None:
        """No event of this life comes any more."""
        self._end(worker)

    def _end(self, worker: int) -> None:
        simulated = self._workers[worker]
        self.tally.losses += 1
        if math.isinf(simulated.until):  # it hung
            self.tally.busy += self._clock - simulated.since
        elif simulated.until > self._clock:
            self.tally.busy -= simulated.until - self._clock
        simulated.until = self._clock
        simulated.life += 1

    def now(self) -> float:
        """The simulated clock."""
        return self._clock

    def close(self) -> None:
        """Nothing is there to end."""
