"""Several experts of one base in one batch against each of them folded into the base; the way back to the bare base."""

import numpy as np
import pytest
import torch
from families import APART
from tiny import make_base, make_models, make_pool
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

from swarm.engines.local import lora_batch
from swarm.engines.local.lora_batch import RowAdapters, why_not_batched
from swarm.engines.local.resident_model import make_resident
from swarm.engines.local.stepper import make_stepper
from swarm.engines.local.transformers_engine import InProcessEngine
from swarm.errors import UserError
from swarm.weights.adapters import LoraWeights, factor_pairs
from swarm.weights.materialise import materialise
from swarm.weights.pool import read_pool

MIXED = [0.5, 0.7, -0.1]
ROWS = [[2, 12, 13, 9, 4], [5], [12, 13, 4, 9, 9, 2, 7, 8], [7, 7], [11, 3, 4], [6, 5, 4, 8], [9] * 12]
SPOKEN = [1, -1, 0, 2, 1, -1, 0]


def load(pool, dtype=torch.float32):
    return AutoModelForCausalLM.from_pretrained(pool.base, dtype=dtype).eval()


def experts_of(pool):
    """Two initial experts and a mixture."""
    return [materialise(pool, row) for row in (pool.experts()[0].coefficients, MIXED, pool.experts()[2].coefficients)]


@torch.no_grad()
def alone(model, tokens):
    return model(torch.tensor([tokens]), use_cache=False).logits[0, -1]


class Experts:
    """Every expert's own model, the bare one for -1."""

    def __init__(self, pool, weights, dtype=torch.float64):
        self.models = {-1: load(pool, dtype)}
        for number, each in enumerate(weights):
            self.models[number] = make_resident(load(pool, dtype), each, pool.base, fold=True).model

    def check(self, stepper, rows, spoken):
        """`rows` is row -> tokens."""
        expected = torch.stack([alone(self.models[spoken[row]], tokens) for row, tokens in rows.items()])
        torch.testing.assert_close(stepper.logits(list(rows)), expected.float(), **APART[expected.dtype])


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma", "qwen3"])
def test_each_row_speaks_as_its_expert(family, tmp_path):
    pool = read_pool(make_pool(tmp_path, family=family, use_rslora=True, alpha_pattern={".*": 3}))
    weights = experts_of(pool)
    truth, model = Experts(pool, weights), load(pool, torch.float64)
    assert not torch.allclose(alone(truth.models[0], ROWS[0]), alone(truth.models[-1], ROWS[0]), atol=1e-2)
    stepper = make_stepper(model, RowAdapters(model, weights))
    rows = dict(enumerate(ROWS))
    stepper.open(ROWS, 4, SPOKEN)
    truth.check(stepper, rows, SPOKEN)
    for gone in (2, None, 1, 4, None):
        for row in rows:
            stepper.append(row, 4 + row % 3)
            rows[row] = [*rows[row], 4 + row % 3]
        if gone is not None:
            stepper.drop(gone)
            del rows[gone]
        truth.check(stepper, rows, SPOKEN)
    truth.check(stepper, {row: rows[row] for row in (6, 0)}, SPOKEN)
    stepper.replace(3, [7, 8, 9])
    truth.check(stepper, {3: [7, 8, 9]}, SPOKEN)
    stepper.close()
    assert torch.equal(alone(model, ROWS[2]), alone(truth.models[-1], ROWS[2])), "closed, it is the bare model"
    stepper.open(ROWS, 4)
    truth.check(stepper, dict(enumerate(ROWS)), [-1] * 7)


@pytest.mark.parametrize("call", [0, 10**9])
@pytest.mark.parametrize("seed", range(3))
def test_adapters_of_unlike_ranks_and_layers_come_and_go(tmp_path, monkeypatch, call, seed):
    """As one product for all rows or as one for each run; a number that was free before leaves no trace."""
    monkeypatch.setitem(lora_batch.CALL, "cpu", call)
    pool = read_pool(make_pool(tmp_path))
    model, weights = load(pool, torch.float64), experts_of(pool)
    rng = np.random.default_rng(seed)
    unlike = [thinner(one, rng) for one in weights]
    truth, adapters = Experts(pool, unlike), RowAdapters(model)
    numbers = [adapters.put(one) for one in unlike]
    adapters.remove(numbers[0])
    numbers[0], spare = adapters.put(unlike[0]), adapters.put(weights[1])
    assert numbers == [0, 1, 2] and spare == 3
    adapters.remove(spare)
    spoken = rng.integers(-1, 3, size=len(ROWS)).tolist()
    stepper = make_stepper(model, adapters)
    stepper.open(ROWS, 4, spoken)
    truth.check(stepper, dict(enumerate(ROWS)), spoken)
    rows = {row: [*tokens, 5] for row, tokens in enumerate(ROWS)}
    for row in rows:
        stepper.append(row, 5)
    truth.check(stepper, rows, spoken)
    assert (adapters.plan.together is not None) == (call > 0 and len(set(spoken) - {-1}) > 1)


def thinner(weights, rng):
    """The same expert without some of its layers, and with some of its ranks' parts."""
    kept = {}
    for name_a, name_b in factor_pairs(weights.tensors).values():
        rank = int(rng.integers(0, 1 + len(weights.tensors[name_a])))
        if rank:
            kept |= {name_a: weights.tensors[name_a][:rank], name_b: weights.tensors[name_b][:, :rank]}
    return LoraWeights(kept, weights.config)


