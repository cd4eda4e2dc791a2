"""Workers as processes of this machine, connected by pipes."""

import atexit
import logging
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import get_context, resource_tracker
from multiprocessing.reduction import ForkingPickler
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from swarm.engines.base import Engine, Request
from swarm.plugins import files_in_use
from swarm.workers.transport import Event, Lost
from swarm.workers.worker_process import PARENTS_SIGNALS, Said, import_path_of_workers, serve

log = logging.getLogger(__name__)

LAST_LINES = 20  # that are kept of what a worker has written, to say how it ended
PATIENCE = 10.0  # seconds for the system to take a killed process away


class Processes:
    """A transport of spawned processes, which inherit nothing of this one's memory.

    They get no share of Ctrl-C, which is for this process to decide on, and end with it, however it ends. What they log
    is logged here. One that was killed leaves nothing behind.
    """

    def __init__(self, makers: Sequence[Callable[[], Engine]], threads: int = 1):
        """`makers` make the workers' engines, one each, and must be picklable; each computes with so many `threads`."""
        self.workers = len(makers)
        self._makers, self._threads = makers, threads
        self._running: dict[int, _Process] = {}
        self._events: SimpleQueue[tuple[_Process, Event]] = SimpleQueue()
        atexit.register(self.close)  # before multiprocessing waits for them itself

    def start(self, worker: int) -> None:
        """Starts a process; an earlier one of this number is ended."""
        self.stop(worker)
        process = self._running[worker] = _Process(worker, self._threads, self._events)
        process.start(self._makers[worker])

    def send(self, worker: int, batch: int, requests: Sequence[Request]) -> None:
        """Sends a batch without waiting until it is read."""
        self._running[worker].send((batch, list(requests)))

    def events(self, seconds: float) -> list[Event]:
        """The events since the last call; waits at most so long for the first one."""
        found: list[tuple[_Process, Event]] = []
        with suppress(Empty):
            found.append(self._events.get(timeout=seconds))
            while True:
                found.append(self._events.get_nowait())
        return [event for process, event in found if self._running.get(event.worker) is process]

    def stop(self, worker: int) -> None:
        """Kills a worker."""
        if process := self._running.pop(worker, None):
            process.kill()
            process.join()

    def now(self) -> float:
        """Seconds of the monotonic clock."""
        return time.monotonic()

    def close(self) -> None:
        """Kills all workers, and waits until they are gone."""
        for process in self._running.values():
            process.kill()
        while self._running:  # whoever is interrupted here may close again
            number, process = next(iter(self._running.items()))
            process.join()
            del self._running[number]
        atexit.unregister(self.close)


class _Process:
    """One worker process, and the threads that read its pipes."""

    def __init__(self, worker: int, threads: int, events: "SimpleQueue[tuple[_Process, Event]]"):
        context = get_context("spawn")
        self._worker, self._events = worker, events
        self._lines: deque[str] = deque(maxlen=LAST_LINES)
        self._pipe, self._its_pipe = context.Pipe()
        self._output, self._its_output = context.Pipe(duplex=False)
        self._process = context.Process(
            target=serve,
            args=(worker, threads, self._its_pipe, self._its_output),
            name=f"worker {worker}",
            daemon=True,
        )
        self._outgoing: SimpleQueue[Any] = SimpleQueue()
        self._writer = Thread(target=self._write, daemon=True)
        self._listener = Thread(target=self._listen, daemon=True)
        self._reader = Thread(target=self._read, daemon=True)

    def start(self, make: Callable[[], Engine]) -> None:
        """Starts it, with signals held back: it inherits that, until it has said that it ignores them."""
        resource_tracker.ensure_running()  # else it would let the signals through when the process starts it
        before = signal.pthread_sigmask(signal.SIG_BLOCK, PARENTS_SIGNALS)
        try:
            with import_path_of_workers():
                self._process.start()
            self._its_pipe.close()
            self._its_output.close()
            for thread in (self._writer, self._listener, self._reader):
                thread.start()
            self.send(files_in_use())
            self.send(make)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def send(self, message: Any) -> None:
        """Sends it without waiting: one that has stopped would never read a message larger than the pipe."""
        self._outgoing.put(ForkingPickler.dumps(message))

    def kill(self) -> None:
        """Kills the process."""
        if self._process.pid is not None:
            self._process.kill()

    def join(self) -> None:
        """Waits until the process has ended."""
        if self._listener.ident is not None:
            self._listener.join(PATIENCE)

    def _write(self) -> None:
        with suppress(OSError):  # it is gone, as whoever listens to it says
            while (message := self._outgoing.get()) is not None:
                self._pipe.send_bytes(message)

    def _listen(self) -> None:
        """Puts the process's messages into the queue until it ends, then how it ended."""
        with suppress(EOFError, OSError):
            while True:
                message = self._pipe.recv()
                if isinstance(message, Said):
                    logger = logging.getLogger(message.logger if message.logger.startswith("swarm") else __name__)
                    extra = {"file_only": True} if message.file_only else None
                    logger.log(message.level, "worker %d: %s", self._worker, message.text, extra=extra)
                else:
                    self._events.put((self, message))
        self._process.join()
        self._outgoing.put(None)
        self._reader.join(1.0)  # no longer: a process of its own may still hold its output
        self._events.put((self, Lost(self._worker, self._end())))

    def _read(self) -> None:
        """Keeps what it writes for the log's file; on the terminal it would mean nothing."""
        with suppress(OSError), open(os.dup(self._output.fileno()), encoding="utf8", errors="replace") as lines:
            for line in filter(None, map(str.rstrip, lines)):
                self._lines.append(line)
                log.info("worker %d wrote: %s", self._worker, line, extra={"file_only": True})

    def _end(self) -> str:
        code = self._process.exitcode
        if code is not None and code < 0:
            return f"was killed by signal {-code} ({signal.strsignal(-code)})"
        return f"ended with exit code {code}" + (f": {self._lines[-1].strip()}" if self._lines else "")
