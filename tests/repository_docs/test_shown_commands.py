"""Every command that README and docs show to a user of searches runs, on small data of the shape that it names."""

import csv
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from judge_server import JudgeServer, judging
from loopback_hub import Hub, serving
from repository import ROOT

from swarm.programs import front_doors
from swarm.programs.command import SUBCOMMANDS, command_program
from swarm.programs.search import search_program

ELSEWHERE = {  # what other tests run, or what measures for minutes
    "bench": "tests/benchmarks",
    "deepen": "tests/programs/deepen/test_shown_commands.py",
    "finetune": "tests/programs/test_finetune_program.py",
    "demo": "tests/programs/test_demo.py",
}
OWN_TEST = "extend.md"  # test_extend.py
FIT = "fit -e exact_match -d graph_tasks_small --out routers/mine".split()  # what the other commands with routers/ need
SMALL = "--graph_num 2 --trial_num 2 -m 0 --dev_limit 3 --test_limit 2 --max_new_tokens 3".split()


def shown(pages):
    """(subcommand, words) of every command in the pages, each once."""
    found = {}
    for path in pages:
        for line in re.findall(r"^    h-swarm (.*)$", path.read_text(encoding="utf8"), re.MULTILINE):
            command, *words = shlex.split(line, comments=True)
            found[command, tuple(words)] = None
    return list(found)


ALL = shown([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
HERE = sorted(path for path in (ROOT / "docs").glob("*.md") if path.name != OWN_TEST)
COMMANDS = [
    (command, words)
    for command, words in shown([ROOT / "README.md", *HERE])
    if command not in ELSEWHERE and (command, *words[:1]) != ("data", "get")  # tests/scripts/test_get_data.py
]


def test_the_pages_show_every_command_and_none_that_is_not_there():
    shown_here = {command for command, _ in ALL}
    assert len(COMMANDS) >= 20 and shown_here <= set(SUBCOMMANDS) and set(SUBCOMMANDS) - shown_here <= {"bench"}
    tried = {command for command, _ in COMMANDS}
    assert tried == {"search", "evaluate", "baselines", "route", "data", "runs", "doctor", "show", "compare", "ask"}
    assert all((ROOT / where).exists() for where in ELSEWHERE.values())


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """A working folder with the experts and what the commands name."""
    shutil.copytree(ROOT / "data", tmp_path / "data")
    for name, place in (("experts", "my_experts"), ("base", "base")):  # the experts' base lies beside their folder
        shutil.copytree(ROOT / "data/embedded" / name, tmp_path / place)
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / "docs/graph_tasks.yml", tmp_path / "docs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rows = [
        {"question": f"A-B:{i} ; weight of A-B", "answer": str(i % 9 + 1), "id": str(i), "domain": f"{i % 2}"}
        for i in range(210)
    ]
    sets = {"dev": rows[:5], "test": rows[5:10]}
    chunked = {split: [row | {"context_chunks": ["A-B:1"] * 6} for row in part] for split, part in sets.items()}
    Path("data/hub").mkdir()
    for name in ("data/eval/gsm8k", "data/eval/nlgraph", "data/hub/gsm8k"):
        Path(f"{name}.json").write_text(json.dumps(sets))
    Path("data/eval/qasper.json").write_text(json.dumps(chunked))
    with open("mine.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("problem", "solution"), *((row["question"], row["answer"]) for row in rows)])
    code = re.search(r"```python\n# concise.py\n(.*?)```", (ROOT / "docs/add_an_eval.md").read_text(), re.DOTALL)[1]
    Path("concise.py").write_text(code)
    page = (ROOT / "docs/instructions.md").read_text()
    for name, text in zip(("wording.yml", "two.yml"), re.findall(r"```yaml\n(.*?)```", page, re.DOTALL), strict=True):
        Path(name).write_text(text)
    return tmp_path


def run(command, words):
    few = {"evaluate": ["--limit", "2"], "baselines": ["--dev_limit", "3"]}
    if command == "search" and "--resume" not in words:
        words = [*words, *SMALL]
    elif words[:1] == ("rm",):
        words = [*words, "--yes"]
    elif command == "show" and "--question" in words:
        words = [*words[:-1], "1"]
    elif command in few and "--without-experts" not in words:
        words = [*words, "--max_new_tokens", "3", *few[command]]
    return front_doors.guarded(lambda: command_program([command, *words]))


@pytest.mark.parametrize(
    ("command", "words"), [(c, w) for c, w in COMMANDS if "gemini_match" not in w and "allenai/ai2_arc" not in w]
)
def test_it_runs(workdir, programs, monkeypatch, command, words):
    if "--workers" in words:  # processes, which need not be started anew
        done = programs.run("search", *words, *SMALL, cwd=workdir, by_forks=True)
        assert (command, done[0]) == ("search", 0), done
        return
    names = re.findall(r"search/(\w+)", " ".join(words))
    if command == "runs":
        names = words[1:] or ["one"]
    for name in names:  # a run that the command goes on with, or asks
        limit = [] if command in ("show", "compare", "ask") else ["--max_generations", "40"]
        begun = ["-e", "exact_match", "-d", "gsm8k", "-n", name, *SMALL, *limit]
        assert front_doors.guarded(lambda: search_program(begun)) in (front_doors.DONE, front_doors.LIMIT_REACHED)  # noqa: B023
    if any(word.startswith("routers") for word in words) and "fit" not in words:
        assert run("route", FIT) == 0
    Path("questions.txt").write_text("A-B:1 ; degree of A\n")
    monkeypatch.setattr(sys, "stdin", io.StringIO("A-B:1 ; degree of A\n"))
    assert run(command, words) == 0


@pytest.mark.parametrize("words", [w for c, w in COMMANDS if "gemini_match" in w])
def test_judges(workdir, monkeypatch, words):
    """Against a server on loopback; a local judge is only reckoned up, as none that can rate is at hand."""
    words = list(words)
    named = words[words.index("--judge_model") + 1]
    with judging(JudgeServer(models=(named,))) as server:
        monkeypatch.setenv("GEMINI_API_KEY", "key")
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", server.url)
        if "--judge_url" in words:
            words[words.index("--judge_url") + 1] = f"{server.url}/v1"
        remote = "--judge_url" in words or named.startswith("gemini")
        assert run("search", words if remote else [*words, "--dry-run"]) == 0
        assert bool(server.prompts) == remote


def test_a_set_of_the_hub(workdir):
    [words] = [w for _, w in COMMANDS if "allenai/ai2_arc" in w]
    card = "configs:\n- config_name: ARC-Challenge\n  data_files:\n" + "".join(
        f"  - split: {split}\n    path: {split}.jsonl\n" for split in ("validation", "test")
    )
    choices = {"text": ["one", "two"], "label": ["A", "B"]}
    rows = [{"id": str(i), "question": f"q{i}?", "choices": choices, "answerKey": "AB"[i % 2]} for i in range(4)]
    lines = "\n".join(json.dumps(row) for row in rows).encode()
    files = {"README.md": f"---\n{card}---\n".encode(), "validation.jsonl": lines, "test.jsonl": lines}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    shutil.copy(ROOT / "search.py", workdir)
    shutil.copytree(ROOT / "swarm", workdir / "swarm", ignore=shutil.ignore_patterns("__pycache__"))
    with serving(Hub({"datasets/allenai/ai2_arc": files})) as hub:
        kept |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(workdir / "home"), "HF_HUB_DISABLE_XET": "1"}
        command = [sys.executable, "search.py", *words, *SMALL]
        done = subprocess.run(command, cwd=workdir, env=kept, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "found system" in done.stdout
