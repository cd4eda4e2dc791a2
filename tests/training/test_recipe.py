"""What a recipe says, what it inherits, and what is wrong with it: one line, before anything is loaded."""

import json
import os

import pytest
from finetuning import BASE, finetune, lines, recipe

from swarm.errors import UserError
from swarm.training.recipe import read_training_recipe


def test_experts_override_the_defaults(tmp_path):
    path = tmp_path / "recipe.yml"
    path.write_text(
        """
out: made
defaults:
  base: some/base
  learning_rate: 2e-4     # which YAML takes for a text
  epochs: 3
  lora: {alpha: 64, target_modules: [q_proj]}
  data: [{source: a.jsonl, share: 0.5}]
experts:
  - name: plain
  - {name: own, steps: 7, lora: {r: 4}, data: [b.jsonl], seed: 3, dtype: float32, chat: false}
"""
    )
    plain, own = read_training_recipe(path).experts
    assert (plain.learning_rate, plain.epochs, plain.steps, plain.lora.r, plain.lora.alpha) == (2e-4, 3, None, 16, 64)
    assert (own.steps, own.lora.r, own.lora.alpha, own.lora.target_modules) == (7, 4, 64, ("q_proj",))
    assert (own.seed, own.dtype, own.chat, own.data[0].source) == (3, "float32", False, "b.jsonl")
    assert plain.data[0].share == 0.5 and plain.data[0].limit is None
    assert read_training_recipe(path).out == "made"


def test_the_usual_adapter_is_that_of_the_published_experts(tmp_path):
    [expert] = read_training_recipe(recipe(tmp_path)).experts
    assert (expert.lora.r, expert.lora.target_modules) == (16, ("q_proj", "k_proj", "v_proj", "o_proj"))


def test_files_are_found_beside_the_recipe(tmp_path, monkeypatch):
    (tmp_path / "away").mkdir()
    lines(tmp_path / "rows.jsonl", {"prompt": "a", "completion": "b"})
    monkeypatch.chdir(tmp_path / "away")
    [expert] = read_training_recipe(recipe(tmp_path, data=["rows.jsonl"])).experts
    assert expert.data[0].source == str(tmp_path / "rows.jsonl")


@pytest.mark.parametrize(
    ("expert", "message"),
    [
        ({"learnig_rate": 1}, 'expert 0 has "learnig_rate", wanted only name, base,'),
        ({"name": "a/b"}, 'name is "a/b", wanted letters, digits'),
        ({"learning_rate": -1}, "expert one: learning_rate is -1, wanted a number above 0"),
        ({"learning_rate": "fast"}, 'learning_rate is "fast", wanted a number above 0'),
        ({"batch_size": 0}, "batch_size is 0, wanted a whole number from 1 on"),
        ({"seed": True}, "seed is true, wanted a whole number from 0 to"),
        ({"seed": 2**32}, "wanted a whole number from 0 to 4294967295"),
        ({"epochs": 1, "steps": 2}, "expert 0 has epochs and steps, wanted one of them"),
        ({"dtype": "int8"}, 'dtype is "int8", wanted one of float32, bfloat16, float16'),
        ({"dtype": "float16"}, "float16, which needs a GPU"),
        ({"lora": {"rank": 8}}, 'lora has "rank", wanted only r, alpha, dropout, target_modules'),
        ({"lora": {"target_modules": ["c_attn"]}}, "target_modules has c_attn, and"),
        ({"lora": {"target_modules": ["lm_head"]}}, "has only down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj"),
        ({"data": []}, "data is [], wanted a list of sources, at least one"),
        ({"data": ["none.jsonl"]}, "none.jsonl is no file that is there: correct the name"),
        (
            {"data": ["nowhere"]},
            "no nowhere is there, wanted a .json, .jsonl, .ndjson, .csv, .tsv, .parquet file, a folder or a hub",
        ),
        ({"data": [{"source": "a.jsonl", "columns": {"reply": "x"}}]}, 'columns has "reply", wanted only messages'),
        ({"data": [{"source": "a.jsonl", "share": 0}]}, "data 0: share is 0, wanted a number above 0, up to 1"),
        ({"data": [{"source": "a.jsonl", "template": "Q: "}]}, 'template is "Q: ", wanted node, or a text with one {}'),
        ({"max_length": 4096}, "reads 256 tokens: give no more"),
        ({"chat": True}, "has no chat template: drop it"),
        ({"revision": "main"}, "revision is for bases of the hub, and"),
        ({"base": "no/such"}, "base model 'no/such' is neither a local folder nor to be had from the hub"),
    ],
)
def test_bad_recipes(tmp_path, capsys, expert, message):
    code = finetune(recipe(tmp_path, {"name": "one"} | expert))
    said = capsys.readouterr().err
    assert code == 2 and message in said, said
    assert said.count("\n") == 1 and not (tmp_path / "out").exists()


