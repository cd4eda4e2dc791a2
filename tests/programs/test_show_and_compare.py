"""What a stranger asks of runs: what was read and said, where it is worse, what moved, whether two runs differ."""

import fcntl
import json
import os
import re
import shutil
from pathlib import Path

import pytest
from repository import ROOT

from swarm.programs.command import command_program
from swarm.programs.front_doors import guarded
from swarm.programs.search import search_program

TASK = ["-e", "exact_match", "-d", "graph_tasks_small", "--data_directory", str(ROOT / "data/eval")]
SMALL = "--graph_num 3 --trial_num 6 --dev_limit 12 --test_limit 30 -m 2 --step_length 0.5".split()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Three runs of the toy experts: two seeds, and one with fewer questions that keeps no answers on request."""
    folder = tmp_path_factory.mktemp("runs")
    before = Path.cwd()
    os.chdir(folder)
    try:
        experts = ["-i", str(ROOT / "data/embedded/experts")]
        for name, more in (
            ("one", []),
            ("two", ["--seed", "1"]),
            ("few", ["--test_limit", "20"]),
            ("mute", ["--no-answers"]),
        ):
            assert search_program([*TASK, *experts, *SMALL, *more, "-n", name]) == 0
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def runs(made, tmp_path, monkeypatch):
    """A copy of these, as the current folder's."""
    shutil.copytree(made / "search", tmp_path / "search")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "search"


@pytest.fixture
def told(capsys):
    def tell(*words, code=0):
        capsys.readouterr()
        try:
            ended = guarded(lambda: command_program([str(word) for word in words]))
        except SystemExit as left:
            ended = left.code
        shown = capsys.readouterr()
        assert ended == code, shown.err
        if code:
            assert shown.err.count("\n") == 1, shown.err
        return shown.err if code else shown.out

    return tell


def answers(run):
    return [json.loads(line) for line in (run / "best" / "answers.jsonl").read_text().splitlines()]


def test_answers_are_kept_for_every_question_and_add_up_to_the_scores(runs):
    kept, result = answers(runs / "one"), json.loads((runs / "one" / "result.json").read_text())
    for split, size in (("dev", 12), ("test", 30)):
        own = [one for one in kept if one["split"] == split]
        assert [one["index"] for one in own] == list(range(size))
        for who, scores in result["scores"].items():
            for scorer, estimate in scores[split].items():
                assert sum(one["scores"][who][scorer] for one in own) / size == pytest.approx(estimate["mean"])
        for row in result["replies"][split]:
            said = [next(node for node in one["asked"][0]["nodes"] if node["node"] == row["node"]) for one in own]
            assert {node["member"] for node in said} == {row["member"]} and row["answers"] == size
            assert row["cut"] == sum(node["cut"] for node in said)
            assert row["unreadable"] == sum(not node["readable"] and bool(node["answer"]) for node in said)
    assert not (runs / "mute" / "best" / "answers.jsonl").exists()
    assert "answers.jsonl" not in {path.name for path in runs.glob("*/*")}, "with the system, and nowhere else"


def test_the_gain_is_that_of_the_experts_answers(runs):
    state, result = (json.loads((runs / "one" / name).read_text()) for name in ("state.json", "result.json"))
    dev = [one["scores"]["found"]["strict"] for one in answers(runs / "one") if one["split"] == "dev"]
    counts = [sum(row[index] == "1" for row in state["solved"]) for index in range(12)]
    for row in result["gain"]:
        own = [score for score, count in zip(dev, counts, strict=True) if count == row["members"]]
        assert (row["questions"], row["solved"]) == (len(own), sum(own))
    alone = [sum(map(int, row)) / 12 for row in state["solved"]]
    assert alone == pytest.approx(state["singles"])


