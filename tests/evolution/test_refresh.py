"""Routers fitted again in mid-search: on what the step has answered anyway, as a part of the state, or not at all."""

import json
from functools import cache

import numpy as np
import pytest
from worlds import PARAMS, CountWords, paper_pool

from swarm.data.example import Dataset, Example
from swarm.engines.cache.completion_cache import CompletionCache
from swarm.engines.scripted import ScriptedEngine
from swarm.errors import UserError
from swarm.evolution.checked_config import make_config
from swarm.evolution.fitness import Fitness
from swarm.evolution.problem import Problem
from swarm.evolution.refresh import refresh
from swarm.evolution.state import Refresh, first_state, state_from_json, state_to_json
from swarm.evolution.steps import STEPS
from swarm.members.members import Members, read_composite
from swarm.members.routing.choice_request import RouterRequest, choice_as_completion
from swarm.members.routing.fit import RouterSettings, fit_router, fitted_settings
from swarm.members.routing.fitted_on import seen_questions
from swarm.members.routing.knn import KnnSettings
from swarm.members.routing.router_artefact import load_router, read_router_facts, save_router
from swarm.members.routing.router_store import RouterStore
from swarm.system.prompts import Query, node_prompt
from swarm.system.scheduler import Scheduler
from swarm.system.system import System, graph_of, single

ANSWERS = {"sum up": "red", "spell out": "green", "paint over": "blue"}
SORTS = list(ANSWERS)
USUAL = RouterSettings()
NAMES = [f"expert_{i}" for i in range(4)]


def dataset(size=24):
    """Questions of three sorts, other ones on test."""
    splits = [
        tuple(Example(f"{SORTS[i % 3]} number {i}", ANSWERS[SORTS[i % 3]]) for i in range(start, start + size))
        for start in (0, size)
    ]
    return Dataset("sorts", *splits)


def say(request):
    """An expert knows the answers of the sort that its largest coefficient is at; a chooser does what it says."""
    if isinstance(request.member, RouterRequest):
        return choice_as_completion(loaded(request.member.folder).choose([request.prompt])[0]).text
    skill = int(np.argmax(request.member.coefficients))
    asked = next(sort for sort in SORTS if sort in request.prompt.rsplit("Question: ", 1)[1])
    return ANSWERS[asked] if skill < 3 and SORTS[skill] == asked else "no"


@cache
def loaded(folder):
    return load_router(folder)


class Store(dict):
    """A cache on disk."""

    def get_many(self, keys):
        return {key: self[key] for key in keys if key in self}

    def put_many(self, completions):
        self.update(completions)
        return {}


class World:
    """Four experts, a router that knows the first three as they were, and a vote over the router and an expert."""

    def __init__(self, folder, settings=USUAL, store=None, **options):
        prompts = [node_prompt(Query(example.question), []) for example in dataset().dev]
        scores = np.array([np.eye(3)[i % 3] for i in range(len(prompts))])
        router = fit_router(prompts, scores, NAMES[:3], settings, np.random.default_rng(0))
        save_router(folder / "fitted", router)
        nodes = {
            "routed": {"type": "router", "members": NAMES[:3], "classifier": "../fitted"},
            "pair": {"type": "vote", "members": ["routed", "expert_3"]},
        }
        for name, record in nodes.items():
            (folder / name).mkdir(parents=True, exist_ok=True)
            (folder / name / "node.json").write_text(json.dumps(record))
        self.asked = []
        engine = ScriptedEngine(lambda request: self.asked.append(request) or say(request))
        self.scheduler = Scheduler(engine, CompletionCache({}, store))
        given = {"eval_type": "x", "dataset": "y", "graph_num": 3, "trial_num": 8, "max_iteration": 4} | options
        config = make_config(given)
        fitness = Fitness(self.scheduler, CountWords(), dataset(), PARAMS, "strict")
        composites = (read_composite(folder / "pair"), read_composite(folder / "routed"))
        self.router_store = RouterStore(folder / "shelf")
        self.problem = Problem(config, Members(paper_pool(4), composites), fitness, self.router_store)

    def step(self, state):
        self.scheduler.cache.next_step()
        return STEPS[state.next_step](self.problem, state)

    def states(self, state=None):
        """Every state of the search, from this one on."""
        states = [state or first_state(self.problem.config.seed)]
        while states[-1].next_step != "final":
            states.append(self.step(states[-1]))
        return states

    def refreshed(self, systems, state=None):
        """A state after a step in which these systems were asked."""
        self.scheduler.cache.next_step()
        self.problem.fitness.utilities(systems)
        state = state or first_state(0)
        return refresh(
            state, self.problem.members_with(state.routers), systems, self.problem.fitness, self.router_store
        )


def shown(state):
    return json.dumps(state_to_json(state), sort_keys=True)


def everybody(members):
    """Systems by which all members have answered all questions."""
    return [System(graph_of(1, []), (place,), members, PARAMS) for place in range(4)]


KNN = RouterSettings(classifier=KnnSettings((3,)), tolerance=0.25, folds=3, fall_back=False)
ONE_BEST = "one member is the best for all of them"
MOVED = np.eye(4)[[1, 2, 0, 3]]


