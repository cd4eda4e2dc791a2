"""The program as a user types it, on tiny models of three tokenizers and configs in the published layout."""

import itertools
import json
import re
import signal
import time
from pathlib import Path

import pytest
import torch
from deepen_world import CHOICES, QUESTIONS, deepen, write_world
from fusing import fusion_model
from repository import ROOT
from transformers import AutoModelForCausalLM, AutoTokenizer

from swarm.maths.member_weights import uniform
from swarm.members.fusion.build import make_chooser
from swarm.members.fusion.fused_decoding import FusedDecoding
from swarm.members.fusion.fusion_models import Prompt
from swarm.members.fusion.fusion_settings import read_settings
from swarm.programs.deepen.result_file import read_results, result_name


def run(conf, *words, lr="0.5", name="res"):
    """The records of a run."""
    folder = conf.parent / name
    assert deepen("run", "--config", conf, "-lr", lr, "-rsd", folder, *words) == 0
    return read_results(folder / result_name(float(lr), 5))


def loaded(models, names):
    """The models of a fusion, as the library loads them."""
    return [
        fusion_model(
            name, AutoModelForCausalLM.from_pretrained(models / name), AutoTokenizer.from_pretrained(models / name)
        )
        for name in names
    ]


def test_it_answers_as_fused_decoding_does(conf, models):
    records = run(conf, "--batch", "2")
    assert [record["question"] for record in records] == [question["question"] for question in QUESTIONS]
    fusion_models = loaded(models, ("one", "two"))
    settings = read_settings("here", {"learning_rate": 0.5, "stop": ["\n"]}, 2)
    decoding = FusedDecoding(fusion_models, make_chooser(fusion_models, settings), settings)
    for record, question in zip(records, QUESTIONS, strict=True):
        prompt = record["main_model_input"]
        assert prompt == (
            f"<s>Answer these:\nQuestion: the dog sat by the\nAnswer: door\nQuestion: {question['question']}\nAnswer:"
        )
        [written] = decoding.decode([[Prompt(prompt, False)]] * 2, 8, uniform(2)[None])
        assert record["model_answer"] == [written.text] and record["all"] == prompt + written.text
        assert record["prediction"] == written.text.strip()
        assert record["answer"] == question["answer"]
    assert [record["all"] for record in run(conf, lr="0", name="alone")] != [record["all"] for record in records]


def test_a_model_s_layers_on_several_devices(conf, capsys):
    """A processor in two parts, whose texts are the same; CUDA devices as they are typed."""
    assert run(conf, "-d0", "cpu,cpu", "-d1", "cpu", name="parts") == run(conf, name="whole")
    for words, said in (
        (("-d0", "cuda:0,cuda:0"), "-d0 is 'cuda:0,cuda:0' and names a device twice; wanted each once"),
        (("-d1", "cpu,nowhere"), "-d1 is 'nowhere'; wanted a device"),
        (("-d0", "cuda:98,cuda:99"), "-d0 is 'cuda:98'; this machine has"),
    ):
        assert deepen("run", "--config", conf, "-lr", "0.5", *words) == 2
        assert said in capsys.readouterr().err


def test_the_four_steps(conf, capsys):
    assert deepen("matrix", "--config", conf) == 0
    said = capsys.readouterr().out
    artefact = conf.parent / "matrices" / "one_two" / "one_two"
    assert (
        f"artefact: {artefact}" in said
        and "two: 368 tokens; of the common ones one recognises 1.00" in said
        and "anchors of 2 models" in said
    )
    (artefact.parent / "one.pth").write_bytes(b"no tensor at all")
    records = run(conf)
    said = capsys.readouterr().out
    assert (
        f"artefact: {artefact}" in said
        and f"not read, since a .pth file can run code when it is loaded: {artefact.parent}/one.pth" in said
    )
    assert deepen("matrix", "--config", conf, "--dense", "--out", conf.parent / "dense") == 0
    assert run(conf, "--artefact", conf.parent / "dense", name="dense_rows") == records
    for file in artefact.iterdir():
        file.unlink()
    artefact.rmdir()
    assert run(conf, name="without") == records
    assert "anchors are worked out now (no artefact in" in capsys.readouterr().out
    assert deepen("eval", conf.parent / "res", "--task", "nq", "--json") == 0
    [scores] = json.loads(capsys.readouterr().out)
    assert scores["task"] == "nq" and scores["strict"]["size"] == len(QUESTIONS)
    out = conf.parent / "sweep"
    words = ("-lr", "0.15", "0.5", "-len", "1", "5", "--limit", "2", "--out", out)
    assert deepen("sweep", "--config", conf, *words) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "lock", "sweep.json", "sweep.jsonl", "sweep_learning_rate.png", "sweep_updates.png",
    ]  # fmt: skip
    assert len((out / "sweep.jsonl").read_text().splitlines()) == 4