def test_the_summary_says_what_moved_what_changed_and_where_it_is_worse(runs, told):
    shown = told("show", "search/one")
    result = json.loads((runs / "one" / "result.json").read_text())
    for line in (*result["graph"], *(result["changes"] or [])):
        assert line in shown
    for part in ("its answers on test:", "solved by the system and by no expert alone:", "by domain, on test:"):
        assert part in shown
    moved = [row for row in result["moved"] if row["distance"] > 0]
    assert [row["distance"] for row in result["moved"]] == sorted(
        (row["distance"] for row in result["moved"]), reverse=True
    )
    for row in moved:
        line = next(line for line in shown.splitlines() if line.strip().startswith(f"{row['expert']} moved by"))
        largest = max(row["mixture"], key=lambda name: abs(row["mixture"][name]))
        value = f"{row['mixture'][largest]:+.2f}"
        assert (f"{value} itself" if largest == row["expert"] else f"{value} {largest}") in line
    assert bool(moved) or "no expert has moved" in shown


def test_what_the_last_node_read_for_a_question(runs, told):
    shown = told("show", "search/one", "--question", "17")
    [record] = [one for one in answers(runs / "one") if one["split"] == "test" and one["index"] == 17]
    last = record["asked"][0]["nodes"][-1]
    block = shown[shown.index(f"  role {last['node']}: {last['member']}") :]
    for number, source in enumerate(last["from"], start=1):
        told_by = next(node for node in record["asked"][0]["nodes"] if node["node"] == source)
        assert f"| Previous response {number}: {told_by['answer']}" in block
    assert f"| Question: {record['question']}" in block and f"-> {last['answer']!r}" in block
    assert f"gold: {record['gold']}" in shown and f"found system: {last['answer']!r}" in shown
    assert told("show", "search/one", "--question", record["id"]) == shown, "by its id as well"
    assert "dev question 3 " in told("show", "search/one", "--question", "3", "--split", "dev")
    assert "test has the questions 0 to 29" in told("show", "search/one", "--question", "30", code=2)


def test_lists_of_questions_and_scores_by_a_column(runs, told):
    kept = [one for one in answers(runs / "one") if one["split"] == "test"]
    lost = [one for one in kept if one["scores"]["found"]["strict"] < one["scores"]["best_single"]["strict"]]
    wrong = [one for one in kept if one["scores"]["found"]["strict"] < 1]
    assert told("show", "search/one", "--only", "lost").startswith(f"{len(lost)} of 30 questions of test")
    shown = told("show", "search/one", "--only", "wrong", "--limit", "2").splitlines()
    assert shown[0].startswith(f"{len(wrong)} of 30") and len(shown) == 2 + min(len(wrong), 2)
    table = told("show", "search/one", "--by", "domain").splitlines()
    assert {line.split()[0] for line in table[1:]} == {one["domain"] for one in kept}
    assert "no question has such a column; there are id, domain, gold" in told(
        "show", "search/one", "--by", "x", code=2
    )


def test_two_seeds_are_compared_question_by_question(runs, told):
    shown = told("compare", "search/one", "search/two")
    ours, theirs = ([one["scores"]["found"]["strict"] for one in answers(runs / name) if one["split"] == "test"]
                    for name in ("one", "two"))  # fmt: skip
    apart = sum(b - a for a, b in zip(ours, theirs, strict=True)) / 30
    assert f"{apart:+.3f} [" in shown and "on 30 questions of test, paired" in shown
    assert re.search(r"^  seed +0 +1$", shown, re.M) and "name" not in shown
    assert "2 runs that differ in their seed only (one, two):" in shown
    record = json.loads(told("compare", "search/one", "search/two", "--json"))
    assert record["differences_from_the_first"][0]["mean"] == pytest.approx(apart)
    assert record["settings"] == {"seed": [0, 1]}


