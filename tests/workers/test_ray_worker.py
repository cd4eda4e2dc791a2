"""What a worker of a cluster sees to before it loads anything, and what reaches it; here without a cluster."""

import json
import pickle
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest
from repository import ROOT
from scorers import make_classifier, make_fuser
from tiny import make_base, make_models, make_pool

from swarm.engines.base import GenerationParams, Request
from swarm.engines.local import devices
from swarm.engines.local.devices import CudaFacts
from swarm.evolution.config import SearchConfig
from swarm.members.blending.blend_request import asked
from swarm.members.members import read_members
from swarm.members.routing.fit import RouterSettings, fit_router
from swarm.members.routing.router_artefact import save_router
from swarm.members.routing.router_store import RouterStore
from swarm.programs.engine_choice import make_engine
from swarm.workers import ray_worker
from swarm.workers.ray_worker import RayWorker, setup
from swarm.workers.sent_folders import pieces_of
from swarm.workers.transport import Failed, Ready
from swarm.workers.wire_format import WireFormat

EMBEDDED = ROOT / "data/embedded"
PARAMS = GenerationParams(4)
PROMPTS = ["what is red", "what is blue", "one two three", "two three one"]


def engine_on(members, device):
    return make_engine(members, SearchConfig(), device)


def errand_of(members):
    return pickle.loads(pickle.dumps(setup(members, engine_on, "cpu")))


def with_router(root):
    """A tiny pool with a router over it, whose classifier lies somewhere else."""
    members = read_members(root / "experts")
    digests = [member.digest for member in members.initial()]
    scores = np.array([[1.0, 0.0, 0.2]] * 2 + [[0.0, 1.0, 0.2]] * 2)
    router = fit_router(PROMPTS, scores, members.pool.names, RouterSettings(folds=2), np.random.default_rng(0), digests)
    save_router(root / "router", router)
    (root / "experts" / "chooser").mkdir()
    record = {"type": "router", "members": members.pool.names, "classifier": "../../router"}
    (root / "experts" / "chooser" / "node.json").write_text(json.dumps(record))
    return read_members(root / "experts")


def answers(worker, requests, members):
    events = list(worker.answers(1, pickle.loads(pickle.dumps(WireFormat(members).pack(requests)))))
    found = dict(pair for event in events for pair in event.finished)
    assert events[-1].done
    return [found[index].text for index in range(len(requests))]


@pytest.mark.parametrize("make", [make_pool, make_models])
def test_what_is_not_there_is_sent_and_answers_as_at_home(tmp_path, make, monkeypatch):
    """Experts, adapters or full models, and a router's classifier; the base of adapters stays where it is."""
    make(tmp_path)
    members = with_router(tmp_path)
    experts = members.at(members.pool.names, np.full((3, 3), 0.4) + np.eye(3))
    chooser = members.around(members.pool.experts())[-1].chooser
    requests = [Request(member, prompt, PARAMS) for member in (*experts[:3], chooser) for prompt in PROMPTS]
    engine = engine_on(members, "cpu")
    at_home = {index: one.text for finished in engine.generate(requests) for index, one in finished}

    told = errand_of(members)
    sent = [(folder, list(pieces_of(folder))) for folder in told.folders.values()]
    monkeypatch.setattr(ray_worker, "_piece", lambda pieces, number: pieces[number])
    for folder in ("experts", "router"):
        (tmp_path / folder).rename(tmp_path / f"elsewhere_{folder}")
    worker = RayWorker(3)
    missing = worker.look(told)
    assert [folder.digest for folder in missing] == [folder.digest for folder, _ in sent] and len(missing) == 4
    ready = worker.load(sent)
    assert isinstance(ready, Ready) and ready.facts == engine.facts(), ready
    assert answers(worker, requests, members) == [at_home[index] for index in range(len(requests))]
    again = RayWorker(4)
    assert again.look(told) == [], "the next worker of this machine finds them"


def test_a_router_that_was_fitted_after_the_start_travels_with_its_requests(tmp_path):
    make_pool(tmp_path)
    members = with_router(tmp_path)
    worker = RayWorker(0)
    told = errand_of(members)
    assert worker.look(told) == [] and isinstance(worker.load([]), Ready)
    scores = np.array([[0.0, 0.0, 1.0]] * 4 + [[1.0, 0.0, 0.0]])
    settings, generator = RouterSettings(folds=2), np.random.default_rng(0)
    later = fit_router([*PROMPTS, "yes no"], scores, members.pool.names, settings, generator)
    router_store = RouterStore(tmp_path / "routers", lambda: None)
    moved = members.with_routers({"chooser": router_store.put("chooser", later)}, router_store)
    [old], [new] = (each.initial()[-1].sides for each in (members, moved))
    assert old.digest != new.digest
    requests = [Request(one, prompt, PARAMS) for one in (new, old) for prompt in PROMPTS]
    at_home = [text for one in (moved, members) for text in chosen_by(engine_on(one, "cpu"), one.initial()[-1])]
    sent = pickle.dumps(WireFormat(members).pack(requests))
    (tmp_path / "routers").rename(tmp_path / "elsewhere")
    events = list(worker.answers(1, pickle.loads(sent)))
    found = dict(pair for event in events for pair in event.finished)
    assert [found[index].text for index in range(len(requests))] == at_home
    assert at_home[: len(PROMPTS)] != at_home[len(PROMPTS) :]


