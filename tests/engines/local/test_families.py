"""Architectures other than Llama, as adapters and as full models, against plain PEFT and transformers."""

import copy
import weakref

import pytest
import torch
from answers import answers_of
from peft import PeftModel
from safetensors.torch import load_file, save_file
from tiny import FAMILIES, make_base, make_models, make_pool
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from swarm.engines.base import GenerationParams, Request
from swarm.engines.local.transformers_engine import InProcessEngine
from swarm.errors import UserError
from swarm.weights import full_model
from swarm.weights.full_model import write_full_model
from swarm.weights.materialise import materialise
from swarm.weights.pool import Pool, model_pool, read_pool

PARAMS = GenerationParams(max_new_tokens=6)
PROMPTS = ["what is red", "no", "is two blue yes no one", "green green what is three is one yes blue red"]
MIXED = [0.6, -0.2, 0.5]


KINDS = [(make, family) for family in FAMILIES for make in (make_pool, make_models)]


@pytest.fixture(scope="module", params=KINDS, ids=[f"{make.__name__}-{family}" for make, family in KINDS])
def directory(request, tmp_path_factory):
    """Three experts of a family, adapters or full models, not to be changed."""
    make, family = request.param
    return make(tmp_path_factory.mktemp(family), family=family)


def plain_model(pool, index, **options):
    """An initial expert as PEFT or transformers load it, for adapters merged into the base."""
    if pool.models:
        return AutoModelForCausalLM.from_pretrained(pool.models[index].folder, **options)
    base = AutoModelForCausalLM.from_pretrained(pool.base, **options)
    return PeftModel.from_pretrained(base, pool.adapters[index].folder)


def plain_texts(model, pool):
    """One prompt at a time, so that nothing is padded."""
    tokenizer, texts = AutoTokenizer.from_pretrained(pool.base), []
    for prompt in PROMPTS:
        ids = torch.tensor([tokenizer(prompt)["input_ids"]])
        output = model.generate(input_ids=ids, do_sample=False, max_new_tokens=PARAMS.max_new_tokens)
        texts.append(tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True))
    return texts


def texts_of(engine, *experts):
    requests = [Request(expert, prompt, PARAMS) for expert in experts for prompt in PROMPTS]
    return [completion.text for completion in answers_of(engine, requests)]


def test_initial_experts_answer_as_plain_libraries_do(directory):
    """In batches of prompts of different lengths, padded where there is a pad token and where there is none."""
    pool = read_pool(directory)
    engine = InProcessEngine(pool, device="cpu")
    texts = texts_of(engine, *pool.experts())
    assert texts == [text for i in range(3) for text in plain_texts(plain_model(pool, i), pool)]
    assert len(set(texts)) > 4, "the experts should differ, or this shows nothing"
    assert texts_of(engine, *pool.experts()[::-1])[-len(PROMPTS) :] == texts[: len(PROMPTS)], "nothing stays behind"