def test_shared_beginnings_are_each_expert_s_own(tmp_path):
    pool = read_pool(make_pool(tmp_path))
    model, weights = load(pool, torch.float64), experts_of(pool)
    beginning = [4 + number % 9 for number in range(200)]
    rows = [[*beginning, 4 + number] for number in range(6)]
    spoken = [0, 1, 0, 1, -1, 0]
    stepper = make_stepper(model, RowAdapters(model, weights))
    stepper.open(rows, 2, spoken)
    Experts(pool, weights).check(stepper, dict(enumerate(rows)), spoken)
    assert stepper.read == 2 * 200 + 5 + 201


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_factors_in_float32_beside_a_base_in_half_precision(tmp_path, dtype):
    pool = read_pool(make_pool(tmp_path))
    model, weights = load(pool, torch.bfloat16), experts_of(pool)
    stepper = make_stepper(model, RowAdapters(model, weights, dtype))
    stepper.open(ROWS, 1, SPOKEN)
    found, truth = stepper.logits(range(7)), Experts(pool, weights, torch.float32)
    expected = torch.stack([alone(truth.models[one], row) for one, row in zip(SPOKEN, ROWS, strict=True)])
    assert (found - expected).abs().median() < 0.05


def test_encoder_decoders_take_adapters_too():
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "t5", vocab_size=24, d_model=16, d_kv=4, d_ff=32, num_layers=1, num_heads=4, decoder_start_token_id=0
    )
    model = AutoModelForSeq2SeqLM.from_config(config).eval()
    prefix = "base_model.model.decoder.block.0.layer.0.SelfAttention.q"
    tensors = {f"{prefix}.lora_A.weight": torch.randn(2, 16), f"{prefix}.lora_B.weight": torch.randn(16, 2)}
    stepper = make_stepper(model, RowAdapters(model, [LoraWeights(tensors, {"r": 2, "lora_alpha": 4})]))
    stepper.open([[3, 4, 5]] * 2, 3, [0, -1])
    for row in (0, 1):
        stepper.append(row, 6)
    found = stepper.logits([0, 1])
    stepper.close()
    for adapted in (False, True):
        if adapted:
            with torch.no_grad():
                weight = model.decoder.block[0].layer[0].SelfAttention.q.weight
                weight += 2 * tensors[f"{prefix}.lora_B.weight"] @ tensors[f"{prefix}.lora_A.weight"]
        with torch.no_grad():
            output = model(input_ids=torch.tensor([[3, 4, 5]]), decoder_input_ids=torch.tensor([[0, 6]]))
        torch.testing.assert_close(found[0 if adapted else 1], output.logits[0, -1], atol=1e-4, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings:UserWarning")
def test_who_cannot_be_hosted(tmp_path):
    pools = {
        "DoRA": read_pool(make_pool(tmp_path / "a", use_dora=True)),
        "embeddings": read_pool(make_pool(tmp_path / "b", target_modules=["embed_tokens", "q_proj"])),
        "plain": read_pool(make_pool(tmp_path / "c")),
    }
    model = load(pools["plain"])
    weights = {name: materialise(pool, MIXED) for name, pool in pools.items()}
    assert why_not_batched(model, weights["plain"]) is None
    assert "(DoRA)" in why_not_batched(model, weights["DoRA"])
    assert "belongs to no linear layer" in why_not_batched(model, weights["embeddings"])
    with pytest.raises(UserError, match=r"expert 1 of a fusion cannot share its base .*give it a model of its own"):
        RowAdapters(model, [weights["plain"], weights["DoRA"]])
    other = AutoModelForCausalLM.from_pretrained(make_base(tmp_path / "gpt2", family="gpt2"))
    assert "is no linear one of the base model" in why_not_batched(other, weights["plain"])
    name = next(name for name in weights["plain"].tensors if name.endswith("lora_A.weight"))
    wide = LoraWeights(weights["plain"].tensors | {name: torch.ones(4, 99)}, weights["plain"].config)
    assert " x 99, but " in why_not_batched(model, wide)


@pytest.mark.parametrize("lora", [{}, {"use_dora": True}])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("fold", [True, False])
def test_a_resident_model_s_way_back_to_the_bare_base(tmp_path, lora, dtype, fold):
    pool = read_pool(make_pool(tmp_path, **lora))
    resident = make_resident(load(pool, dtype), materialise(pool, MIXED), pool.base, fold)
    bare = load(pool, dtype)
    spoken = alone(resident.model, ROWS[0])
    for _ in range(2):
        resident.clear()
        resident.clear()
        assert torch.equal(alone(resident.model, ROWS[0]), alone(bare, ROWS[0]))
        resident.load(materialise(pool, MIXED))
        assert torch.equal(alone(resident.model, ROWS[0]), spoken)
        assert not any(parameter.requires_grad for parameter in resident.model.parameters()) or fold


@pytest.mark.parametrize("fold", [True, False])
def test_the_resident_model_hosts_rows_between_an_engine_s_requests(tmp_path, fold):
    pool = read_pool(make_pool(tmp_path))
    engine, weights = InProcessEngine(pool, device="cpu", fold=fold), experts_of(pool)
    expert = pool.experts()[1]
    engine.load(expert)
    model = engine._resident.model
    spoken = alone(model, ROWS[0])
    engine.clear()
    stepper = make_stepper(model, RowAdapters(model, weights))
    stepper.open(ROWS, 4, SPOKEN)
    Experts(pool, weights, torch.float32).check(stepper, dict(enumerate(ROWS)), SPOKEN)
    stepper.close()
    engine.load(expert)
    assert torch.equal(alone(model, ROWS[0]), spoken)


def test_full_models_have_no_bare_base(tmp_path):
    for count in (1, 2):
        engine = InProcessEngine(read_pool(make_models(tmp_path / str(count), count)), device="cpu")
        with pytest.raises(ValueError, match="no bare base"):
            engine.clear()
