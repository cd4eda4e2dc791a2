"""Sampled answers: drawn from the right distribution, and by request, draw number and seed alone."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from answers import answers_of
from hypothesis import given
from hypothesis import strategies as st
from repository import ROOT
from tiny import make_pool
from transformers import MinPLogitsWarper, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from swarm.data.load import load_dataset
from swarm.engines.base import GenerationParams, Request, params_of
from swarm.engines.cache.completion_cache import CompletionCache
from swarm.engines.local.generation_settings import greedy
from swarm.engines.local.plain_generate import PlainGenerate
from swarm.engines.local.sampled_tokens import RowSampler, distribution, samplers_of
from swarm.engines.local.transformers_engine import InProcessEngine
from swarm.engines.sampling import Sampling, sampling_of
from swarm.errors import UserError
from swarm.evals.eval import USUAL
from swarm.members.members import read_members
from swarm.programs import front_doors
from swarm.programs.command import command_program
from swarm.system.prompts import Query
from swarm.system.scheduler import Scheduler
from swarm.system.system import single
from swarm.weights.pool import read_pool

WARM = GenerationParams(6, sampling=Sampling(temperature=1.5, top_p=0.95, seed=3))
PROMPTS = ["what is red", "is two blue yes no one", "no", "green green what is three"]


@given(
    st.integers(0, 2**31),
    st.floats(0.2, 3),
    st.integers(0, 12),
    st.floats(0.05, 1),
    st.floats(0, 0.9),
)
def test_what_may_be_drawn_is_what_transformers_would_leave(seed, temperature, top_k, top_p, min_p):
    logits = torch.from_numpy(np.random.default_rng(seed).normal(size=(1, 20)) * 3)
    scores = TemperatureLogitsWarper(temperature)(None, logits)
    if top_k:
        scores = TopKLogitsWarper(top_k)(None, scores)
    if top_p < 1:
        scores = TopPLogitsWarper(top_p)(None, scores)
    if min_p:
        scores = MinPLogitsWarper(min_p)(None, scores)
    wanted = scores[0].softmax(-1).numpy()
    order, shares = distribution(logits[0], Sampling(temperature, top_k, top_p, min_p))
    found = np.zeros(20)
    found[order] = shares / shares.sum()
    np.testing.assert_allclose(found, wanted, atol=1e-9)


def test_tokens_come_as_often_as_they_should():
    logits = torch.tensor([1.0, 0.0, -torch.inf, 2.0])
    drawn = [RowSampler(Sampling(), number.to_bytes(16, "little")).draw(logits) for number in range(4000)]
    counts = np.bincount(drawn, minlength=4) / len(drawn)
    np.testing.assert_allclose(counts, logits.softmax(-1).numpy(), atol=0.03)
    one = RowSampler(Sampling(), bytes(16))
    row = [one.draw(logits) for _ in range(4000)]
    np.testing.assert_allclose(np.bincount(row, minlength=4) / 4000, logits.softmax(-1).numpy(), atol=0.03)


def requests_of(pool, params=WARM, draws=3):
    return [Request(pool.experts()[0], prompt, params, (), draw) for prompt in PROMPTS for draw in range(draws)]


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    return read_pool(make_pool(tmp_path_factory.mktemp("pool")))


def texts(engine, requests):
    return [completion.text for completion in answers_of(engine, requests)]


@pytest.mark.parametrize("token_budget", [1, 60, 10_000])
def test_a_text_depends_on_request_draw_and_seed_only(pool, token_budget):
    """In float32, whatever is asked beside it."""
    engine = InProcessEngine(pool, device="cpu", token_budget=token_budget)
    requests = requests_of(pool)
    whole = texts(InProcessEngine(pool, device="cpu"), requests)
    assert texts(engine, requests) == whole
    assert texts(engine, requests[::-1]) == whole[::-1] and texts(engine, requests[4:5]) == whole[4:5]
    assert len(set(whole)) > len(PROMPTS), "draws differ"
    other = GenerationParams(6, sampling=Sampling(temperature=1.5, top_p=0.95, seed=4))
    assert texts(engine, requests_of(pool, other)) != whole
    cold = GenerationParams(6, sampling=Sampling(temperature=1e-3))
    assert texts(engine, requests_of(pool, cold)) == texts(engine, requests_of(pool, GenerationParams(6)))


def test_transformers_own_generate_draws_the_same(pool):
    engine = InProcessEngine(pool, device="cpu")
    requests = requests_of(pool)
    engine.load(pool.experts()[0])
    rows = engine.prompt_tokens(requests, WARM)
    own = dict(pair for part in engine.decoder.decode(rows, 6, samplers_of(requests)) for pair in part)
    plain = PlainGenerate(engine.model, greedy(engine.model.generation_config, 0), 10_000)
    found = dict(pair for part in plain.decode(rows, 6, samplers_of(requests)) for pair in part)
    assert found == own


def test_greedy_requests_have_the_keys_that_they_always_had(pool):
    cache, expert = CompletionCache({"engine": "x"}), pool.experts()[0]
    request = Request(expert, "what", GenerationParams(4, True, False))
    before = json.dumps([json.dumps({"engine": "x"}), expert.digest, [4, True, False]]).encode() + b"\nwhat"
    assert cache.key(request) == hashlib.sha256(before).digest()
    assert cache.key(Request(expert, "what", request.params, (), 5)) == cache.key(request), "greedy draws are one"
    twin = replace(expert, name="twin")
    assert cache.key(Request(twin, "what", WARM)) != cache.key(Request(expert, "what", WARM)), "who draws otherwise"
    keys = {cache.key(each) for each in requests_of(pool)}
    assert len(keys) == 12 and len({cache.key(each) for each in requests_of(pool, GenerationParams(6))}) == 4
    assert GenerationParams(4).record() == {"max_new_tokens": 4, "chat": False, "second_bos": False}
    assert params_of(WARM.record()) == WARM and params_of(json.loads(json.dumps(WARM.record()))) == WARM


def vote(folder, **record):
    (folder / "often").mkdir()
    content = {"type": "vote", "members": ["expert_0"], "draws": 5} | record
    (folder / "often" / "node.json").write_text(json.dumps(content))
    return read_members(folder)


def test_a_vote_draws_several_answers_of_one_member(tmp_path):
    members = vote(make_pool(tmp_path), sampling={"temperature": 1.5})
    engine = InProcessEngine(members.pool, device="cpu")
    chosen = next(member for member in members.initial() if member.name == "often")
    asked = chosen.pass_on([Request(chosen, "what is red", GenerationParams(2))])[0]
    assert [one.draw for one in asked] == [0, 1, 2, 3, 4] and {one.member.name for one in asked} == {"expert_0"}
    drawn = texts(engine, asked)
    most = max(drawn, key=lambda text: (drawn.count(text), -drawn.index(text)))
    [given] = Scheduler(engine).answer_all([(single(chosen), [Query("what is red")])], GenerationParams(2))
    nested = chosen.pass_on([Request(chosen, "what is red", GenerationParams(2), (), 1)])[0]
    assert [one.draw for one in nested] == [5, 6, 7, 8, 9]
    assert len(given) == 1 and drawn.count(most) >= 1


def test_draws_of_greedy_answers_are_told_with_a_cure_that_works(tmp_path):
    members = vote(make_pool(tmp_path))
    chosen = next(member for member in members.initial() if member.name == "often")
    with pytest.raises(UserError, match="often draws 5 answers .* give --sampling temperature=.7"):
        chosen.pass_on([Request(chosen, "what", GenerationParams(2))])
    assert len(chosen.pass_on([Request(chosen, "what", WARM)])[0]) == 5


def test_a_vote_without_draws_is_who_it_always_was(tmp_path):
    directory = make_pool(tmp_path)
    plain = vote(directory, members=["expert_0", "expert_1"], draws=1)
    shutil.rmtree(directory / "often")
    (directory / "often").mkdir()
    (directory / "often" / "node.json").write_text('{"type": "vote", "members": ["expert_0", "expert_1"]}')
    assert read_members(directory).initial()[-1].digest == plain.initial()[-1].digest


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"temperature": -1}, "temperature is -1, wanted a number above 0"),
        ({"temperature": 0}, "temperature is 0, wanted a number above 0"),
        ({"top_p": 0}, "top_p is 0, wanted a number above 0, at most 1"),
        ({"top_k": 2.5}, "top_k is 2.5, wanted a whole number"),
        ({"min_p": 2}, "min_p is 2, wanted a number from 0 to 1"),
        ({"seed": True}, "seed is True, wanted a whole number"),
        ({"temprature": 1}, "has 'temprature', wanted of temperature, top_k"),
    ],
)
def test_settings_that_cannot_be(given, said):
    with pytest.raises(UserError, match="here.* ") as told:
        sampling_of("here", given)
    assert said in str(told.value)


def test_a_file_s_own_sampling_and_the_command_line(tmp_path, monkeypatch, capsys):
    """Equal results with and without a cache; greedy ones are others."""
    shutil.copytree(ROOT / "data", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "data/eval/graph_tasks_small.json"
    content = json.loads(path.read_text())

    def run(name, *words):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))
        small = "--graph_num 2 --trial_num 2 -m 1 --dev_limit 12 --test_limit 6 -n".split()
        return front_doors.guarded(
            lambda: command_program(["search", "-e", "exact_match", "-d", "graph_tasks_small", *small, name, *words])
        )

    hot = ("--sampling", "temperature=2.5,seed=1")
    assert run("one", *hot) == run("two", *hot, "--no_cache") == run("greedy") == 0
    states = {name: json.loads(Path(f"search/{name}/state.json").read_text()) for name in ("one", "two", "greedy")}
    assert states["one"]["best_history"] == states["two"]["best_history"] != states["greedy"]["best_history"]
    saved = json.loads(Path("search/one/best/system.json").read_text())["generation"]["sampling"]
    assert saved["temperature"] == 2.5 and "sampling" not in json.loads(
        Path("search/greedy/best/system.json").read_text()
    )["generation"]  # fmt: skip
    path.write_text(json.dumps(content | {"generation": {"sampling": {"temperature": 2.5, "seed": 1}}}))
    assert load_dataset("graph_tasks_small").settings(USUAL).sampling == Sampling(2.5, seed=1)
    capsys.readouterr()
    assert run("never", "--sampling", "temperature=0") == 2
    assert "--sampling: temperature is 0, wanted a number above 0" in capsys.readouterr().err
