"""Experts that share batches: the same texts as each folded into the base by itself, whatever stands beside it."""

import math

import numpy as np
import pytest
from answers import answers_of
from tiny import make_models, make_pool

from swarm.engines.base import GenerationParams, Request
from swarm.engines.local import decoder, token_core
from swarm.engines.local.decoder import Decoding
from swarm.engines.local.pace import Pace, Work
from swarm.engines.local.transformers_engine import InProcessEngine
from swarm.engines.sampling import Sampling
from swarm.system.prompts import Query
from swarm.system.scheduler import Scheduler
from swarm.system.system import System, graph_of
from swarm.weights.pool import read_pool

WORDS = ["red", "no", "is two blue yes no one", "green green what is three is one yes blue red", "what is red", "one"]


@pytest.fixture
def mixing(monkeypatch):
    """Side by side wherever that is possible."""
    monkeypatch.setattr(Pace, "mixed", lambda *_: 0.0)
    monkeypatch.setattr(Pace, "folded", lambda *_: 1.0)


def experts_of(pool, count, seed=0):
    rng = np.random.default_rng(seed)
    return [pool.expert(f"expert {number}", rng.normal(size=len(pool.names))) for number in range(count)]


def requests_of(experts, params, seed=0):
    requests = [Request(expert, prompt, params) for expert in experts for prompt in WORDS]
    return [requests[index] for index in np.random.default_rng(seed).permutation(len(requests))]


def texts(engine, requests):
    return [(completion.text, completion.new_tokens, completion.cut) for completion in answers_of(engine, requests)]


@pytest.mark.parametrize("sampling", [None, Sampling(temperature=1.5, seed=3)])
@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma", "qwen3"])
def test_texts_are_those_of_experts_asked_one_after_the_other(family, sampling, tmp_path, mixing):
    pool = read_pool(make_pool(tmp_path, family=family, use_rslora=True))
    requests = requests_of(experts_of(pool, 5), GenerationParams(9, sampling=sampling))
    engine, folding = InProcessEngine(pool, device="cpu"), InProcessEngine(pool, device="cpu", fold=True)
    shapes = widths_of(engine)
    found = texts(engine, requests)
    assert folding.side_by_side is None and found == texts(folding, requests)
    assert len(set(found)) > 5, "the experts should differ, or this shows nothing"
    assert max(rows for rows, tokens in shapes if tokens == 1) > len(WORDS), "rows of several experts share steps"
    alone = [request for request in requests if request.member == requests[0].member]
    assert texts(engine, alone) == texts(folding, alone), "nobody's rows stay in the model"
    assert texts(engine, requests[::-1]) == found[::-1]


def widths_of(engine):
    shapes, forward = [], engine.decoder.core.forward
    engine.decoder.core.forward = lambda ids, *rest: shapes.append(tuple(ids.shape)) or forward(ids, *rest)
    return shapes


def test_no_more_experts_are_held_than_there_is_memory_for(tmp_path, mixing):
    pool = read_pool(make_pool(tmp_path))
    engine, folding = InProcessEngine(pool, device="cpu"), InProcessEngine(pool, device="cpu", fold=True)
    experts, rows = experts_of(pool, 7), engine.side_by_side.rows
    rows.most(experts[0])
    one = rows.adapters.bytes_of_one()
    rows._limit = 3 * one + one // 2
    for seed in (0, 1):
        requests = requests_of(experts, GenerationParams(6), seed)
        assert texts(engine, requests) == texts(folding, requests)
        assert rows.adapters.bytes() <= 4 * one and rows.adapters.count <= 3


@pytest.mark.parametrize("make", [make_models, lambda path: make_pool(path, use_dora=True)])
def test_what_cannot_share_a_batch_is_loaded_as_ever(make, tmp_path, mixing):
    pool = read_pool(make(tmp_path))
    engine, requests = (
        InProcessEngine(pool, device="cpu"),
        requests_of(pool.experts(), GenerationParams(4)),
    )
    assert engine.side_by_side is None
    assert len(texts(engine, requests)) == len(requests)


def test_half_precision_stays_near_what_peft_says(tmp_path, mixing):
    pool = read_pool(make_pool(tmp_path))
    engine = InProcessEngine(pool, device="cpu", dtype="bfloat16")
    requests = requests_of(experts_of(pool, 3), GenerationParams(4))
    shared = texts(engine, requests)
    engine.side_by_side = None
    alone = texts(engine, requests)
    assert sum(one == other for one, other in zip(shared, alone, strict=True)) > len(requests) // 2


def test_the_faster_way_is_taken_by_what_passes_take(tmp_path, monkeypatch):
    """A pass takes one second and a hundredth for each row, and with adapters as much again for each expert."""
    engine = InProcessEngine(read_pool(make_pool(tmp_path)), device="cpu")
    costly = {"each": 0.0}
    monkeypatch.setattr(Pace, "_measured", lambda _, rows, tokens, experts: 1 + rows / 100 + costly["each"] * experts)
    pace, work = Pace(engine.decoder.core), [Work(8, 80)] * 16
    assert pace.folded(work, 4, 2.0, 1000) == pytest.approx(16 * (2 + 4 * 1.08))
    assert pace.mixed(work, 4, 0.1, 1000) == pytest.approx(16 * 0.1 + 3 * (1 + 0.64) + 3 * (1 + 1.28))
    pace.note_answers([1, 1, 2, 0], 4)
    assert pace.answer == 0.25
    assert pace.mixed(work, 4, 0.1, 1000) < pace.folded(work, 4, 2.0, 1000)
    costly["each"] = 10.0
    assert Pace(engine.decoder.core).mixed(work, 4, 0.1, 1000) > pace.folded(work, 4, 2.0, 1000)


