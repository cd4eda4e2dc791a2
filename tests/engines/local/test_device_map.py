"""Models on several devices: which layer goes where (on meta tensors), and equal texts from two parts on the CPU."""

import pytest
import torch
from answers import answers_of
from tiny import SIZES, make_base, make_models, make_pool
from transformers import AutoConfig, AutoModelForCausalLM

from swarm.engines.base import GenerationParams, Request
from swarm.engines.local import device_map
from swarm.engines.local.base_checks import check_base
from swarm.engines.local.device_map import planned_map, spread_stepper
from swarm.engines.local.expert_store import ExpertStore
from swarm.engines.local.resident_model import make_resident
from swarm.engines.local.stepper import make_stepper
from swarm.engines.local.transformers_engine import InProcessEngine
from swarm.engines.sampling import Sampling
from swarm.errors import UserError
from swarm.members.fusion.loading import ModelSource, load_stepped_model
from swarm.weights.pool import read_pool

CUDA = [torch.device("cuda:0"), torch.device("cuda:1")]
CPU = torch.device("cpu")
PARTS = ("model.embed_tokens", "model.layers.0", "model.layers.1", "model.norm", "model.rotary_emb", "lm_head")
HALVES = dict.fromkeys(PARTS, "cpu")
PROMPTS = ["what is red", "no", "is two blue yes no one"]


def shell(**settings):
    config = AutoConfig.for_model("llama", **SIZES | {"num_hidden_layers": 6} | settings)
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def size_of(model):
    return sum(parameter.nbytes for parameter in model.parameters())


def with_room(monkeypatch, *rooms):
    """Devices with so many free bytes each."""
    monkeypatch.setattr(device_map, "_free", lambda device: rooms[device.index or 0])


def given(model, **other):
    """A map with the first half of the layers on the first device; `other` by the last part of a name."""
    names = [name for name, module in model.named_modules() if name.count(".") == 2 and name.startswith("model.layers")]
    usual = {"model.embed_tokens": "cuda:0", "model.norm": "cuda:1", "lm_head": "cuda:1"}
    usual |= {name: f"cuda:{int(place >= len(names) // 2)}" for place, name in enumerate(names)}
    return usual | other


def test_layers_are_divided_evenly_and_kept_whole(monkeypatch):
    model = shell()
    with_room(monkeypatch, 10 * size_of(model), 10 * size_of(model))
    found = planned_map("base m", model, CUDA)
    where = [found[f"model.layers.{number}"] for number in range(6)]
    assert where == sorted(where, key=str) and set(where) == set(CUDA) and 2 <= where.count(CUDA[0]) <= 4
    assert found["model.embed_tokens"] == CUDA[0] and found["lm_head"] == CUDA[1]
    assert planned_map("base m", model, CUDA, given(model)) == {
        name: torch.device(device) for name, device in given(model).items()
    }


def test_tied_embeddings_stay_together(monkeypatch):
    model = shell(tie_word_embeddings=True)
    model.tie_weights()
    with_room(monkeypatch, 10 * size_of(model), 10 * size_of(model))
    found = planned_map("base m", model, CUDA)
    assert found["model.embed_tokens"] == found["lm_head"] and set(found.values()) == set(CUDA)
    with pytest.raises(UserError, match="parts model.embed_tokens.weight and lm_head.weight of base m, which are one"):
        planned_map("base m", model, CUDA, given(model))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model.layers.3": None}, r"leaves model.layers.3.self_attn.q_proj of base m out: say where it lies"),
        ({"lm_head": None}, "leaves lm_head of base m out"),
        ({"model.layers.9": "cuda:0"}, "names 'model.layers.9', which base m does not have"),
        ({"model.layers.0.mlp": "cuda:1"}, "parts model.layers.0 of base m"),
    ],
)
def test_a_map_that_cannot_be_is_refused_by_name(monkeypatch, change, said):
    model = shell()
    with_room(monkeypatch, 10 * size_of(model), 10 * size_of(model))
    wrong = {name: device for name, device in (given(model) | change).items() if device is not None}
    with pytest.raises(UserError, match=said) as told:
        planned_map("base m", model, CUDA, wrong)
    assert "\n" not in str(told.value)


