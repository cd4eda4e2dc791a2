"""How fast an engine is, told by asking more and more, within a bound of time; the clock is the engine's own."""

import json
import time
from dataclasses import replace

import pytest
from worlds import CountWords, paper_pool, questions

from swarm.engines.base import Completion, GenerationParams
from swarm.engines.executor import SingleEngine
from swarm.errors import UserError
from swarm.evolution.checked_config import make_config
from swarm.evolution.forecast import describe_time, forecast
from swarm.evolution.speed import ENOUGH, MOST, USUAL, Lengths, Measuring, Speed, known_speed, remember_speed
from swarm.storage.user_cache import own_cache
from swarm.system.prompts import Query

QUESTIONS = [Query(f"question {i} about as many letters as these") for i in range(200)]
LETTERS = 7.5


class Paced:
    """An engine that takes its time by the clock: for every token read, and for every pass over a batch's rows."""

    def __init__(self, monkeypatch, reading, writing, length=12):
        self.now, self.batches = 0.0, []
        self._reading, self._writing, self._length = reading, writing, length
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

    def facts(self):
        return {}

    def expect(self, members):
        pass

    def generate(self, requests):
        groups = {}
        for index, request in enumerate(requests):
            groups.setdefault(request.group, []).append(index)
        for (_, params), indices in groups.items():
            read = [round(len(requests[index].prompt) / LETTERS) for index in indices]
            written = min(self._length, params.max_new_tokens)
            self.batches.append(len(indices))
            self.now += self._reading * sum(read) + self._writing * written
            yield [(index, Completion("text", tokens, written)) for index, tokens in zip(indices, read, strict=True)]


def measured(engine, most=100):
    told = []
    measuring = Measuring(SingleEngine(engine), paper_pool().experts(), QUESTIONS, GenerationParams(most))
    return measuring.run(told.append), measuring, told


def test_a_fast_engine_is_asked_everything_once(monkeypatch):
    engine = Paced(monkeypatch, reading=1e-5, writing=1e-4)
    speed, measuring, told = measured(engine)
    assert engine.now < 1 and max(engine.batches) == len(QUESTIONS)
    assert [one.questions for one in measuring.rounds] == [1, 1, 4, 16, 64, 200] and len(told) == 6
    assert speed.read == pytest.approx(1e5) and speed.written == pytest.approx(200 / 1e-4)
    assert speed.lengths.answer == 12 / 100 and speed.lengths.letters == pytest.approx(LETTERS, rel=0.1)
    line = str(measuring)
    assert "200 questions to each of 2 experts, whose answers had 12.0 tokens on average of at most 100" in line


@pytest.mark.parametrize("reading", [1e-4, 1e-3, 1e-2, 1e-1])
@pytest.mark.parametrize("writing", [1e-3, 1e-2, 1e-1, 1.0, 4.0])
@pytest.mark.parametrize("length", [1, 12, 100])
def test_it_ends_whatever_the_engine(monkeypatch, reading, writing, length):
    """And tells reading from writing, where answers have more than one token."""
    engine = Paced(monkeypatch, reading, writing, length)
    speed, measuring, _ = measured(engine)
    rows = measuring.rounds[-1].questions
    assert engine.now <= (1.1 * ENOUGH if measuring.rounds[0].seconds < 1 else MOST)
    if measuring.rounds[-1].whole.new_tokens > measuring.rounds[-1].first.new_tokens:
        assert speed.read == pytest.approx(1 / reading) and speed.written == pytest.approx(rows / writing)
    else:
        assert speed.read == speed.written > 0


def test_answers_that_had_to_be_cut_count_as_of_full_length(monkeypatch):
    speed, measuring, _ = measured(Paced(monkeypatch, 0.01, 1.0, length=100))
    assert measuring.rounds[-1].most < 100 and speed.lengths.answer == 1.0
    assert speed.rows == measuring.rounds[-1].questions


def test_an_engine_that_gets_slow_is_broken_off(monkeypatch):
    engine = Paced(monkeypatch, 1e-3, 1e-3)
    plain = engine.generate

    def tired(requests):
        if len(requests) > 2:
            engine.now += 90
        return plain(requests)

    monkeypatch.setattr(engine, "generate", tired)
    speed, measuring, told = measured(engine)
    assert len(measuring.rounds) == len(told) and speed.read > 0 and engine.now < 2 * MOST


def test_one_that_says_nothing_in_time_is_named(monkeypatch):
    with pytest.raises(UserError, match="no answer of 4 tokens came within 120 s, so there is nothing to measure"):
        measured(Paced(monkeypatch, 20.0, 1.0))


def test_a_speed_is_kept_for_its_engine_and_lengths_for_their_task():
    speed = Speed(100.0, 10.0, Lengths(0.2, 3.0), 64)
    assert known_speed("mine", "this") is None
    remember_speed("mine", "this", speed)
    assert known_speed("mine", "this") == speed and known_speed("other", "this") is None
    assert known_speed("mine", "that") == replace(speed, lengths=Lengths(1.0, 3.0))
    path = own_cache() / "speed.json"
    path.write_text(json.dumps({"experts on default device": 50.0}))  # as earlier versions kept it, by other names
    assert known_speed("mine", "this") is None
    remember_speed("mine", "this", speed)
    assert known_speed("mine", "this") == speed
    for damaged in ("[1]", '{"mine": {}}', '{"mine": "fast"}', '{"mine": 0}', "{"):
        path.write_text(damaged)
        with pytest.raises(UserError, match=r"speed\.json is damaged .*delete it and measure again \(--calibrate\)"):
            known_speed("mine", "this")


def test_a_forecast_follows_the_lengths_that_were_measured():
    config = make_config({"eval_type": "count_words", "dataset": "questions", "max_iteration": 3})
    usual, short = (
        forecast(config, 4, questions(), CountWords(), GenerationParams(100), lengths=lengths)
        for lengths in (USUAL, Lengths(0.1, 4.0))
    )
    assert short.total.new_tokens == pytest.approx(0.1 * usual.total.new_tokens, rel=0.01)
    assert short.total.prompt_tokens < usual.total.prompt_tokens, "what nodes are told is shorter, too"
    assert short.total.generations == usual.total.generations
    coarse = forecast(config, 4, questions(), CountWords(), GenerationParams(100), lengths=Lengths(1.0, 8.0))
    assert coarse.total.prompt_tokens < usual.total.prompt_tokens
    line = describe_time(usual, short, Speed(1000.0, 100.0))
    seconds = [0.6 * (plan.total.prompt_tokens / 1000 + plan.total.new_tokens / 100) for plan in (short, usual)]
    for one, said in zip(seconds, ("if answers are as long as those were", "if every answer"), strict=True):
        assert f"about {one:.0f} s {said}" in line or f"about {one / 60:.0f} min {said}" in line, line
    assert "as long as those" not in describe_time(usual, usual, Speed(1000.0, 100.0))
    told = [describe_time(usual, usual, Speed(1000.0, 100.0, USUAL, rows)) for rows in (3, 64)]
    assert ["It was measured on 3 at a time; a search asks more" in line for line in told] == [True, False]