def test_a_killed_run_goes_on_to_the_same_file(conf, monkeypatch, capsys):
    whole = run(conf, "--batch", "3")
    path = conf.parent / "res" / result_name(0.5, 5)
    content = path.read_bytes()
    ends = [index for index, byte in enumerate(content) if byte == ord("\n")]
    opened = []
    begin = FusedDecoding.decode
    monkeypatch.setattr(FusedDecoding, "decode", lambda *given: opened.append(len(given[1][0])) or begin(*given))
    for cut, done in ((ends[0] + 1, 1), (ends[2] + 20, 3), (len(content) - 1, 5), (0, 0)):
        path.write_bytes(content[:cut])
        opened.clear()
        assert run(conf, "--batch", "3") == whole and path.read_bytes() == content
        assert sum(opened) == len(QUESTIONS) - done, "nothing is asked twice"
        assert done in (0, 5) or f"has {done} answers: going on with question {done + 1}" in capsys.readouterr().out


def test_a_run_that_is_really_killed(programs, conf, models):
    reference = run(conf, "--batch", "1", name="whole")
    path = conf.parent / "res" / result_name(0.5, 5)
    words = ("scripts/deepen.py", "run", "--config", conf, "-lr", "0.5", "-rsd", path.parent, "--batch", "1")
    started = programs.start_python(*words, cwd=ROOT)
    while not started.done() and not (path.exists() and path.stat().st_size):
        time.sleep(0.002)
    started.kill(signal.SIGKILL)
    started.wait()
    assert read_results(path) == reference[: len(read_results(path))]
    assert run(conf, "--batch", "1") == reference


def test_a_result_file_of_other_settings_is_not_gone_on_with(conf, capsys):
    run(conf, "--limit", "2")
    path = conf.parent / "res" / result_name(0.5, 5)
    assert deepen("eval", path, "--task", "nq", "--json") == 0
    said = capsys.readouterr()
    assert f"{path} has answers to the first 2 of 5 questions only" in said.err
    assert json.loads(said.out.splitlines()[-1])[0]["strict"]["size"] == 2
    before = path.read_bytes()
    for words, said in (
        (("-em", "tas"), 'mode "vanilla", asked for "tas"'),
        (("--bridge", "legacy"), 'bridge "exact", asked for "legacy"'),
        (("-ew", "0.9", "0.1"), "weights [0.5, 0.5], asked for [0.9, 0.1]"),
        (("-lpm", "digit_vote"), 'processor "fused", asked for "digit_vote"'),
        (("--rows", "lazy"), 'rows "auto", asked for "lazy"'),  # kept in half as many bits
    ):
        assert deepen("run", "--config", conf, "-lr", "0.5", "-rsd", path.parent, *words) == 2
        error = capsys.readouterr().err
        assert said in error and "name another folder with -rsd" in error and error.count("\n") == 1
        assert path.read_bytes() == before
    content = json.loads(conf.read_text())
    content["prompt_template"]["assist_model1_system_template"] = "{}"
    other = conf.with_name("other.json")
    other.write_text(json.dumps(content))
    assert deepen("run", "--config", other, "-lr", "0.5", "-rsd", path.parent) == 2
    assert """templates ["<s>{}", "<s>{}"], asked for ["<s>{}", "{}"]""" in capsys.readouterr().err
    assert len(run(conf, "--batch", "2")) == len(QUESTIONS), "which changes nothing"
    assert len(run(conf, "--limit", "1")) == len(QUESTIONS)
    assert "has all 5 answers already" in capsys.readouterr().out


