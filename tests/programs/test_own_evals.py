"""Evals in a file of the user's, from the command line, and what happens when they fail."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from repository import ROOT

from swarm.errors import UserError
from swarm.evolution.config import SearchConfig
from swarm.evolution.resume import check_what_it_names
from swarm.programs import front_doors
from swarm.programs.evaluate import evaluate_program
from swarm.programs.search import search_program

SMALL = "-d graph_tasks_small --graph_num 2 --trial_num 3 --dev_limit 4 --test_limit 4 -m 1 -n mine --max_new_tokens 3"
GOOD = "def digits(reply, example):\n    return float(any(c.isdigit() for c in reply))\n"


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """A working folder with the embedded experts and their data."""
    shutil.copytree(ROOT / "data", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def search(*words):
    return front_doors.guarded(lambda: search_program(list(words)))


def test_a_function_in_a_file_is_searched_by_and_scored_again(workdir, capsys):
    Path("my_eval.py").write_text(GOOD)
    assert search("-e", "my_eval.py:digits", *SMALL.split()) == 0
    shown = capsys.readouterr().out
    assert "\nscore " in shown and "strict" not in shown and "compat" not in shown
    result = json.loads(Path("search/mine/result.json").read_text())
    assert set(result["scores"]["found"]["test"]) == {"strict"}
    assert front_doors.guarded(lambda: evaluate_program(["search/mine"])) == 2, "its code is not run unasked"
    assert "whose file does not travel with it: name it with -e" in capsys.readouterr().err
    again = ["search/mine", "-e", "my_eval.py:digits"]
    assert front_doors.guarded(lambda: evaluate_program([*again, "--json", "--limit", "4"])) == 0
    scored = json.loads(capsys.readouterr().out)
    assert scored["scores"] == result["scores"]["found"]["test"]


def test_a_run_is_scored_again_on_its_own_data_wherever_that_lies(workdir, capsys):
    """Not on data of the same name; what it was asked with is settled one by one."""
    rows = [{"question": f"A-B:{i} ; weight of A-B", "answer": str(i), "split": "dev"} for i in range(1, 5)]
    rows += [row | {"split": "test"} for row in rows]
    Path("elsewhere").mkdir()
    Path("elsewhere/graph_tasks_small.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    data = ["-d", "elsewhere/graph_tasks_small.jsonl", "--splits", "test=dev,dev=test", "--chat", "0"]
    rest = SMALL.replace("-d graph_tasks_small", "").split()
    assert search("-e", "exact_match", *data, *rest) == 0
    result = json.loads(Path("search/mine/result.json").read_text())
    capsys.readouterr()
    assert front_doors.guarded(lambda: evaluate_program(["search/mine", "--json"])) == 0
    assert json.loads(capsys.readouterr().out)["scores"] == result["scores"]["found"]["test"]
    assert front_doors.guarded(lambda: evaluate_program(["search/mine/best", "--json"])) == 0, "beside its run"
    assert json.loads(capsys.readouterr().out)["scores"] == result["scores"]["found"]["test"]
    Path("search/mine/best").rename("alone")
    assert front_doors.guarded(lambda: evaluate_program(["alone", "--json"])) == 2, "a system has no path"
    assert "was found on other data than graph_tasks_small in data/eval" in capsys.readouterr().err


def test_a_run_goes_on_with_the_same_file_and_with_another_one_only_if_it_is_named(workdir, capsys):
    Path("my_eval.py").write_text(GOOD)
    assert search("-e", "my_eval.py:digits", *SMALL.split(), "--max_generations", "90") == 0
    assert search("--resume", "search/mine", "--max_generations", "91") == 0
    Path("my_eval.py").write_text(GOOD + "# another line\n")
    capsys.readouterr()
    assert search("--resume", "search/mine") == 2
    assert "my_eval.py:digits has changed since it began: read it, then --resume" in capsys.readouterr().err
    assert search("--resume", "search/mine", "-e", "my_eval.py:digits") == 0
    assert "the eval's code differs from the run's beginning" in capsys.readouterr().err


def test_code_that_a_run_s_folder_names_is_never_run_unasked(workdir, capsys):
    Path("my_eval.py").write_text(GOOD)
    assert search("-e", "my_eval.py:digits", *SMALL.split(), "--max_generations", "90") == 0
    Path("search/mine/evil.py").write_text(GOOD + "open('ran', 'w')\n")
    settings, origin = Path("search/mine/args.json"), Path("search/mine/origin.json")
    evil = {"eval_type": "search/mine/evil.py:digits"}
    settings.write_text(json.dumps(json.loads(settings.read_text()) | evil))
    capsys.readouterr()
    assert search("--resume", "search/mine") == 2
    assert "has changed since it began: read it, then" in capsys.readouterr().err
    digest = hashlib.sha256(Path("search/mine/evil.py").read_bytes()).hexdigest()
    origin.write_text(json.dumps(json.loads(origin.read_text()) | {"eval_code": digest}))
    assert search("--resume", "search/mine") == 2
    assert "you have not run the eval file search/mine/evil.py:digits here before" in capsys.readouterr().err
    assert not Path("ran").exists()


def test_an_eval_that_fails_in_mid_search_stops_it_by_name_and_it_goes_on_when_mended(workdir, capsys):
    code = "from pathlib import Path\ncalls = 0\n" + GOOD.replace(
        "    return",
        "    global calls\n    calls += 1\n    assert calls < 40 or Path('mended').exists(), 'worn out'\n    return",
    )
    Path("my_eval.py").write_text(code)
    assert search("-e", "my_eval.py:digits", *SMALL.split()) == 2
    shown = capsys.readouterr()
    assert shown.err.count("\n") == 1
    assert "eval my_eval.py:digits raised AssertionError: worn out" in shown.err and "line 6" in shown.err
    assert "the run is safe up to step 'first experts'" in shown.out
    Path("mended").write_text("")
    assert search("--resume", "search/mine") == 0
    resumed = json.loads(Path("search/mine/result.json").read_text())
    assert search("-e", "my_eval.py:digits", *SMALL.replace("-n mine", "-n whole").split()) == 0
    assert json.loads(Path("search/whole/result.json").read_text())["scores"] == resumed["scores"]


@pytest.mark.parametrize(("value", "shown"), [("2.0", "2.0"), ("float('nan')", "nan")])
def test_a_score_out_of_range_stops_the_search(workdir, capsys, value, shown):
    Path("my_eval.py").write_text(GOOD.replace("float(any(c.isdigit() for c in reply))", value))
    assert search("-e", "my_eval.py:digits", *SMALL.split()) == 2
    error = capsys.readouterr().err
    assert (
        f"eval my_eval.py:digits gave example 0, with the reply '4', the score {shown}; wanted a number from 0 to 1"
        in error
    )


@pytest.mark.parametrize("name", ["x=y,z.py", "ev,il.py", "a=b.py"])
@pytest.mark.parametrize("pattern", ["{}:digits", "t={}:digits,u=exact_match", "t=exact_match,u={}:digits"])
def test_no_reading_of_a_stranger_s_eval_name_runs_a_file(workdir, name, pattern):
    """Whatever commas and signs its path has, the file is one that the user has to have named."""
    Path(name).write_text(GOOD)
    config = SearchConfig(dataset="a,b", eval_type=pattern.format(Path(name).resolve()))
    with pytest.raises(UserError, match="has changed since it began|you have not run the eval file"):
        check_what_it_names("again", config, {}, recorded=None)
    digest = hashlib.sha256(GOOD.encode()).hexdigest()
    with pytest.raises(UserError, match="has changed since it began|you have not run the eval file"):
        check_what_it_names("again", config, {}, recorded=digest)
