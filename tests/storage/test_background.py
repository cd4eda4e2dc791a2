"""Writes beside the search: in order, the newest first in line, no error lost."""

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.storage.background import BackgroundWriter


@pytest.fixture
def writer():
    made = BackgroundWriter()
    yield made
    made._thread.shutdown()


class Gate:
    """A write that begins, and ends when it is told to."""

    def __init__(self, done, name, error=None):
        self.begun, self.free = threading.Event(), threading.Event()
        self._done, self._name, self._error = done, name, error

    def __call__(self):
        self.begun.set()
        assert self.free.wait(10)
        if self._error:
            raise self._error
        self._done.append(self._name)


def test_nobody_waits_and_the_newest_wins(writer):
    done = []
    first = Gate(done, "first")
    writer.write(first)
    assert first.begun.wait(10)
    for name in ("second", "third", "fourth"):
        writer.write(lambda name=name: done.append(name))
    assert done == []
    writer.check()
    first.free.set()
    writer.wait()
    assert done == ["first", "fourth"]
    writer.wait()
    writer.close()


@pytest.mark.parametrize("call", ["write", "wait", "check", "close"])
def test_an_error_comes_up_once(writer, call):
    broken = Gate([], "broken", OSError("disk full"))
    later = []
    writer.write(broken)
    assert broken.begun.wait(10)
    writer.write(lambda: later.append("waited"))
    broken.free.set()
    while writer._busy:
        pass
    with pytest.raises(OSError, match="disk full"):
        getattr(writer, call)(*[lambda: later.append("refused")] * (call == "write"))
    assert later == []
    if call != "close":
        writer.write(lambda: later.append("again"))
    writer.close()
    assert later == ["again"] * (call != "close")


@given(st.lists(st.sampled_from(["write", "fail", "check", "wait"]), max_size=30))
@settings(max_examples=60, deadline=None)
def test_every_error_is_raised_and_the_last_write_is_done(calls):
    """However calls and writes meet: what was written last, after the last error, is there in the end."""
    writer, done, raised, failed = BackgroundWriter(), [], 0, []

    def fail():
        failed.append(1)
        raise OSError

    def write(number):
        done.append(number)

    last = None
    for number, call in enumerate([*calls, "wait", "close"]):
        act = [lambda number=number: write(number)] if call == "write" else [fail] if call == "fail" else []
        try:
            getattr(writer, "write" if act else call)(*act)
            last = number if call == "write" else None if call == "fail" else last
        except OSError:
            raised, last = raised + 1, None
    assert raised == len(failed)
    assert done == sorted(done)
    assert last is None or done[-1] == last
