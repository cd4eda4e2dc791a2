"""Workers that live in the test: answers, losses and silences come in an order that a generator draws."""

import heapq

from swarm.workers.transport import Answered, Failed, Lost, Ready, Report


class ScriptedTransport:
    """Answers by `function(request)`; a batch takes `seconds(worker, requests)`; `fate(worker, requests)` may be
    "lost", "silent", "half" (lost after half of its rows), "memory" or an event."""

    def __init__(self, engine, workers=2, seconds=lambda worker, requests: 1.0, fate=lambda worker, requests: None,
                 start=lambda worker, count: None, facts=lambda worker: {"engine": "scripted"}):  # fmt: skip
        self.engine, self.workers, self.seconds, self.fate, self.facts = engine, workers, seconds, fate, facts
        self.starting, self.clock, self.due, self.count = start, 0.0, [], 0
        self.worked = [0.0] * workers
        self.sent, self.starts, self.stopped, self.closed = [], [0] * workers, [], False

    def start(self, worker):
        self._forget(worker)
        self.starts[worker] += 1
        self.worked[worker] = 0.0
        fate = self.starting(worker, self.starts[worker])
        if fate != "silent":
            self._later(2.0, fate or Ready(worker, self.facts(worker), f"place {worker}"))

    def send(self, worker, batch, requests):
        self.sent.append((worker, batch, list(requests)))
        time, fate = self.seconds(worker, requests), self.fate(worker, requests)
        self.worked[worker] += time
        report = Report(seconds=self.worked[worker])
        finished = [pair for piece in self.engine.generate(requests) for pair in piece] if fate is None else []
        if fate == "half":
            half = [pair for piece in self.engine.generate(requests[: len(requests) // 2]) for pair in piece]
            self._later(time / 2, Answered(worker, batch, half, False))
        if fate in ("lost", "half"):
            self._later(time, Lost(worker, "was killed"))
        elif fate == "memory":
            self._later(time, Failed(worker, "out of memory", memory=True))
        elif isinstance(fate, Failed | Lost):
            self._later(time, fate)
        elif fate is None:
            cut = len(finished) // 2
            if cut:
                self._later(time / 2, Answered(worker, batch, finished[:cut], False))
            self._later(time, Answered(worker, batch, finished[cut:], True, report))

    def _later(self, seconds, event):
        self.count += 1
        heapq.heappush(self.due, (self.clock + seconds, self.count, event))

    def events(self, seconds):
        if not self.due or self.due[0][0] > self.clock + seconds:
            self.clock += seconds
            return []
        self.clock, _, event = heapq.heappop(self.due)
        return [event]

    def stop(self, worker):
        self.stopped.append(worker)
        self._forget(worker)

    def _forget(self, worker):
        self.due = [each for each in self.due if each[2].worker != worker]
        heapq.heapify(self.due)

    def now(self):
        return self.clock

    def close(self):
        self.closed = True