def test_passes_are_measured_on_the_model(tmp_path):
    pool = read_pool(make_pool(tmp_path))
    engine, requests = InProcessEngine(pool, device="cpu"), requests_of(experts_of(pool, 3), GenerationParams(4))
    texts(engine, requests)
    measured = engine.side_by_side.pace._seconds
    assert {experts > 0 for *_, experts in measured} == {True, False}
    assert all(0 < seconds < math.inf for seconds in measured.values())


def test_a_row_ends_with_its_stop_string(tmp_path, mixing):
    """Nothing is decoded that would be cut off, by experts side by side or one by one."""
    pool = read_pool(make_pool(tmp_path))
    engine, experts = InProcessEngine(pool, device="cpu"), experts_of(pool, 3)
    whole = texts(engine, requests_of(experts, GenerationParams(12)))
    word = max(WORDS[1:], key=lambda word: sum(word in text for text, *_ in whole))
    stopping = requests_of(experts, GenerationParams(12, stop_strings=(word,)))
    shared = texts(engine, stopping)
    for (text, tokens, _), (full, most, _) in zip(shared, whole, strict=True):
        assert text == (full[: full.index(word) + len(word)] if word in full else full)
        assert tokens == most if word not in full else tokens <= most
    assert sum(tokens for _, tokens, _ in shared) < sum(tokens for _, tokens, _ in whole)
    engine.side_by_side = None
    assert texts(engine, stopping) == shared


def test_a_long_prompt_is_read_in_bounded_passes(tmp_path, monkeypatch):
    """What a pass and its mask hold, and what the cache holds, grows no faster than the prompt."""
    monkeypatch.setitem(token_core.CHUNKS, "cpu", 32)
    engine = InProcessEngine(read_pool(make_pool(tmp_path, count=1)), device="cpu")
    held, core = [], engine.decoder.core
    shapes = widths_of(engine)
    for words in (100, 200):
        texts(engine, [Request(engine.pool.experts()[0], " ".join(["red"] * words), GenerationParams(3))])
        held.append(core.kv_cache.shape[0] * core.kv_cache.shape[1])
    assert max(rows * tokens for rows, tokens in shapes) <= 48 and held[1] < 2.1 * held[0]


def test_rows_are_added_and_withdrawn_while_others_are_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(decoder, "SECONDS", 0.0)
    engine = InProcessEngine(read_pool(make_pool(tmp_path, count=1)), device="cpu", token_budget=400)
    rng, way = np.random.default_rng(0), engine.decoder
    rows = [rng.integers(3, 14, size=size).tolist() for size in rng.integers(2, 20, size=40)]
    rows += [rng.integers(3, 14, size=50).tolist()]
    alone = {number: next(iter(way.decode([row], 8)))[0][1] for number, row in enumerate(rows)}
    decoding, found = Decoding(way, 8, more=True), {}
    decoding.add(rows[:10])
    later = [rows[10:30], rows[30:40], rows[40:]]
    numbers = iter((10, 30, 40))
    withdrawn = set()
    for part in decoding.answers():
        found |= dict(part)
        if later and decoding.has_room(max(map(len, later[0]))):
            start = next(numbers)
            decoding.add(later.pop(0))
            if start == 10:
                withdrawn = {number for number in (*range(20, 30), 3) if number not in found}
                decoding.withdraw(sorted(withdrawn))
    assert not later and found == {number: answer for number, answer in alone.items() if number not in withdrawn}
    assert len(withdrawn) >= 10


def test_graphs_of_several_experts_have_the_same_answers_whatever_joins_whom(tmp_path, mixing, monkeypatch):
    """Later nodes' requests join the batch that earlier ones are answered in."""
    monkeypatch.setattr(decoder, "SECONDS", 0.0)
    pool = read_pool(make_pool(tmp_path))
    experts, params = experts_of(pool, 4), GenerationParams(5)
    system = System(graph_of(4, [(0, 2), (1, 2), (0, 3), (2, 3)]), (0, 1, 2, 3), experts)
    tasks = [(system, [Query(f"{word} {other}") for word in WORDS for other in WORDS[:4]])] * 2
    engine, folding = InProcessEngine(pool, device="cpu"), InProcessEngine(pool, device="cpu", fold=True)
    sittings, seated = [], engine.seated
    monkeypatch.setattr(engine, "seated", lambda sitting: sittings.append(sitting) or seated(sitting))
    assert Scheduler(engine).answer_all(tasks, params) == Scheduler(folding).answer_all(tasks, params)
    assert len(sittings) < 4, "one batch is added to, rather than one for every level"
