"""Coefficients become tensors: against the published tensor arithmetic, and against the dense sum of ΔW."""

import numpy as np
import pytest
import torch
from families import APART
from peft import PeftModel
from tiny import make_pool
from transformers import LlamaForCausalLM

from swarm.maths import pso
from swarm.weights.adapters import factor_pairs, scaling, write_adapter
from swarm.weights.materialise import materialise
from swarm.weights.pool import read_pool


def flat(pool, weights=None):
    """All tensors of an expert as one vector, the published program's position."""
    if weights is None:
        return np.stack(
            [
                np.concatenate([adapter.open().get_tensor(name).numpy().ravel() for name in adapter.shapes])
                for adapter in pool.adapters
            ]
        ).astype(np.float64)
    return np.concatenate([weights.tensors[name].numpy().ravel() for name in pool.adapters[0].shapes])


def dense(pool, coefficients):
    """sum_j c_j s_j B_j A_j per layer, the truth that exact and svd are held to."""
    total = {}
    for coefficient, adapter in zip(coefficients, pool.adapters, strict=True):
        handle = adapter.open()
        for module, (name_a, name_b) in factor_pairs(adapter.shapes).items():
            down, up = handle.get_tensor(name_a), handle.get_tensor(name_b)
            part = coefficient * scaling(adapter.config, module, len(down)) * up @ down
            total[module] = total.get(module, 0) + part
    return total


def product(weights):
    """s B A per layer of materialised weights."""
    tensors = weights.tensors
    return {
        module: scaling(weights.config, module, len(tensors[a])) * tensors[b] @ tensors[a]
        for module, (a, b) in factor_pairs(tensors).items()
    }


def test_coefficients_give_the_published_tensors(tmp_path):
    """Ten moves with restarts on the real tensors of a pool, and the same moves on coefficients."""
    pool = read_pool(make_pool(tmp_path))
    tensors, scores = flat(pool), np.random.default_rng(0).uniform(size=(11, 3))
    rule = pso.RestartRule(patience=4, fraction=0.5)
    swarms = []
    for start in (tensors, np.eye(3)):
        velocities = pso.starting_velocities("random", start, scores[0], np.random.default_rng(1))
        swarm, rng = pso.start_swarm(start, scores[0], velocities, 0.7), np.random.default_rng(2)
        for t in range(10):
            moved = pso.move_all(swarm, pso.MoveCoefficients(0.3, 0.3, 0.3, 0.05), rule, rng)
            swarm = pso.remember_scores(moved, scores[t + 1])
        swarms.append(swarm)
    plain, ours = swarms
    assert max(ours.cooldowns) > 0, "the moves should include a restart"
    for i in range(3):
        weights = materialise(pool, ours.positions[i])
        assert np.allclose(flat(pool, weights), plain.positions[i], atol=1e-6)


@pytest.mark.parametrize("lora", [{}, {"use_rslora": True}, {"alpha_pattern": {"v_proj": 3}}])
def test_exact_is_the_dense_sum(tmp_path, lora):
    pool = read_pool(make_pool(tmp_path, **lora), combine="exact")
    coefficients = [0.7, -0.2, 0.4]
    truth = dense(pool, coefficients)
    assert truth
    for module, delta in product(materialise(pool, coefficients)).items():
        assert torch.allclose(delta, truth[module], atol=1e-6)


@pytest.mark.parametrize("lora", [{}, {"use_rslora": True}])
@pytest.mark.parametrize("rank", [None, 2, 12])
def test_svd_is_the_best_of_its_rank(tmp_path, lora, rank):
    pool = read_pool(make_pool(tmp_path, **lora), combine="svd", rank=rank)
    coefficients = [0.7, -0.2, 0.4]
    truth = dense(pool, coefficients)
    for module, delta in product(materialise(pool, coefficients)).items():
        u, s, vh = torch.linalg.svd(truth[module], full_matrices=False)
        k = rank or 4
        best = u[:, :k] * s[:k] @ vh[:k]
        assert torch.allclose(delta, best, atol=1e-5)


def test_linear_is_not_linear_in_the_product(tmp_path):
    """The published way and the exact way really differ, so the option matters."""
    directory = make_pool(tmp_path)
    linear = product(materialise(read_pool(directory), [0.5, 0.5, 0.0]))
    exact = product(materialise(read_pool(directory, combine="exact"), [0.5, 0.5, 0.0]))
    assert any(not torch.allclose(linear[m], exact[m], atol=1e-3) for m in linear)


@pytest.mark.parametrize("combine", ["linear", "exact", "svd"])
def test_an_initial_expert_is_itself_and_loads_with_plain_peft(tmp_path, combine):
    pool = read_pool(make_pool(tmp_path), combine=combine)
    weights = materialise(pool, [0.0, 1.0, 0.0])
    write_adapter(tmp_path / "export" / "one", weights, str(tmp_path / "base"), None)
    prompt = torch.tensor([[2, 12, 13, 9]])
    logits = []
    for folder in (tmp_path / "experts" / "expert_1", tmp_path / "export" / "one"):
        model = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(tmp_path / "base"), folder)
        logits.append(model(prompt).logits)
    torch.testing.assert_close(*logits, **APART[torch.float32])
    bare = LlamaForCausalLM.from_pretrained(tmp_path / "base")(prompt).logits
    assert not torch.allclose(logits[0], bare, atol=1e-2), "the adapter must do something"
