"""A progress bar: on a terminal a bar, elsewhere a line from time to time."""

import logging
import sys
from collections.abc import Callable
from time import monotonic

from tqdm import tqdm

from swarm.evolution.forecast import duration

log = logging.getLogger(__name__)

EVERY = 30.0  # seconds between two lines
MOST = 50  # lines of one work, about: those of a long one are further apart


class ProgressBar:
    """A progress bar of so many parts.

    Attributes:
      done: how many of them are done.
    """

    def __init__(self, title: str, total: int, unit: str, done: int = 0, clock: Callable[[], float] | None = None):
        """`unit` is what is counted, in the plural; `done` of them are done already. `clock` gives seconds."""
        self._title, self._total, self._unit = title, total, unit
        self._first = self.done = done
        self._clock = clock or monotonic
        self._began = self._said = self._clock()
        self._bar: tqdm | None = None  # type: ignore[type-arg]
        if sys.stderr.isatty():
            self._bar = tqdm(total=total, initial=done, desc=title, unit=f" {unit}", leave=False)

    def show(self, done: int, note: str = "") -> None:
        """Shows that so many are done, with further text; a line only if one is due."""
        self.done = done
        if self._bar is not None:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(done - self._bar.n)
            return
        now = self._clock()
        left = self._seconds_left(now)
        expected = now - self._began + (left or 0.0)
        if now - self._said < max(EVERY, expected / MOST) or done >= self._total:
            return
        self._said = now
        parts = [f"{done} of {self._total} {self._unit}", note, "" if left is None else f"about {duration(left)} left"]
        log.info("%s: %s", self._title, ", ".join(filter(None, parts)))

    def _seconds_left(self, now: float) -> float | None:
        """Seconds left at the speed so far; None before there is any."""
        new = self.done - self._first
        return (now - self._began) / new * (self._total - self.done) if new else None

    def close(self) -> None:
        """Removes the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
