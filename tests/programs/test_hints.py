"""What stops a newcomer says how to go on: limits, names nearly right, code that will not do, files in the way."""

import json
import sys
from pathlib import Path

import pytest
from repository import ROOT

from swarm.errors import UserError
from swarm.evolution.checked_config import make_config
from swarm.evolution.resume_command import resume_command
from swarm.evolution.settings_file import read_settings_file, write_settings_file
from swarm.programs.command import command_program
from swarm.programs.front_doors import guarded

TASK = ["-e", "exact_match", "-d", "graph_tasks_small", "--data_directory", str(ROOT / "data/eval"),
        "-i", str(ROOT / "data/embedded/experts"), "--no_cache"]  # fmt: skip
SMALL = "--graph_num 2 --trial_num 2 --dev_limit 6 --test_limit 4 -m 1".split()


@pytest.fixture
def told(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def tell(*words):
        capsys.readouterr()
        try:
            code = guarded(lambda: command_program([str(word) for word in words]))
        except SystemExit as left:
            code = left.code
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return tell


def test_a_limit_that_was_reached_is_named_when_it_is_lifted(told):
    code, out, _ = told("search", *TASK, *SMALL, "--max_calls", "20", "-n", "short")
    assert (
        code == 3 and "give more: " in out and out.rstrip().endswith("--resume " + str(Path("search/short").resolve()))
    )
    code, out, _ = told("search", "--resume", "search/short")
    assert code == 0 and "--max_generations 20 was reached and no longer holds; give a new one" in out
    code, out, _ = told("runs")
    assert "1 iterations done" in out


def test_a_dry_run_tells_of_limits_that_are_too_small_and_how_long_answers_may_be(told):
    code, out, err = told("search", *TASK, *SMALL, "--max_calls", "20", "--dry-run")
    assert code == 0 and "An answer has at most 4 tokens" in out
    assert "--max_generations 20 is less than the start alone may take" in err


def test_code_of_the_user_is_named_in_the_command_that_goes_on(told, monkeypatch):
    Path("own.py").write_text("def good(reply, example):\n    raise KeyError('here')\n")
    code, out, err = told("search", *TASK, *SMALL, "-e", "own.py:good", "-n", "own")
    assert code == 2 and "raised KeyError: 'here'" in err
    assert out.rstrip().endswith(f"-e {Path('own.py').resolve()}:good")
    config = make_config({"eval_type": "exact_match", "dataset": "x", "plugin": "own.py"})
    monkeypatch.setattr(sys, "argv", ["/some/bin/h-swarm", "search"])
    assert resume_command(Path("search/own"), config) == (
        f"/some/bin/h-swarm search --resume {Path('search/own').resolve()} --plugin {Path('own.py').resolve()}"
    )


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "def good(reply):\n    return 1\n",
            "cannot be called (too many positional arguments); wanted a function (reply, ex",
        ),
        ("def good(reply, example):\n    return 7\n", "the score 7; wanted a number from 0 to 1, or another range"),
    ],
)
def test_an_eval_that_will_not_do(told, code, message):
    Path("own.py").write_text(code)
    ended, _, err = told("search", *TASK, *SMALL, "-e", "own.py:good", "-n", "own")
    assert ended == 2 and message in err
    assert Path("search/own").exists() == ("range" in message), "what can be seen at once is seen before a run is begun"


def test_a_setting_by_two_of_its_names(told):
    Path("mine.yml").write_text("eval_type: exact_match\ndataset: x\nlimits: {max_calls: 1, max_generations: 2}\n")
    with pytest.raises(UserError, match="mine.yml says max_generations twice, as max_calls: drop one"):
        read_settings_file(Path("mine.yml"))
    Path("mine.yml").write_text("gpus: 0\n")
    with pytest.raises(UserError, match="mine.yml: gpus is 0; wanted a text or null: in quotes"):
        read_settings_file(Path("mine.yml"))
    Path("mine.csv").write_text("question,answer\n1,2\n")
    with pytest.raises(UserError, match="no settings by name; .*; if it is your data: -d mine.csv"):
        read_settings_file(Path("mine.csv"))


@pytest.mark.parametrize("name", ["mine.json", "mine.yml"])
def test_settings_are_written_in_the_language_of_the_file_s_name(told, name):
    config = make_config({"eval_type": "exact_match", "dataset": "ü", "seed": 3, "top_p": 0.5})
    write_settings_file(Path(name), config)
    assert make_config(read_settings_file(Path(name))) == config
    assert name.endswith("yml") or json.loads(Path(name).read_text())["swarm"] == {"seed": 3}


def test_names_that_are_nearly_right(told):
    assert told("search", *TASK, *SMALL, "-m", "0", "-n", "one")[0] == 0
    assert "did you mean search/one?" in told("search", "--resume", "one")[2]
    assert "did you mean --out?" in told("route", "fit", "--outt", "x", *TASK)[2]
    assert "did you mean question=Frage?" in told("search", *TASK[:2], "-d", "x.csv", "--columns", "Frage=question")[2]


def test_made_questions_replace_no_file_unasked(told):
    Path("made.json").write_text("mine")
    words = ["data", "graph", "--out", "made.json", "--dev", "2", "--test", "2"]
    code, _, err = told(*words)
    assert code == 2 and "--out made.json is there; name a new file, or add --replace" in err
    assert Path("made.json").read_text() == "mine"
    code, out, _ = told(*words, "--replace")
    assert code == 0 and "--replace" not in out and len(json.loads(Path("made.json").read_text())["dev"]) == 2


@pytest.mark.parametrize("more", [[], ["--classifier", "logistic", "--features", "hidden"]])
def test_a_library_that_a_router_needs_is_missed_before_anybody_is_asked(told, monkeypatch, more):
    for name in [name for name in sys.modules if name.partition(".")[0] == "sklearn"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    code, out, err = told("route", "fit", *TASK, "--dev_limit", "6", "--out", "routers/mine", *more)
    assert code == 2 and "needs scikit-learn" in err and "label audit" not in out
    assert not Path("routers").exists()


def test_an_eval_of_a_plugin_is_named_with_its_file(told):
    Path("own.py").write_text(
        "from swarm.plugins import register\n@register('evals', 'short')\ndef short(reply, example):\n    return 1.0\n"
    )
    assert told("search", *TASK, *SMALL, "-e", "short", "--plugin", "own.py", "-m", "0", "-n", "one")[0] == 0
    from swarm.plugins import use_plugin_files

    use_plugin_files(None)
    code, _, err = told("evaluate", "search/one")
    assert code == 2 and f"of a plugin: name it with --plugin {Path('own.py').resolve()}" in err
    assert told("evaluate", "search/one", "--plugin", "own.py", "-e", "short")[0] == 0
