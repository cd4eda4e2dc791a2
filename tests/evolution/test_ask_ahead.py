"""Asking ahead: the next role step is answered beside the weight step, and nothing else changes."""

import json

import pytest
from worlds import CountWords, chaotic, problem

from swarm.engines.scripted import ScriptedEngine
from swarm.errors import BudgetReached
from swarm.evolution.state import first_state, state_to_json
from swarm.evolution.steps import STEPS
from swarm.system.prompts import Query
from swarm.system.scheduler import Scheduler

OPTIONS = [
    {},
    {"restart_stray_particles": True, "restart_patience": 0.2, "repel_term": True},
    {"top_p": 0.8},
    {"edges": "bernoulli"},
    {"compat": "paper-code", "max_iteration": 4},
    {"credit_graph": "iteration"},
    {"step_length_factor": 0.5, "weight_step_length": 0.3},
    {"patience": 1},
    {"patience": 2, "patience_on": "graph", "max_iteration": 12},
    {"max_iteration": 0},
]


class Twice(CountWords):
    """Asks a second time about what was answered."""

    passes = 2

    def judge(self, dataset, examples):
        first = yield [Query(example.question) for example in examples]
        second = yield [Query(f"{example.question} {text}") for example, text in zip(examples, first, strict=True)]
        judging = super().judge(dataset, examples)
        next(judging)
        try:
            judging.send(second)
        except StopIteration as finished:
            return finished.value


def searched(evaluation, **settings):
    """The states of a search with the memory that a session has, and per step what reached the engine."""
    asked = [[]]
    engine = ScriptedEngine(
        lambda request: asked[-1].append((request.member.digest, request.prompt)) or chaotic(request)
    )
    scheduler = Scheduler(engine)
    world, state = problem(scheduler, evaluation=evaluation, **settings), first_state(0)
    states = []
    while state.next_step != "final":
        scheduler.cache.next_step()
        title, state = state.next_step, STEPS[state.next_step](world, state)
        states.append((title, json.dumps(state_to_json(state))))
        asked.append([])
    return states, asked[:-1]


@pytest.mark.parametrize("evaluation", [CountWords, Twice])
@pytest.mark.parametrize("options", OPTIONS)
def test_the_same_search_and_nothing_that_it_would_not_ask(options, evaluation):
    plain, asked = searched(evaluation(), **options)
    ahead, asked_ahead = searched(evaluation(), ask_ahead=True, **options)
    assert ahead == plain
    assert {each for step in asked_ahead for each in step} == {each for step in asked for each in step}
    assert sum(map(len, asked_ahead)) <= sum(map(len, asked))
    early = [not step for (title, _), step in zip(ahead, asked_ahead, strict=True) if title == "role"]
    assert sum(early) >= len(early) - 1 - 2 * ("patience" in options), "but where patience may end the search"
    assert not early or early[0] or "patience" in options


@pytest.mark.parametrize("ask_ahead", [False, True])
def test_where_the_published_program_crashes_on_the_next_graphs_the_step_before_is_kept(ask_ahead):
    world = problem(n=4, evaluation=Twice(), compat="paper-code", patience=50, ask_ahead=ask_ahead)
    state = first_state(6)
    with pytest.raises(BudgetReached, match="here the published program crashes"):
        while state.next_step != "final":
            state = STEPS[state.next_step](world, state)
    assert (state.title, state.next_step) == ("role 2", "role")


def test_systems_that_are_asked_ahead_are_not_scored():
    scored = []

    class Noting(CountWords):
        def judge(self, dataset, examples):
            judging = super().judge(dataset, examples)
            texts = yield next(judging)
            scored.append(texts)
            try:
                judging.send(texts)
            except StopIteration as finished:
                return finished.value

    searched(Noting(), ask_ahead=True, max_iteration=2)
    ahead = len(scored)
    searched(Noting(), max_iteration=2)
    assert ahead == len(scored) - ahead
