"""What a user of routers may get wrong: one line with the cure, exit code 2, through the programs themselves."""

import json
import shutil
import sys

import pytest
from repository import ROOT

from swarm.programs import front_doors
from swarm.programs.route.route import route_program
from swarm.programs.search import search_program

TASK = ("-e", "exact_match", "-d", "graph_tasks_small")
VALIDATION, TEST = "data/routing/validation.jsonl", "data/routing/test.jsonl"
PAIR = ("--members", "expert_0_edges", "expert_1_degree")


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """A working folder with the repository's data."""
    shutil.copytree(ROOT / "data", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def run(*words, program=route_program):
    return front_doors.guarded(lambda: program([str(word) for word in words]))


def refuse(capsys, *words, says, program=route_program):
    """The program ends with code 2 and one line."""
    capsys.readouterr()
    assert run(*words, program=program) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    assert all(part in error for part in says), error


def rows_with(workdir, change, source=VALIDATION):
    """A copy of stored answers after a change of the rows, as a file."""
    rows = [json.loads(line) for line in (workdir / source).read_text().splitlines()]
    change(rows)
    path = workdir / "changed.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda rows: rows[3]["candidates"].pop(1),
            ["changed.jsonl: line 4 has no answer of atlas; wanted one of each of abacus, atlas, scribe, chatter"],
        ),
        (
            lambda rows: rows[5]["candidates"].append(rows[5]["candidates"][0] | {"model": "new"}),
            ["line 6 has an answer of new, which the first row has not", "complete or drop the row"],
        ),
        (lambda rows: rows[2].pop("candidates"), ["changed.jsonl: line 3", "candidates"]),
        (lambda rows: [row["candidates"].pop() for row in rows], ["has the models abacus, atlas, scribe, chatter"]),
        (lambda rows: rows[1].update(instruction="", input="  "), ["line 2 has an empty prompt", "drop the row"]),
    ],
)
def test_an_answers_file_that_lacks_members_or_differs_in_length(workdir, capsys, change, says):
    refuse(capsys, "replay", rows_with(workdir, change), TEST, says=says)


def test_a_metric_whose_model_cannot_be_had(workdir, capsys, monkeypatch):
    """Nobody is asked before that is known."""
    monkeypatch.setattr("swarm.programs.route.fit_router.asked_by", lambda *_: pytest.fail("the experts are loaded"))
    fit = ("fit", *TASK, "--out", "new", "--metric")
    refuse(capsys, *fit, "bertscore", says=["metric bertscore", "bert-base-multilingual-cased' is neither a local"])
    refuse(capsys, *fit, "bartscore", says=["metric bartscore", "facebook/bart-large-cnn' is neither a local"])
    refuse(
        capsys,
        *fit,
        "bertscore:model=no/model",
        says=["metric bertscore: ", "'no/model'", "name it for metric bertscore"],
    )
    refuse(capsys, *fit, "bertscore:folder=x", says=["metric bertscore has no option 'folder', only model, layer"])
    for module in ("sacrebleu", "sacrebleu.metrics"):  # which another test may have loaded
        monkeypatch.setitem(sys.modules, module, None)
    refuse(capsys, *fit, "bleu", says=["metric bleu needs sacrebleu", 'pip install -e ".[routing]"'])
    assert not (workdir / "new").exists()


def test_labels_with_a_single_class(workdir, capsys):
    def one_wins(rows):
        for row in rows:
            for candidate in row["candidates"]:
                candidate["scores"] = {"bleu": 90.0 if candidate["model"] == "atlas" else 10.0}

    changed = rows_with(workdir, one_wins)
    refuse(capsys, "replay", changed, TEST, says=["the labels have a single class: atlas is best", "ask it alone"])
    record = json.loads((workdir / "data/eval/graph_tasks_small.json").read_text())
    record["dev"] = [row for row in record["dev"] if row["domain"] == record["dev"][0]["domain"]]
    (workdir / "data/eval/one.json").write_text(json.dumps(record))
    refuse(capsys, "fit", "-e", "exact_match", "-d", "one", "--out", "new", says=["the labels have a single class"])
    assert not (workdir / "new").exists()


@pytest.fixture
def fitted(workdir, capsys):
    """A router over two experts that reads no more than eight tokens."""
    assert run("fit", *TASK, "--dev_limit", 40, "--out", "routers/two", *PAIR, "--features", "hidden:window=8") == 0
    assert "38 of 40 prompts are longer than the 8 tokens" in capsys.readouterr().err
    return workdir / "routers" / "two"


def test_a_classifier_of_other_members_empty_and_long_prompts(workdir, fitted, capsys):
    assert run("ask", fitted, "C-D:4 D-E:3 A-B:1 B-C:2 ; degree of D", "--only") == 0
    said = capsys.readouterr().err
    assert "1 of 1 prompts are longer than the 8 tokens" in said and "their beginning is not seen" in said
    refuse(capsys, "ask", fitted, " \n ", says=["the prompt is empty; wanted a question"])
    first, second, *_ = sorted((workdir / "data/embedded/experts").iterdir())
    shutil.copy(first / "adapter_model.safetensors", second)
    other = ["fitted for other weights of expert_1_degree"]
    refuse(capsys, "eval", fitted, *TASK, says=[*other, "fit it again on their answers"])
    refuse(capsys, "ask", fitted, "degree of D", says=other)
    search = (*TASK, "--composites", fitted.parent, "--max_iteration", 0, "--dev_limit", 4, "--test_limit", 4)
    refuse(capsys, *search, program=search_program, says=["two/node.json", *other, '"any_weights": true'])
    assert not (workdir / "search").exists()
    refuse(capsys, "eval", fitted, *TASK, "-i", "nowhere", says=["nowhere is not there"])