def test_mixtures_answer_as_the_dense_sum(directory):
    """W = W_base + sum_j c_j (W_j - W_base) of adapters, combined exactly, and sum_j c_j W_j of full models."""
    pool = read_pool(directory)
    pool = pool if pool.models else read_pool(directory, combine="exact")
    model = AutoModelForCausalLM.from_pretrained(pool.base)
    base = {name: 0.0 if pool.models else tensor for name, tensor in model.state_dict().items()}
    parts = [plain_model(pool, i) for i in range(3)]
    states = [(part if pool.models else part.merge_and_unload()).state_dict() for part in parts]
    dense = {
        name: base[name] + sum(c * (state[name] - base[name]) for c, state in zip(MIXED, states, strict=True))
        for name in base
    }
    model.load_state_dict(dense)
    engine = InProcessEngine(pool, device="cpu")
    assert texts_of(engine, pool.expert("mixed", MIXED)) == plain_texts(model, pool)
    ids = torch.tensor([[2, 12, 13, 9, 4]])
    with torch.inference_mode():
        assert torch.allclose(engine._resident.model(ids).logits, model(ids).logits, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("lora", [{"use_rslora": True}, {"use_dora": True}])
@pytest.mark.parametrize("family", ["gpt2", "gemma"])
def test_kinds_of_lora_on_other_layers(family, lora, tmp_path):
    pool = read_pool(make_pool(tmp_path, family=family, count=2, **lora))
    texts = texts_of(InProcessEngine(pool, device="cpu"), *pool.experts())
    assert texts == [text for i in range(2) for text in plain_texts(plain_model(pool, i), pool)]


@pytest.mark.parametrize("combine", ["linear", "exact", "svd"])
def test_rslora_combines_in_every_way(combine, tmp_path):
    """Truncated to the full rank, svd is exact; linear is A and B each."""
    directory = make_pool(tmp_path, use_rslora=True)
    pool = read_pool(directory, combine=combine, rank=12 if combine == "svd" else None)
    model = AutoModelForCausalLM.from_pretrained(pool.base)
    handles = [adapter.open() for adapter in pool.adapters]
    with torch.no_grad():
        for name in (name for name in pool.adapters[0].shapes if "lora_A" in name):
            downs = [handle.get_tensor(name) for handle in handles]
            ups = [handle.get_tensor(name.replace("lora_A", "lora_B")) for handle in handles]
            layer = model.get_submodule(name.removeprefix("base_model.model.").removesuffix(".lora_A.weight"))
            if combine == "linear":
                down, up = (sum(c * t for c, t in zip(MIXED, ts, strict=True)) for ts in (downs, ups))
                delta = up @ down
            else:
                delta = sum(c * up @ down for c, up, down in zip(MIXED, ups, downs, strict=True))
            layer.weight += 8 / 4**0.5 * delta  # alpha over the root of the rank
    engine = InProcessEngine(pool, device="cpu")
    assert texts_of(engine, pool.expert("mixed", MIXED)) == plain_texts(model, pool)


@pytest.mark.parametrize("family", ["gpt2", "qwen3"])
def test_a_full_model_in_half_precision_has_transformers_own_logits(family, tmp_path):
    pool = read_pool(make_models(tmp_path, family=family))
    engine = InProcessEngine(pool, device="cpu", dtype="bfloat16")
    assert engine.facts()["weights"] == "full"
    ids = torch.tensor([[2, 12, 13, 9, 4]])
    for index in (2, 0, 1):
        engine._resident.load(materialise(pool, pool.experts()[index].coefficients))
        with torch.inference_mode():
            plain = plain_model(pool, index, dtype=torch.bfloat16)(ids).logits
            assert torch.equal(engine._resident.model(ids).logits, plain)


def test_placing_changes_no_file_and_holds_one_tensor_at_a_time(tmp_path, monkeypatch):
    """The resident model may be mapped from the first expert's own file."""
    directory, alive = make_models(tmp_path), []
    before = read_pool(directory)
    engine = InProcessEngine(before, device="cpu")

    def watched(*arguments):
        assert not [made for made in alive if made() is not None], "an earlier tensor is still there"
        tensor = combined(*arguments)
        alive.append(weakref.ref(tensor))
        return tensor

    combined = full_model.combined
    monkeypatch.setattr(full_model, "combined", watched)
    texts_of(engine, before.expert("mixed", MIXED))
    assert len(alive) == len(before.models[0].shapes)
    assert read_pool(directory).digest == before.digest


@pytest.mark.parametrize("family", FAMILIES)
def test_a_found_model_answers_as_before_by_itself(family, tmp_path):
    pool = read_pool(make_models(tmp_path, family=family))
    expert = pool.expert("mixed", MIXED)
    write_full_model(tmp_path / "found", materialise(pool, expert.coefficients), pool.models[0].folder, 4_000)
    found = model_pool(str(tmp_path / "found"))
    before = texts_of(InProcessEngine(pool, device="cpu"), expert)
    assert texts_of(InProcessEngine(found, device="cpu"), *found.experts()) == before
    assert plain_texts(AutoModelForCausalLM.from_pretrained(tmp_path / "found"), found) == before


def change_tensors(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def test_names_without_the_model_s_prefix(tmp_path):
    """As in the published GPT-2, whose file also holds masks that nobody reads any more."""
    directory = make_models(tmp_path, family="gpt2")
    pool = read_pool(directory)
    before = texts_of(InProcessEngine(pool, device="cpu"), pool.expert("mixed", MIXED))
    for folder in directory.iterdir():
        AutoModelForCausalLM.from_pretrained(folder).transformer.save_pretrained(folder)
        change_tensors(folder, lambda t: t.update({"h.0.attn.bias": torch.ones(1, 1, 24, 24).tril()}))
    pool = read_pool(directory)
    assert "wte.weight" in pool.models[0].shapes
    assert texts_of(InProcessEngine(pool, device="cpu"), pool.expert("mixed", MIXED)) == before


def test_tied_weights_that_are_written_twice(tmp_path):
    directory = make_models(tmp_path, family="qwen3")
    pool = read_pool(directory)
    before = texts_of(InProcessEngine(pool, device="cpu"), pool.expert("mixed", MIXED))
    for folder in directory.iterdir():
        change_tensors(folder, lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"].clone()}))
    pool = read_pool(directory)
    engine = InProcessEngine(pool, device="cpu")
    assert len(engine._resident._targets) == len(pool.models[0].shapes) - 1, "the shared tensor is placed once"
    assert texts_of(engine, pool.expert("mixed", MIXED)) == before
    change_tensors(directory / "expert_2", lambda t: t["lm_head.weight"].add_(1))
    with pytest.raises(
        UserError, match="expert_2: tensors lm_head.weight and model.embed_tokens.weight differ, but are"
    ):
        InProcessEngine(read_pool(directory), device="cpu")
    for folder in directory.iterdir():
        change_tensors(folder, lambda t: t["lm_head.weight"].add_(1))
    pool = read_pool(directory)
    texts = texts_of(InProcessEngine(pool, device="cpu"), *pool.experts())
    assert texts == [text for i in range(3) for text in plain_texts(plain_model(pool, i), pool)], "untied in the files"


def test_bases_that_full_models_do_not_fit(tmp_path):
    directory = make_models(tmp_path)
    base, config = make_base(tmp_path / "other"), AutoConfig.from_pretrained(tmp_path / "other")
    for field, message in (
        ("attention_bias", "needs tensor model.layers.0.self_attn.q_proj.bias, which the experts' files do not have"),
        ("intermediate_size", r"mlp.down_proj.weight has shape \[16, 32\], but \[16, 1\] in base model"),
    ):
        changed = copy.deepcopy(config)
        setattr(changed, field, type(getattr(config, field))(1))
        AutoModelForCausalLM.from_config(changed).save_pretrained(base)
        with pytest.raises(UserError, match=f"base model .*: {field} in config.json is (True|1), but (False|32) in"):
            read_pool(directory, base=str(base))
        with pytest.raises(UserError, match=message):
            InProcessEngine(Pool(read_pool(directory).initial, str(base)), device="cpu")
    for folder in directory.iterdir():
        change_tensors(folder, lambda t: t.pop("model.norm.weight"))
    with pytest.raises(UserError, match="needs tensor model.norm.weight"):
        InProcessEngine(read_pool(directory), device="cpu")


def test_learned_positions_end(tmp_path):
    pool = read_pool(make_models(tmp_path, count=1, family="gpt2"))
    engine = InProcessEngine(pool, device="cpu")
    longest = Request(pool.experts()[0], " ".join(["red"] * 90), PARAMS)
    assert [completion.prompt_tokens for completion in answers_of(engine, [longest])] == [90]
    too_long = Request(pool.experts()[0], " ".join(["red"] * 91), PARAMS)
    with pytest.raises(UserError, match="91 tokens and 6 new ones exceed the 96 positions"):
        list(engine.generate([too_long]))
