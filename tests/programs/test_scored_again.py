"""evaluate.py gives the numbers of the run's own result again, whatever options the run had."""

import json
import os
import shutil
from pathlib import Path

import pytest
from tiny import change_json, make_pool

from swarm.programs import evaluate, front_doors
from swarm.programs.evaluate import evaluate_program
from swarm.programs.search import search_program

WORDS = ("red", "green", "blue", "yes", "no", "one", "two", "three")
SMALL = "--graph_num 2 --trial_num 2 -m 1 --max_new_tokens 4 -n mine".split()
# a score that is another one wherever a letter is
EVAL = "def letters(reply, example):\n    return sum((i + 1) * ord(c) for i, c in enumerate(reply)) % 997 / 997\n"


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """A working folder with tiny experts, an eval and two ways to lay out the same questions."""
    monkeypatch.chdir(tmp_path)
    make_pool(tmp_path)
    Path("own.py").write_text(EVAL)
    rows = [{"question": f"what is {one} {two}", "answer": one} for one in WORDS for two in ("is", "what")]
    Path("words.json").write_text(json.dumps({"dev": rows[:6], "test": rows[6:]}))
    Path("rows.json").write_text(json.dumps([{"asked": row["question"], "right": row["answer"]} for row in rows]))
    return tmp_path


def search(*words):
    return front_doors.guarded(lambda: search_program(["-e", "own.py:letters", "-i", "experts", *words, *SMALL]))


def scored(capsys, folder, *words):
    """The scores that evaluate.py prints, worked out anew."""
    capsys.readouterr()
    options = [str(folder), "-e", "own.py:letters", "--no_cache", "--json", *words]
    assert front_doors.guarded(lambda: evaluate_program(options)) == 0, capsys.readouterr().err
    shown = capsys.readouterr()
    assert shown.err == ""
    return json.loads(shown.out)["scores"]


@pytest.mark.parametrize(
    "options",
    [
        "-d words.json",
        "-d words.json --dev_limit 3 --test_limit 4",
        "-d words.json --dtype bfloat16 --test_limit 9",
        "-d words.json --fold 0 -g cpu",
        "-d words.json --dtype float16 --fold 1 --chat 0",
        "-d words.json --compat paper-code --scorer strict --test_limit 5",
        "-d rows.json --columns question=asked,answer=right --dev_size 5 --dev_limit 4",
        "-d words --data_directory . --splits dev=test,test=dev --test_limit 2",
    ],
)
def test_whatever_options_the_run_had(workdir, capsys, monkeypatch, options):
    words = options.split()
    assert search(*words) == 0
    result = json.loads(Path("search/mine/result.json").read_text())
    asked = []
    make = evaluate.make_executor
    monkeypatch.setattr(
        evaluate, "make_executor", lambda members, config: asked.append(config) or make(members, config)
    )
    for split in ("dev", "test"):
        assert scored(capsys, "search/mine", "--split", split) == result["scores"]["found"][split]
    monkeypatch.chdir("/")
    assert (
        scored(capsys, workdir / "search/mine", "-e", f"{workdir}/own.py:letters") == result["scores"]["found"]["test"]
    )
    monkeypatch.chdir(workdir)
    directory = ["--data_directory", "."] if "--data_directory" in words else ["-d", words[1]]
    assert scored(capsys, "search/mine/best", *directory) == result["scores"]["found"]["test"]
    settings = dict(zip(words[::2], words[1::2], strict=True))
    for config in asked:
        assert config.dtype == settings.get("--dtype")
        assert config.fold == (bool(int(settings["--fold"])) if "--fold" in settings else None)
    assert [config.gpus for config in asked[:3]] == [settings.get("-g")] * 3


def test_what_the_user_says_goes_first(workdir, capsys, monkeypatch):
    assert search("-d", "words.json", "--test_limit", "4", "--dtype", "float16") == 0
    result = json.loads(Path("search/mine/result.json").read_text())["scores"]["found"]["test"]["strict"]

    def size(*words):
        return scored(capsys, "search/mine", *words)["strict"]["size"]

    assert (size(), size("--limit", "2"), size("--limit", "all")) == (4, 2, 10)
    shutil.copy("words.json", "others.json")
    change_json(Path("others.json"), lambda content: content["test"].pop())
    assert size("-d", "others.json") == 9, "the limit was that of the run's own questions"
    # what was saved by earlier versions has no limits with the system; the run's own settings have them
    change_json(Path("search/mine/best/system.json"), lambda record: record["about"].update(settings={}))
    assert scored(capsys, "search/mine")["strict"] == result
    capsys.readouterr()
    assert front_doors.guarded(lambda: evaluate_program(["search/mine", "-e", "own.py:letters"])) == 0
    assert "on the first 4 examples, as it was found; --limit all for all there are" in capsys.readouterr().out
    changed = ["search/mine", "-e", "own.py:letters", "--dtype", "float32"]
    assert front_doors.guarded(lambda: evaluate_program(changed)) == 0
    warned = capsys.readouterr().err
    assert warned.startswith("warning: this engine is not the run's, so that texts may differ: ")
    assert warned.endswith("dtype float32 (was float16)\n") and warned.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--limit", "0"], "--limit is 0; wanted at least 1, or all"),
        (["--limit", "some"], "'some' is neither a number"),
    ],
)
def test_limits_that_are_none(workdir, capsys, words, said):
    try:
        assert front_doors.guarded(lambda: evaluate_program(["search/mine", *words])) == 2
    except SystemExit as end:  # the parser's
        assert end.code == 2
    assert said in capsys.readouterr().err


def test_a_local_judge_is_named_from_anywhere(workdir, monkeypatch):
    """It is kept with the system by its absolute path."""
    assert search("-d", "words.json", "--judge_model", "base") == 0
    settings = json.loads(Path("search/mine/best/system.json").read_text())["about"]["settings"]
    assert settings["judge_model"] == os.path.join(os.getcwd(), "base")
