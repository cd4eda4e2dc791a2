"""The one command: its words, their help, what is mistyped, and the file that its settings may stand in."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from repository import ROOT

from swarm.data import mapping_files
from swarm.errors import UserError
from swarm.evolution.checked_config import make_config, with_present_names
from swarm.evolution.config import settings
from swarm.evolution.settings_file import read_settings_file, settings_schema, write_settings_file
from swarm.programs.command import SUBCOMMANDS, command_program
from swarm.programs.front_doors import guarded
from swarm.programs.search import search_program

TASK = ["-e", "exact_match", "-d", "graph_tasks_small"]


def run(capsys, *words):
    """(exit code, output, errors) of the command."""
    try:
        code = guarded(lambda: command_program([str(word) for word in words]))
    except SystemExit as ended:
        code = ended.code
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.fixture
def settings_file(tmp_path):
    def write(text, name="mine.yml"):
        path = tmp_path / name
        path.write_text(text, encoding="utf8")
        return path

    return write


def test_the_first_screen_names_every_command_in_a_line(capsys):
    code, out, _ = run(capsys)
    assert code == 0
    for word, subcommand in SUBCOMMANDS.items():
        assert re.search(rf"^  {word} +{re.escape(subcommand.about)}$", out, re.MULTILINE)
    assert max(map(len, out.splitlines())) < 100
    assert run(capsys, "--help")[1] == out


def test_help_imports_nothing_heavy(capsys):
    """In a process of its own, from a folder in which a file of ours would hide a library."""
    code = (
        "import sys; from swarm.programs.command import command_program\n"
        "for word in sys.argv[1:]:\n"
        "    try: command_program([word, '--help'])\n"
        "    except SystemExit as ended: assert not ended.code, word\n"
        "heavy = {'torch', 'transformers', 'numpy', 'networkx', 'datasets', 'wandb'} & sys.modules.keys()\n"
        "assert not heavy, heavy"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "-c", code, *SUBCOMMANDS], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(f"h-swarm {word}" in done.stdout for word in SUBCOMMANDS)


def test_as_a_module_in_the_clone(tmp_path):
    """Where `evaluate.py` lies in the current folder, which Python would put on the import path."""
    (tmp_path / "evaluate.py").write_text("raise SystemExit('the wrong one')\n")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    done = subprocess.run(
        [sys.executable, "-m", "swarm", "--version"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "") and re.fullmatch(r"h-swarm \d+\.\d+\.\d+\n", done.stdout)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["serach"], "h-swarm: error: there is no command 'serach'; did you mean search?"),
        (["xyz"], "there is no command 'xyz'; there are search, evaluate"),
        (["search", "--max_itertion=3"], "unrecognized arguments: --max_itertion=3; did you mean --max_iteration?"),
        (["evaluate", "x", "--spilt", "dev"], "did you mean --split?"),
        (["route", "fot"], "h-swarm route: error: there is no step 'fot'; did you mean fit?"),
        (["data", "gte"], "there is no command 'gte'; did you mean get?"),
        (["search", "gsm8k"], "gsm8k is no file that is there, wanted settings in YAML or JSON"),
        (["search", "a.yml", "--config", "b.yml"], "are two settings files; wanted one"),
        (["search", "a.yml", "--resume", "search/x"], "goes on with a run and its own settings"),
        (["runs", "nowhere"], "nowhere is no folder that is there"),
        (["evaluate", "search/nope"], "search/nope is not there; wanted a run such as search/<name>"),
        (["data", "show", "a.csv", "-d", "b.csv"], "a.csv and -d b.csv are two datasets; wanted one"),
    ],
)
def test_what_is_mistyped_is_one_line_and_names_the_nearest(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *words)
    assert code == 2 and message in err and err.count("\n") == 1 and not out
    assert not list(tmp_path.iterdir())


def test_a_file_flat_or_under_headings_and_the_command_line_goes_first(settings_file, capsys, tmp_path, monkeypatch):
    flat = settings_file("eval_type: exact_match\ndataset: gsm8k\nmax_calls: 5\nseed: 4\ninertia: 1\n")
    found = read_settings_file(flat)
    assert found == {"eval_type": "exact_match", "dataset": "gsm8k", "max_generations": 5, "seed": 4, "inertia": 1.0}
    text = "task: {eval_type: exact_match, dataset: gsm8k}\nlimits: {max_calls: 5}\nswarm: {seed: 4, inertia: 1}\n"
    assert read_settings_file(settings_file(text, "b.yaml")) == found
    assert read_settings_file(settings_file(json.dumps(found), "c.json")) == found
    monkeypatch.chdir(tmp_path)
    for words in ([flat], ["--config", flat]):
        code, out, _ = run(capsys, "search", *words, "--seed", 7, "--save-config", f"{len(words)}.yml")
        assert code == 0 and f"h-swarm search {len(words)}.yml" in out
        written = yaml.safe_load(Path(f"{len(words)}.yml").read_text())
        assert written["swarm"] == {"inertia": 1.0, "seed": 7} and written["limits"] == {"max_generations": 5}
        assert read_settings_file(Path(f"{len(words)}.yml")) == found | {"seed": 7, "optimizer": "swarm"}
    code, _, err = run(capsys, "search", flat, "--save-config", "1.yml")
    assert code == 2 and "1.yml is there; name a new file" in err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- gsm8k\n", r'holds \["gsm8k"\], no settings by name; wanted settings such as dataset: gsm8k'),
        ("", "holds null, no settings by name"),
        ("seed: 1\nseed: 2\n", "line 2 says seed twice"),
        ("seed: 1\nswarm: {seed: 2}\n", "says seed twice"),
        ("dateset: gsm8k\n", "unknown setting 'dateset'; did you mean 'dataset'?"),
        ("swarm: {max_itteration: 3}\n", "did you mean 'max_iteration'?"),
        ("swarms: {seed: 3}\n", "unknown setting 'swarms'; did you mean 'swarm'?"),
        ("xyzzy: 3\n", "unknown setting 'xyzzy'; h-swarm search --help all lists the settings"),
        ("scoring: {graph_num: 3}\n", "graph_num stands under scoring; wanted it under swarm, or outside of both"),
        ("limits: {engine: ray}\n", "engine stands under limits; wanted it under compute"),
        ("swarm: 3\n", "swarm is 3; wanted settings of that heading by name"),
        ("seed: many\n", "seed is 'many'; wanted a whole number"),
        ("seed: true\n", "seed is True; wanted a whole number"),
        ("repel_term: 1\n", "repel_term is 1; wanted true or false"),
        ("edges: star\n", "edges is 'star'; wanted one of: tree, bernoulli"),
        ("top_p: 2\n", "top_p is 2.0; wanted at most 1"),
        ("seed: [\n", "is no YAML"),
        ("a: !!python/object/apply:os.system [date]\n", "is no YAML"),
    ],
)
def test_files_that_cannot_be(text, message, settings_file):
    path = settings_file(text)
    with pytest.raises(UserError, match=message) as raised:
        read_settings_file(path)
    assert str(raised.value).startswith(str(path))


def test_hyphens_and_mappings_are_what_they_look_like(settings_file):
    path = settings_file("data: {columns: {question: problem, answer: solution}, dev-size: 5}\nmax-calls: 7\n")
    columns = "question=problem,answer=solution"
    assert read_settings_file(path) == {"columns": columns, "dev_size": 5, "max_generations": 7}


def test_aliases_within_aliases_are_each_looked_at_once(settings_file, monkeypatch):
    """Six levels of ten: what they stand for has a million parts."""
    lines = ["a0: &a0 {x: 1}"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 7)]
    looked_at, look = [], mapping_files._refuse_twins
    monkeypatch.setattr(mapping_files, "_refuse_twins", lambda *args: looked_at.append(args) or look(*args))
    with pytest.raises(UserError, match="unknown setting 'a0'"):
        read_settings_file(settings_file("\n".join(lines)))
    assert len(looked_at) < 100


def test_values_of_earlier_versions_are_understood():
    assert with_present_names({"engine": "in_process"}) == {"engine": "transformers", "executor": "local"}
    assert with_present_names({"engine": "ray", "workers": 2}) == {
        "engine": "transformers", "executor": "ray", "workers": 2
    }  # fmt: skip
    assert with_present_names({"engine": "in_process", "executor": "ray"})["executor"] == "ray"
    assert make_config({"eval_type": "e", "dataset": "d", "max_calls": 3}).max_generations == 3


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"judge_url": "http://127.0.0.1:9/v1"}, "which you have not named here before"),
        ({"executor": "ray", "ray_address": "127.0.0.1:9"}, "joins a Ray cluster"),
        ({"eval_type": "own.py:score"}, "read it, then h-swarm search .*args.json -e own.py:score"),
        ({"plugin": "own.py"}, "which you have not run here .*: read it, then"),
    ],
)
def test_what_a_run_s_settings_would_make_run_the_user_names(changed, message, capsys, tmp_path, monkeypatch):
    """A run's args.json as a settings file: it may have come from anybody."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text("raise SystemExit('it was run')\n")
    (tmp_path / "search/theirs").mkdir(parents=True)
    args = {name: setting.default for name, setting in settings().items()}
    args |= {"eval_type": "exact_match", "dataset": "graph_tasks_small", "name": "theirs", "trust_remote_code": True}
    (tmp_path / "search/theirs/args.json").write_text(json.dumps(args | changed))
    code, out, err = run(capsys, "search", "search/theirs/args.json", "--dry-run")
    assert code == 2 and re.search(message, err) and err.count("\n") == 1
    assert "it was run" not in out + err and not (tmp_path / "search/theirs/log.txt").exists()


