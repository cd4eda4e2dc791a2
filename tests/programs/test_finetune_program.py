"""scripts/finetune.py as a user types it, on the embedded base."""

import itertools
import json
import re
import shutil
import signal
import time

import pytest
from finetuning import BASE, QUESTIONS, ROOT, SECOND, finetune, lines, recipe, weights
from tiny import make_base

from swarm.engines.base import GenerationParams, Request
from swarm.engines.local.transformers_engine import InProcessEngine
from swarm.training.work_folder import begin_work, mark_whole, newest_state
from swarm.weights.adapters import adapter_digest
from swarm.weights.pool import read_pool

DROPOUT = {"lora": {"r": 4, "dropout": 0.2}}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two experts of one recipe, and the folder of it."""
    folder = tmp_path_factory.mktemp("trained")
    two = {"name": "two", "seed": 1, "gradient_accumulation": 2, "batch_size": 8}
    assert finetune(recipe(folder, {"name": "one"}, two, **DROPOUT)) == 0
    return folder


def test_the_pool_takes_the_experts_and_an_engine_answers_with_them(trained):
    pool = read_pool(trained / "out")
    assert pool.names == ["one", "two"] and pool.base == str(BASE)
    assert {adapter.config["r"] for adapter in pool.adapters} == {4}
    engine = InProcessEngine(pool, device="cpu")
    question = json.loads(QUESTIONS.read_text())["dev"][0]
    prompt = f"Please answer the following question.\nQuestion: {question['question']}"
    requests = [Request(expert, prompt, GenerationParams(4)) for expert in pool.experts()]
    done = dict(pair for batch in engine.generate(requests) for pair in batch)
    # one word and then the end, which the base alone does not say here: it says 'unknown'
    assert all(done[number].new_tokens <= 2 and done[number].text.strip() != "unknown" for number in (0, 1))


def test_the_record_says_what_was_done(trained):
    record = json.loads((trained / "out" / "one" / "finetune.json").read_text())
    assert record["losses"]["last"] < 0.5 * record["losses"]["first"]
    assert record["steps"] == 24 and record["rows"] == {"trained": 120, "shortened": 0, "dropped": 0}
    [data] = record["data"]
    assert (data["split"], data["rows"], len(data["digest"])) == ("dev", 120, 64)
    assert record["adapter"] == adapter_digest(trained / "out" / "one")
    assert record["facts"]["lora"]["dropout"] == 0.2 and set(record["versions"]) >= {"torch", "trl", "peft"}


def test_nothing_else_is_left(trained):
    assert sorted(path.name for path in (trained / "out").iterdir()) == ["one", "two"]
    kinds = {path.suffix for path in (trained / "out").rglob("*") if path.is_file()}
    assert kinds <= {".json", ".safetensors", ".jinja"}


def test_the_same_recipe_gives_the_same_weights_alone_or_after_others(trained, tmp_path):
    two = {"name": "two", "seed": 1, "gradient_accumulation": 2, "batch_size": 8}
    assert finetune(recipe(tmp_path, two, **DROPOUT)) == 0
    assert weights(tmp_path / "out" / "two") == weights(trained / "out" / "two")
    assert weights(trained / "out" / "one") != weights(trained / "out" / "two")


def test_what_is_there_is_left_alone_and_another_recipe_is_told(trained, tmp_path, capsys):
    shutil.copytree(trained / "out", tmp_path / "out")
    made = (tmp_path / "out" / "one" / "adapter_model.safetensors").stat().st_mtime_ns
    assert finetune(recipe(tmp_path, {"name": "one"}, **DROPOUT)) == 0
    assert "one: is there, trained by this recipe" in capsys.readouterr().out
    assert (tmp_path / "out" / "one" / "adapter_model.safetensors").stat().st_mtime_ns == made
    assert finetune(recipe(tmp_path, {"name": "one", "learning_rate": 1e-3}, **DROPOUT)) == 2
    assert "trained by another recipe (learning_rate was 0.003 and is now 0.001)" in capsys.readouterr().err
    fewer = lines(tmp_path / "few.jsonl", {"prompt": "degree of C", "completion": " 2"})
    assert finetune(recipe(tmp_path, {"name": "one", "data": [str(fewer)]}, **DROPOUT)) == 2
    assert "another recipe (data has changed)" in capsys.readouterr().err


def test_killed_and_started_again_it_comes_to_the_same_weights(programs, trained, tmp_path, capsys):
    path = recipe(tmp_path, {"name": "one"}, **DROPOUT)
    started = programs.start_python(ROOT / "scripts" / "finetune.py", path, cwd=tmp_path)
    work = tmp_path / "out" / ".one.work"
    while newest_state(work) is None and not started.done():
        time.sleep(0.005)
    started.kill(signal.SIGKILL)
    code, said, complaints = started.wait()
    assert code == -signal.SIGKILL, complaints
    assert "one: 120 rows, 240 tokens to learn, 24 steps of 16 rows" in said
    assert not (tmp_path / "out" / "one").exists()
    with pytest.raises(Exception, match="holds no experts"):
        read_pool(tmp_path / "out")

    changed = recipe(tmp_path, {"name": "one", "seed": 7}, **DROPOUT)
    assert finetune(changed) == 2
    assert "of another recipe (seed was 0 and is now 7): undo the change" in capsys.readouterr().err
    assert finetune(recipe(tmp_path, {"name": "one"}, **DROPOUT)) == 0
    assert "goes on after step" in capsys.readouterr().out
    assert weights(tmp_path / "out" / "one") == weights(trained / "out" / "one")
    records = [json.loads((folder / "out" / "one" / "finetune.json").read_text()) for folder in (tmp_path, trained)]
    assert records[0] == records[1]


def test_without_a_terminal_it_says_how_far_it_is(trained, tmp_path, capsys, monkeypatch):
    seconds = itertools.count(0, 40)  # at every look at the clock
    monkeypatch.setattr("swarm.reports.progress_bar.monotonic", lambda: next(seconds))
    path = recipe(tmp_path, {"name": "one"}, **DROPOUT)
    assert finetune(path) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"{path}: reading data and bases for one"
    assert said[1].startswith("one: 120 rows, 240 tokens to learn, 24 steps of 16 rows, base ")
    assert said[2] == "one (expert 1 of 1): training on 120 rows, 24 steps"
    assert said[3] == "one: 1 of 24 steps, about 15 min left" and len(said[3:-1]) == 23
    assert re.fullmatch(r"one: 13 of 24 steps, loss \d+\.\d{3}, about 7 min left", said[15])
    assert re.fullmatch(r"one: 24 steps, loss .*: " + str(tmp_path / "out" / "one"), said[-1])
    assert weights(tmp_path / "out" / "one") == weights(trained / "out" / "one")


def test_stopped_before_it_was_written_nothing_is_trained_again(trained, tmp_path, capsys, monkeypatch):
    path = recipe(tmp_path, {"name": "one"}, checkpoint_every=24, **DROPOUT)
    with monkeypatch.context() as patched:
        patched.setattr("swarm.programs.finetune.write_expert", interrupted)
        assert finetune(path) == 130
    assert not (tmp_path / "out" / "one").exists()
    assert finetune(path) == 0
    assert "goes on after step 24" in capsys.readouterr().out
    assert weights(tmp_path / "out" / "one") == weights(trained / "out" / "one")


def interrupted(*arguments):
    raise KeyboardInterrupt


def test_states_that_were_cut_off_are_not_used(tmp_path):
    work = tmp_path / ".one.work"
    for step in (8, 16, 24):
        (work / f"checkpoint-{step}").mkdir(parents=True)
    mark_whole(work, 8)
    mark_whole(work, 16)
    begin_work(work, {})
    assert newest_state(work) == work / "checkpoint-16" and not (work / "checkpoint-24").exists()


def test_chats_are_trained_in_the_template_which_is_saved(tmp_path):
    base = shutil.copytree(SECOND, tmp_path / "base")
    template = (
        "{% for m in messages %}[{{ m.role }}]{% if m.role == 'assistant' %}{% generation %}{{ m.content }}"
        "<|end|>{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    (base / "chat_template.jinja").write_text(template)
    talk = [{"role": role, "content": text} for role, text in zip(("user", "assistant") * 2, "abcd", strict=True)]
    rows = lines(tmp_path / "chats.jsonl", {"messages": talk})
    pairs = lines(tmp_path / "pairs.jsonl", {"prompt": "e", "completion": "f"})
    expert = {"name": "talker", "base": str(base), "steps": 2, "data": [str(rows), str(pairs)]}
    assert finetune(recipe(tmp_path, expert)) == 0
    assert (tmp_path / "out" / "talker" / "chat_template.jinja").read_text() == template
    assert read_pool(tmp_path / "out").base == str(base)


def test_a_base_of_another_family_with_other_layers_and_no_padding(tmp_path, capsys):
    base = make_base(tmp_path / "base", family="gpt2")
    rows = lines(tmp_path / "rows.jsonl", *[{"prompt": "what is red", "completion": " yes"}] * 5)
    expert = {
        "name": "yes",
        "base": str(base),
        "data": [str(rows)],
        "batch_size": 2,
        "lora": {"target_modules": ["c_attn", "c_fc"]},
    }
    said = recipe(tmp_path, expert, steps=None, epochs=10.5, learning_rate=0.02)
    assert finetune(said) == 0
    assert "5 rows, 10 tokens to learn, 32 steps of 2 rows" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "yes" / "finetune.json").read_text())["steps"] == 32
    pool = read_pool(tmp_path / "out")
    [batch] = InProcessEngine(pool, device="cpu").generate(
        [Request(pool.experts()[0], "what is red", GenerationParams(4))]
    )
    assert batch[0][1].text.strip() == "yes"


def test_losses_go_to_the_tracker_that_is_asked_for(tmp_path, monkeypatch):
    kept = []

    class Kept:
        def __init__(self, name, mode, run):
            kept.append((mode, run.name, run.config["seed"]))

        def log(self, record, step):
            kept.append((step, "loss" in record or "train_loss" in record))

        def finish(self):
            kept.append("finished")

    monkeypatch.setattr("swarm.programs.finetune.make_tracker", Kept)
    assert finetune(recipe(tmp_path, steps=2), "--wandb", "auto") == 0
    assert kept == [("auto", "one", 0), (1, True), (2, True), (2, True), "finished"]


def test_a_check_trains_nothing(tmp_path, capsys):
    assert finetune(recipe(tmp_path), "--check") == 0
    assert "one: 120 rows, 240 tokens to learn" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
    assert finetune(recipe(tmp_path, {"name": "a"}, {"name": "b"}), "--check", "--only", "c") == 2
    assert "has no such expert, only a, b" in capsys.readouterr().err


def test_a_loss_that_breaks_down_is_told(tmp_path, capsys):
    assert finetune(recipe(tmp_path, learning_rate=1e30, schedule="constant", warmup=0)) == 2
    assert "lower learning_rate" in capsys.readouterr().err
    assert not (tmp_path / "out" / "one").exists()


def test_accelerate_launches_it(programs, tmp_path):
    """Started by accelerate as one process on the CPU, it gives the weights that it gives on its own."""
    for name in ("own", "launched"):
        (tmp_path / name).mkdir()
    assert finetune(recipe(tmp_path / "own", steps=3)) == 0
    path = recipe(tmp_path / "launched", steps=3)
    launch = ("-m", "accelerate.commands.launch", "--cpu", "--num_processes", 1)
    done = programs.python(*launch, ROOT / "scripts" / "finetune.py", path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert weights(tmp_path / "launched" / "out" / "one") == weights(tmp_path / "own" / "out" / "one")


@pytest.mark.parametrize("place", ["file", "file/out"])
def test_a_place_for_experts_that_cannot_be_is_told_before_anything_is_trained(tmp_path, capsys, place):
    (tmp_path / "file").write_text("")
    assert finetune(recipe(tmp_path), "--out", tmp_path / place) == 2
    error = capsys.readouterr().err
    assert "file is a file, wanted a folder for the experts" in error and error.count("\n") == 1
