"""What the pool accepts, what it refuses by name, and what its digests depend on."""

import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import make_adapter, make_pool

from swarm.errors import UserError
from swarm.weights.adapters import read_adapter, write_adapter
from swarm.weights.materialise import materialise
from swarm.weights.pool import composite_folders, portable_base, read_pool


@pytest.fixture
def directory(tmp_path):
    return make_pool(tmp_path)


def refuse(directory, message, **options):
    with pytest.raises(UserError, match=message) as caught:
        read_pool(directory, **options)
    assert "\n" not in str(caught.value), "one line"


def change_config(folder, **fields):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def change_tensor(folder, change):
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def test_experts_are_sorted_and_find_their_base(directory):
    (directory / ".cache").mkdir()
    (directory / "__pycache__").mkdir()
    pool = read_pool(directory)
    assert pool.names == ["expert_0", "expert_1", "expert_2"]
    assert pool.base == str(directory.parent / "base")
    assert read_pool(directory, base="somewhere/else").base == "somewhere/else"


def test_digests_follow_content_not_names(directory, tmp_path):
    pool = read_pool(directory)
    one = pool.expert("a", [1, 0, 0])
    assert one.digest == pool.expert("b", [1.0, 0.0, 0.0]).digest
    assert one.digest != pool.expert("a", [0, 1, 0]).digest
    assert one.digest != read_pool(directory, combine="exact").expert("a", [1, 0, 0]).digest
    moved = shutil.copytree(tmp_path, tmp_path.parent / "moved" / tmp_path.name)
    assert read_pool(moved / "experts").digest == pool.digest
    change_tensor(directory / "expert_2", lambda t: t[next(iter(t))].add_(1))
    assert read_pool(directory).digest != pool.digest


def test_an_empty_or_missing_directory(tmp_path):
    refuse(tmp_path / "nowhere", "nowhere is not there; .*initial_experts.py")
    refuse(tmp_path, "holds no experts")


def test_missing_weights_and_pickled_weights(directory):
    (directory / "expert_1" / "adapter_model.safetensors").rename(directory / "expert_1" / "adapter_model.bin")
    refuse(directory, r"expert_1 holds adapter_model.bin.*Convert it: python -c")
    (directory / "expert_1" / "adapter_model.bin").unlink()
    refuse(directory, "expert_1 is no expert: adapter_model.safetensors missing")
    (directory / "expert_1" / "adapter_config.json").unlink()
    (directory / "expert_1" / "config.json").write_text("{}")
    refuse(directory, "expert_1 is a full model, but .*expert_0 a LoRA adapter")


def test_the_conversion_command_works(directory):
    weights = directory / "expert_1" / "adapter_model.safetensors"
    torch.save(load_file(weights), weights.with_suffix(".bin"))
    weights.unlink()
    with pytest.raises(UserError) as caught:
        read_pool(directory)
    command = re.search(r'python -c "(.*)"', str(caught.value))
    assert command
    exec(command[1], {})
    assert read_pool(directory).names


def test_damaged_files(directory):
    weights = directory / "expert_1" / "adapter_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    refuse(directory, "expert_1.*no readable safetensors")
    weights.write_bytes(whole)
    (directory / "expert_1" / "adapter_config.json").write_text("{")
    refuse(directory, "adapter_config.json is not valid JSON")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"peft_type": "IA3"}, "peft_type is 'IA3', wanted 'LORA'"),
        ({"modules_to_save": ["lm_head"]}, r"modules_to_save is \['lm_head'\]"),
        ({"bias": "all"}, "bias is 'all'"),
        ({"r": 0}, "r is 0, wanted a positive number"),
        ({"use_rslora": True}, "expert_1: use_rslora is True, but None in .*expert_0"),
        ({"lora_alpha": 99}, "lora_alpha is 99, but 8"),
        ({"use_dora": True}, "use_dora is True"),
        ({"base_model_name_or_path": "other/model"}, "different base models .*expert_1: other/model"),
        ({"init_lora_weights": "pissa_niter_4"}, "which changes the base model too"),
        ({"layer_replication": [[0, 1]]}, "layer_replication is .* wanted none"),
        ({"base_model_name_or_path": None}, "expert_1 names no base model.*-b"),
    ],
)
def test_configs_that_do_not_fit(directory, fields, message):
    change_config(directory / "expert_1", **fields)
    refuse(directory, message)