def test_nothing_is_fitted_on_test(workdir, capsys):
    refuse(capsys, "replay", TEST, VALIDATION, says=["test.jsonl is a test set by its name", "validation set first"])
    copied = shutil.copy(workdir / TEST, workdir / "validation.jsonl")
    refuse(capsys, "replay", copied, TEST, says=["are in", "these are no two splits"])
    with pytest.raises(SystemExit) as ended:
        run("fit", *TASK, "--out", "new", "--split", "test")
    assert ended.value.code == 2 and "unrecognized arguments: --split" in capsys.readouterr().err


ALL = "abacus=1,atlas=1,scribe=1,chatter="


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["--classifier", "knn:neighbours=1.5"],
            "classifier knn: neighbours is 1.5, wanted a whole number, or several",
        ),
        (["--classifier", "logistic:strengths=[NaN]"], "strengths is [nan], wanted a number, or several as [...]"),
        (["--classifier", "mlp:width=true"], "classifier mlp: width is True, wanted a whole number"),
        (["--classifier", "encoder:device=nowhere"], "device is 'nowhere', which there is not here"),
        (["--features", "tfidf:most=1.5"], "features tfidf: most is 1.5, wanted a whole number"),
        (["--features", "hidden:window=x"], "features hidden: window is 'x', wanted a whole number or null"),
        (["--metric", "rouge1:stemmer=3"], "metric rouge1: stemmer is 3, wanted true or false"),
        (["--metric", "cosine:corpus=words"], "metric cosine: corpus is 'words', wanted a text, or several as [...]"),
        (["--metric", "bertscore:batch=0"], "metric bertscore: batch is 0, wanted a whole number from 1 on"),
        (["--metric", "bertscore:device=nowhere"], "metric bertscore: device is 'nowhere', which there is not here"),
        (["--tolerance", "nan"], "--tolerance is nan; wanted a number of at least 0"),
        (["--label_temperature", "inf"], "--label_temperature is inf; wanted a number of at least 0"),
        (["--cost_weight", "nan", "--costs", f"{ALL}1"], "--cost_weight is nan; wanted a number of at least 0"),
        (["--costs", f"{ALL}nan"], "wanted a number for each of abacus, atlas, scribe, chatter"),
        (["--costs", f"{ALL}1,abacus=2"], "wanted a number for each of abacus, atlas, scribe, chatter"),
    ],
)
def test_values_that_an_option_cannot_have(capsys, monkeypatch, words, says):
    monkeypatch.chdir(ROOT)
    refuse(capsys, "replay", VALIDATION, TEST, *words, says=[says])


@pytest.mark.parametrize("left", ["{}", '{"eval_type": "exact_match", "dataset": 3, "params": {}}'])
def test_a_note_beside_the_router_that_says_too_little(workdir, fitted, capsys, left):
    (fitted / "fit.json").write_text(left)
    for words in (["ask", fitted, "degree of C"], ["eval", fitted, *TASK, "--test_limit", 5]):
        refuse(capsys, *words, says=["fit.json is damaged", "fit the router again"])


def test_a_place_that_is_taken_is_said_before_anything_is_read(workdir, capsys):
    refuse(capsys, "replay", "nothing.jsonl", TEST, "--out", "data", says=["data is there and holds no router.json"])


def test_labels_stored_and_scores_computed_are_not_mixed_in_silence(workdir, capsys):
    def without(rows):
        for row in rows:
            for candidate in row["candidates"]:
                del candidate["scores"]["rouge1"]

    lacking = rows_with(workdir, without, TEST)
    words = ("replay", VALIDATION, lacking, "--json", "--metric")
    assert run(*words, "rouge1") == 0
    assert "made by rouge1 (stored), these scores by rouge1 (computed)" in capsys.readouterr().err
    assert run(*words, "rouge1:preset=mixinstruct-paper") == 0
    assert "made by" not in capsys.readouterr().err
    refuse(capsys, *words, "rouge1:preset=other", says=["no preset 'other' of metrics; give one of mixinstruct-paper"])
    refuse(capsys, *words, "rouge1:preset=mixinstruct-paper,stemmer=1", says=["stemmer is 1, wanted true or false"])


def test_a_folder_that_cannot_be_written(workdir, capsys):
    (workdir / "file").write_text("")
    for words in (["fit", *TASK, *PAIR, "--dev_limit", 30], ["rank", *TASK, *PAIR, "--dev_limit", 5]):
        refuse(capsys, *words, "--out", "file/mine", says=["file/mine cannot be written (Not a directory); make room"])
