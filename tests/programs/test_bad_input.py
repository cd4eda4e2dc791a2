"""Bad input: one line that says what was given, what was wanted and the cure; exit code 2; nothing half-written."""

import json
import re
import shutil
from pathlib import Path

import pytest
from repository import ROOT

from swarm.programs import front_doors
from swarm.programs.evaluate import evaluate_program
from swarm.programs.search import search_program

TASK = ["-e", "exact_match", "-d", "graph_tasks_small"]


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """A working folder with the embedded experts and their data."""
    shutil.copytree(ROOT / "data", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refuse(capsys, arguments, *messages, program=search_program):
    """The program ends with code 2 and one line of error, and leaves no run behind."""
    try:
        code = front_doors.guarded(lambda: program([str(a) for a in arguments]))
    except SystemExit as ended:
        code = ended.code
    error = capsys.readouterr().err
    assert code == 2
    assert error.count("\n") == 1, error
    for message in messages:
        assert message in error
    assert not Path("search").exists() or not list(Path("search").iterdir())


def copy_of_experts(workdir):
    shutil.copytree(workdir / "data" / "embedded", workdir / "mine")
    return sorted((workdir / "mine" / "experts").iterdir())


def data_file(workdir, change):
    record = json.loads((workdir / "data/eval/graph_tasks_small.json").read_text())
    change(record)
    (workdir / "data/eval/other.json").write_text(json.dumps(record))
    return ["-e", "exact_match", "-d", "other"]


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        ([], ["--eval_type (-e) is missing", "h-swarm search -e exact_match -d gsm8k"]),
        (["-e", "exact", "-d", "graph_tasks_small"], ["exact", "exact_match, multiple_choice"]),
        (["-e", "exact_match", "-d", "graph_task"], ["graph_task", "graph_tasks_small"]),
        (["-e", "multiple_choice", "-d", "graph_tasks_small"], ["choices"]),
        ([*TASK, "--scorer", "kind"], ["--scorer is kind", "wanted one of: strict, compat"]),
        (["-e", "no_such.py:score", "-d", "graph_tasks_small"], ["no eval file no_such.py", "path/to/file.py:name"]),
        ([*TASK, "--edges", "star"], ["invalid choice: 'star'"]),
        ([*TASK, "-i", "nowhere"], ["nowhere is not there", "-i"]),
        ([*TASK, "-g", "7"], ["--gpus names device 7", "leave out -g"]),
        ([*TASK, "-g", "gpu"], ["--gpus is 'gpu'; wanted CUDA device ids such as 0 or 0,1,2, or cpu"]),
        ([*TASK, "-g", "0,,1"], ["--gpus is '0,,1'; wanted CUDA device ids such as 0 or 0,1,2"]),
        ([*TASK, "--workers", "5000"], ["--workers 5000 are more workers than devices", "give at most --workers"]),
        ([*TASK, "--workers", "0"], ["--workers is 0; wanted a number of at least 1"]),
        (
            [*TASK, "-b", "nobody/nothing"],
            ["base model 'nobody/nothing' is neither a local folder nor", "HF_HUB_OFFLINE"],
        ),
        ([*TASK, "--step_length", "inf"], ["--step_length is inf; wanted a number of at least 0"]),
        ([*TASK, "-n", "x" * 300], ["wanted a plain folder name of at most 200 bytes"]),
        (["--resume", "search/none"], ["search/none is no run"]),
        ([*TASK, "--token_budget", "0"], ["--token_budget is 0; wanted a number of at least 1"]),
    ],
)
def test_options(workdir, capsys, arguments, messages):
    refuse(capsys, arguments, *messages)


def test_a_name_that_exists(workdir, capsys):
    (workdir / "search" / "mine").mkdir(parents=True)
    code = front_doors.guarded(lambda: search_program([*TASK, "-n", "mine"]))
    assert code == 2
    assert "search/mine exists; wanted a new name (-n), or go on" in capsys.readouterr().err
    assert list((workdir / "search" / "mine").iterdir()) == []