def test_a_run_s_settings_make_another_run_under_a_fresh_name(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    args = {"eval_type": "exact_match", "dataset": "graph_tasks_small", "name": "theirs", "trust_remote_code": True}
    (tmp_path / "args.json").write_text(json.dumps(args | {"dev_limit": 3}))
    assert read_settings_file(tmp_path / "args.json") == {
        name: value for name, value in args.items() if name != "name"
    } | {"dev_limit": 3}
    code, _, err = run(capsys, "search", tmp_path / "args.json", "--dry-run", "-i", "data/embedded/experts")
    assert code == 0, err


def test_the_schema_is_the_one_in_the_docs_and_takes_what_is_written(tmp_path):
    schema = settings_schema()
    assert json.loads((ROOT / "docs/settings.schema.json").read_text(encoding="utf8")) == schema
    path = tmp_path / "all.yml"
    write_settings_file(path, make_config({"eval_type": "exact_match", "dataset": "gsm8k", "seed": 3, "top_p": 0.8}))
    for section, values in yaml.safe_load(path.read_text()).items():
        assert set(values) <= set(schema["properties"][section]["properties"])


def test_the_search_that_the_docs_show(tmp_path, monkeypatch, capsys):
    """A file of ten lines, and it searches."""
    text = (ROOT / "docs/graph_tasks.yml").read_text(encoding="utf8")
    assert len(text.splitlines()) <= 10
    monkeypatch.chdir(tmp_path)
    for name in ("data", "initial_experts"):
        (tmp_path / name).symlink_to(ROOT / name)
    small = "--graph_num 4 --trial_num 2 --dev_limit 6 --test_limit 6 -m 0 -n mine".split()
    assert search_program([str(ROOT / "docs/graph_tasks.yml"), *small]) == 0
    code, out, _ = run(capsys, "runs")
    assert code == 0 and re.search(
        r"^mine +\d{4}-\d\d-\d\d \d\d:\d\d +graph_tasks_small +exact_match +0\.\d+ +", out, re.M
    )
    code, out, _ = run(capsys, "runs", "search", "--json")
    assert json.loads(out)[0]["name"] == "mine"
    assert "mine" in run(capsys, "runs", "search/mine")[1], "a run itself"


def test_a_tracker_that_there_is_not_is_said_before_anything_is_written(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["-i", ROOT / "data/embedded/experts", "--tracker", "nobody"]
    code, _, err = run(capsys, "search", *TASK, "--data_directory", ROOT / "data/eval", *words)
    assert code == 2 and "nobody" in err and err.count("\n") == 1
    assert not list(tmp_path.iterdir())
