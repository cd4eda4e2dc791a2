"""The benchmarks run, their ways agree, and what they count is right. Nothing here looks at how long anything takes."""

import importlib
import json
import os
import re
import subprocess
import sys
from functools import partial

import networkx as nx
import numpy as np
import pytest
from repository import ROOT
from tiny import make_pool
from worlds import paper_pool

from swarm.engines.base import GenerationParams
from swarm.engines.local.transformers_engine import InProcessEngine
from swarm.maths.decode import decode, topological_order
from swarm.system.execute import answer_all
from swarm.system.prompts import Query
from swarm.system.system import System, graph_of
from swarm.weights.pool import read_pool

HERE = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


@pytest.fixture(scope="module", autouse=True)
def bench():
    """The program as a module; it puts the repository on the import path, which other tests must not see."""
    before = list(sys.path)
    sys.path.append(str(ROOT))
    yield importlib.import_module("benchmarks.program")
    sys.path[:] = before


@pytest.fixture
def run(programs):
    return partial(programs.python, "scripts/bench.py", cwd=ROOT, env=HERE, by_forks=True)


def test_every_row_small(run, tmp_path):
    listed = [line.split()[0] for line in run("--list").stdout.splitlines()]
    done = run("--small", "--repeats", 1, "--json", tmp_path / "figures.json")
    assert done.returncode == 0, done.stderr
    assert "these figures mean nothing" in done.stdout and ": yes" not in done.stdout
    record = json.loads((tmp_path / "figures.json").read_text())
    shown = re.findall(r"^\| (\w+)", done.stdout, flags=re.MULTILINE)
    assert [*dict.fromkeys(shown)] == ["row", *listed]
    assert [*dict.fromkeys(row["row"].split(":")[0] for row in record["rows"])] == listed
    [iteration] = [row for row in record["rows"] if row["row"] == "iteration"]
    assert "8 texts equal" in iteration["note"] and iteration["floor"]["value"] > 0
    assert all(row["ours"]["value"] > 0 for row in record["rows"] if not re.match("pace|memory: growth", row["row"]))
    assert all(row["ours"]["value"] >= 0 for row in record["rows"] if row["row"].startswith("pace"))


@pytest.mark.parametrize("arguments", [["iteratoin"], ["sharing", "--repeats", "0"]])
def test_a_wrong_command_is_one_line(run, arguments):
    done = run(*arguments)
    assert done.returncode == 2 and not done.stdout
    assert re.fullmatch(r"error: [^\n]+\n", done.stderr)


def test_the_pieces_for_an_accelerator(tmp_path):
    """On the processor and in small; the libraries that a bare machine lacks are not needed."""
    blocked = ("datasets", "wandb", "matplotlib", "openai", "google.generativeai")
    pieces = ["--card", "swap", "ways", "reference", "fusion", "iteration"]
    arguments = ["bench.py", *pieces, "--shape", "tiny", "--device", "cpu", "--folder", str(tmp_path)]
    code = (
        f"import runpy, sys; sys.modules.update(dict.fromkeys({blocked})); sys.argv = {arguments}; "
        "runpy.run_path('scripts/bench.py', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=HERE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    table = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    names = [line.split("|")[1].strip() for line in table]
    assert {
        "swap, folded",
        "swap, PEFT layers",
        "reference",
        "fusion, 1 row, warm",
        "fusion, 8 rows, warm",
        "iteration",
    } < set(names)
    assert "32 generations of 48 requests" in table[-1] and "reference: 3 nodes timed" in table[-1]
    assert sum(name.startswith("decode 4 rows") for name in names) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--card", "swap"], "--card needs --folder"),
        (["--card", "swop", "--folder", "x"], "no benchmark 'swop'; there are swap, ways, reference, iteration"),
        (["--card", "swap", "--folder", "x", "--shape", "huge"], "no shape 'huge'; there are gemma-7b, tiny"),
    ],
)
def test_a_card_s_wrong_command_is_one_line(run, arguments, message):
    done = run(*arguments)
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1


def test_a_wrong_text_fails_its_row_and_no_other(bench, monkeypatch, capsys):
    from benchmarks import published

    right = published.generated
    monkeypatch.setattr(published, "generated", lambda *given: [*right(*given)[:-1], "something else"])
    monkeypatch.setattr(sys, "argv", ["bench.py", "--small", "--repeats", "1", "generation", "sharing"])
    assert bench.main() == 1
    shown = capsys.readouterr()
    assert "1 of 21 differ" in shown.err and "'something else'" in shown.err
    assert "| sharing" in shown.out and "| generation" not in shown.out