def test_files_that_are_no_recipe(tmp_path):
    path = tmp_path / "recipe.yml"
    for text, message in (
        ("experts: [", "recipe.yml is no YAML"),
        ("- a", "wanted an object with out, defaults, experts"),
        ("out: a", "experts is missing"),
        ("experts: [{name: a, data: [x], base: b}, {name: a, data: [x], base: b}]", "two experts are called a"),
        ("defaults: {name: a}\nexperts: [{name: a}]", 'defaults has "name"'),
        ("experts: [{name: a, base: b, data: [x.jsonl]}]\nexperts: []", "says experts twice"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=message):
            read_training_recipe(path)


def test_no_place_for_the_experts(tmp_path, capsys):
    path = recipe(tmp_path)
    content = json.loads(path.read_text())
    del content["out"]
    path.write_text(json.dumps(content))
    assert finetune(path) == 2
    assert "says no out, and --out is not given" in capsys.readouterr().err
    (tmp_path / "taken" / "one").mkdir(parents=True)
    assert finetune(path, "--out", tmp_path / "taken") == 2
    assert (
        "taken/one is there and holds no finetune.json; move it away, or name another --out" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "one/finetune.json is damaged (JSONDecodeError"),
        ('{"facts": []}', "one/finetune.json is damaged (facts is [])"),
        ("link", "one is a symbolic link; wanted a folder or nothing there"),
        ("pipe", "one is there and holds no finetune.json"),
    ],
)
def test_what_is_no_expert_in_its_place_is_told_before_it_is_trained(tmp_path, capsys, content, said):
    path = tmp_path / "out" / "one"
    path.parent.mkdir()
    if content == "link":
        path.symlink_to("nowhere")
    else:
        path.mkdir()
        os.mkfifo(path / "finetune.json") if content == "pipe" else (path / "finetune.json").write_text(content)
    assert finetune(recipe(tmp_path), "--check") == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and "move it away" in error


def test_without_trl_nothing_is_read(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("swarm.training.plan.find_spec", lambda name: None)
    assert finetune(tmp_path / "recipe.yml") == 2
    assert capsys.readouterr().err == (
        'error: the library trl is needed to train experts and is missing: pip install -e ".[finetune]"\n'
    )


def test_several_gpus_are_for_several_processes(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert finetune(tmp_path / "recipe.yml") == 2
    assert "2 GPUs are visible to one process" in capsys.readouterr().err


def test_experts_that_no_pool_takes_together_are_told(tmp_path, capsys):
    other = {"name": "b", "lora": {"r": 4}}
    assert finetune(recipe(tmp_path, {"name": "a"}, {"name": "c", "lora": {"dropout": 0.5}}, other), "--check") == 0
    assert "a and b differ in base or lora" in capsys.readouterr().err


def test_test_data_is_used_only_where_it_is_named_and_then_told(tmp_path, capsys):
    questions = tmp_path / "mine.json"
    record = {"question": "degree of C", "answer": "2"}
    questions.write_text(json.dumps({"dev": [record], "test": [record, record]}))
    assert finetune(recipe(tmp_path, data=[str(questions)]), "--check") == 0
    said = capsys.readouterr()
    assert "one: 1 rows" in said.out and said.err == ""
    assert finetune(recipe(tmp_path, data=[{"source": str(questions), "split": "test"}]), "--check") == 0
    said = capsys.readouterr()
    assert "one: 2 rows" in said.out and "trains on test data" in said.err
    assert str(BASE) in said.out
