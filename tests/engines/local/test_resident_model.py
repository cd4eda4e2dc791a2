"""Resident models against plain PEFT, in every number format, and back again to the bit."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import PeftModel
from tiny import make_pool
from transformers import AutoModelForCausalLM

from swarm.engines.local.resident_model import FoldedResident, PeftResident, make_resident
from swarm.engines.local.transformers_engine import InProcessEngine
from swarm.errors import UserError
from swarm.weights.adapters import LoraWeights
from swarm.weights.materialise import materialise
from swarm.weights.pool import read_pool

IDS = torch.tensor([[2, 12, 13, 9, 4]])
ROWS = [[1, 0, 0], [0.5, 0.7, -0.1], [0, 0, 1], [-1.5, 0.2, 2], [0, 0, 0]]


def load(pool, dtype=torch.float32):
    return AutoModelForCausalLM.from_pretrained(pool.base, dtype=dtype).eval()


def resident_of(pool, dtype=torch.float32, fold=None):
    return make_resident(load(pool, dtype), materialise(pool, ROWS[0]), pool.base, fold)


def logits(resident):
    with torch.inference_mode():
        return resident.model(IDS).logits


@pytest.mark.parametrize("lora", [{}, {"use_rslora": True, "alpha_pattern": {".*": 3}}])
@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma"])
def test_folded_dora_is_peft_s(family, lora, tmp_path):
    """Against a fresh PeftModel for the initial experts, against PEFT's layers for mixtures."""
    pool = read_pool(make_pool(tmp_path, family=family, use_dora=True, **lora))
    resident, layers = resident_of(pool), resident_of(pool, fold=False)
    assert isinstance(resident, FoldedResident) and isinstance(layers, PeftResident)
    bare = load(pool)(IDS).logits
    for index, adapter in enumerate(pool.adapters):
        resident.load(materialise(pool, pool.experts()[index].coefficients))
        plain = PeftModel.from_pretrained(load(pool), adapter.folder).eval()
        with torch.inference_mode():
            truth = plain(IDS).logits
        assert torch.allclose(logits(resident), truth, atol=2e-5, rtol=1e-4)
        assert not torch.allclose(truth, bare, atol=1e-2), "the adapter must do something"
    for row in ROWS:
        weights = materialise(pool, row)
        resident.load(weights)
        layers.load(weights)
        assert torch.allclose(logits(resident), logits(layers), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("lora", [{}, {"use_dora": True}])
def test_folding_in_half_precision_rounds_once(tmp_path, lora, dtype):
    """The weights are the float32 model's own, from the same rounded base, rounded."""
    pool = read_pool(make_pool(tmp_path, **lora))
    half = resident_of(pool, dtype, fold=True)
    single = make_resident(load(pool, dtype).float(), materialise(pool, ROWS[0]), pool.base)
    assert isinstance(resident_of(pool, dtype), PeftResident), "the default"
    for row in ROWS[:-1]:
        for resident in (half, single):
            resident.load(materialise(pool, row))
        assert isinstance(half, FoldedResident) and isinstance(single, FoldedResident)
        for one, other in zip(half.model.parameters(), single.model.parameters(), strict=True):
            assert one.dtype == dtype and torch.equal(one, other.to(dtype))


SLOTS = [(torch.float32, True), (torch.float32, False), (torch.bfloat16, True), (torch.bfloat16, False)]


@pytest.mark.parametrize("lora", [{}, {"use_dora": True}])
@pytest.mark.parametrize(("dtype", "fold"), SLOTS)
def test_an_expert_comes_back_to_the_bit(tmp_path, lora, dtype, fold):
    pool = read_pool(make_pool(tmp_path, **lora))
    weights = [materialise(pool, row) for row in ROWS[:4]]
    resident = resident_of(pool, dtype, fold)

    def state():
        return {name: tensor.clone() for name, tensor in resident.model.state_dict().items()}

    first = []
    for each in weights:
        resident.load(each)
        first.append(state())

    @given(st.lists(st.integers(0, 3), min_size=1, max_size=6))
    @settings(max_examples=15, deadline=None)
    def check(order):
        for index in order:
            resident.load(weights[index])
        now = state()
        assert all(torch.equal(now[name], tensor) for name, tensor in first[order[-1]].items())

    check()


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings:UserWarning")
def test_where_folding_cannot_be_had(tmp_path):
    embedded = read_pool(make_pool(tmp_path / "a", target_modules=["embed_tokens", "q_proj"]))
    assert isinstance(resident_of(embedded), PeftResident)
    with pytest.raises(UserError, match=r"cannot be folded into base model .*: tensor .*embed.* belongs to no linear"):
        resident_of(embedded, fold=True)
    tied = read_pool(make_pool(tmp_path / "b", family="qwen3", target_modules=["lm_head"]))
    weights = materialise(tied, ROWS[0])
    factors = LoraWeights({name: w for name, w in weights.tensors.items() if "base_layer" not in name}, weights.config)
    with pytest.raises(UserError, match=r"layer lm_head shares its weights with another: leave --fold out"):
        make_resident(load(tied), factors, tied.base, fold=True)
    assert isinstance(make_resident(load(tied), factors, tied.base), PeftResident)


def test_the_engine_folds_as_it_is_told(tmp_path):
    pool = read_pool(make_pool(tmp_path))
    kinds = [
        InProcessEngine(pool, device="cpu", dtype=dtype, fold=fold).facts()["weights"]
        for dtype, fold in (("float32", None), ("float32", False), ("bfloat16", None), ("bfloat16", True))
    ]
    assert kinds == ["folded", "peft", "peft", "folded"]


def test_tensors_that_peft_has_no_place_for(tmp_path):
    pool = read_pool(make_pool(tmp_path, target_modules=["embed_tokens"]))
    weights = materialise(pool, ROWS[0])
    strange = LoraWeights(weights.tensors | {"base_model.model.x.lora_other": torch.ones(1)}, weights.config)
    with pytest.raises(UserError, match=r"the experts' tensor base_model.model.x.lora_other belongs to no layer"):
        make_resident(load(pool), strange, pool.base)
    name = "base_model.model.model.embed_tokens.lora_embedding_A"
    wide = LoraWeights(weights.tensors | {name: torch.ones(3, 3)}, weights.config)
    with pytest.raises(UserError, match=rf"the experts' tensor {name} has shape \[3, 3\], but \[4, 14\] in the base"):
        make_resident(load(pool), wide, pool.base)