def test_the_published_procedure_gives_our_texts(tmp_path):
    from benchmarks import published

    pool = read_pool(make_pool(tmp_path, count=3))
    rng = np.random.default_rng(0)
    graphs = [decode(rng.uniform(size=(3, 3)) * (1 - np.eye(3))) for _ in range(2)]
    assignments = [tuple(rng.integers(0, 3, size=3).tolist()) for _ in graphs]
    queries = [Query(f"what is {word}", chunks=("one", "two")) for word in ("red", "green", "blue", "yes") * 3]
    systems = [System(*pair, tuple(pool.experts())) for pair in zip(graphs, assignments, strict=True)]
    params = GenerationParams(6)
    ours = answer_all(InProcessEngine(pool, device="cpu"), [(system, queries) for system in systems], params)
    for graph, assignment, texts in zip(graphs, assignments, ours, strict=True):
        placed = published.Placed(graph, tuple(pool.adapters[index].folder for index in assignment))
        assert published.answers(pool.base, placed, queries, params) == texts
    assert len({text for texts in ours for text in texts}) > 4, "the texts do differ"


def test_published_order_is_ours():
    from benchmarks.published import scan_order

    rng = np.random.default_rng(0)
    for _ in range(20):
        graph = decode(rng.uniform(size=(7, 7)) * (1 - np.eye(7)))
        assert scan_order(graph) == topological_order(graph)


def test_what_can_be_shared_counted_by_hand():
    from benchmarks.sharing import possible_share

    pool = tuple(paper_pool(3).experts())
    chain, fork = graph_of(3, [(0, 1), (1, 2)]), graph_of(3, [(0, 2), (1, 2)])

    def known(*placed, chunked=False):
        """Nodes whose text is known, of graphs with three nodes each."""
        systems = [System(graph, assignment, pool) for graph, assignment in placed]
        return round(possible_share(systems, chunked) * 3 * len(systems), 9)

    assert known((chain, (0, 1, 2)), (chain, (0, 1, 2))) == 3
    assert known((chain, (0, 1, 2)), (chain, (0, 1, 1))) == 2
    # only the source 0 is known: expert 1 does not hear it here, and the end hears something else
    assert known((chain, (0, 1, 2)), (fork, (0, 1, 2))) == 1
    # both sources are known, but the end hears them in another order
    assert known((fork, (0, 1, 2)), (fork, (1, 0, 2))) == 2
    # with a context in chunks each of those sources reads another part
    assert known((fork, (0, 1, 2)), (fork, (1, 0, 2)), chunked=True) == 0
    assert known((fork, (0, 0, 2))) == 1


def test_what_is_shared_is_what_can_be():
    from benchmarks.sharing import Size, possible_share, questions, saved_share, step_pair

    for chunked in (False, True):
        pair = step_pair(5, np.random.default_rng(3))
        limit = possible_share([*pair[0], *pair[1]], chunked)
        assert 0 < limit < 1
        assert saved_share(pair, questions(Size(experts=5), chunked)) == pytest.approx(limit)


def test_interleaved_takes_turns():
    from benchmarks.measure import Seconds, interleaved

    called = []
    ways = {name: lambda name=name: called.append(name) for name in "abc"}
    ways["b"] = lambda: called.append("b") or Seconds(7)
    seconds = interleaved(ways, 4)
    assert "".join(called) == "abc" + "abc" + "bca" + "cab" + "abc"
    assert seconds["b"] == [7.0] * 4 and len(seconds["a"]) == 4


def test_ratios_look_the_right_way():
    from benchmarks.measure import Row, exactly, floor_at_most, ratio_at_least, table

    times = Row("t", exactly(2, "s"), exactly(20, "s"), exactly(1, "s"), (ratio_at_least(10), floor_at_most(1.5)))
    assert (times.ratio, times.times_floor) == (10, 2)
    assert "ratio ≥ 10: yes; ≤ 1.5 × floor: NO" in table([times], with_goals=True)
    rates = Row("r", exactly(20, "tokens/s"), exactly(5, "tokens/s"), exactly(40, "tokens/s"))
    assert (rates.ratio, rates.times_floor) == (4, 2)
    with pytest.raises(ValueError, match="cannot be set beside"):
        _ = Row("w", exactly(2, "s"), exactly(20, "ms")).ratio


def test_bare_forwards_are_those_of_the_engine(tmp_path):
    from benchmarks.forwards import bare_forwards, forward_flops
    from benchmarks.parts import resident_model

    pool = read_pool(make_pool(tmp_path, count=2))
    engine = InProcessEngine(pool, device="cpu")
    system = System(nx.DiGraph([(0, 1)]), (0, 1), tuple(pool.experts()))
    model, texts = resident_model(engine), []

    def answered():
        texts.append(answer_all(engine, [(system, [Query("what is red"), Query("one two")])], GenerationParams(5)))

    answered()
    bare = bare_forwards(model, answered)
    # two experts, each reading and then stepping, four times for the longest answers
    assert 2 <= bare.calls <= 2 * (2 + 2 * 4) and bare.seconds > 0
    # two products per parameter of a layer and token: at least the feed-forward ones
    assert forward_flops(model, answered) > 2 * 3 * 16 * 32 * 2 * bare.calls
    assert texts[0] == texts[1] == texts[2], "looking on changes nothing"
    assert "forward" not in vars(model)
