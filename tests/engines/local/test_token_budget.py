"""Token budgets: what fits beside the model."""

import psutil
import pytest
import torch
from tiny import make_pool
from transformers import AutoConfig

from swarm.engines.local import token_budget
from swarm.engines.local.token_budget import CPU_TOKENS, cache_bytes, measured_token_budget, tokens_that_fit
from swarm.engines.local.transformers_engine import InProcessEngine
from swarm.weights.pool import read_pool

GEMMA_7B = {"num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 16, "head_dim": 256,
            "hidden_size": 3072, "vocab_size": 256_000}  # fmt: skip


def test_gemma_s_cache_as_the_specification_counts_it():
    config = AutoConfig.for_model("gemma", **GEMMA_7B)
    assert cache_bytes(config, torch.bfloat16) == 458_752
    gpt2 = AutoConfig.for_model("gpt2")
    assert cache_bytes(gpt2, torch.float32) == 2 * 12 * 768 * 4


def test_what_is_left_beside_activations():
    assert tokens_that_fit(free=1_000_000, activations=100_000, per_token=100) == 8_100
    assert tokens_that_fit(free=100, activations=1_000, per_token=100) == 1, "one row is always tried"


def test_little_memory_makes_small_batches(tmp_path, monkeypatch):
    engine = InProcessEngine(read_pool(make_pool(tmp_path)), device="cpu")
    assert engine.token_budget == CPU_TOKENS
    per_token = cache_bytes(engine.decoder.model.config, torch.float32)
    left = type("Memory", (), {"available": 200 * per_token})()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: left)
    assert measured_token_budget(engine.decoder, torch.device("cpu")) == 90
    assert InProcessEngine(engine.pool, device="cpu", token_budget=77).token_budget == 77


def test_the_trial_fills_a_device_as_much_as_reading_ever_does(tmp_path, monkeypatch):
    """The arithmetic around CUDA's counters; the counters themselves need a card."""
    engine = InProcessEngine(read_pool(make_pool(tmp_path)), device="cpu", token_budget=10_000)
    decoder, shapes = engine.decoder, []
    core, forward = decoder.core, decoder.core.forward
    monkeypatch.setattr(core, "forward", lambda ids, *rest: shapes.append(tuple(ids.shape)) or forward(ids, *rest))
    monkeypatch.setattr(core, "chunk", 43)
    per_token = cache_bytes(decoder.model.config, torch.float32)
    counters = {"memory_allocated": 5_000, "max_memory_allocated": 5_000 + 4_096, "mem_get_info": (90_000, 0)}
    for name, value in counters.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    for name in ("reset_peak_memory_stats", "empty_cache"):
        monkeypatch.setattr(torch.cuda, name, lambda *_: None)
    held = []
    monkeypatch.setattr(decoder, "release", lambda: held.append(decoder.core.kv_cache.bytes()))
    budget = token_budget._tried(decoder, torch.device("cpu"), decoder.model.config)
    assert shapes == [(2, 32), (2, 1)]
    assert held == [decoder.held * per_token]
    assert budget == tokens_that_fit(90_000, 4_096 - held[0], per_token)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a card")
def test_on_a_card_the_budget_is_measured_and_holds(tmp_path):
    engine = InProcessEngine(read_pool(make_pool(tmp_path)), device="cuda")
    assert engine.token_budget > CPU_TOKENS and engine.halvings == 0
