"""Every command that README and docs show to a user of searches runs, on small data of the shape that it names."""

import csv
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
from swarm.programs.baselines import baselines_program
from swarm.programs.evaluate import evaluate_program
from swarm.programs.route.route import route_program
from swarm.programs.search import search_program

PROGRAMS = {
    "search.py": search_program,
    "evaluate.py": evaluate_program,
    "scripts/baselines.py": baselines_program,
    "scripts/route.py": route_program,
}
FIT = "fit -e exact_match -d graph_tasks_small --out routers/mine".split()  # what the other commands with routers/ need
SMALL = "--graph_num 2 --trial_num 2 -m 0 --dev_limit 3 --test_limit 2 --max_new_tokens 3".split()
RUN = "search/gsm8k_20261120_101500"  # the run that the README goes on with


def shown():
    """(program, words) of every command, each once, those that need a run of their own first."""
    found = {}
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for program, line in re.findall(r"^    python (\S+\.py) (.*)$", path.read_text(encoding="utf8"), re.MULTILINE):
            if program in PROGRAMS:
                found[program, tuple(shlex.split(line, comments=True))] = None
    return list(found)


COMMANDS = shown()


def test_there_are_commands_to_try():
    assert len(COMMANDS) >= 12 and {program for program, _ in COMMANDS} == set(PROGRAMS)


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """A working folder with the experts and what the commands name."""
    shutil.copytree(ROOT / "data", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rows = [{"question": f"A-B:{i} ; weight of A-B", "answer": str(i % 9 + 1), "id": str(i)} for i in range(210)]
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
    return tmp_path


def run(program, words):
    if program == "search.py" and "--resume" not in words:
        words = [*words, *SMALL]
    elif program not in ("search.py", "scripts/route.py") and "--without-experts" not in words:
        words = [
            *words,
            "--max_new_tokens",
            "3",
            *(["--limit", "2"] if program == "evaluate.py" else ["--dev_limit", "3"]),
        ]
    return front_doors.guarded(lambda: PROGRAMS[program](list(words)))


@pytest.mark.parametrize(
    ("program", "words"), [(p, w) for p, w in COMMANDS if "gemini_match" not in w and "allenai/ai2_arc" not in w]
)
def test_it_runs(workdir, programs, program, words):
    if "--workers" in words:  # processes, which need not be started anew
        done = programs.run("search", *words, *SMALL, cwd=workdir, by_forks=True)
        assert (program, done[0]) == ("search.py", 0), done
        return
    if RUN in words:
        begun = ["-e", "exact_match", "-d", "gsm8k", "-n", Path(RUN).name, *SMALL, "--max_generations", "40"]
        assert front_doors.guarded(lambda: search_program(begun)) in (front_doors.DONE, front_doors.LIMIT_REACHED)
    if any(word.startswith("routers") for word in words) and "fit" not in words:
        assert front_doors.guarded(lambda: route_program(FIT)) == 0
    assert run(program, words) == 0


@pytest.mark.parametrize("words", [w for p, w in COMMANDS if "gemini_match" in w])
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
        assert run("search.py", words if remote else [*words, "--dry-run"]) == 0
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
