"""The members of a pool: experts, and composites over them and over each other."""

import json

import numpy as np
import pytest
from tiny import make_pool
from worlds import PARAMS, chaotic, paper_pool, problem

from swarm.engines.metered import Budget, Metered
from swarm.engines.scripted import ScriptedEngine
from swarm.errors import UserError
from swarm.evolution.loop import Watcher, search
from swarm.evolution.problem import Problem
from swarm.evolution.state import first_state, state_from_json, state_to_json
from swarm.members.composite import used_members
from swarm.members.members import Members, generations_of, read_composite, read_members
from swarm.system.execute import answer
from swarm.system.prompts import Query
from swarm.system.scheduler import Scheduler
from swarm.system.system import System, graph_of, load_system, save_system, single


def node(folder, *members, **record):
    """A folder with a vote over these members."""
    folder.mkdir(parents=True)
    (folder / "node.json").write_text(json.dumps({"type": "vote", "members": list(members)} | record))
    return folder


@pytest.fixture
def voting(tmp_path):
    """Four experts without weights, a vote over three of them, and one over the vote and the others."""
    folders = [node(tmp_path / "few", "expert_0", "expert_1", "expert_2"), node(tmp_path / "all", "few", "expert_3")]
    return Members(paper_pool(4), tuple(sorted(map(read_composite, folders), key=lambda one: one.name)))


def test_members_are_experts_then_composites(voting):
    assert voting.names == ["expert_0", "expert_1", "expert_2", "expert_3", "all", "few"]
    *experts, everybody, few = voting.initial()
    assert experts == voting.pool.experts()
    assert [member.name for member in few.members] == ["expert_0", "expert_1", "expert_2"]
    assert everybody.members == (few, experts[3])
    assert [part.name for part in used_members(everybody)] == [*voting.names[:3], "few", "expert_3", "all"]
    assert generations_of(voting.pool.names, voting.composites) == [4, 3]
    assert voting.composites_digest != Members(voting.pool).composites_digest == ""


def test_composites_answer_with_the_experts_as_they_are(voting):
    moved = voting.at(voting.pool.names, np.eye(4)[::-1])
    assert {member.digest for member in moved}.isdisjoint(member.digest for member in voting.initial()[4:])
    assert moved[5].members == moved[:3]


def test_what_composites_ask_is_asked_once(voting):
    asked = []

    def said(request):
        asked.append((request.member.name, request.prompt))
        return {"expert_0": "5", "expert_1": "7", "expert_2": "7", "expert_3": "7"}[request.member.name]

    members = voting.initial()
    alone = [single(member) for member in members]
    chain = System(graph_of(2, [(0, 1)]), (5, 4), members)
    scheduler = Scheduler(ScriptedEngine(said))
    texts = scheduler.answer_all([(system, [Query("how many")]) for system in [*alone, chain]], PARAMS)
    assert texts == [["5"], ["7"], ["7"], ["7"], ["7"], ["7"], ["7"]]
    assert len(asked) == len(set(asked)) == 8, "each expert the question, and what the first node has answered"
    # the experts alone 4, `all` 4, `few` 3; the chain 3 and 4
    assert (scheduler.asked, scheduler.shared) == (18, 10)


def test_a_search_assigns_composites_and_moves_experts_only(voting):
    def found():
        engine = Metered(ScriptedEngine(chaotic))
        given = problem(Scheduler(engine), n=4)
        return Problem(given.config, voting, given.fitness), engine

    states = []
    watcher = Watcher()
    watcher.after = lambda before, state: states.append(state)
    whole, engine = found()
    assert whole.size == 6
    last = search(whole, first_state(0), engine, watcher, Budget())
    assert last.experts.positions.shape == (4, 4)
    assert last.graphs.positions.shape == (3, 6, 6)
    assert len(last.singles) == 6
    assert len(last.composite_credits) == 2
    assert max(max(state.best.assignment) for state in states) > 3, "a composite was assigned"
    again, engine = found()
    middle = state_from_json(json.loads(json.dumps(state_to_json(states[4]))))
    resumed = search(again, middle, engine, Watcher(), Budget())
    assert state_to_json(resumed) | {"usage": None} == state_to_json(last) | {"usage": None}


def test_a_system_with_composites_is_saved_with_all_that_they_use(tmp_path):
    directory = make_pool(tmp_path)
    node(directory / "pair", "expert_0", "expert_2")
    node(tmp_path / "beside" / "outer", "pair", "expert_0")
    members = read_members(directory, beside=tmp_path / "beside")
    assert members.names == ["expert_0", "expert_1", "expert_2", "outer", "pair"]
    system = System(graph_of(2, [(0, 1)]), (3, 4), members.at(members.pool.names, np.eye(3)[[1, 1, 2]]), PARAMS)
    save_system(tmp_path / "found", system, members, np.ones((2, 2)))
    loaded = load_system(tmp_path / "found")
    assert [member.name for member in loaded.members] == ["expert_0", "expert_2", "outer", "pair"]
    assert [loaded.member_at(index).name for index in (0, 1)] == ["outer", "pair"]
    said = {"expert_0": "one", "expert_2": "two"}
    engine = ScriptedEngine(lambda request: said[request.member.name])
    assert answer(engine, loaded, [Query("?")]) == answer(engine, system, [Query("?")])


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (
            {"a": ["expert_0", "expert_9"]},
            "names member 'expert_9', which the pool lacks; wanted one of: expert_0",
        ),
        ({"a": ["b", "expert_0"], "b": ["a", "expert_1"]}, r"in a circle \(a, b\)"),
        ({"a": ["a", "expert_1"]}, r"in a circle \(a\)"),
        ({"expert_1": ["expert_0", "expert_2"]}, "another member is named expert_1"),
        ({}, "holds no composites"),
    ],
)
def test_faults_are_named(tmp_path, folders, message):
    directory = make_pool(tmp_path)
    for name, members in folders.items():
        node(tmp_path / "beside" / name, *members)
    with pytest.raises(UserError, match=message):
        read_members(directory, beside=tmp_path / "beside")


def test_a_byte_order_mark_is_no_matter(tmp_path):
    plain = read_composite(node(tmp_path / "plain", "expert_0", "expert_1"))
    path = node(tmp_path / "marked", "expert_0", "expert_1") / "node.json"
    path.write_text(path.read_text(), encoding="utf-8-sig")
    assert read_composite(path.parent).record == plain.record


@pytest.mark.parametrize("content", ["{", "[]", "7", "[" * 100_000])
def test_a_damaged_node_is_named(tmp_path, content):
    (tmp_path / "node.json").write_text(content)
    with pytest.raises(UserError, match=r"node.json(: type is None| cannot be read)"):
        read_composite(tmp_path)
