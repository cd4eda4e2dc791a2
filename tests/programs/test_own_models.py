"""Pools of the user's own from the command line: other architectures, full models, other kinds of LoRA."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny import make_models, make_pool
from transformers import AutoModelForCausalLM

from swarm.programs import front_doors
from swarm.programs.evaluate import evaluate_program
from swarm.programs.search import search_program

SMALL = "--graph_num 2 --trial_num 2 -m 1 --max_new_tokens 3 -n mine".split()
WORDS = ("red", "green", "blue", "yes", "no")


@pytest.fixture
def task(tmp_path, monkeypatch):
    """A working folder with a dataset that tiny models can read."""
    monkeypatch.chdir(tmp_path)
    rows = [{"question": f"what is {word}", "answer": WORDS[i % 3], "id": str(i)} for i, word in enumerate(WORDS)]
    Path("words.json").write_text(json.dumps({"dev": rows[:3], "test": rows[3:]}))
    return ["-e", "exact_match", "-d", "words.json", "-i"]


def searched_and_scored(task, experts, capsys, *options):
    """A search over a pool comes to its end, and its system scores the same from disk; returns the run's origin."""
    assert front_doors.guarded(lambda: search_program([*task, str(experts), *SMALL, *options])) == 0
    result = json.loads(Path("search/mine/result.json").read_text())
    capsys.readouterr()
    assert front_doors.guarded(lambda: evaluate_program(["search/mine", "-d", "words.json", "--json"])) == 0
    assert json.loads(capsys.readouterr().out)["scores"] == result["scores"]["found"]["test"]
    return json.loads(Path("search/mine/origin.json").read_text())


@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt2"])
def test_adapters_of_other_architectures(tmp_path, task, capsys, family):
    experts = make_pool(tmp_path, family=family)
    assert searched_and_scored(task, experts, capsys)["engine"]["weights"] in ("folded", "peft")


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_full_models(tmp_path, task, capsys, family):
    experts = make_models(tmp_path, family=family)
    assert searched_and_scored(task, experts, capsys)["engine"]["weights"] == "full"
    saved = next(Path("search/mine/best/experts").iterdir())
    assert (saved / "config.json").exists() and list(saved.glob("*.safetensors"))


@pytest.mark.parametrize(
    ("lora", "combine"),
    [({"use_rslora": True}, "exact"), ({"use_rslora": True}, "svd"), ({"use_dora": True}, "linear")],
)
def test_other_kinds_of_lora(tmp_path, task, capsys, lora, combine):
    searched_and_scored(task, make_pool(tmp_path, **lora), capsys, "--combine", combine)


def test_what_cannot_be_combined_so_is_refused(tmp_path, task, capsys):
    experts = make_pool(tmp_path, use_dora=True)
    assert front_doors.guarded(lambda: search_program([*task, str(experts), *SMALL, "--combine", "exact"])) == 2
    error = capsys.readouterr().err
    assert "DoRA" in error and "--combine linear" in error and error.count("\n") == 1


def test_a_bred_population_from_the_command_line(tmp_path, task, capsys):
    experts = make_pool(tmp_path)
    bred = ["--populate_initial_experts", "1", "--initial_experts_num", "5"]
    searched_and_scored(task, experts, capsys, *bred)
    state = json.loads(Path("search/mine/state.json").read_text())
    assert len(state["experts"]["positions"]) == 5 and len(state["experts"]["positions"][0]) == 3


def test_models_in_half_precision_are_saved_as_they_were_scored(tmp_path, task, capsys):
    """In a float32 engine too, sums are rounded to the models' own format before they are used."""
    experts = make_models(tmp_path)
    for folder in experts.iterdir():
        AutoModelForCausalLM.from_pretrained(folder).to(torch.bfloat16).save_pretrained(folder)
    searched_and_scored(task, experts, capsys, "--weight_step_length", "0.5")
    saved = next(Path("search/mine/best/experts").iterdir())
    assert {tensor.dtype for tensor in load_file(saved / "model.safetensors").values()} == {torch.bfloat16}


def test_a_run_of_full_models_that_could_not_write_its_system_does_so_without_scoring_again(tmp_path, task, capsys):
    experts = make_models(tmp_path)
    searched_and_scored(task, experts, capsys)
    result = Path("search/mine/result.json").read_text()
    shutil.rmtree("search/mine/best")
    assert front_doors.guarded(lambda: search_program(["--resume", "search/mine"])) == 0
    shown = capsys.readouterr().out
    assert "final scores on" not in shown and "found system" in shown
    assert Path("search/mine/best/system.json").exists() and Path("search/mine/result.json").read_text() == result