def test_without_a_learning_rate_the_main_model_answers_alone(conf, capsys, monkeypatch):
    records = run(conf, lr="0")
    said = capsys.readouterr()
    assert "-lr 0 turns the fusion off: the main model answers alone" in said.err
    [loaded_model] = loaded(Path(json.loads(conf.read_text())["model_path"]["main_model_path"]).parent, ("one",))
    for record in records:
        ids = loaded_model.tokenizer(record["main_model_input"], add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            out = loaded_model.stepper.model.generate(
                torch.tensor([ids]), max_new_tokens=8, do_sample=False, pad_token_id=0, stop_strings=None
            )
        text = loaded_model.tokenizer.decode(out[0, len(ids) :], skip_special_tokens=True)
        assert record["prediction"] == text.partition("\n")[0].strip()


WAYS = [
    ("--space", "union"),
    ("--space", "mapped"),
    ("--inverse", "em"),
    ("--inverse", "none"),
    ("-em", "tas2+mas2"),
    ("-em", "tas+mas"),
    ("--bridge", "legacy"),
    ("--weigh", "perplexity"),
    ("--gate", "0.5"),
    ("--eos", "shared"),
    ("--anchors", "random", "--anchor_count", "60"),
    ("--keys", "published", "--centre", "--no_normalise"),
    ("-lpm", "based_on_probility_transfer_logits_fp32_digit_vote_processor"),
    ("-dp", "cpu", "-d0", "cpu", "-d1", "cpu", "--dtype", "float32"),
]


@pytest.mark.parametrize("words", WAYS, ids=" ".join)
def test_every_way_answers(conf, words):
    assert len(run(conf, *words, "--limit", "2")) == 2


def test_a_learning_rate_is_not_asked_of_what_has_none(conf, capsys):
    assert run(conf, "--space", "union", lr="0") != run(conf, lr="0", name="alone")
    assert capsys.readouterr().err.count("turns the fusion off") == 1


def test_three_models_in_the_forks_folders(tmp_path, models):
    conf = write_world(tmp_path, models, ("two", "one", "three"))
    folder = str(tmp_path / "res" / "{task}" / "{rm}" / "{models}" / "{mode}")
    assert deepen("run", "--config", conf, "-lr", "0.15", "-em", "tas2", "-rm", "test", "-rsd", folder) == 0
    path = tmp_path / "res" / "nq" / "test" / "two_one_three" / "tas2" / result_name(0.15, 5)
    assert len(read_results(path)) == len(QUESTIONS)


def test_test_questions_that_are_in_dev_too_are_said(conf, capsys, monkeypatch):
    for split, said in (("dev", ""), ("test", "2 of 2 test questions are in")):
        assert deepen("run", "--config", conf, "-lr", "0", "-rm", split, "-rsd", conf.parent / split, "--limit", 2) == 0
        error = capsys.readouterr().err
        assert said in error and ("test questions" in error) == bool(said)
    words = ("sweep", "--config", conf, "-lr", "0", "-rm", "test", "--limit", 1, "--out", conf.parent / "out")
    assert deepen(*words) == 0
    assert "1 of 1 test questions are in" in capsys.readouterr().err


def test_choices_by_option(tmp_path, models, capsys):
    conf = write_world(tmp_path, models, records=CHOICES, demos=CHOICES[:1], run_parameter={"max_new_tokens": 1})
    records = run(conf, "-lpm", "yi_ppl_based_on_probility_transfer_logits_processor")
    for record, choice in zip(records, CHOICES, strict=True):
        assert record["prediction"] in choice and record["all"].endswith(f"Answer: {record['prediction']}")
    one_by_one = run(conf, "-lpm", "choice", "--batch", "1", name="singly")
    assert one_by_one == records
    named = run(conf, "-lpm", "choice", "--options", "the", "and", name="named")
    assert {record["prediction"] for record in named} <= {"the", "and"}
    assert {record["prediction"] for record in run(conf, "-lpm", "choice", lr="0", name="alone")} <= set("ABC")
    for space in ("union", "mapped"):
        assert len(run(conf, "-lpm", "choice", "--space", space, name=space)) == len(CHOICES)
    capsys.readouterr()
    assert deepen("eval", tmp_path / "res", "--task", "arc_c", "--json") == 0
    [scores] = json.loads(capsys.readouterr().out)
    right = sum(record["prediction"] == choice["answer"] for record, choice in zip(records, CHOICES, strict=True))
    assert scores["strict"]["mean"] == scores["fork"]["mean"] == right / 3


def test_without_a_terminal_it_says_how_far_it_is(conf, capsys, monkeypatch):
    seconds = itertools.count(0, 40)  # at every look at the clock
    monkeypatch.setattr("swarm.reports.progress_bar.monotonic", lambda: next(seconds))
    run(conf, "--batch", "2", "--limit", "3", name="watched")
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("loading", "answers"))]
    assert re.fullmatch(r"loading \S+/one, \S+/two", said[0])
    assert said[1] == "answers: 0 of 3 questions, 2 tokens", "within a batch, too"
    assert any(re.fullmatch(r"answers: 2 of 3 questions, \d+ tokens, about .* left", line) for line in said)
    words = ("sweep", "--config", conf, "-lr", "0.15", "0.5", "--limit", "2", "--batch", "1")
    assert deepen(*words, "--out", conf.parent / "swept") == 0
    said = capsys.readouterr().out.splitlines()
    assert any(re.fullmatch(r"sweep: 3 of 4 answers, about .* left", line) for line in said)
