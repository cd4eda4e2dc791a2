"""The scheduler: nothing asked twice, no graph waits for another, the same texts whatever the order of answers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import PARAMS, chaotic, paper_pool, random_systems

from swarm.engines.base import Completion, Request
from swarm.engines.cache.completion_cache import CompletionCache
from swarm.engines.metered import Budget, Metered
from swarm.engines.scripted import ScriptedEngine
from swarm.errors import BudgetReached
from swarm.system.prompts import Query, node_prompt, tidy_answer
from swarm.system.scheduler import Scheduler
from swarm.system.system import System, graph_of, single


class Shuffled(ScriptedEngine):
    """Answers in an order and in batches of its own, and notes what it was asked."""

    def __init__(self, seed):
        super().__init__(chaotic)
        self.rng = np.random.default_rng(seed)
        self.calls = []

    def generate(self, requests):
        self.calls.append(list(requests))
        order = self.rng.permutation(len(requests)).tolist()
        while order:
            size = int(self.rng.integers(1, len(order) + 1))
            yield [(index, self._answer(requests[index])) for index in order[:size]]
            order = order[size:]


def node_by_node(system, query, seen):
    """The published procedure: one node after another."""
    said = {}
    for node in system.order:
        prompt = node_prompt(query, [said[source] for source in system.predecessors(node)])
        request = Request(system.member_at(node), prompt, PARAMS)
        seen.append((request.member.digest, prompt))
        said[node] = tidy_answer(chaotic(request))
    return said[system.end]


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 1000), st.integers(1, 6), st.sampled_from(["tree", "bernoulli"]))
def test_side_by_side_equals_node_by_node_and_asks_each_distinct_request_once(seed, n, edges):
    systems, queries, seen = list(random_systems(seed, n, 4, edges)), [Query("one"), Query("two")], []
    engine = Shuffled(seed)
    scheduler = Scheduler(engine)
    together = scheduler.answer_all([(system, queries) for system in systems], PARAMS)
    alone = [[node_by_node(system, query, seen) for query in queries] for system in systems]
    assert together == alone
    asked = [(request.member.digest, request.prompt) for call in engine.calls for request in call]
    assert len(asked) == len(set(asked)) and set(asked) == set(seen)
    assert scheduler.asked == len(seen) == 4 * 2 * n
    assert scheduler.asked - scheduler.shared == len(asked)


@given(st.integers(0, 1000))
@settings(deadline=None, max_examples=20)
def test_a_second_step_asks_only_what_is_new(seed):
    engine = Shuffled(seed)
    scheduler = Scheduler(engine)
    systems, queries = list(random_systems(seed, 4, 3)), [Query("one")]
    first = scheduler.answer_all([(system, queries) for system in systems], PARAMS)
    asked = len(engine.calls)
    scheduler.cache.next_step()
    assert scheduler.answer_all([(system, queries) for system in systems], PARAMS) == first
    assert len(engine.calls) == asked


def test_one_expert_is_asked_at_a_time_and_the_one_with_most_to_do_first():
    engine, experts = Shuffled(0), tuple(paper_pool(3).experts())
    fan = System(graph_of(3, [(0, 2), (1, 2)]), (0, 1, 0), experts)
    chain = System(graph_of(3, [(0, 1), (1, 2)]), (1, 1, 0), experts)
    queries = [Query(f"q{i}") for i in range(3)]
    Scheduler(engine).answer_all([(fan, queries), (chain, queries), (single(experts[2]), queries[:2])], PARAMS)
    # expert 1: its own node in fan is the same request as chain's source
    assert [(call[0].member.name[-1], len(call)) for call in engine.calls] == [
        ("0", 3), ("1", 3), ("0", 3), ("1", 3), ("0", 3), ("2", 2),
    ]  # fmt: skip
    assert all(len({request.member.digest for request in call}) == 1 for call in engine.calls)


def test_the_engine_hears_of_all_experts_before_the_first_request():
    announced = []

    class Hearing(ScriptedEngine):
        def expect(self, experts):
            announced.append([expert.name for expert in experts])

    experts = tuple(paper_pool(3).experts())
    Scheduler(Hearing(chaotic)).answer_all([(System(graph_of(2, [(0, 1)]), (2, 1), experts), [Query("q")])], PARAMS)
    assert announced == [["expert_2", "expert_1"]]


def test_every_answer_is_told_to_whoever_watches():
    told = []
    experts = tuple(paper_pool(2).experts())
    system = System(graph_of(2, [(0, 1)]), (0, 1), experts)
    scheduler = Scheduler(ScriptedEngine(chaotic), on_answer=lambda *_: told.append(1))
    scheduler.answer_all([(system, [Query("q"), Query("q")]), (system, [Query("q")])], PARAMS)
    assert len(told) == scheduler.asked == 6
    assert scheduler.shared == 4


class Kept:
    """A disk that notes what it is given."""

    def __init__(self):
        self.batches = []

    def get_many(self, keys):
        return {}

    def put_many(self, completions):
        self.batches.append(dict(completions))
        return {}


def test_every_finished_batch_is_kept_whole_also_before_a_stop():
    disk, experts = Kept(), tuple(paper_pool(1).experts())
    meter = Metered(ScriptedEngine(chaotic, rows=3), budget=Budget(generations=5))
    scheduler = Scheduler(meter, CompletionCache(meter.facts(), disk))
    with pytest.raises(BudgetReached):
        scheduler.answer_all([(single(experts[0]), [Query(f"q{i}") for i in range(10)])], PARAMS)
    assert [len(batch) for batch in disk.batches] == [3, 3]
    assert all(isinstance(completion, Completion) for batch in disk.batches for completion in batch.values())


def test_a_crash_reaches_the_caller():
    def crashing(request):
        raise RuntimeError("the engine broke")

    with pytest.raises(RuntimeError, match="the engine broke"):
        Scheduler(ScriptedEngine(crashing)).answer_all([(single(paper_pool().experts()[0]), [Query("q")])], PARAMS)