def test_room_is_summed_over_the_devices(monkeypatch):
    model = shell()
    size = size_of(model)
    with_room(monkeypatch, size // 3, size // 3)
    with pytest.raises(UserError, match=r"base m takes .* but cuda:0 and cuda:1 have .* free together: name more dev"):
        planned_map("base m", model, CUDA)
    with_room(monkeypatch, size, size // 4)
    with pytest.raises(UserError, match="the device map puts .* of base m on cuda:1, which has .* free: move"):
        planned_map("base m", model, CUDA, given(model))
    with_room(monkeypatch, size * 12 // 20, size * 9 // 20)
    with pytest.raises(UserError, match="base m does not fit on cuda:0 and cuda:1: there is no room for"):
        planned_map("base m", model, CUDA)


@pytest.mark.parametrize(
    ("lora", "kind"),
    [
        ({}, "folded"),
        ({"use_dora": True}, "folded"),
        ({"target_modules": ["embed_tokens", "q_proj", "lm_head"]}, "peft"),
    ],
    ids=["lora", "dora", "embeddings"],
)
def test_texts_of_two_parts_are_those_of_one(tmp_path, lora, kind):
    pool = read_pool(make_pool(tmp_path, 2, **lora))
    params = GenerationParams(6), GenerationParams(6, sampling=Sampling(1.5, seed=2))
    requests = [Request(one, text, own) for own in params for one in pool.experts() for text in PROMPTS]
    whole = InProcessEngine(pool, device="cpu")
    parts = InProcessEngine(pool, device="cpu+cpu", device_map=HALVES)
    carried = [name for name, module in parts.decoder.model.named_modules() if hasattr(module, "_hf_hook")]
    assert any(name.endswith("layers.1") for name in carried) and parts._resident.kind == kind
    assert answers_of(parts, requests) == answers_of(whole, requests)
    assert parts.facts() == whole.facts() and parts.token_budget > 100
    rows = [[5, 6, 7], [8]]
    for engine, make in ((whole, make_stepper), (parts, spread_stepper)):
        engine.clear()
        stepper = make(engine.decoder.model)
        stepper.open(rows, 2)
        engine.logits = stepper.logits([0, 1])
        stepper.close()
    torch.testing.assert_close(parts.logits, whole.logits)


def test_full_models_in_two_parts(tmp_path):
    pool = read_pool(make_models(tmp_path, 2))
    requests = [Request(one, text, GenerationParams(6)) for one in pool.experts() for text in PROMPTS]
    parts = InProcessEngine(pool, device="cpu+cpu", device_map=HALVES)
    assert answers_of(parts, requests) == answers_of(InProcessEngine(pool, device="cpu"), requests)


@pytest.mark.parametrize(("fold", "lora"), [(False, {}), (False, {"use_dora": True}), (True, {})], ids=str)
def test_an_adapter_lies_where_its_layer_does(tmp_path, fold, lora):
    """With the second layer on another device, which meta is."""
    pool = read_pool(make_pool(tmp_path, 2, **lora))
    model = AutoModelForCausalLM.from_pretrained(pool.base)
    model.model.layers[1].to("meta")
    weights = ExpertStore(pool).weights(pool.experts()[0])
    resident = make_resident(model, weights, pool.base, fold)
    kept = resident._kept if fold else resident._parameters
    assert {tensor.device.type for name, tensor in kept.items() if "layers.0." in name} == {"cpu"}
    assert {tensor.device.type for name, tensor in kept.items() if "layers.1." in name} == {"meta"}


def test_a_fusion_s_models_are_divided_likewise(tmp_path, monkeypatch):
    config = AutoConfig.for_model("llama", **SIZES | {"num_hidden_layers": 6})
    AutoModelForCausalLM.from_config(config).save_pretrained(make_base(tmp_path))
    source = ModelSource(str(tmp_path))
    whole = load_stepped_model(source, [CPU], torch.float32)
    size = size_of(whole.model)
    with_room(monkeypatch, size * 15 // 10)  # of which each part has a half
    parts = load_stepped_model(source, [CPU, CPU], torch.float32)
    assert len(parts.model.hf_device_map) > 1 and isinstance(parts.stepper, type(spread_stepper(whole.model)))
    for one in (whole, parts):
        one.stepper.open([[5, 6, 7], [8]], 4)
        one.stepper.append(0, 9)
    torch.testing.assert_close(parts.stepper.logits([0, 1]), whole.stepper.logits([0, 1]))
    with_room(monkeypatch, size // 2)
    with pytest.raises(UserError, match="model .* of a fusion takes .* but cpu and cpu have"):
        load_stepped_model(source, [CPU, CPU], torch.float32)


def test_a_dry_run_looks_at_the_map(tmp_path):
    pool = read_pool(make_pool(tmp_path, 2))
    assert check_base(pool, "cpu+cpu", None, None, False, HALVES) == ""
    lacking = {name: device for name, device in HALVES.items() if name != "lm_head"}
    with pytest.raises(UserError, match="the device map leaves lm_head of base model .*base out"):
        check_base(pool, "cpu+cpu", None, None, False, lacking)
