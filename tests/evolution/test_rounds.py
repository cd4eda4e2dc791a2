"""Searches by candidates: answers remembered, charges, ends, kills at random instants, plugins that go wrong."""

import json
from dataclasses import replace

import numpy as np
import pytest
from worlds import chaotic, problem

from swarm.engines.metered import Budget, Metered
from swarm.engines.scripted import ScriptedEngine
from swarm.errors import BudgetReached, UserError
from swarm.evolution.answer_table import AnswerTable
from swarm.evolution.candidate import Candidate, candidate
from swarm.evolution.candidate_files import ASKED, CANDIDATES, append_round, restore
from swarm.evolution.ledger import Ledger
from swarm.evolution.loop import Watcher, search
from swarm.evolution.made_rounds import make_rounds, stopping_rule
from swarm.evolution.optimizers.random_draws import RandomDraws, random_candidate
from swarm.evolution.optimizers.watched import Watched
from swarm.evolution.rounds import Rounds
from swarm.evolution.state import first_state, state_from_json, state_to_json
from swarm.evolution.whole_systems import WholeSystems

OPTIMIZERS = ("evolution", "swarm-local", "cmaes", "random")


class Killed(Exception):
    """A process is killed."""


class Keeper(Watcher):
    """Writes what a session writes after each step."""

    def __init__(self, folder, rounds):
        self.folder, self.rounds = folder, rounds

    def after(self, before, state):
        append_round(self.folder, before, state, self.rounds.last, self.rounds.ledger)
        if self.rounds.ledger.calls % 3 == 0:
            return  # as if killed between both: the step is taken again
        (self.folder / "state.json").write_text(json.dumps(state_to_json(state)))