def test_experts(workdir, capsys):
    first, second, *rest = copy_of_experts(workdir)
    use = [*TASK, "-i", workdir / "mine" / "experts"]
    (second / "adapter_model.safetensors").unlink()
    refuse(capsys, use, second.name, "adapter_model.safetensors missing")
    for folder in (second, *rest):
        shutil.rmtree(folder)
    refuse(capsys, use, f"holds one expert ({first.name}); a search needs at least 2")
    refuse(capsys, [*use, "--dry-run"], f"holds one expert ({first.name}); a search needs at least 2")


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_composites(workdir, capsys, monkeypatch, more):
    monkeypatch.setattr("swarm.programs.search.read_members", lambda *_: pytest.fail("experts are read"))
    use = [*TASK, "--composites", "mine", *more]
    refuse(capsys, use, "mine holds no composites; wanted one sub-folder with a node.json for each")

    def composite(name, **record):
        (workdir / "mine" / name).mkdir(parents=True)
        (workdir / "mine" / name / "node.json").write_text(json.dumps(record))

    composite("pair", type="vote", members=["expert_0_edges", "expert_2_weight"])
    composite("fused", type="fusion", members=["expert_0_edges", "pair"])
    refuse(capsys, use, "names pair, a composite, which cannot be stepped token by token")
    composite("expert_0_edges", type="vote", members=["expert_1_degree", "expert_2_weight"])
    refuse(capsys, use, "mine/expert_0_edges: another member is named expert_0_edges, too; rename the folder")


def test_data(workdir, capsys):
    refuse(capsys, data_file(workdir, lambda r: r["dev"][3].update(answer=7)), "other.json", "dev", "3", "answer")
    refuse(capsys, data_file(workdir, lambda r: r["test"].clear()), "test")
    refuse(capsys, data_file(workdir, lambda r: r.pop("dev")), "dev")
    chunks = data_file(workdir, lambda r: r["dev"][2].update(context_chunks=["a"]))
    refuse(capsys, [*chunks, "--optimizer", "swarm"], "2", "context_chunks")
    (workdir / "data/eval/other.json").write_text("{")
    refuse(capsys, ["-e", "exact_match", "-d", "other"], "other.json", "JSON")


def test_evaluate(workdir, capsys):
    refuse(capsys, ["nowhere"], "nowhere is not there", program=evaluate_program)
    refuse(capsys, ["nowhere", "--split", "train"], "invalid choice: 'train'", program=evaluate_program)
    refuse(capsys, ["nowhere", "--limit", "0"], "--limit is 0", program=evaluate_program)
    refuse(capsys, [], "folder", program=evaluate_program)


def test_a_dry_run_says_what_the_search_costs(workdir, capsys):
    words = "--dry-run --max_iteration 8 --graph_num 6 --trial_num 6 --dev_limit 60".split()
    assert front_doors.guarded(lambda: search_program([*TASK, *words])) == 0
    out = capsys.readouterr().out
    assert "each iteration" in out and "upper bounds" in out and "--calibrate" in out
    iteration = next(line for line in out.splitlines() if line.startswith("each iteration")).split()
    assert iteration[2:4] == ["72", "4,320"], "(N + M) n node evaluations, times D generations"
    assert not (workdir / "search").exists()


def test_a_calibration_gives_the_forecast_a_time(workdir, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(workdir / "cache"))
    code = front_doors.guarded(lambda: search_program([*TASK, "--calibrate"]))
    assert code == 0
    out = capsys.readouterr().out
    told = [line for line in out.splitlines() if line.startswith(("measur", "At the speed"))]
    assert "for about 30 s, at most 120 s" in told[0], "said before it begins"
    assert re.search(r"tokens read and [\d,]+ written per second, by \d+ questions to each of 2 experts", told[1])
    assert re.search(r"measured here: about .* if answers are as long as those were, about .* full length", told[2])
    assert front_doors.guarded(lambda: search_program([*TASK, "--dry-run"])) == 0
    assert told[2] in capsys.readouterr().out
    assert front_doors.guarded(lambda: search_program([*TASK, "--max_new_tokens", "50", "--dry-run"])) == 0
    other = capsys.readouterr().out
    assert "measured here: about" in other and "as long as those" not in other, "of another task"
    shutil.copytree("data/embedded", "other")
    assert front_doors.guarded(lambda: search_program([*TASK, "-i", "other/experts", "--dry-run"])) == 0
    assert "measure this machine once" in capsys.readouterr().out, "of another base"
    assert oct((workdir / "cache" / "h_swarm").stat().st_mode)[-3:] == "700"
