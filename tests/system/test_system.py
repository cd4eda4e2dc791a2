"""A system as a folder: what is written, that it answers as before, and that it can be moved."""

import json
import shutil

import networkx as nx
import numpy as np
import pytest
from peft import PeftModel
from tiny import make_models, make_pool
from transformers import AutoTokenizer, LlamaForCausalLM

from swarm.engines.base import GenerationParams
from swarm.engines.local.transformers_engine import InProcessEngine
from swarm.errors import UserError
from swarm.members.members import Members
from swarm.system.execute import answer
from swarm.system.prompts import Query, node_prompt
from swarm.system.system import System, save_system, single
from swarm.weights.pool import read_pool

QUERIES = ["what is red", "is one two", "three blue no"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """(root, the folder, the system that was saved, its answers before)."""
    root = tmp_path_factory.mktemp("saved")
    pool = read_pool(make_pool(root))
    rng = np.random.default_rng(0)
    graph = nx.DiGraph([(0, 2), (1, 2)])
    experts = tuple(pool.experts(rng.normal(size=(3, 3))))
    system = System(graph, (2, 0, 2), experts, GenerationParams(5), nx.DiGraph([(0, 1), (1, 2)]), True)
    save_system(root / "found", system, Members(pool), rng.uniform(size=(3, 3)), {"eval": "exact_match"})
    return root, root / "found", system, answer(InProcessEngine(pool, device="cpu"), system, QUERIES)


def test_a_saved_system_answers_as_before(saved):
    _, folder, system, before = saved
    loaded = System.load(folder)
    assert loaded.drop_thoughts
    assert loaded.params == system.params
    assert loaded.about == {"eval": "exact_match"}
    assert sorted(loaded.graph.edges) == [(0, 2), (1, 2)] and sorted(loaded.later_graph.edges) == [(0, 1), (1, 2)]
    assert answer(InProcessEngine(loaded.pool, device="cpu"), loaded, QUERIES) == before


def test_only_the_experts_in_use_are_written(saved):
    _, folder, _, _ = saved
    assert sorted(path.name for path in (folder / "experts").iterdir()) == ["expert_0", "expert_2"]
    assert json.loads((folder / "assignment.json").read_text()) == [2, 0, 2]
    assert np.load(folder / "adjacency.npy").shape == (3, 3)


def test_exports_load_with_plain_peft(saved):
    root, folder, _, _ = saved
    model = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(root / "base"), folder / "experts" / "expert_2")
    assert (model.peft_config["default"].r, model.peft_config["default"].lora_alpha) == (4, 8)


def test_base_and_system_can_be_moved_together(saved, tmp_path):
    root, _, _, before = saved
    shutil.copytree(root, tmp_path / "elsewhere")
    loaded = System.load(tmp_path / "elsewhere" / "found")
    assert str(tmp_path) in loaded.pool.base
    assert answer(InProcessEngine(loaded.pool, device="cpu"), loaded, QUERIES) == before


def test_full_models_are_saved_whole_and_need_no_base(tmp_path):
    """Each also answers by itself in plain transformers."""
    pool = read_pool(make_models(tmp_path))
    experts = tuple(pool.experts(np.random.default_rng(0).normal(size=(3, 3))))
    system = System(nx.DiGraph([(0, 2), (1, 2)]), (2, 0, 2), experts, GenerationParams(5))
    before = answer(InProcessEngine(pool, device="cpu"), system, QUERIES)
    alone = answer(InProcessEngine(pool, device="cpu"), single(experts[2], system.params), QUERIES[:1])
    save_system(tmp_path / "found", system, Members(pool), np.ones((3, 3)))
    shutil.rmtree(tmp_path / "experts")
    moved = (tmp_path / "found").rename(tmp_path / "moved")
    loaded = System.load(moved)
    assert [expert.name for expert in loaded.members] == ["expert_0", "expert_2"]
    assert answer(InProcessEngine(loaded.pool, device="cpu"), loaded, QUERIES) == before
    folder = moved / "experts" / "expert_2"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(node_prompt(Query(QUERIES[0]), []), return_tensors="pt")["input_ids"]
    output = LlamaForCausalLM.from_pretrained(folder).generate(ids, do_sample=False, max_new_tokens=5)
    assert tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True) == alone[0]


def test_folders_without_a_system(saved, tmp_path):
    _, folder, _, _ = saved
    with pytest.raises(UserError, match=r"holds no system \(system.json missing\)"):
        System.load(tmp_path)
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "system.json").write_text("{}")
    with pytest.raises(UserError, match="is damaged .KeyError"):
        System.load(copy)
    (copy / "system.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(UserError, match="has format 99, this version reads 1"):
        System.load(copy)


def test_a_system_is_shown_in_a_line(saved):
    _, folder, system, _ = saved
    shown = "0: expert_2, 1: expert_0, 2: expert_2; 0 -> 2, 1 -> 2; 2 answers)"
    assert repr(system) == f"System({shown}" and repr(System.load(folder)) == f"LoadedSystem({shown}"
    assert repr(single(system.members[0])) == "System(0: expert_0; no edges; 0 answers)"
