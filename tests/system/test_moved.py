"""A system that was moved or copied, alone or with what it names, finds its base and its models again."""

import json
import os
import shutil

import numpy as np
import pytest
from tiny import change_json, make_base, make_pool

from swarm.engines.base import GenerationParams
from swarm.engines.local.transformers_engine import InProcessEngine
from swarm.errors import UserError
from swarm.members.fusion.build import make_artefact
from swarm.members.fusion.fusion_artefact import save_artefact
from swarm.members.fusion.fusion_settings import read_settings
from swarm.members.fusion.loading import ModelSource, load_lexicon
from swarm.members.members import Members, read_members
from swarm.system.execute import answer
from swarm.system.system import System, graph_of, load_system, save_system
from swarm.weights.pool import read_pool

QUERIES = ["what is red", "three blue no"]


@pytest.fixture
def world(tmp_path):
    """A base, three experts of it, and nothing else."""
    make_pool(tmp_path / "world")
    return tmp_path / "world"


def save(folder, pool):
    """A found system of two of the experts."""
    system = System(graph_of(2, [(0, 1)]), (2, 0), tuple(pool.experts()), GenerationParams(5))
    save_system(folder, system, Members(pool), np.ones((2, 2)))
    return folder


def answers(system):
    return answer(InProcessEngine(system.pool, device="cpu"), system, QUERIES)


def as_written_earlier(folder):
    """With the base named from each adapter's folder, and nothing else said."""
    base = json.loads((folder / "system.json").read_text())["base"]
    for expert in (folder / "experts").iterdir():
        way = os.path.relpath(base, expert)
        change_json(expert / "adapter_config.json", lambda c, way=way: c.update(base_model_name_or_path=way))
    change_json(folder / "system.json", lambda record: record.pop("outside"))


def test_a_system_that_is_moved_to_another_depth_has_its_base(world, tmp_path):
    found = save(world / "search" / "mine" / "best", read_pool(world / "experts"))
    before = answers(load_system(found))
    copied = shutil.copytree(found, tmp_path / "copy")
    moved = shutil.move(found, tmp_path / "a" / "b" / "c" / "d" / "moved")
    for folder in (copied, moved):
        loaded = load_system(folder)
        assert loaded.pool.base == str(world / "base")
        assert answers(loaded) == before


def test_an_expert_alone_that_is_moved_loads_with_peft_from_anywhere(programs, world, tmp_path):
    found = save(world / "best", read_pool(world / "experts"))
    alone = shutil.move(found / "experts" / "expert_0", tmp_path / "experts" / "alone")
    assert read_pool(tmp_path / "experts").base == str(world / "base")
    load = f"from peft import AutoPeftModelForCausalLM as M; print(type(M.from_pretrained({str(alone)!r})).__name__)"
    done = programs.python("-c", load, cwd="/")
    assert done.stdout == "PeftModelForCausalLM\n", done.stderr


def test_what_is_moved_along_is_found_on_the_same_way(world, tmp_path):
    """Also where the system's folder is reached through a link, and where the base lies in it."""
    (world / "on" / "a" / "disk").mkdir(parents=True)
    (world / "search").symlink_to(world / "on" / "a" / "disk")
    save(world / "search" / "best", read_pool(world / "experts"))
    inside = save(world / "best", read_pool(world / "experts"))
    shutil.copytree(world / "base", inside / "base")
    for expert in (inside / "experts").iterdir():
        change_json(expert / "adapter_config.json", lambda c: c.update(base_model_name_or_path="../../base"))
    elsewhere = world.rename(tmp_path / "elsewhere")
    assert load_system(elsewhere / "on" / "a" / "disk" / "best").pool.base == str(elsewhere / "base")
    moved = (elsewhere / "best").rename(tmp_path / "found")
    assert load_system(moved).pool.base == str(moved / "base"), "what an adapter names goes first"


