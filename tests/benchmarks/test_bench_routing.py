"""The benchmark of routing counts what its ways read and write, and a way's answers are those of whom it asks."""

import sys

import numpy as np
import pytest
from repository import ROOT


@pytest.fixture(scope="module", autouse=True)
def benchmarks_can_be_imported():
    before = list(sys.path)
    sys.path.append(str(ROOT))
    yield
    sys.path[:] = before


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    from benchmarks.routing_ways import World

    world = World(tmp_path_factory.mktemp("routing"), 8)
    world.prepare()
    return world


@pytest.fixture(scope="module")
def prompts(world):
    return world.prompts(world.dataset.test)


def test_a_router_answers_as_the_expert_that_it_picks(world, prompts):
    alone = [world.way(name).answer(prompts) for name in world.pool.names]
    assert len({tuple(each.texts) for each in alone}) > 1, "experts do differ"
    for kind in ("tfidf", "hidden"):
        way = world.way(f"router, {kind}")
        picked, found = way.choose(prompts), way.answer(prompts)
        assert len(set(picked)) > 1
        assert found.texts == [alone[member].texts[index] for index, member in enumerate(picked)]
        read = alone[0].read * (2 if kind == "hidden" else 1)
        assert found.read == read, "the base reads every prompt for hidden states"
        assert found.estimate == 2 * world.parameters * (read + found.written)
        assert 0 < way.classifying(prompts) < found.estimate / 10


def test_all_members_and_a_ranker_cost_what_they_read(world, prompts, monkeypatch):
    from benchmarks.forwards import all_flops
    from swarm.members.blending.pair_models import CrossEncoder

    seen, right = [], CrossEncoder._logits
    monkeypatch.setattr(CrossEncoder, "_logits", lambda self, *given: seen.append(given[1]) or right(self, *given))
    alone = [world.way(name).answer(prompts) for name in world.pool.names]
    ranked = world.way("all members + ranker").answer(prompts)
    of_members = sum(each.read for each in alone)
    assert ranked.read == of_members + sum(int(mask.sum()) for mask in seen)
    assert sum(map(len, seen)) == len(prompts) * 6 * 5, "every pair in both orders"
    assert all(text in {each.texts[index] for each in alone} for index, text in enumerate(ranked.texts))
    fused = world.way("ranker + fuser").answer(prompts)
    assert fused.read > ranked.read and ranked.written < fused.written <= ranked.written + 4 * 4 * len(prompts)
    assert fused.estimate > ranked.estimate > sum(each.estimate for each in alone)
    way = world.way("all members + ranker")
    assert all_flops(lambda: way.answer(prompts)) > 4 * all_flops(
        lambda: world.way(world.pool.names[0]).answer(prompts)
    )


def test_every_prompt_is_timed_and_not_the_one_before(world, prompts):
    from benchmarks.routing import latencies

    asked = {"one": [], "two": []}

    class Noting:
        def __init__(self, name):
            self.name = name

        def answer(self, prompts):
            asked[self.name].append(prompts)

    seconds = latencies({name: Noting(name) for name in asked}, prompts[:5], 2, 2)
    assert [each.shape for each in seconds.values()] == [(5,), (5,)] and min(map(np.min, seconds.values())) > 0
    begun = [prompts[index] for index in (4, 0, 1, 1, 2, 3, 3, 4)]
    assert asked["one"] == asked["two"] == [[prompt] for prompt in begun * 2]