def test_tensors_that_do_not_fit(directory):
    name = sorted(read_adapter(directory / "expert_1").shapes)[0]
    whole = load_file(directory / "expert_1" / "adapter_model.safetensors")

    def refused(change, message):
        change_tensor(directory / "expert_1", change)
        refuse(directory, message)
        save_file(whole, directory / "expert_1" / "adapter_model.safetensors")

    pair = [name, name.replace("lora_A", "lora_B")]
    more = "base_model.model.more.weight"
    refused(lambda t: [t.pop(part) for part in pair], f"expert_1 lacks tensor {re.escape(name)}")
    refused(lambda t: t.pop(name), "expert_1: tensor .*lora_B.weight stands without .*lora_A.weight")
    refused(lambda t: t.update({more: torch.zeros(1)}), f"expert_0 lacks tensor {more}")
    refused(lambda t: t.update({"more": torch.zeros(1)}), "tensor more is not named as PEFT does")
    refused(lambda t: t.update({name: t[name].half()}), r"expert_1: tensor .* is F16\[.*but F32")
    refused(lambda t: t.update({name: t[name][:1].contiguous()}), r"F32\[1, .*same ranks")
    refused(lambda t: t[name].view(-1)[3].fill_(float("nan")), "NaN or infinity")
    refused(lambda t: t.update({name: t[name].int()}), "type torch.int32")


def test_revisions_of_the_base(directory):
    for folder in directory.iterdir():
        change_config(folder, base_model_name_or_path="hub/base", revision="one")
    assert (read_pool(directory).base, read_pool(directory).revision) == ("hub/base", "one")
    assert read_pool(directory, base="other/base").revision is None, "another base has other revisions"
    change_config(directory / "expert_1", revision="two")
    refuse(directory, "expert_1: hub/base at revision two")


def test_composites_between_experts_are_passed_over(directory):
    (directory / "between").mkdir()
    (directory / "between" / "node.json").write_text("{}")
    assert read_pool(directory).names == ["expert_0", "expert_1", "expert_2"]
    assert [folder.name for folder in composite_folders(directory)] == ["between"]


def test_dora_combines_linearly_only(tmp_path):
    directory = make_pool(tmp_path, use_dora=True)
    assert materialise(read_pool(directory), [0.5, 0.5, 0]).tensors
    for combine in ("exact", "svd"):
        refuse(directory, rf"expert_0 is a DoRA adapter .*--combine {combine}: use --combine linear", combine=combine)


def test_writing_is_whole_or_not_at_all(directory, monkeypatch):
    pool = read_pool(directory)
    target = directory.parent / "out" / "one"
    write_adapter(target, materialise(pool, [1, 0, 0]), portable_base(pool.base, target), None)
    before = read_adapter(target).digest
    assert json.loads((target / "adapter_config.json").read_text())["base_model_name_or_path"] == "../../base"

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("swarm.weights.adapters.save_file", full)
    with pytest.raises(OSError, match="No space"):
        write_adapter(target, materialise(pool, [0, 1, 0]), "x", None)
    assert read_adapter(target).digest == before
    assert [path.name for path in target.parent.iterdir()] == ["one"]


def test_one_expert_makes_a_pool(tmp_path):
    make_pool(tmp_path, count=1)
    make_adapter(tmp_path / "more" / "solo", tmp_path / "base", seed=9)
    assert read_pool(tmp_path / "more").names == ["solo"]
