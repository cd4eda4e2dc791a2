"""The worker's side: makes the engine, answers batches, reports."""

import os
import platform
import time
import traceback
from collections.abc import Callable, Iterator, Sequence

import psutil
import torch

from swarm.engines.base import Engine, Finished, Request
from swarm.engines.local.token_budget import is_out_of_memory
from swarm.engines.statistics import tally_of
from swarm.errors import UserError
from swarm.workers.transport import Answered, Failed, Ready, Report


class Server:
    """An engine behind the messages of `transport`."""

    def __init__(self, worker: int, make: Callable[[], Engine]):
        """Makes the engine. Raises whatever that raises; `failure` puts it into words."""
        self.worker = worker
        self._engine = make()
        self._seconds = 0.0

    def ready(self) -> Ready:
        """The event that the engine is loaded."""
        device = getattr(self._engine, "device", None) or self._engine.facts().get("device", "cpu")
        return Ready(self.worker, self._engine.facts(), f"{platform.node()}, {device}, process {os.getpid()}",
                     bool(getattr(self._engine, "mixes", False)))  # fmt: skip

    def answers(self, batch: int, requests: Sequence[Request]) -> Iterator[Answered | Failed]:
        """Events with completions as they are finished, the last one with a report; or the failure."""
        waiting: Finished | None = None
        began = time.monotonic()
        try:
            self._engine.expect(list({request.member.digest: request.member for request in requests}.values()))
            for finished in self._engine.generate(requests):
                if waiting is not None:
                    yield Answered(self.worker, batch, waiting, False)
                waiting = finished
        except Exception as error:
            yield failure(self.worker, error)
            return
        finally:
            self._seconds += time.monotonic() - began
        yield Answered(self.worker, batch, waiting or [], True, self.report())

    def report(self) -> Report:
        """The counters since the worker was started."""
        on_cuda = self._engine.facts().get("device") == "cuda"
        return Report(self._seconds, _memory(on_cuda), tally_of(self._engine))


def failure(worker: int, error: Exception) -> Failed:
    """The event of an error: one line for what a person can cure, else with its traceback."""
    memory = isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and is_out_of_memory(error))
    if isinstance(error, UserError):
        return Failed(worker, str(error), cure=True)
    return Failed(worker, "".join(traceback.format_exception(error)).rstrip(), memory=memory)


def _memory(on_cuda: bool) -> int:
    """Peak bytes on the current device, or bytes of this process now."""
    if on_cuda:
        return int(torch.cuda.max_memory_allocated())
    return int(psutil.Process().memory_info().rss)
