"""Searches whose answers a judge rates: real servers on loopback, limits, and what goes wrong."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
from judge_server import MODEL, Fault, JudgeServer, judging
from repository import ROOT
from tiny import make_base

from swarm.evals.judges.reply_cache import judge_cache_path
from swarm.programs import front_doors
from swarm.programs.baselines import baselines_program
from swarm.programs.evaluate import evaluate_program
from swarm.programs.search import search_program

SMALL = (
    "-e gemini_match -d graph_tasks_small --graph_num 2 --trial_num 3 --dev_limit 6 --test_limit 3 -m 1 -n mine".split()
)


def rate(prompt):
    """More for longer replies, so that systems differ."""
    return f"Rating: {1 + len(prompt.rpartition('Generated response: ')[2]) % 10}/10 because it is."


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """A working folder with the embedded experts, and caches of its own."""
    shutil.copytree(ROOT / "data", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("OPENAI_API_KEY", "secret-key")
    return tmp_path


@pytest.fixture
def server():
    with judging(JudgeServer(answer=rate, key="secret-key")) as judge:
        yield judge


def search(*words):
    return front_doors.guarded(lambda: search_program([str(word) for word in words]))


def asked_of(server):
    return [*SMALL, "--judge_url", f"{server.url}/v1", "--judge_model", MODEL]


def test_a_search_by_a_server_s_ratings_asks_each_question_once_and_resumes_for_nothing(workdir, server, capsys):
    server.fault = lambda prompt, before: Fault(seconds=0.05)  # long enough for calls to overlap
    assert search(*asked_of(server), "--judge_at_once", 3) == 0
    shown = capsys.readouterr()
    result = json.loads(Path("search/mine/result.json").read_text())
    mean = result["scores"]["found"]["test"]["strict"]["mean"]
    assert 1 <= mean <= 10 and f"{mean:.3f}" in shown.out
    assert len(server.prompts) == len(set(server.prompts)) == result["judge"]["calls"]
    assert 1 < server.most_in_flight <= 3
    assert result["judge"]["model"] == MODEL
    before = len(server.prompts)
    assert (
        front_doors.guarded(lambda: evaluate_program(["search/mine", "--limit", "3", "--json", *asked_of(server)[-4:]]))
        == 0
    )
    assert json.loads(capsys.readouterr().out.strip())["scores"]["strict"]["mean"] == mean
    assert len(server.prompts) == before, "every rating is remembered"
    for path in [*Path("search/mine").rglob("*"), judge_cache_path()]:
        assert not path.is_file() or b"secret-key" not in path.read_bytes(), path
    assert "secret-key" not in shown.out + shown.err


def test_the_limit_of_calls_is_hard_and_leaves_the_final_scores_their_share(workdir, server, capsys):
    limit = 6 + 3 * 3 + 4
    code = search(*asked_of(server), "--max_judge_calls", limit)
    assert code == (0 if Path("search/mine/result.json").exists() else 3), "3 only where nothing was found"
    shown = capsys.readouterr()
    assert f"--max_judge_calls {limit} reached but for 15 calls that are kept for later" in shown.out
    assert len(server.prompts) <= limit
    assert search("--resume", "search/mine", "--max_judge_calls", 1000) == 0
    assert len(server.prompts) == len(set(server.prompts)), "what was paid for is not asked again"
    limited = json.loads(Path("search/mine/result.json").read_text())
    whole = asked_of(server)
    assert search(*["whole" if word == "mine" else word for word in whole]) == 0
    assert json.loads(Path("search/whole/result.json").read_text())["scores"] == limited["scores"]


def test_a_limit_that_the_final_scores_alone_exceed_is_refused(workdir, server, capsys):
    assert search(*asked_of(server), "--max_judge_calls", 15) == 2
    assert "--max_judge_calls is 15, but the final scores alone have 15 questions" in capsys.readouterr().err
    assert server.prompts == []


def test_cost_is_held_in_the_currency_of_the_price(workdir, server, capsys):
    """20 units per million tokens written, at most 20 tokens a reply: a call reserves .0004, and reading is free."""
    price = ["--judge_price", "0,20", "--max_cost", "0.0075"]
    assert search(*asked_of(server), *price) == 3
    assert "--max_cost 0.0075 reached" in capsys.readouterr().out
    usage = json.loads(Path("search/mine/judge_usage.json").read_text())
    assert 0 < usage["cost"] <= 0.0075 and usage["calls"] == len(server.prompts)


def test_a_judge_that_talks_nonsense_stops_the_step_by_name_and_the_run_can_go_on(workdir, server, capsys):
    server.answer = lambda prompt: "What a lovely question!" if len(server.prompts) > 8 else rate(prompt)
    assert search(*asked_of(server)) == 2
    shown = capsys.readouterr()
    assert shown.err.count("\n") == 1
    assert MODEL in shown.err and "'What a lovely question!'" in shown.err and "asked more strictly" in shown.err
    assert "the run is safe up to step" in shown.out
    assert any("Reply with" in prompt.splitlines()[-1] for prompt in server.prompts), "asked once more, more strictly"
    server.answer = rate
    assert search("--resume", "search/mine") == 0


def test_faults_that_pass_cost_time_only(workdir, server):
    server.fault = lambda prompt, before: (Fault(status=429, headers={"Retry-After": "0"}), None)[min(before, 1)]
    assert search(*asked_of(server)) == 0
    result = json.loads(Path("search/mine/result.json").read_text())
    assert result["judge"]["calls"] == len(server.prompts) == 2 * len(set(server.prompts))


def test_gemini_by_its_own_api(workdir, server, monkeypatch):
    monkeypatch.setenv("GEMINI_API_KEY", "secret-key")
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", server.url)
    server.models = ("gemini-test",)
    assert search(*SMALL, "--judge_model", "gemini-test") == 0
    assert json.loads(Path("search/mine/result.json").read_text())["judge"]["calls"] == len(server.prompts) > 0


def test_a_local_model_is_asked_through_the_engine(workdir, capsys):
    """A random model rates nothing that can be read; it is really asked, twice, and then named."""
    make_base(workdir / "local_judge")
    assert search(*SMALL, "--judge_model", "local_judge") == 2
    error = capsys.readouterr().err
    assert ("judge local_judge: no answer can be read" in error and "red" in error) or "green" in error or "<" in error


def test_a_forecast_counts_the_judge_and_asks_nobody(workdir, server, capsys):
    assert search(*asked_of(server), "--dry-run") == 0
    # start: (2 + 3 graphs and 6 experts alone) * 6; an iteration: 5 * 6; the end: 3 systems on 6 + 3
    assert f"The judge has {(11 + 5) * 6 + 3 * 9} questions at most (30 in each iteration)" in capsys.readouterr().out
    assert server.requests == []


@pytest.mark.parametrize(
    ("words", "messages"),
    [
        ([], ["eval gemini_match needs a judge: --judge_model"]),
        (["--judge_model", "gemini-test"], ["wants a key: set GEMINI_API_KEY or GOOGLE_API_KEY"]),
        (["--judge_model", "nobody/nothing"], ["judge model 'nobody/nothing' is no Gemini model, no local folder"]),
        (
            ["--judge_model", "m", "--judge_url", "localhost:8000"],
            ["is 'localhost:8000'; wanted an address"],
        ),
        (["--judge_model", "m", "--judge_url", "http://127.0.0.1:9/v1"], ["cannot be reached", "--judge_url"]),
        (["--judge_model", MODEL, "--judge_price", "cheap"], ["--judge_price is 'cheap'; wanted two numbers"]),
        (["--judge_model", MODEL, "--max_cost", "1"], ["--max_cost needs the judge's price"]),
    ],
)
def test_judges_that_cannot_be_asked(workdir, capsys, monkeypatch, words, messages):
    for variable in ("GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    assert search(*SMALL, *words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    for message in messages:
        assert message in error
    assert not Path("search").exists()


def test_an_unknown_model_and_a_wrong_key_are_found_before_anything_is_loaded(workdir, server, capsys, monkeypatch):
    (workdir / "data/embedded/experts/expert_0_edges/adapter_model.safetensors").write_bytes(b"")
    assert search(*asked_of(server)[:-1], "no-such-model") == 2
    assert f"{MODEL}, other-model" in capsys.readouterr().err
    monkeypatch.setenv("OPENAI_API_KEY", "wrong-key")
    assert search(*asked_of(server)) == 2
    error = capsys.readouterr().err
    assert "OPENAI_API_KEY" in error and "wrong-key" not in error


def test_a_limit_of_calls_holds_over_sittings_that_were_interrupted(workdir, server):
    """Whatever ends a sitting in mid-step, the calls that it made count."""
    limit, stop_at = 40, [5]

    def rate_or_stop(prompt):
        if len(server.prompts) >= stop_at[0]:
            stop_at[0] += 5
            os.kill(os.getpid(), signal.SIGINT)
        return rate(prompt)

    server.answer = rate_or_stop
    codes = [search(*asked_of(server), "--max_judge_calls", limit)]
    while codes[-1] == 130:
        codes.append(search("--resume", "search/mine"))
    assert codes.count(130) >= 2 and codes[-1] in (0, 3)
    assert len(server.prompts) <= limit


@pytest.mark.parametrize("program", ["evaluate", "baselines"])
def test_a_limit_ends_other_programs_in_one_line(workdir, server, capsys, program):
    assert search(*asked_of(server)) == 0
    shutil.rmtree(workdir / "cache")
    judge = [*asked_of(server)[-4:], "--max_judge_calls", "1"]
    words = ["search/mine", *judge] if program == "evaluate" else [*SMALL[:4], "--dev_limit", "3", *judge]
    run = evaluate_program if program == "evaluate" else baselines_program
    capsys.readouterr()
    assert front_doors.guarded(lambda: run(words)) == 3
    assert capsys.readouterr().err == "error: --max_judge_calls 1 reached; nothing was scored: give more\n"


def refused(number):
    """A judge that refuses one question of dev, but only about longer answers, so that a later step may come to it."""

    def answer(prompt):
        gold = prompt.partition("Ground truth: ")[2].partition("\n")[0]
        said = prompt.rpartition("Generated response: ")[2]
        return "I'm sorry, I can't rate that." if gold == number and len(said) > 1 else rate(prompt)

    return answer


def test_a_question_that_the_judge_refuses_leaves_the_mean_of_every_system(workdir, server, capsys):
    dev = json.loads(Path("data/eval/graph_tasks_small.json").read_text())["dev"][:6]
    golds = [record["answer"] for record in dev]
    rare = next(gold for gold in golds if golds.count(gold) == 1)
    server.answer = refused(rare)
    assert search(*asked_of(server)) == 2
    shown = capsys.readouterr()
    assert "refuses to answer question" in shown.err and "--judge_refusal skip" in shown.err
    assert search("--resume", "search/mine", "--judge_refusal", "skip") == 2, "it changes what is compared"
    assert "--judge_refusal" in capsys.readouterr().err

    skipping = [*asked_of(server), "--judge_refusal", "skip"]
    assert search(*["skipping" if word == "mine" else word for word in skipping]) == 0
    shown = capsys.readouterr()
    assert "refuses 1 of 6 dev questions" in shown.out + shown.err
    result = json.loads(Path("search/skipping/result.json").read_text())
    assert {who: row["dev"]["strict"]["size"] for who, row in result["scores"].items()} == {
        who: 5 for who in result["scores"]
    }
    assert result["judge"]["refused"] >= 1 and "they are in no system's mean" in shown.out
    rows = [json.loads(line) for line in Path("search/skipping/best/answers.jsonl").read_text().splitlines()]
    assert sum(row["split"] == "dev" for row in rows) == 5
    lines = Path("search/skipping/metrics.jsonl").read_text().splitlines()
    assert len(lines) == len({json.loads(line)["step"] for line in lines}) == 4

    without = [record for record in dev if record["answer"] != rare]
    Path("data/eval/five.json").write_text(
        json.dumps({"dev": without, "test": json.loads(Path("data/eval/graph_tasks_small.json").read_text())["test"]})
    )
    server.answer = rate
    five = ["five" if word in ("mine", "graph_tasks_small") else word for word in asked_of(server)]
    assert search(*five) == 0
    five_result = json.loads(Path("search/five/result.json").read_text())
    assert five_result["scores"]["found"]["dev"] == result["scores"]["found"]["dev"], "as if it had never been there"


def test_a_refused_question_may_count_lowest(workdir, server, capsys):
    golds = [record["answer"] for record in json.loads(Path("data/eval/graph_tasks_small.json").read_text())["dev"][:6]]
    server.answer = refused(golds[0])
    assert search(*asked_of(server), "--judge_refusal", "lowest") == 0
    result = json.loads(Path("search/mine/result.json").read_text())
    assert result["scores"]["found"]["dev"]["strict"]["size"] == 6 and result["judge"]["refused"] >= 1
    assert "they have the lowest rating" in capsys.readouterr().out
