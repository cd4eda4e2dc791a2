"""Full-weight experts: what is read, what is refused by name, and that combining and writing them loses nothing."""

import hashlib
import json
import re
import shutil

import pytest
import torch
from loopback_hub import COMMIT, Hub, serving
from safetensors.torch import load_file, save_file
from tiny import change_json, make_models, make_pool
from transformers import AutoModelForCausalLM, AutoTokenizer

from swarm.errors import UserError
from swarm.weights.full_model import write_full_model
from swarm.weights.materialise import materialise
from swarm.weights.pool import model_pool, read_pool

HEAD, NORM = "lm_head.weight", "model.norm.weight"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Three tiny Llamas, not to be changed."""
    return make_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def directory(made, tmp_path):
    return shutil.copytree(made, tmp_path / "experts")


def refuse(directory, message, **options):
    with pytest.raises(UserError, match=message) as caught:
        read_pool(directory, **options)
    assert "\n" not in str(caught.value), "one line"


def change_tensors(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def shard(folder):
    AutoModelForCausalLM.from_pretrained(folder).save_pretrained(folder, max_shard_size="4KB")
    (folder / "model.safetensors").unlink()
    return sorted(folder.glob("model-*.safetensors"))


def same_bits(one, other):
    return one.dtype == other.dtype and torch.equal(one.contiguous().view(torch.uint8), other.view(torch.uint8))


def test_a_pool_of_full_models_is_its_own_base(directory, tmp_path):
    pool = read_pool(directory)
    assert pool.names == ["expert_0", "expert_1", "expert_2"]
    assert pool.base == str(directory / "expert_0")
    assert read_pool(directory, base=str(directory / "expert_1")).base == str(directory / "expert_1")
    moved = shutil.copytree(directory, tmp_path / "moved")
    change_json(moved / "expert_1" / "config.json", lambda c: c.update(transformers_version="4.38.0"))
    assert read_pool(moved).digest == pool.digest
    change_tensors(moved / "expert_1", lambda t: t[NORM].add_(1))
    assert read_pool(moved).digest != pool.digest


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_an_initial_model_is_itself_to_the_bit(directory, dtype):
    """In memory and written again, -0.0 and the number format included."""
    for i in range(3):
        folder = directory / f"expert_{i}"
        AutoModelForCausalLM.from_pretrained(folder).to(dtype).save_pretrained(folder)
        change_tensors(folder, lambda t: t[NORM][:3].copy_(torch.tensor([-0.0, 0.0, 1e-40])))
    pool = read_pool(directory)
    plain = load_file(directory / "expert_1" / "model.safetensors")
    for name, tensor in materialise(pool, [0.0, 1.0, 0.0]).tensors(plain):
        assert same_bits(tensor.to(dtype), plain[name]), name
    write_full_model(directory / "out", materialise(pool, [0.0, 1.0, 0.0]), directory / "expert_0")
    written = load_file(directory / "out" / "model.safetensors")
    assert written.keys() == plain.keys()
    assert all(same_bits(written[name], plain[name]) for name in plain)


def test_a_mixture_is_the_weighted_sum_in_float32_rounded_once(directory):
    """Of models in bfloat16, whose own sums would round at every step."""
    for i in range(3):
        folder = directory / f"expert_{i}"
        AutoModelForCausalLM.from_pretrained(folder).to(torch.bfloat16).save_pretrained(folder)
    coefficients = [0.7, -0.25, 0.4]
    parts = [load_file(directory / f"expert_{i}" / "model.safetensors") for i in range(3)]
    for name, tensor in materialise(read_pool(directory), coefficients).tensors(parts[0]):
        truth = sum(c * part[name].double() for c, part in zip(coefficients, parts, strict=True))
        assert tensor.dtype == torch.bfloat16
        assert torch.allclose(tensor.double(), truth, rtol=2**-8, atol=1e-7), "rounded once, not at every step"


@pytest.mark.parametrize("shard_bytes", [5_000, 10**9])
def test_what_is_written_loads_with_plain_transformers(directory, shard_bytes):
    pool, out = read_pool(directory), directory.parent / "out"
    write_full_model(out, materialise(pool, [0.5, 0.7, -0.1]), directory / "expert_0", shard_bytes)
    shards = sorted(out.glob("model*.safetensors"))
    assert (len(shards) > 3) == (shard_bytes == 5_000)
    assert all(path.stat().st_size < shard_bytes + 2_000 for path in shards), "the header comes on top"
    loaded, report = AutoModelForCausalLM.from_pretrained(out, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    state = loaded.state_dict()
    for name, tensor in materialise(pool, [0.5, 0.7, -0.1]).tensors(pool.models[0].shapes):
        assert torch.equal(state[name], tensor)
    assert AutoTokenizer.from_pretrained(out)("what is red")["input_ids"] == [12, 13, 4]
    assert (out / "generation_config.json").is_file()
    assert model_pool(str(out)).names == ["out"]


def test_writing_is_whole_or_not_at_all(directory, monkeypatch):
    pool, out = read_pool(directory), directory.parent / "out"
    write_full_model(out, materialise(pool, [1, 0, 0]), directory / "expert_0")
    before = model_pool(str(out)).digest

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("swarm.weights.full_model.save_file", full)
    with pytest.raises(OSError, match="No space"):
        write_full_model(out, materialise(pool, [0, 1, 0]), directory / "expert_0")
    assert model_pool(str(out)).digest == before
    assert sorted(path.name for path in out.parent.iterdir()) == ["experts", "out"]


def test_shards_are_read_as_one_model(directory):
    """However each model is cut."""
    whole = read_pool(shutil.copytree(directory, directory.parent / "whole"))
    shard(directory / "expert_1")
    sharded = read_pool(directory)
    assert sharded.models[1].shapes == whole.models[1].shapes
    names = whole.models[0].shapes
    for coefficients in ([0, 1, 0], [0.2, 0.5, 0.3]):
        plain, cut = (dict(materialise(pool, coefficients).tensors(names)) for pool in (whole, sharded))
        assert all(torch.equal(plain[name], cut[name]) for name in names)


def test_broken_shards(directory):
    shards = shard(directory / "expert_1")
    index = directory / "expert_1" / "model.safetensors.index.json"
    hidden = shards[2].rename(shards[2].with_suffix(".away"))
    refuse(directory, rf"expert_1/{shards[2].name} is missing, but model.safetensors.index.json names it")
    hidden.rename(shards[2])
    text = index.read_text()
    change_json(index, lambda c: c["weight_map"].update({"more.weight": shards[0].name}))
    refuse(directory, rf"{shards[0].name} lacks tensor more.weight, which model.safetensors.index.json places there")
    index.write_text(text)
    change_json(index, lambda c: c["weight_map"].update({NORM: "../expert_0/model.safetensors"}))
    refuse(directory, r"names the shard '../expert_0/model.safetensors', wanted a file beside it")
    index.write_text("{}")
    refuse(directory, "index.json is no index of shards .KeyError")


def test_pickled_weights_are_refused_with_a_command_that_works(directory):
    folder = directory / "expert_1"
    tensors = load_file(folder / "model.safetensors")
    torch.save(tensors, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match="expert_1 holds pytorch_model.bin.*Convert it") as caught:
        read_pool(directory)
    command = re.search(r'python -c "(.*)"', str(caught.value))
    assert command
    exec(command[1], {})
    read_pool(directory)
    assert all(same_bits(t, tensors[name]) for name, t in load_file(folder / "model.safetensors").items())


def test_folders_that_are_no_expert(directory, tmp_path):
    folder = directory / "expert_1"
    (folder / "model.safetensors").unlink()
    refuse(directory, "expert_1 has a config.json but no model.safetensors")
    (folder / "config.json").unlink()
    refuse(directory, "expert_1 is no expert; wanted a PEFT LoRA adapter .* or a full model")
    shutil.rmtree(folder)
    make_pool(tmp_path / "lora", count=1)
    shutil.copytree(tmp_path / "lora" / "experts" / "expert_0", folder)
    refuse(directory, r"expert_1 is a LoRA adapter, but .*expert_0 a full model; .*merge_and_unload")


def test_ways_to_combine_that_are_for_adapters(directory):
    refuse(
        directory,
        "--combine svd is for LoRA adapters, but .*expert_0 is a full model.*use --combine linear",
        combine="svd",
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model_type": "qwen2"}, "expert_1 is a qwen2 model, but .*expert_0 a llama"),
        ({"quantization_config": {"bits": 4}}, r"expert_1/config.json has a quantization_config.*dequantize\(\)"),
        ({"rms_norm_eps": 1e-3}, r"expert_1: rms_norm_eps in config.json is 0.001, but 1e-06 in .*expert_0"),
        (
            {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}},
            "rope_parameters in config.json is .*500000",
        ),
        ({"hidden_size": "wide"}, "expert_1/config.json is no config of a llama model .*hidden_size"),
        ({"model_type": None}, "expert_1/config.json names no model_type"),
    ],
)
def test_configs_that_do_not_fit(directory, fields, message):
    change_json(directory / "expert_1" / "config.json", lambda c: c.update(fields))
    refuse(directory, message)


def test_configs_that_mean_the_same_fit(directory):
    """Written by another version of transformers, for a longer context, with another end token."""

    def change(config):
        del config["rope_parameters"], config["attention_bias"]
        config |= {
            "rope_theta": 10000.0,
            "torch_dtype": "float32",
            "max_position_embeddings": 99,
            "eos_token_id": [1, 3],
        }

    before = json.loads((directory / "expert_1" / "config.json").read_text())
    assert before["rope_parameters"]["rope_theta"] == 10000.0
    change_json(directory / "expert_1" / "config.json", lambda config: (change(config), config.pop("dtype", None)))
    assert len(read_pool(directory).names) == 3


def test_tensors_that_do_not_fit(directory):
    folder = directory / "expert_1"
    whole = (folder / "model.safetensors").read_bytes()

    def refused(change, message):
        change_tensors(folder, change)
        refuse(directory, message)
        (folder / "model.safetensors").write_bytes(whole)

    refused(lambda t: t.pop(NORM), f"expert_1 lacks tensor {NORM}")
    refused(lambda t: t.update(more=torch.zeros(1)), "expert_0 lacks tensor more")
    refused(lambda t: t.update({HEAD: t[HEAD][:9].clone()}), rf"tensor {HEAD} is F32\[9, 16\], but F32\[14, 16\]")
    refused(lambda t: t.update({HEAD: t[HEAD].half()}), rf"tensor {HEAD} is F16\[14, 16\], but F32")
    refused(lambda t: t[HEAD].view(-1)[3].fill_(float("nan")), f"model.safetensors: tensor {HEAD} holds NaN")
    refused(lambda t: t.update({HEAD: t[HEAD].to(torch.float8_e4m3fn)}), f"tensor {HEAD} has number format F8_E4M3")
    refused(lambda t: t.clear(), "holds no tensors")
    (folder / "model.safetensors").write_bytes(whole[:-100])
    refuse(directory, "expert_1/model.safetensors is no readable safetensors file")


def test_whole_numbers_are_kept_and_must_be_equal(directory):
    for i in range(3):
        change_tensors(directory / f"expert_{i}", lambda t: t.update(position_ids=torch.arange(5)))
    ((_, tensor),) = materialise(read_pool(directory), [0.5, 0.5, 2]).tensors(["position_ids"])
    assert torch.equal(tensor, torch.arange(5))
    change_tensors(directory / "expert_2", lambda t: t["position_ids"].add_(1))
    refuse(directory, "expert_2: tensor position_ids holds other whole numbers")


def test_vocabularies_must_be_the_same(directory):
    path = directory / "expert_1" / "tokenizer.json"

    def swap(content):
        words = content["model"]["vocab"]
        words["red"], words["blue"] = words["blue"], words["red"]

    change_json(path, swap)
    refuse(directory, "expert_1: tokenizer.json has another vocabulary than that of .*expert_0")
    path.write_text("{}")
    refuse(directory, "expert_1/tokenizer.json is no tokenizer .KeyError")
    path.unlink()
    refuse(directory, "expert_1 lacks tokenizer.json, so its vocabulary cannot be held to that of")


def test_other_settings_of_a_tokenizer_do_not_matter(directory):
    change_json(directory / "expert_1" / "tokenizer.json", lambda c: c.update(truncation=None, padding=None))
    change_json(directory / "expert_1" / "tokenizer_config.json", lambda c: c.update(model_max_length=7))
    assert len(read_pool(directory).names) == 3


def cache_as_the_hub_does(cache, name, folder):
    """A snapshot of links to blobs that are named by their content."""
    repository = cache / f"models--{name.replace('/', '--')}"
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    for path in folder.iterdir():
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        shutil.copy(path, repository / "blobs" / digest)
        (snapshot / path.name).symlink_to(repository / "blobs" / digest)
    return snapshot


def test_snapshots_of_a_hub_cache_are_experts(directory, tmp_path):
    plain = read_pool(directory)
    linked = tmp_path / "linked"
    linked.mkdir()
    for i in range(3):
        snapshot = cache_as_the_hub_does(tmp_path / "cache", f"some/expert_{i}", directory / f"expert_{i}")
        (linked / f"expert_{i}").symlink_to(snapshot)
    assert read_pool(linked).names == plain.names
    assert read_pool(linked).digest == plain.digest


def test_a_model_of_the_hub_is_a_pool_of_one(directory, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    cache_as_the_hub_does(tmp_path / "cache", "some/judge", directory / "expert_1")
    pool = model_pool("some/judge")
    assert pool.names == ["judge"]
    assert pool.experts()[0].coefficients == (1.0,)
    assert pool.digest == model_pool(str(directory / "expert_1")).digest
    with pytest.raises(UserError, match="'some/other' is neither a local folder nor to be had from the hub"):
        model_pool("some/other")
    with pytest.raises(UserError, match="has no config.json"):
        model_pool(str(tmp_path))


def test_a_model_is_fetched_whole_and_nothing_else(directory, tmp_path, monkeypatch):
    shard(directory / "expert_1")
    files = {path.name: path.read_bytes() for path in (directory / "expert_1").iterdir()}
    with serving(Hub({"some/judge": files | {"consolidated.safetensors": b"the same again"}})) as hub:
        settings = {
            "HF_HUB_OFFLINE": False,
            "ENDPOINT": hub.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}",
            "HF_HUB_CACHE": str(tmp_path / "cache"),
        }
        for name, value in settings.items():
            monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
        assert model_pool("some/judge").digest == model_pool(str(directory / "expert_1")).digest
        assert sorted(hub.fetched) == sorted(f"some/judge/{name}" for name in files)
        hub.fail_with["model-00002-of-00007.safetensors"] = 404
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "other"))
        with pytest.raises(UserError, match="model 'some/judge' cannot be fetched from the hub .*try again"):
            model_pool("some/judge")
