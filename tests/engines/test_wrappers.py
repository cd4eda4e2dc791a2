"""What stands around an engine: work counted, budgets kept, answers remembered by content."""

import time

import pytest
from worlds import PARAMS, chaotic, paper_pool

from swarm.engines.base import Completion, GenerationParams, Request
from swarm.engines.cache.completion_cache import CompletionCache
from swarm.engines.metered import Budget, Metered, Usage
from swarm.engines.scripted import ScriptedEngine
from swarm.errors import BudgetReached
from swarm.system.prompts import Query
from swarm.system.scheduler import Scheduler
from swarm.system.system import single

EXPERTS = paper_pool().experts()


def request(expert, prompt, params=PARAMS):
    return Request(EXPERTS[expert], f"prompt {prompt}", params)


def test_the_key_is_everything_that_decides_the_answer():
    cache = CompletionCache({"engine": "one"})
    chat, twice = GenerationParams(4, chat=True), GenerationParams(4, second_bos=True)
    asked = [request(0, 0), request(1, 0), request(0, 1), request(0, 0, GenerationParams(5)), request(0, 0, chat)]
    keys = {cache.key(one) for one in [*asked, request(0, 0, twice)]}
    assert len(keys) == 6 and {len(key) for key in keys} == {32}
    other = CompletionCache({"engine": "other"})
    assert other.key(asked[0]) not in keys
    renamed = Request(paper_pool().expert("another name", EXPERTS[0].coefficients), "prompt 0", PARAMS)
    assert cache.key(renamed) == cache.key(asked[0]), "a name decides nothing"
    assert cache.key(Request(EXPERTS[0], "\ud800", PARAMS)) not in keys, "half a character is a prompt, too"


def test_two_steps_are_remembered():
    cache = CompletionCache({})
    keys = [cache.key(request(0, 0)), cache.key(request(1, 1))]
    cache.put_many({keys[0]: Completion("one", 1, 1)})
    for _ in range(3):  # asked for in every step, so never forgotten
        cache.next_step()
        assert set(cache.get_many(keys)) == {keys[0]}
    cache.put_many({keys[1]: Completion("", 1, 0)})
    cache.next_step()
    cache.next_step()
    assert cache.get_many(keys) == {}


class Disk(dict):
    """What outlives the memory."""

    def __init__(self):
        super().__init__()
        self.looked_up = []

    def get_many(self, keys):
        self.looked_up.append(list(keys))
        return {key: self[key] for key in keys if key in self}

    def put_many(self, completions):
        there = {key: self[key] for key in completions if key in self and self[key] != completions[key]}
        self.update(completions | there)
        return there


def test_the_disk_is_asked_once_for_many_and_only_for_what_memory_does_not_hold():
    disk = Disk()
    cache = CompletionCache({}, disk)
    keys = [cache.key(request(0, prompt)) for prompt in range(4)]
    cache.put_many({keys[0]: Completion("zero", 1, 1), keys[1]: Completion("one", 1, 1)})
    assert set(cache.get_many(keys)) == set(keys[:2])
    later = CompletionCache({}, disk)
    assert later.get_many([*keys, keys[0]])[keys[1]] == Completion("one", 1, 1)
    assert later.get_many(keys[:2])[keys[0]].text == "zero"
    assert disk.looked_up == [keys[2:], keys]
    assert (cache.from_disk, later.from_disk) == (0, 2)


def handed_in(executor, requests):
    """Batches of answers, as an executor of one gives them."""
    executor.submit(0, requests)
    while not executor.free():
        for _, finished in executor.wait():
            yield finished


def test_work_is_counted_from_where_an_earlier_sitting_stopped():
    meter = Metered(ScriptedEngine(chaotic), Usage(10, 100, 20, 5.0))
    list(handed_in(meter, [request(0, 0), request(0, 1)]))
    usage = meter.usage
    assert (usage.generations, usage.prompt_tokens, usage.new_tokens) == (12, 104, 22)
    assert usage.tokens == 126
    assert usage.seconds >= 5
    assert meter.facts() == {"engine": "scripted"}


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize(
    ("budget", "message", "answered"),
    [
        (Budget(generations=2), "--max_generations 2 reached", 2),
        (Budget(tokens=4), "--max_tokens 4 reached", 2),
        (Budget(seconds=0), "--max_time 0 reached", 0),
    ],
)
def test_a_budget_stops_between_batches(budget, message, answered, rows):
    meter, got = Metered(ScriptedEngine(chaotic, rows=rows), budget=budget), []
    with pytest.raises(BudgetReached, match=message):
        for finished in handed_in(meter, [request(0, i) for i in range(5)]):
            got += finished
    assert meter.usage.generations == len(got) == answered, "what was done is handed out before the stop"


def test_time_is_up_though_every_answer_is_known():
    """What is answered out of the cache reaches no engine, but whoever asks looks for a free worker first."""
    scheduler = Scheduler(meter := Metered(ScriptedEngine(chaotic)))
    system, params = single(EXPERTS[0]), PARAMS
    known = scheduler.answer_all([(system, [Query("one")])], params)
    meter.budget = Budget(generations=1, tokens=1)
    assert scheduler.answer_all([(system, [Query("one")])], params) == known, "other limits stop work only"
    meter.budget = Budget(seconds=0)
    with pytest.raises(BudgetReached, match="--max_time 0 reached"):
        scheduler.answer_all([(system, [Query("one")])], params)


def test_loading_before_the_first_request_counts_as_time():
    meter = Metered(ScriptedEngine(chaotic), Usage(seconds=5.0), began=time.monotonic() - 100)
    assert 105 <= meter.usage.seconds < 1000


def test_whoever_watches_hears_of_work_before_the_answers_go_on():
    meter, usages = Metered(ScriptedEngine(chaotic, rows=2)), []
    meter.on_work = lambda usage: usages.append(usage.generations)
    told = [len(usages) for _ in handed_in(meter, [request(0, i) for i in range(5)])]
    assert usages == [2, 4, 5] and told == [1, 2, 3]


def test_usages_add_up_and_their_difference_is_never_less_than_nothing():
    one, two = Usage(1, 2, 3, 4.0), Usage(10, 20, 30, 1.0)
    assert one.plus(two) == Usage(11, 22, 33, 5.0)
    assert two.since(one) == Usage(9, 18, 27, 0)


def test_a_budget_that_is_just_enough_stops_nothing():
    meter = Metered(ScriptedEngine(chaotic, rows=2), budget=Budget(generations=3))
    assert sum(map(len, handed_in(meter, [request(0, i) for i in range(3)]))) == 3
    assert list(handed_in(meter, [])) == []
    with pytest.raises(BudgetReached):
        list(handed_in(meter, [request(0, 9)]))
