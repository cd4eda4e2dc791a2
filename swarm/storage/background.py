"""Background writing: one thread beside the search, one write at a time."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock


class BackgroundWriter:
    """A thread that does one write at a time; of those that wait only the newest is done.

    One thread may call it. A write that failed ends those that wait, and raises its error in the next call.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._lock = Lock()
        self._waiting: Callable[[], None] | None = None
        self._busy = False
        self._work_in_hand: Future[None] | None = None

    def write(self, act: Callable[[], None]) -> None:
        """Schedules `act`, instead of one that waits. Raises what an earlier one raised."""
        with self._lock:
            if self._busy:
                self._waiting = act
                return
        self.wait()  # nothing is left to do, but its error may be there
        self._waiting, self._busy = act, True
        self._work_in_hand = self._thread.submit(self._work)

    def check(self) -> None:
        """Raises what an earlier write raised, without waiting for any."""
        with self._lock:
            if self._busy:
                return
        self.wait()

    def wait(self) -> None:
        """Returns when all writes are done. Raises what one of them raised."""
        if self._work_in_hand is not None:
            self._work_in_hand.exception()
            done, self._work_in_hand = self._work_in_hand, None
            done.result()

    def close(self) -> None:
        """Waits as `wait` does, raises as it does, and ends the thread."""
        try:
            self.wait()
        finally:
            self._thread.shutdown()

    def _work(self) -> None:
        while True:
            with self._lock:
                act, self._waiting = self._waiting, None
                if act is None:
                    self._busy = False
                    return
            try:
                act()
            except BaseException:
                with self._lock:
                    self._waiting, self._busy = None, False
                raise