def sitting(folder, optimizer, calls, killed_at=None, **settings):
    """One session on a run's folder; the engine dies at this call."""
    answered = 0

    def function(request):
        nonlocal answered
        answered += 1
        if answered == killed_at:
            raise Killed
        return chaotic(request)

    own = problem(ScriptedEngine(function), optimizer=optimizer, max_generations=calls, **settings)
    rounds, path = make_rounds(own), folder / "state.json"
    state = state_from_json(json.loads(path.read_text())) if path.exists() else first_state(own.config.seed, True)
    restore(folder, state, rounds)
    state = search(own, state, Metered(ScriptedEngine(chaotic)), Keeper(folder, rounds), Budget(), rounds)
    return replace(state, usage=first_state(0).usage)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_killed_at_any_call_a_search_goes_on_to_the_same_end(tmp_path, optimizer):
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    whole.mkdir(), pieces.mkdir()
    wanted = sitting(whole, optimizer, 1500)
    rng = np.random.default_rng(3)
    for _ in range(15):
        try:
            sitting(pieces, optimizer, 1500, killed_at=int(rng.integers(1, 400)))
        except Killed:
            continue
        break
    assert state_to_json(sitting(pieces, optimizer, 1500)) == state_to_json(wanted)
    for name in (CANDIDATES, ASKED):
        assert (pieces / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_search_gets_better_and_spends_no_more_than_it_may(tmp_path, optimizer):
    state = sitting(tmp_path, optimizer, 1500)
    rows = [json.loads(line) for line in (tmp_path / CANDIDATES).read_text().splitlines()]
    assert sum(row["calls"] for row in rows) == state.charged[1] <= 1500
    assert state.stop_reason == "--max_calls 1500 reached" or optimizer == "random"  # which knows all trees before
    assert state.best.score == max(row["utility"] for row in rows if row["utility"] is not None)
    assert state.best.score > max(state.singles) or optimizer == "cmaes"  # of which this is two generations
    assert len(rows) == state.tried == len({row["key"] for row in rows})


def test_its_own_limit_is_the_end(tmp_path):
    state = sitting(tmp_path, "random", None)
    assert state.next_step == "final"
    assert state.charged[1] <= 50 * 4 * 12


def test_a_search_that_spends_nothing_ends(tmp_path):
    state = sitting(tmp_path, "random", 10**9, max_nodes=1)
    assert state.stop_reason.endswith("candidates in a row cost nothing")
    assert state.tried == 4


def test_racing_saves_answers(tmp_path):
    for racing in (True, False):
        folder = tmp_path / str(racing)
        folder.mkdir()
        own = problem(optimizer="evolution", max_generations=2000, racing=racing, dataset="questions")
        own = replace(
            own, fitness=replace(own.fitness, dataset=replace(own.fitness.dataset, dev=own.fitness.dataset.dev * 8))
        )
        rounds = make_rounds(own)
        state = first_state(0, True)
        for _ in range(8):
            state = rounds.step(state)
        assert (state.raced[1] < state.raced[0]) == racing


def test_the_table_answers_as_whole_systems_do():
    rng, own = np.random.default_rng(0), problem(optimizer="random")
    drawn = [random_candidate(own.space, rng, mixed=True) for _ in range(20)]
    first, second = Ledger(), Ledger()
    table, whole = AnswerTable(own, first), WholeSystems(own, second)
    for places in ([3, 1, 7], list(range(12))):
        scores, calls = table.scores(drawn, places)
        again, charged = whole.scores(drawn, places)
        assert np.array_equal(scores, again) and calls == charged
    assert list(first.keys) == list(second.keys)


def test_experts_at_nodes_are_shared_and_named():
    own = problem(optimizer="evolution")
    mixed = (0.5, 0.75, 0.0, 0.0)
    one = candidate([(0, 3), (1, 3), (2, 3)], [mixed, own.space.initial[2], mixed, (0.0, 0.0, 0.0, -1.5)])
    system = own.candidate_system(one)
    assert [system.member_at(node).name for node in range(4)] == ["expert_1@0", "expert_2", "expert_1@0", "expert_3@3"]
    assert system.member_at(1).digest == own.pool.experts()[2].digest


class Nonsense(RandomDraws):
    """An optimizer of which one method gives something else."""

    def __init__(self, method, value):
        super().__init__()
        self._method, self._value = method, value

    def __getattribute__(self, name):
        if name not in ("_method", "_value") and name == object.__getattribute__(self, "_method"):
            return lambda *_: object.__getattribute__(self, "_value")()
        return object.__getattribute__(self, name)


def fails():
    raise RuntimeError("out of ideas")


ONE_HOT = (1.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("method", "value", "message"),
    [
        ("propose", lambda: [Candidate((), ((float("nan"), 0.0, 0.0, 0.0),))], "wanted 4 numbers"),
        ("propose", lambda: [Candidate((), ((1.0, 0.0),))], "wanted 4 numbers"),
        ("propose", lambda: [Candidate(((0, 1), (1, 0)), (ONE_HOT, ONE_HOT))], "circle"),
        ("propose", lambda: [Candidate((), ("nobody",))], "'nobody'"),
        ("propose", lambda: [Candidate((), (ONE_HOT,) * 99)], "99 nodes"),
        ("propose", lambda: ["a tree"], "str as candidate 0"),
        ("propose", lambda: None, "NoneType, wanted a list"),
        ("learn", lambda: {"mean": float("nan")}, "a state that JSON cannot hold"),
        ("learn", lambda: object(), "a state that JSON cannot hold"),
        ("bar", lambda: [1.0, 2.0], "wanted 12 numbers"),
        ("bar", lambda: "high", "wanted 12 numbers"),
        ("propose", fails, "raised RuntimeError: out of ideas"),
        ("learn", fails, "raised RuntimeError: out of ideas"),
    ],
)
def test_nonsense_of_a_plugin_is_named_and_charged_to_nobody(method, value, message):
    own = problem(optimizer="random")
    rounds = Rounds(own, Watched("mine", Nonsense(method, value)), Ledger())
    before = rounds.step(first_state(0, True))
    with pytest.raises(UserError, match="optimizer mine.*" + message):
        rounds.step(before)
    sound = Rounds(own, Watched("mine", RandomDraws()), rounds.ledger)
    sound.seen = dict(rounds.seen)
    assert (
        sound.step(before).charged
        == Rounds(own, Watched("mine", RandomDraws()), _after_start(own)).step(before).charged
    )


def _after_start(own):
    ledger = Ledger()
    Rounds(own, Watched("mine", RandomDraws()), ledger).step(first_state(0, True))
    return ledger


def test_an_optimizer_without_further_ideas_ends_the_search():
    rounds = Rounds(problem(optimizer="random"), Watched("mine", Nonsense("propose", list)), Ledger())
    state = rounds.step(rounds.step(first_state(0, True)))
    assert (state.next_step, state.stop_reason) == ("final", "the optimizer mine proposes nothing more")


def test_a_start_that_cannot_be_paid_finds_nothing():
    rounds = Rounds(problem(optimizer="random"), Watched("mine", RandomDraws()), Ledger(most_calls=20))
    with pytest.raises(BudgetReached):
        rounds.step(first_state(0, True))


def test_the_stopping_rule_is_told():
    told = stopping_rule(problem(optimizer="evolution", max_time=60.0))
    assert told.startswith(
        "evolution ends after 2,400 calls (50 for each member and dev question) or 60 seconds, or 1000"
    )
    assert "paired difference" in told
    assert stopping_rule(problem(optimizer="cmaes", max_calls=99, racing=False)).endswith("cost nothing; no racing")