def test_other_questions_are_refused_or_those_in_common_taken(runs, told):
    refused = told("compare", "search/one", "search/few", code=2)
    assert "other questions of test (30 and 20, 20 in common to all): compare on these with --common" in refused
    shown = told("compare", "search/one", "search/few", "--common")
    assert "on 20 questions of test" in shown and re.search(r"^  test_limit +30 +20$", shown, re.M)
    lines = (runs / "few" / "best" / "answers.jsonl").read_text().replace('"question": "', '"question": "other ')
    (runs / "few" / "best" / "answers.jsonl").write_text(lines)
    assert "there is nothing to compare" in told("compare", "search/one", "search/few", "--common", code=2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["compare", "search/one"], "wanted two runs or more"),
        (["compare", "search/one", "search/one"], "wanted two runs or more, each once"),
        (["compare", "search/one", "search/none"], "search/none is no run"),
        (["compare", "search/one", "search/mute"], "search/mute has kept no answers"),
        (["show", "search"], "search is no run"),
        (["show", "search/mute", "--question", "1"], "search/mute has kept no answers"),
    ],
)
def test_what_cannot_be_shown_is_named(runs, told, words, message):
    assert message in told(*words, code=2)


def test_a_copy_is_no_second_seed_and_another_judge_no_comparison(runs, told):
    shutil.copytree(runs / "one", runs / "copy")
    assert "seed only" not in told("compare", "search/one", "search/copy")
    shown = told("compare", "search/one", "search/copy", "search/two")
    assert "2 runs that differ in their seed only (one, two)" in shown
    origin = json.loads((runs / "two" / "origin.json").read_text())
    (runs / "two" / "origin.json").write_text(json.dumps(origin | {"eval_code": "other"}))
    assert "code of the eval" in told("compare", "search/one", "search/two", code=2)


DAMAGES = {
    "result.json": [
        lambda text: "[" * 100_000,
        lambda text: text.replace('"mean": 0', '"mean": "x'[:9] + '" , "was": 0', 1),
        lambda text: json.dumps(json.loads(text) | {"graph": 7, "usage": [1], "replies": [], "moved": {}}),
        lambda text: json.dumps(json.loads(text) | {"range": [1, 0], "scores": {"found": []}}),
        lambda text: json.dumps(json.loads(text) | {"range": [0, 1e999]}),
    ],
    "best/answers.jsonl": [
        lambda text: text.replace('"strict": 1.0', '"strict": 1e999'),
        lambda text: text.replace('"best_single": {', '"nobody": {'),
        lambda text: text.replace('"index": 3', '"index": 1e999'),
        lambda text: text.replace('"strict": 1.0', '"strict": 7.0'),
    ],
}  # fmt: skip


@pytest.mark.parametrize(("name", "damage"), [(name, damage) for name, own in DAMAGES.items() for damage in own])
def test_whatever_a_stranger_s_run_holds_is_one_line(runs, capsys, name, damage):
    path = runs / "two" / name
    path.write_text(damage(path.read_text()))
    show, both = ["show", "search/two"], ["search/one", "search/two"]
    for words in (show, [*show, "--only", "lost"], [*show, "--by", "domain"], ["compare", *both], ["runs"]):
        capsys.readouterr()
        code = guarded(lambda: command_program(words))  # noqa: B023
        shown = capsys.readouterr()
        assert code in (0, 2) and "Traceback" not in shown.err
        assert code == 0 or (
            shown.err.count("\n") == 1 and str(path.relative_to(runs.parent)).split("/")[1] in shown.err
        )
        assert words != ["runs"] or (code == 0 and "\none " in shown.out)


def test_a_number_is_a_place_before_it_is_an_id(runs, told):
    path = runs / "one" / "best" / "answers.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        line["id"] = str(line["index"] + 1)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert "test question 5 (id 6" in told("show", "search/one", "--question", "5")
    assert "test question 29 (id 30" in told("show", "search/one", "--question", "30"), (
        "an id where there is no such place"
    )


def test_runs_by_different_evals_are_not_compared(runs, told):
    path = runs / "two" / "args.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eval_type": "multiple_choice"}))
    assert "has the eval exact_match and search/two multiple_choice" in told(
        "compare", "search/one", "search/two", code=2
    )


