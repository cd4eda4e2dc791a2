"""The engines around an engine: equal requests asked once, work counted, budgets kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import PARAMS, chaotic, paper_pool

from swarm.engines.base import GenerationParams, Request
from swarm.engines.cached import CachedEngine
from swarm.engines.metered import Budget, MeteredEngine, Usage
from swarm.engines.scripted import ScriptedEngine
from swarm.engines.watched import WatchedEngine
from swarm.errors import BudgetReached

EXPERTS = paper_pool().experts()


def request(expert, prompt, params=PARAMS):
    return Request(EXPERTS[expert], f"prompt {prompt}", params)


class Counting(ScriptedEngine):
    def __init__(self):
        super().__init__(chaotic)
        self.seen = []

    def generate(self, requests):
        self.seen.extend(r.key for r in requests)
        # from the last to the first: nobody may rely on the order
        yield from reversed(list(super().generate(requests)))


requests = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4)), max_size=30)


@given(st.lists(requests, max_size=5))
def test_remembering_changes_no_answer_and_asks_nothing_twice(steps):
    plain, inner = ScriptedEngine(chaotic), Counting()
    cached = CachedEngine(inner)
    for step in steps:
        batch = [request(*one) for one in step]
        assert dict(cached.generate(batch)) == dict(plain.generate(batch))
    asked = {one for step in steps for one in step}
    assert len(inner.seen) == len(set(inner.seen)) == len(asked)
    assert cached.asked - cached.saved == len(asked)
    assert cached.asked == sum(map(len, steps))


def test_the_key_is_everything_that_decides_the_answer():
    inner = Counting()
    cached = CachedEngine(inner)
    chat = GenerationParams(4, chat=True)
    for one in (request(0, 0), request(1, 0), request(0, 1), request(0, 0, chat), request(0, 0, GenerationParams(5))):
        list(cached.generate([one]))
    assert len(inner.seen) == 5


def test_two_steps_are_remembered():
    inner = Counting()
    cached = CachedEngine(inner)
    for _ in range(3):  # asked for in every step, so never forgotten
        list(cached.generate([request(0, 0)]))
        cached.next_step()
    list(cached.generate([request(1, 1)]))
    cached.next_step()
    cached.next_step()
    list(cached.generate([request(1, 1)]))
    assert len(inner.seen) == 3


def test_work_is_counted_from_where_an_earlier_sitting_stopped():
    meter = MeteredEngine(ScriptedEngine(chaotic), Usage(10, 100, 20, 5.0))
    list(meter.generate([request(0, 0), request(0, 1)]))
    usage = meter.usage
    assert (usage.generations, usage.prompt_tokens, usage.new_tokens) == (12, 104, 22)
    assert usage.tokens == 126
    assert usage.seconds >= 5


@pytest.mark.parametrize(
    ("budget", "message", "answered"),
    [
        (Budget(generations=2), "--max_generations 2 reached", 2),
        (Budget(tokens=4), "--max_tokens 4 reached", 2),
        (Budget(seconds=0), "--max_time 0 reached", 0),
    ],
)
def test_a_budget_stops_between_answers(budget, message, answered):
    meter = MeteredEngine(ScriptedEngine(chaotic), budget=budget)
    got = []
    with pytest.raises(BudgetReached, match=message):
        got.extend(answer for answer in meter.generate([request(0, i) for i in range(5)]))
        pytest.fail("the budget did not stop it")
    assert meter.usage.generations == answered


def test_a_budget_that_is_just_enough_stops_nothing():
    meter = MeteredEngine(ScriptedEngine(chaotic), budget=Budget(generations=3))
    assert len(list(meter.generate([request(0, i) for i in range(3)]))) == 3
    assert list(meter.generate([])) == []
    with pytest.raises(BudgetReached):
        list(meter.generate([request(0, 9)]))


def test_every_answer_is_told_to_the_watcher():
    told = []
    watched = WatchedEngine(CachedEngine(ScriptedEngine(chaotic)), lambda: told.append(1))
    list(watched.generate([request(0, 0), request(0, 0), request(1, 0)]))
    assert len(told) == 3
    assert watched.facts() == {"engine": "scripted"}
