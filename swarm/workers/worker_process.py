"""The main function of a worker process, which ends with its parent and writes nothing to the terminal."""

import ctypes
import faulthandler
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import TextIOWrapper
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from threading import Lock, RLock, Thread

from tqdm import tqdm

from swarm.workers.transport import Event

SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux's prctl
PARENTS_SIGNALS = (signal.SIGINT, signal.SIGTERM)  # which reach whole groups of processes, and are for it to decide on
OURS, WARNINGS = "swarm", "py.warnings"  # loggers whose messages the parent shows


PACKAGE = str(Path(__file__).resolve().parents[2])  # the folder that `swarm` lies in


@contextmanager
def import_path_of_workers() -> Iterator[None]:
    """A process that is started meanwhile finds our package where this one has found it.

    That is needed where a front door has taken that folder off the path; the new process does the same.
    """
    sys.path.append(PACKAGE)
    try:
        yield
    finally:
        sys.path.pop()


@dataclass(frozen=True)
class Said:
    """A message for the parent's log; `file_only` keeps it off the terminal."""

    level: int
    logger: str
    text: str
    file_only: bool = False


class _ParentLog(logging.Handler):
    """A log handler that sends records to the parent; several threads may use it."""

    def __init__(self, pipe: Connection):
        super().__init__()
        self._pipe, self._one_at_a_time = pipe, Lock()

    def say(self, message: Event | Said) -> None:
        """Sends it."""
        with self._one_at_a_time:
            self._pipe.send(message)

    def emit(self, record: logging.LogRecord) -> None:
        """Sends a log record's text."""
        file_only = hasattr(record, "file_only")
        self.say(Said(record.levelno, record.name, record.getMessage().strip(), file_only))


def serve(worker: int, threads: int, pipe: Connection, output: Connection) -> None:
    """Runs the worker: reads what makes its engine from the pipe, then batches, and answers them.

    What it or a library writes goes to `output`. It computes with so many `threads`.
    """
    _die_with_parent()
    del sys.path[len(sys.path) - 1 - sys.path[::-1].index(PACKAGE)]
    for number in PARENTS_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PARENTS_SIGNALS)
    for descriptor in (1, 2):
        os.dup2(output.fileno(), descriptor)
    output.close()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(line_buffering=True)  # or it would be held back where the parent writes to a file
    faulthandler.enable()
    parent_log = _ParentLog(pipe)
    _listen_to_logs(parent_log)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"):
        os.environ[name] = str(threads)  # read when the libraries are imported, which is only now
    import torch

    from swarm.plugins import use_files
    from swarm.workers.serving import Server, failure

    torch.set_num_threads(threads)
    tqdm.set_lock(RLock())  # its own is a semaphore, of which the system would say that killed processes left it behind
    try:
        use_files(pipe.recv())  # first: what makes the engine may be made of a plugin's classes
        server = Server(worker, pipe.recv())
        ready = server.ready()
    except Exception as error:
        parent_log.say(failure(worker, error))
        return
    parent_log.say(ready)
    while True:
        batch, requests = pipe.recv()
        for event in server.answers(batch, requests):
            parent_log.say(event)


def _die_with_parent() -> None:
    """Ends this process with its parent; on Linux at once, even while this process is stopped."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    Thread(target=watch, daemon=True).start()


def _listen_to_logs(parent_log: _ParentLog) -> None:
    logging.captureWarnings(True)
    for name in (OURS, WARNINGS):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [parent_log], False
        logger.setLevel(logging.INFO)
