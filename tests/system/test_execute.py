"""A graph of experts answers: who is told what, in which order, asked how often."""

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import PARAMS, paper_pool

from swarm.engines.scripted import ScriptedEngine
from swarm.system.execute import answer
from swarm.system.prompts import Query, context_at
from swarm.system.system import System, single


def system_of(edges, assignment, n=4):
    graph = nx.DiGraph()
    graph.add_nodes_from(range(n))
    graph.add_edges_from(edges)
    return System(graph, tuple(assignment), tuple(paper_pool(n).experts()), PARAMS)


def echo(request):
    lines = request.prompt.splitlines()
    told = [line.split(": ", 1)[1] for line in lines if line.startswith("Previous response")]
    return f" {request.member.name[-1]}({','.join(told)})\n"


def test_only_direct_predecessors_are_heard_in_ascending_order():
    chain = system_of([(3, 1), (0, 1), (1, 2)], [0, 1, 2, 3])
    assert answer(ScriptedEngine(echo), chain, ["q"]) == ["2(1(0(),3()))"]
    assigned = system_of([(3, 1), (0, 1), (1, 2)], [3, 3, 1, 0])
    assert answer(ScriptedEngine(echo), assigned, ["q"]) == ["1(3(3(),0()))"]


def test_no_queries_and_one_expert():
    assert answer(ScriptedEngine(echo), system_of([(0, 3), (1, 3), (2, 3)], [0, 1, 2, 3]), []) == []
    assert answer(ScriptedEngine(echo), single(paper_pool().experts()[2], PARAMS), ["q"]) == ["2()"]


def test_how_to_generate_must_be_known():
    with pytest.raises(ValueError, match="hand in params"):
        answer(ScriptedEngine(echo), single(paper_pool().experts()[0]), ["q"])


def test_systems_that_are_none():
    with pytest.raises(ValueError, match="one end, got end nodes"):
        system_of([(0, 1)], [0, 1, 2, 3])
    with pytest.raises(ValueError, match="acyclic"):
        system_of([(0, 1), (1, 0), (2, 3), (0, 3)], [0, 1, 2, 3])
    with pytest.raises(ValueError, match="3 nodes are assigned"):
        system_of([(0, 3), (1, 3), (2, 3)], [0, 1, 2])
    with pytest.raises(ValueError, match="beyond the 4"):
        system_of([(0, 3), (1, 3), (2, 3)], [0, 1, 2, 4])


def test_every_node_reads_its_own_chunk_in_topological_order():
    chain = system_of([(3, 1), (0, 1), (1, 2)], [0, 1, 2, 3])
    assert chain.order == [0, 3, 1, 2]
    prompts = {}

    def note(request):
        prompts[request.member.name] = request.prompt
        return "said"

    answer(ScriptedEngine(note), chain, [Query("Which?", chunks=("c0", "c1", "c2", "c3"))])
    assert prompts["expert_0"] == "Please answer the following question.\nQuestion: Context: c0\nWhich?"
    assert prompts["expert_3"].endswith("\nQuestion: Context: c1\nWhich?")
    assert prompts["expert_1"].endswith("Previous response 2: said\nQuestion: Context: c2\nWhich?")
    assert prompts["expert_2"].endswith("Previous response 1: said\nQuestion: Context: c3\nWhich?")


@given(st.integers(1, 12), st.integers(1, 12))
def test_chunks_are_folded_so_that_all_are_read_in_order(chunks, places):
    texts = [f"c{i}" for i in range(chunks)]
    read = [context_at(texts, position, places).split("\n") for position in range(places)]
    assert list(dict.fromkeys(chunk for part in read for chunk in part)) == texts
    if chunks >= places:
        assert sum(map(len, read)) == chunks, "none is read twice"
    sizes = [len(part) for part in read]
    assert max(sizes) - min(sizes) <= 1


def test_empty_chunks_stay_empty_and_leave_no_trace_in_folds():
    assert context_at(["", "b", "", "d"], 0, 4) == ""
    assert context_at(["", "b", "", "d"], 0, 1) == "b\nd"


def test_a_short_question_is_answered_in_its_own_number_of_tokens():
    seen = set()

    def note(request):
        seen.add((request.prompt[-1], request.params.max_new_tokens))
        return "said"

    chain = system_of([(0, 1)], [0, 1], n=2)
    answer(ScriptedEngine(note), chain, [Query("a"), Query("b", max_new_tokens=2)])
    assert seen == {("a", 4), ("b", 2)}