def test_a_run_of_an_earlier_version_is_shown_as_far_as_it_goes(runs, told):
    run = runs / "one"
    for name, drop in (("result.json", "replies gain moved changes first_score range"), ("state.json", "solved first")):
        record = json.loads((run / name).read_text())
        (run / name).write_text(json.dumps({key: value for key, value in record.items() if key not in drop.split()}))
    (run / "best" / "answers.jsonl").unlink()
    shown = told("show", "search/one")
    assert "was not kept: an earlier version has run this" in shown and "no answers were kept" in shown
    assert "strict score" in shown and "0.000" not in shown.split("what each")[1]
    assert told("search", "--resume", "search/one").count("is complete") == 1


def test_a_run_that_is_half_finished_says_how_it_goes_on(runs, told):
    (runs / "one" / "result.json").unlink()
    assert "has no result yet" in told("show", "search/one", code=2)
    assert "--resume search/one goes on" in told("compare", "search/one", "search/two", code=2)


def test_what_a_stranger_has_written_commands_no_terminal(runs, told):
    path = runs / "one" / "best" / "answers.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        line["question"] = line["asked"][0]["text"] = "\x1b[2J\x9b31m red\r" + line["question"]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for words in (["--question", "1"], ["--only", "wrong"], []):
        shown = told("show", "search/one", *words)
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", shown)
        assert not words or "\\x1b[2J" in shown


def test_runs_are_listed_with_interval_and_calls(runs, told):
    shown = told("runs")
    result = json.loads((runs / "one" / "result.json").read_text())
    line = next(line for line in shown.splitlines() if line.startswith("one "))
    assert f"{result['usage']['generations']:,}" in line and re.search(r"0\.\d{3} \[0\.\d{3}, 0\.\d{3}\] n=30", line)
    (runs / "two" / "result.json").write_text("{")
    assert "cannot be read" in next(line for line in told("runs").splitlines() if line.startswith("two "))


def test_runs_are_removed_by_their_names_only(runs, told, tmp_path, monkeypatch):
    (runs / "linked").symlink_to(runs / "one")
    (runs / "mine").mkdir()
    (runs / "mine" / "precious").write_text("x")
    for name, message in (
        ("linked", "search/linked is a link"),
        ("mine", "search/mine is no run"),
        ("../search/one", "is no run's name"),
        (".", "is no run's name"),
        (str(runs / "one"), "is no run's name"),
        ("none", "search/none is no run"),
    ):
        assert message in told("runs", "rm", "two", name, "--yes", code=2)
    assert "nobody can be asked here: add --yes" in told("runs", "rm", "one", code=2)
    with open(runs / "one" / "lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "search/one is in use by another process" in told("runs", "rm", "one", "--yes", code=2)
    assert (runs / "one").is_dir() and (runs / "two").is_dir() and (runs / "mine" / "precious").is_file()
    (runs / "one" / "wandb").mkdir()
    (runs / "one" / "wandb" / "out").symlink_to(runs / "mine")
    shown = told("runs", "rm", "one", "two", "--yes")
    assert (
        re.search(r"^search/one  graph_tasks_small, exact_match, \d+\.\d MB: 0\.", shown, re.M) and "removed 2" in shown
    )
    assert sorted(path.name for path in runs.iterdir()) == ["few", "linked", "mine", "mute"], "nothing hidden is left"
    assert (runs / "mine" / "precious").is_file(), "what a run's links lead to is nobody's business"


def test_a_linked_folder_of_runs_is_left_alone(runs, told, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "search").symlink_to(runs)
    assert "search is a link" in told("runs", "rm", "one", "--yes", code=2)


def test_the_first_evaluation_says_that_answers_are_cut(made, tmp_path, monkeypatch, capsys):
    """As in a newcomer's first try, where every score was 0 and nothing said why."""
    monkeypatch.chdir(tmp_path)
    words = [*TASK, "-i", str(ROOT / "data/embedded/experts"), *SMALL, "--max_new_tokens", "1", "-m", "0"]
    assert guarded(lambda: search_program(words)) == 0
    shown = capsys.readouterr()
    [warning] = [line for line in shown.err.splitlines() if "were cut at 1 tokens" in line]
    assert "--max_new_tokens" in warning
    assert re.search(r"^\d+ of \d+ answers were cut at 1 tokens", shown.out, re.M), "and again in the result"
