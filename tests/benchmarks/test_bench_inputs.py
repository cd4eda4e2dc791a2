"""What the benchmarks measure is what a session does, and a figure of another machine is taken for none of this one."""

import dataclasses
import json
import os
import subprocess
import sys

import pytest
from repository import ROOT

from swarm.weights.pool import read_pool

HERE = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


@pytest.fixture(autouse=True)
def benchmarks_can_be_imported(monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, str(ROOT)])


def test_an_iteration_starts_with_nothing_that_it_could_find(tmp_path):
    """Not in memory, not on disk, not among the experts that are made already."""
    from benchmarks.iteration import SMALL, Iteration
    from benchmarks.parts import InstantEngine, Requests

    iteration = Iteration(SMALL)
    made, place = [], iteration.engine._store._fetch
    iteration.engine._store._fetch = lambda expert: made.append(expert.digest) or place(expert)
    for _ in range(2):
        made.clear()
        iteration.ours()
        digests = {expert.digest for system in iteration.systems for expert in system.members}
        assert digests & set(made)
        assert len(iteration.texts) == 4
    folders = []
    for _ in range(2):
        requests = Requests(InstantEngine())
        folders.append(requests.scheduler.cache._disk._database.path.parent)
        assert folders[-1].is_dir()
    del requests
    assert folders[0] != folders[1] and not any(folder.exists() for folder in folders)


def test_the_instant_engine_says_the_same_in_every_process():
    code = (
        "from benchmarks.parts import *; from swarm.engines.base import Request; engine = InstantEngine(); "
        "expert = nameless_pool(1).experts()[0]; "
        "print(completions(engine, [Request(expert, 'a', GenerationParams(1))])[0].text)"
    )
    seed = {"PYTHONHASHSEED": "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=HERE | seed, capture_output=True, text=True)
    exec(code.replace("print(", "said = ("), here := {})
    assert done.stdout == here["said"] + "\n" != "\n"


def test_the_engine_s_own_limit_holds_all_experts_of_a_step(tmp_path, monkeypatch):
    import benchmarks.materialise as benchmark
    from swarm.engines.local import expert_store

    passes, make = [], expert_store.materialise_all
    monkeypatch.setattr(
        expert_store, "materialise_all", lambda p, rows, *a: passes.append(len(rows)) or make(p, rows, *a)
    )
    benchmark.rows(benchmark.SMALL, 1)
    assert set(passes) == {benchmark.SMALL.experts}


def test_a_reference_of_another_card_or_work_is_refused(tmp_path):
    from benchmarks import card
    from benchmarks.card_world import SHAPES

    measured = card.Card(SHAPES["tiny"], tmp_path, "cpu")
    assert card._timed_reference(measured) == (None, "no reference was timed (--card reference)")
    card.reference(measured)
    seconds, _ = card._timed_reference(measured)
    assert seconds and seconds > 0
    path = tmp_path / card.REFERENCE
    record = json.loads(path.read_text())
    for name in ("device", "dtype", "model", "libraries", "work"):
        path.write_text(json.dumps(record | {"surroundings": record["surroundings"] | {name: "another"}}))
        seconds, why_not = card._timed_reference(measured)
        assert seconds is None and f"was timed with another {name}: time it again" in why_not
    path.write_text('{"seconds": 1234.5}')
    assert card._timed_reference(measured)[0] is None
    [row] = card.iteration(measured)
    assert row.reference is None and "does not say what it was timed on" in row.note


def test_a_world_for_a_card_is_made_again_where_it_is_half_or_another(tmp_path):
    from benchmarks.card_world import DONE, SHAPES, make_world
    from swarm.errors import UserError

    tiny = SHAPES["tiny"]
    make_world(tmp_path / "world", tiny, "cpu")
    before = (tmp_path / "world" / "base" / "model.safetensors").stat().st_mtime_ns
    make_world(tmp_path / "world", tiny, "cpu")
    assert (tmp_path / "world" / "base" / "model.safetensors").stat().st_mtime_ns == before
    wider = dataclasses.replace(tiny, model=tiny.model | {"intermediate_size": 64})
    for half in (True, False):
        if half:  # as a kill leaves it
            done = tmp_path / "world" / DONE
            done.write_text(done.read_text().replace('"made"', '"making"'))
            (tmp_path / "world" / "experts" / "expert_1" / "adapter_config.json").unlink()
        make_world(tmp_path / "world", tiny if half else wider, "cpu")
        assert len(read_pool(tmp_path / "world" / "experts").names) == 3
    assert json.loads((tmp_path / "world" / "base" / "config.json").read_text())["intermediate_size"] == 64
    (tmp_path / "mine" / "experts").mkdir(parents=True)
    with pytest.raises(UserError, match="were not made for this: name an empty --folder"):
        make_world(tmp_path / "mine", tiny, "cpu")
    assert (tmp_path / "mine" / "experts").is_dir()
