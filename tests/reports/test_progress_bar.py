"""How far a work is: lines where there is no terminal, none too many; a bar where there is one."""

import io
import logging
import sys

import pytest

from swarm.reports import progress_bar
from swarm.reports.progress_bar import ProgressBar


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.INFO, "swarm")
    return lambda: [record.getMessage() for record in caplog.records]


def steps(bar, clock, count, seconds, note=""):
    for _ in range(count):
        clock.now += seconds
        bar.show(bar.done + 1, note)


def test_a_line_comes_twice_a_minute_at_most_and_says_how_long_it_takes(said, clock):
    with ProgressBar("science", 40, "steps", clock=clock) as bar:
        steps(bar, clock, 40, 7, "loss 1.234")
    assert said()[:2] == [
        "science: 5 of 40 steps, loss 1.234, about 4 min left",
        "science: 10 of 40 steps, loss 1.234, about 4 min left",
    ]
    assert len(said()) == 7, "the last one is the program's own"


def test_a_short_work_says_nothing(said, clock):
    with ProgressBar("science", 29, "steps", clock=clock) as bar:
        steps(bar, clock, 29, 1)
    assert said() == []


def test_a_long_work_has_fewer_lines(said, clock):
    with ProgressBar("science", 1000, "steps", clock=clock) as bar:
        steps(bar, clock, 1000, 60)
    assert progress_bar.MOST - 2 <= len(said()) <= progress_bar.MOST
    assert said()[0] == "science: 20 of 1000 steps, about 16.3 h left"


def test_what_was_done_before_is_no_pace(said, clock):
    with ProgressBar("answers", 100, "questions", 90, clock) as bar:
        clock.now += 40
        bar.show(90, "12 tokens")
        steps(bar, clock, 1, 40, "30 tokens")
    assert said() == [
        "answers: 90 of 100 questions, 12 tokens",
        "answers: 91 of 100 questions, 30 tokens, about 12 min left",
    ]


def test_at_a_terminal_there_is_a_bar_and_no_line(said, clock, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    with ProgressBar("science", 40, "steps", 10, clock) as bar:
        steps(bar, clock, 30, 100, "loss 1.234")
    assert said() == [] and "science" in terminal.getvalue() and "10/40" in terminal.getvalue()
