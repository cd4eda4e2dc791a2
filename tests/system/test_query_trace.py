"""Traces: what every node was asked and answered, composites and what they asked among them."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import PARAMS, chaotic, paper_pool, random_systems

from swarm.engines.base import Completion, GenerationParams, Request
from swarm.engines.scripted import ScriptedEngine
from swarm.members.composite import Relay
from swarm.members.members import Members, read_composite
from swarm.system.prompts import Query
from swarm.system.query_trace import member_answer
from swarm.system.scheduler import Scheduler
from swarm.system.system import System, graph_of, single


class Asked(ScriptedEngine):
    """Notes what it was asked."""

    def __init__(self):
        super().__init__(chaotic)
        self.asked = set()

    def generate(self, requests):
        self.asked |= {(request.member.name, request.prompt) for request in requests}
        yield from super().generate(requests)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.integers(1, 6))
def test_prompts_can_be_made_again_from_a_trace(seed, n):
    """Those of every node are exactly what the engine was asked, chunks of a context included."""
    systems = list(random_systems(seed, n, 2, "bernoulli"))
    queries = [Query("one", tuple(f"part {i}" for i in range(n))), Query("two", max_new_tokens=2)]
    engine = Asked()
    traces = Scheduler(engine).trace_all([(system, queries) for system in systems], PARAMS)
    seen = set()
    for system, own in zip(systems, traces, strict=True):
        for query, trace in zip(queries, own, strict=True):
            assert trace.query == query and set(trace.answers) == set(system.graph)
            seen |= {(system.member_at(node).name, trace.prompt(node)) for node in trace.answers}
            assert trace.text == trace.answers[system.end].text
            assert all(answer.most == (query.max_new_tokens or 4) for answer in trace.answers.values())
    assert seen == engine.asked
    assert [[trace.text for trace in own] for own in traces] == Scheduler(engine).answer_all(
        [(system, queries) for system in systems], PARAMS
    )


@pytest.mark.parametrize(
    ("completion", "cut"),
    [
        (Completion("a", 1, 4, True), True),
        (Completion("a", 1, 4, False), False),  # its last token was the end
        (Completion("a", 1, 4), True),  # kept by an earlier version: the count decides
        (Completion("a", 1, 3), False),
    ],
)
def test_whether_an_answer_was_cut(completion, cut):
    assert completion.was_cut(GenerationParams(4)) is cut
    [expert, *_] = paper_pool(1).experts()
    assert member_answer(expert, GenerationParams(4), completion).cut is cut


def folder_of(path, *members, **record):
    path.mkdir()
    (path / "node.json").write_text(json.dumps({"type": "vote", "members": list(members)} | record))
    return read_composite(path)


def test_what_composites_asked_is_told_with_their_answers(tmp_path):
    inner = folder_of(tmp_path / "inner", "expert_0", "expert_1")
    outer = folder_of(tmp_path / "outer", "inner", "expert_2")
    members = Members(paper_pool(3), (inner, outer)).initial()
    system = System(graph_of(2, [(0, 1)]), (4, 0), members)
    [[trace]] = Scheduler(ScriptedEngine(chaotic)).trace_all([(system, [Query("one")])], PARAMS)
    answer = trace.answers[0]
    assert (answer.member, answer.new_tokens) == ("outer", 0)
    first, last = answer.asked
    assert (first.member, [part.member for part in first.asked]) == ("inner", ["expert_0", "expert_1"])
    assert last.member == "expert_2" and not last.asked
    for part in (*first.asked, last):
        expert = next(member for member in members if member.name == part.member)
        assert part.text == chaotic(Request(expert, trace.prompt(0), PARAMS)) and part.prompt is None
    assert trace.answers[1].asked == ()


class Asking(Relay):
    """Asks its member twice, the second time something else."""

    kind = "asking"

    def pass_on(self, requests):
        return [[Request(self.members[0], request.prompt, request.params)] for request in requests]

    def go_on(self, request, stages):
        if len(stages) == 1:
            return [Request(self.members[0], f"really {stages[0][0].text}?", request.params)]
        return Completion(stages[1][0].text, 0, 0)


def test_prompts_of_its_own_are_told_in_the_order_of_its_stages():
    expert = paper_pool(1).experts()[0]
    system = single(Asking("twice", "digest", (expert,)))
    [[trace]] = Scheduler(ScriptedEngine(chaotic)).trace_all([(system, [Query("one")])], PARAMS)
    first, second = trace.answers[0].asked
    assert first.prompt is None and second.prompt == f"really {first.text}?"
    assert trace.text == second.text


def test_a_conversation_reaches_every_node_and_what_composites_ask(tmp_path):
    vote = folder_of(tmp_path / "vote", "expert_0", "expert_1")
    seen = []
    engine = ScriptedEngine(lambda request: seen.append(request.history) or "red")
    system = System(graph_of(2, [(0, 1)]), (2, 0), Members(paper_pool(2), (vote,)).initial())
    turns = (("a", "b"), ("c", "d"))
    Scheduler(engine).trace_all([(system, [Query("one", history=turns)])], PARAMS)
    assert seen == [turns] * 3


def test_every_answer_is_told_as_it_comes():
    told = []
    systems = list(random_systems(1, 3, 2))
    scheduler = Scheduler(ScriptedEngine(chaotic), on_answer=lambda index, answer: told.append((index, answer.member)))
    traces = scheduler.trace_all([(system, [Query("one"), Query("two")]) for system in systems], PARAMS)
    wanted = [
        (index, answer.member) for own in traces for index, trace in enumerate(own) for answer in trace.answers.values()
    ]
    assert sorted(told) == sorted(wanted)


@pytest.mark.parametrize("drop", [True, False])
def test_thoughts_reach_no_other_node_where_they_are_dropped(drop):
    experts = tuple(paper_pool(2).experts())
    engine = ScriptedEngine(lambda request: "<think>4, no: 5</think>\n7" if request.member is experts[0] else "8")
    system = System(graph_of(2, [(0, 1)]), (0, 1), experts, drop_thoughts=drop)
    [[trace]] = Scheduler(engine).trace_all([(system, [Query("one")])], PARAMS)
    told = "7" if drop else "<think>4, no: 5</think> 7"
    assert trace.answers[0].text == told and f"Previous response 1: {told}\n" in trace.prompt(1)