def chosen_by(engine, router):
    requests = [Request(router.chooser, prompt, PARAMS) for prompt in PROMPTS]
    found = dict(pair for finished in engine.generate(requests) for pair in finished)
    return [found[index].text for index in range(len(requests))]


def test_a_blends_models_are_wanted_everywhere_and_asked_there(tmp_path):
    make_pool(tmp_path)
    make_classifier(tmp_path / "cross", window=64)
    make_fuser(tmp_path / "fuser")
    (tmp_path / "experts" / "blend").mkdir()
    record = {"type": "blend", "members": ["expert_0", "expert_1"], "ranker": "../../cross", "fuser": "../../fuser",
              "top_k": 2}  # fmt: skip
    (tmp_path / "experts" / "blend" / "node.json").write_text(json.dumps(record))
    members = read_members(tmp_path / "experts")
    told = errand_of(members)
    assert {Path(model.name).name for model in told.models} == {"base", "cross", "fuser"}
    worker = RayWorker(0)
    assert worker.look(told) == [] and isinstance(worker.load([]), Ready)
    requests = [Request(members.initial()[-1].sides[0], asked("one", ["two", "three"]), PARAMS)]
    assert answers(worker, requests, members) == ["[0, 1]"] or answers(worker, requests, members) == ["[1, 0]"]
    [*_, said] = worker.answers(2, WireFormat(members).pack(requests))
    assert said.report.tally.blended["blend"]["ranked"], "it counts as it does at home"


def test_a_batch_names_every_member_once_and_only_what_moves_of_it():
    members = read_members(EMBEDDED / "experts", beside=EMBEDDED / "composites")
    rng = np.random.default_rng(0)

    def fusion():
        """Equal, but an object of its own, as several systems of a step have it."""
        state = np.random.default_rng(1).normal(size=(6, 6))
        return members.at(members.pool.names, state)[6]

    prompts = [str(rng.integers(10**9)) for _ in range(500)]
    requests = [Request(fusion(), prompt, GenerationParams(4)) for prompt in prompts]
    sent = WireFormat(members).pack(requests)
    assert WireFormat(members).unpack(sent) == requests
    alone = len(pickle.dumps(prompts))
    assert len(pickle.dumps(sent)) < 2 * alone + 2000 < len(pickle.dumps(requests))
    others = read_members(EMBEDDED / "experts")
    with pytest.raises(KeyError):
        WireFormat(others).unpack(sent)


def test_a_composite_that_is_another_one_there(tmp_path):
    members = read_members(EMBEDDED / "experts", beside=EMBEDDED / "composites")
    sent = WireFormat(members).pack([Request(members.initial()[6], "one", PARAMS)])
    shutil.copytree(EMBEDDED / "composites", tmp_path / "composites")
    path = tmp_path / "composites/fusion/node.json"
    record = json.loads(path.read_text())
    record["members"][-1]["model"] = str(EMBEDDED / "second")
    path.write_text(json.dumps(record | {"main": "expert_2_weight"}))
    with pytest.raises(RuntimeError, match="composite fusion is another one here"):
        WireFormat(read_members(EMBEDDED / "experts", beside=tmp_path / "composites")).unpack(sent)


def refused(told, *messages):
    said = RayWorker(0).look(told)
    assert isinstance(said, Failed) and said.cure and "\n" not in said.message
    for message in ("node ", *messages):
        assert message in said.message


def test_a_machine_that_will_not_do(tmp_path, monkeypatch):
    told = errand_of(read_members(make_pool(tmp_path)))
    with monkeypatch.context() as little:
        little.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 1000}))
        refused(told, "the models take 0.0 GiB in float32", "what fits are 0.0 billion parameters", "smaller models")
    with monkeypatch.context() as old:
        old.setattr(devices, "cuda_facts", lambda: CudaFacts(False, "/dev/nvidia3", "535.1", "2.13", "13.0", "old"))
        refused(replace(told, device="cuda"), "there is an NVIDIA device (/dev/nvidia3, driver 535.1)", "--ray_cores")
        old.setattr(devices, "cuda_facts", CudaFacts)
        refused(replace(told, device="cuda"), "cuda is wanted, and no NVIDIA device shows itself here", "--ray_cores")
    told.packages["torch"] = "2.1"
    refused(told, "torch is ", "the search's is 2.1: install the same there")
    told = errand_of(read_members(tmp_path / "experts"))
    shutil.rmtree(tmp_path / "base")
    refused(told, f"it lacks model {tmp_path}/base, which is not sent (", "put it there, in the same place")
    make_base(tmp_path / "base", seed=7)
    refused(told, f"it has another model {tmp_path}/base: model.safetensors has digest ", "put the same there")


def test_what_an_engine_cannot_do_is_told(tmp_path):
    """An error of one batch; and one of starting, with the machine's name."""
    worker = RayWorker(0)
    members = read_members(make_pool(tmp_path))
    assert worker.look(errand_of(members)) == [] and isinstance(worker.load([]), Ready)
    [failed] = worker.answers(1, WireFormat(members).pack([Request(members.initial()[0], "", PARAMS)]))
    assert failed.cure and failed.message
    told = setup(members, partial(make_engine, config=SearchConfig(dtype="float8"), device="cpu"), "cpu")
    assert worker.look(told) == []
    assert "Traceback" in worker.load([]).message
