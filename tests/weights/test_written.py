"""An expert is known by what it is: in whatever pool it lies, and as the adapter that a search wrote of it."""

import dataclasses
import shutil

import pytest
import torch
from answers import answers_of
from safetensors.torch import load_file, save_file
from tiny import make_models, make_pool

from swarm.engines.base import GenerationParams, Request
from swarm.engines.local.transformers_engine import InProcessEngine
from swarm.members.members import Members
from swarm.storage.user_cache import own_cache
from swarm.system.system import load_system, save_system, single
from swarm.weights.adapters import WEIGHTS
from swarm.weights.materialise import materialise
from swarm.weights.pool import read_pool
from swarm.weights.written import remember_written, written_as


@pytest.fixture
def directory(tmp_path):
    return make_pool(tmp_path)


def smaller(directory):
    """The same experts without the first one."""
    shutil.copytree(directory, directory.parent / "fewer")
    shutil.rmtree(directory.parent / "fewer" / "expert_0")
    return directory.parent / "fewer"


def test_an_initial_expert_is_itself_in_every_pool(directory):
    pool, other = read_pool(directory), read_pool(smaller(directory))
    one, same = pool.expert("expert_1", [0, 1, 0]), other.expert("expert_1", [1, 0])
    assert one.digest == same.digest == pool.initial[1].digest == pool.expert("x", [-0.0, 1, 0]).digest
    tensors = materialise(pool, one.coefficients).tensors
    for name, tensor in materialise(other, same.coefficients).tensors.items():
        assert torch.equal(tensor, tensors[name])
    mixtures = [[0, 0.5, 0], [0, 1, 1], [0, 0, 0], [0, -1, 0], [0, 1, 1e-300]]
    digests = {pool.expert("x", row).digest for row in mixtures}
    assert len(digests) == len(mixtures) and not digests & {each.digest for each in pool.initial}
    exact = [dataclasses.replace(each, combine="exact") for each in (pool, other)]
    assert exact[0].expert("x", [0, 1, 0]).digest != exact[1].expert("x", [1, 0]).digest, "other ranks round otherwise"


def test_a_full_model_is_itself_too(tmp_path):
    pool = read_pool(make_models(tmp_path))
    assert [expert.digest for expert in pool.experts()] == [model.digest for model in pool.models]


def written(folder, pool, row):
    """The expert at a row of coefficients, saved as a search saves what it has found; and the system read again."""
    expert = pool.expert("expert_1", row)
    save_system(folder, single(expert, GenerationParams(4)), Members(pool), torch.zeros(1, 1).numpy())
    return expert, load_system(folder)


@pytest.mark.parametrize("combine", ["linear", "exact", "svd"])
def test_what_was_written_is_the_same_expert(directory, tmp_path, combine):
    pool = read_pool(directory, combine=combine)
    expert, system = written(tmp_path / "best", pool, [0.3, 0.9, -0.2])
    remember_written(tmp_path / "best" / "experts", {"expert_1": expert.digest})
    [read] = system.members
    assert read.digest != expert.digest and written_as([read.digest, "another"]) == {read.digest: expert.digest}
    prompts = ["what is red", "is two blue yes no one", "no"]
    texts = []
    for each, its_pool in ((expert, pool), (read, system.pool)):
        engine = InProcessEngine(its_pool, device="cpu")
        texts.append([one.text for one in answers_of(engine, [Request(each, p, GenerationParams(6)) for p in prompts])])
    assert texts[0] == texts[1]


def test_a_file_that_was_changed_is_another_expert(directory, tmp_path):
    pool = read_pool(directory)
    expert, _ = written(tmp_path / "best", pool, [0.3, 0.9, -0.2])
    remember_written(tmp_path / "best" / "experts", {"expert_1": expert.digest})
    path = tmp_path / "best" / "experts" / "expert_1" / WEIGHTS
    tensors = load_file(path)
    save_file({name: tensor + 1e-3 for name, tensor in tensors.items()}, path, {"format": "pt"})
    assert written_as([load_system(tmp_path / "best").members[0].digest]) == {}


def test_what_cannot_be_noted_costs_time_only(directory):
    (own_cache() / "written.sqlite").write_bytes(b"not a database at all" * 50)
    remember_written(directory, {"expert_0": "digest"})
    assert written_as(["digest"]) == {}
