"""Concurrent calls of a server with retries, which end at once on Ctrl-C."""

import email.utils
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING

from swarm.errors import UserError
from swarm.evals.judges.client import Gate, Reply, Ticket, TransportError

if TYPE_CHECKING:
    import tenacity

log = logging.getLogger(__name__)

PASSING_STATUSES = (408, 409, 429)  # and all from 500
_SHOWN = 200  # characters of a server's message that ours shows


@dataclass(frozen=True)
class Patience:
    """The retry policy of calls. All times are in seconds.

    Attributes:
      attempts: calls in all.
      first_wait: before the second attempt; doubles from there on, with a random part on top.
      longest_wait: the most that it grows to.
      longest_asked_wait: the most that a server can ask for (Retry-After).
    """

    attempts: int = 6
    first_wait: float = 1.0
    longest_wait: float = 60.0
    longest_asked_wait: float = 120.0

    def wait(self, state: "tenacity.RetryCallState") -> float:
        """Seconds until the next attempt."""
        import tenacity

        error = state.outcome.exception() if state.outcome else None
        grown = tenacity.wait_exponential_jitter(self.first_wait, self.longest_wait, jitter=self.first_wait)(state)
        if isinstance(error, TransportError) and error.retry_after is not None:
            # the random part stays, or all that were refused together would come back together
            spread = tenacity.wait_random(0, self.first_wait)(state)
            return min(error.retry_after, self.longest_asked_wait) + spread
        return grown


PATIENT = Patience()


def concurrently(
    call: Callable[[str], Reply], prompts: Sequence[str], gate: Gate, at_once: int, patience: Patience
) -> Generator[tuple[int, Reply], None, None]:
    """Makes the calls that the gate admits, at most `at_once` at a time; see `Client.ask`.

    `call` raises TransportError for what may pass. After the first error no new call starts; what is in flight is
    waited for and yielded, then the error is raised. Where the caller stops listening, nothing is waited for.
    """
    stop = threading.Event()
    arrived: SimpleQueue[tuple[int, Reply | Exception]] = SimpleQueue()

    def work(index: int, ticket: Ticket) -> None:
        try:
            arrived.put((index, _persistently(call, ticket, gate, patience, stop)))
        except Exception as error:  # raised again below, in the thread that listens
            arrived.put((index, error))

    waiting = deque(range(len(prompts)))
    in_flight = 0
    failure: Exception | None = None
    try:
        while True:
            while waiting and not failure and in_flight < at_once and (ticket := gate.admit(prompts[waiting[0]])):
                # daemons, because the interpreter would wait for all others at its end
                threading.Thread(target=work, args=(waiting.popleft(), ticket), daemon=True).start()
                in_flight += 1
            if not in_flight:
                break
            index, outcome = arrived.get()
            in_flight -= 1
            if isinstance(outcome, Reply):
                yield index, outcome
            else:
                failure = failure or outcome
                stop.set()
    finally:
        stop.set()
    if failure:
        raise failure


def _persistently(
    call: Callable[[str], Reply], first: Ticket, gate: Gate, patience: Patience, stop: threading.Event
) -> Reply:
    """The reply to a ticket's prompt, with retries; raises UserError after the last attempt."""
    import tenacity

    def attempt() -> Reply:
        again = attempts.statistics["attempt_number"] > 1
        if again and stop.is_set():
            raise TransportError("not asked again, because another call failed")
        ticket = gate.readmit(first.prompt) if again else first
        try:
            reply = call(ticket.prompt)
        except Exception as error:
            gate.settle_lost(ticket, isinstance(error, TransportError) and error.perhaps_billed)
            raise
        gate.settle(ticket, reply)
        return reply

    attempts = tenacity.Retrying(
        stop=tenacity.stop_any(tenacity.stop_after_attempt(patience.attempts), tenacity.stop_when_event_set(stop)),
        wait=patience.wait,
        retry=tenacity.retry_if_exception_type(TransportError),
        sleep=tenacity.sleep_using_event(stop),
        before_sleep=_tell,
        reraise=True,
    )
    try:
        return attempts(attempt)
    except TransportError as error:
        raise UserError(
            f"{error}, after {attempts.statistics['attempt_number']} attempts; see that the judge can be reached, then "
            "--resume"
        ) from error


def _tell(state: "tenacity.RetryCallState") -> None:
    """Logs the reason of a long wait."""
    if state.upcoming_sleep >= 5 and state.outcome:
        log.info("%s; asked again in %.0f s", state.outcome.exception(), state.upcoming_sleep)


def passing(status: int) -> bool:
    """Whether this HTTP status is worth a retry."""
    return status in PASSING_STATUSES or status >= 500


def asked_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds that a Retry-After header asks to wait, given as a number or as a date; None without one."""
    text = next((value for name, value in headers.items() if name.lower() == "retry-after"), "").strip()
    if text.isdecimal():
        return float(text)
    date = email.utils.parsedate_tz(text)
    return max(email.utils.mktime_tz(date) - time.time(), 0.0) if date else None


def key_from(*variables: str) -> tuple[str, str]:
    """The first of these environment variables that is set, and the key in it; ("", "") if none is.

    Raises UserError for a key that no HTTP header can bear.
    """
    for variable in variables:
        key = os.environ.get(variable, "").strip()
        if key:
            if not key.isascii() or not key.isprintable():
                raise UserError(f"{variable} holds characters that no key has; set it to the key alone")
            return variable, key
    return "", ""


def shortened(message: str, key: str) -> str:
    """A server's message on one line, without the API key that it may repeat."""
    if key:
        message = message.replace(key, "***")
    message = " ".join(message.split())
    return message if len(message) <= _SHOWN else f"{message[: _SHOWN - 3]}..."