@pytest.mark.parametrize("settings", [RouterSettings(), KNN], ids=["logistic", "knn"])
def test_it_learns_what_its_members_have_become(tmp_path, settings):
    world = World(tmp_path, settings)
    members = world.problem.members.at(NAMES, MOVED)
    state = world.refreshed(everybody(members))
    assert state.refreshed == (Refresh("routed", 24, 24, 24),)
    place = world.router_store.folder_of("routed", state.routers["routed"])
    assert read_router_facts(place)["digests"] == [member.digest for member in members[:3]]
    assert loaded(place).seen == seen_questions([example.question for example in dataset().dev]), "not the prompts"
    assert fitted_settings(loaded(place)) == fitted_settings(loaded(tmp_path / "fitted")), "fitted as the first one was"
    test = [Query(example.question) for example in dataset().test]

    def right(members):
        texts = world.scheduler.answer_all([(single(members[-1]), test)], PARAMS)[0]
        return np.mean([text == example.answer for text, example in zip(texts, dataset().test, strict=True)])

    assert right(world.problem.members.initial()) == 1
    assert right(members) == 0, "the old classifier asks those who knew once"
    again = world.problem.members_with(state.routers).at(NAMES, MOVED)
    assert right(again) == 1
    assert again[-1].digest != members[-1].digest and again[-2].digest != members[-2].digest, "of the vote over it, too"


def test_nobody_is_asked_for_it(tmp_path):
    plain, refreshing = World(tmp_path / "plain"), World(tmp_path / "refreshing", refresh_routers=1)
    states = [world.states()[:5] for world in (plain, refreshing)]
    asked = []
    for world in (plain, refreshing):
        world.asked.clear()
        state = first_state(0)
        for _ in range(4):
            state = world.step(state)
        asked.append([(request.member.digest, request.prompt) for request in world.asked])
    assert states[1][4].refreshed and not states[0][4].refreshed
    assert asked[0] == asked[1]


def test_every_so_many_iterations_but_not_after_the_last(tmp_path):
    for every, wanted in ((0, []), (1, [1, 2, 3]), (2, [2]), (4, [])):
        states = World(tmp_path / str(every), refresh_routers=every).states()
        assert [(state.steps_done - 2) // 2 for state in states if state.refreshed] == wanted


def test_from_any_state_on_disk_the_same_search_follows(tmp_path):
    """To the bit, classifiers included, whatever else a cache on disk knows by then."""
    store = Store()
    states = World(tmp_path, store=store, refresh_routers=1, seed=2).states()
    assert len({json.dumps(state.routers) for state in states}) > 2
    for number, state in enumerate(states[4:]):
        known = (None, store)[number % 2]
        again = World(tmp_path, store=known, refresh_routers=1, seed=2).states(
            state_from_json(json.loads(shown(state)))
        )
        assert shown(again[-1]) == shown(states[-1])


def test_other_runs_answers_are_no_labels(tmp_path):
    """With few assignments an expert is not asked everything; that a disk knows its answers must change nothing."""
    store = Store()
    world = World(tmp_path, store=store)
    members = world.problem.members.at(NAMES, MOVED)
    world.problem.fitness.utilities(everybody(members))
    some = world.refreshed(everybody(members)[:2])
    assert (some.refreshed, some.routers) == ((Refresh("routed", 24, 0, 0, "too few"),), {})


def test_the_best_system_keeps_the_routers_that_it_was_scored_with(tmp_path):
    seen = set()
    for seed in (2, 3):
        world = World(tmp_path / str(seed), refresh_routers=1, seed=seed)
        for state in world.states()[1:]:
            world.scheduler.cache.next_step()
            assert world.problem.fitness.utilities([world.problem.best_system(state.best)]) == [state.best.score]
            seen.add(state.best.routers == state.routers)
    assert seen == {True, False}


def test_it_stays_as_it_is_where_there_is_nothing_to_learn(tmp_path):
    world = World(tmp_path)
    alike = world.problem.members.at(NAMES, np.eye(4)[[3, 1, 3, 0]])
    assert [one.kept for one in world.refreshed(everybody(alike)).refreshed] == [ONE_BEST]
    before = world.refreshed(everybody(world.problem.members.at(NAMES, MOVED)))
    after = world.refreshed(everybody(world.problem.members_with(before.routers).at(NAMES, MOVED))[:2], before)
    assert after.refreshed[0].kept == "too few" and after.routers == before.routers


def test_prompts_that_hold_earlier_answers_count_where_all_have_answered_them(tmp_path):
    world = World(tmp_path)
    members = world.problem.members.at(NAMES, MOVED)
    chains = [System(graph_of(2, [(0, 1)]), (3, place), members, PARAMS) for place in range(3)]
    [came_of_it] = world.refreshed(chains).refreshed
    # the questions, which only the fourth expert was asked, and the questions with what it has said
    assert came_of_it == Refresh("routed", 48, 24, 24)
    placed = [System(graph_of(1, []), (place,), members, PARAMS) for place in (4, 0, 1)]
    [came_of_it] = world.refreshed(placed).refreshed
    assert came_of_it.labelled == 8, "the third expert has answered what it was asked for the router in the vote"


def test_only_dev_is_learnt_from(tmp_path):
    world = World(tmp_path, refresh_routers=1)
    world.states()
    test = [example.question for example in dataset().test]
    assert world.asked and not any(request.prompt.endswith(question) for request in world.asked for question in test)


def test_a_router_that_is_gone_or_changed_is_refused(tmp_path):
    world = World(tmp_path)
    state = world.refreshed(everybody(world.problem.members.at(NAMES, MOVED)))
    place = world.router_store.folder_of("routed", state.routers["routed"])
    RouterStore(tmp_path / "shelf").check(state.routers)
    place.rename(tmp_path / "gone")
    with pytest.raises(UserError, match=r"is not there, or not what the run has put there; restore it from a copy"):
        RouterStore(tmp_path / "shelf").check(state.routers)


def test_states_of_before_are_read():
    record = state_to_json(first_state(0))
    del record["routers"], record["refreshed"]
    assert state_from_json(record) == first_state(0)