def test_a_base_that_was_named_from_another_folder(world, tmp_path, monkeypatch):
    (world / "here").mkdir()
    monkeypatch.chdir(world / "here")
    found = save(tmp_path / "best", read_pool(world / "experts", "../base"))
    monkeypatch.chdir(tmp_path)
    assert load_system(found.rename(tmp_path / "moved")).pool.base == str(world / "base")


def test_a_base_of_the_hub_stays_its_id(world, tmp_path):
    found = save(world / "best", read_pool(world / "experts", "some/base"))
    record = json.loads((found / "system.json").read_text())
    assert (record["base"], record["outside"]) == ("some/base", {})
    assert load_system(found.rename(tmp_path / "moved")).pool.base == "some/base"


def test_systems_written_earlier_load_where_they_are(world, tmp_path):
    found = save(world / "best", read_pool(world / "experts"))
    as_written_earlier(found)
    assert load_system(found).pool.base == str(world / "base")
    moved = found.rename(tmp_path / "moved")
    with pytest.raises(UserError) as error:
        load_system(moved)
    assert str(error.value) == (
        f"{moved}/experts/expert_0 names the base model ../../../base, and there is no folder {tmp_path}/base "
        f"and no {os.path.abspath('../../../base')}: put the base there, or name it with -b"
    )
    assert load_system(moved, str(world / "base")).pool.base == str(world / "base")


def test_a_base_that_is_nowhere(world):
    found = save(world / "best", read_pool(world / "experts"))
    (world / "base").rename(world / "renamed")
    with pytest.raises(UserError, match=f"names the base model {world}/base, and there is no folder {world}/base: put"):
        load_system(found)


@pytest.mark.parametrize("outside", [[1], {"a": None}, "x"])
def test_ways_that_are_none(world, outside):
    found = save(world / "best", read_pool(world / "experts"))
    change_json(found / "system.json", lambda record: record.update(outside=outside))
    if isinstance(outside, dict):
        assert load_system(found).pool.base == str(world / "base")
        return
    with pytest.raises(UserError, match="system.json is damaged"):
        load_system(found)


@pytest.fixture(params=[False, True], ids=["beside", "advanced"])
def fusing(world, request):
    """The same with a model of another family, and a fusion with it whose anchors were saved."""
    make_base(world / "other", seed=5, family="gpt2")
    lexicons = [load_lexicon(name, ModelSource(str(world / name), None, False, "here")) for name in ("base", "other")]
    save_artefact(world / "anchors", make_artefact(lexicons, read_settings("here", {"anchors": "all"}, 2), False))
    (world / "experts" / "fused").mkdir()
    members = ["expert_0", {"model": "../../other", "name": "other"}]
    artefact = {"artefact": "../../anchors"}
    node = {"type": "fusion", "members": members} | ({"advanced": artefact} if request.param else artefact)
    (world / "experts" / "fused" / "node.json").write_text(json.dumps(node))
    return world


def test_models_and_artefacts_of_composites_are_found_again(fusing, tmp_path):
    members = read_members(fusing / "experts")
    system = System(graph_of(1, []), (3,), members.initial(), GenerationParams(5))
    save_system(fusing / "best", system, members, np.ones((1, 1)))

    def folders(folder):
        [fusion] = load_system(folder).saved.composites
        return {path for path, _ in fusion.models} | {str(path) for path in fusion.reads}

    assert folders(fusing / "best") == {str(fusing / "other"), str(fusing / "anchors")}
    copied = shutil.copytree(fusing / "best", tmp_path / "one" / "two" / "copy")
    assert folders(copied) == folders(fusing / "best")
    digests = {member.name: member.digest for member in load_system(copied).members}
    elsewhere = fusing.rename(tmp_path / "elsewhere")
    assert folders(elsewhere / "best") == {str(elsewhere / "other"), str(elsewhere / "anchors")}
    assert {member.name: member.digest for member in load_system(elsewhere / "best").members} == digests
    with pytest.raises(UserError, match="node.json: model /.*/world/other is not there"):
        load_system(copied, str(elsewhere / "base"))
