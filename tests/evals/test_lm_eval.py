"""Tasks of lm_eval as data and eval: their own prompts and scores, from a task in a file and data on this disk."""

import json
import shutil
from pathlib import Path

import pytest
from repository import ROOT

from swarm.data.load import load_dataset
from swarm.data.source import Source
from swarm.errors import UserError
from swarm.evals import get_eval
from swarm.evolution.config import SearchConfig
from swarm.evolution.resume import check_task_files, remember_what_is_named
from swarm.programs import front_doors
from swarm.programs.command import command_program

pytest.importorskip("lm_eval", reason="the extra harness is not installed")

SUMS = """
task: own_sums
dataset_path: json
dataset_kwargs:
  data_files: {{train: {folder}/rows.jsonl, validation: {folder}/rows.jsonl, test: {folder}/rows.jsonl}}
output_type: generate_until
training_split: train
validation_split: validation
test_split: test
fewshot_split: train
num_fewshot: 1
doc_to_text: "{{{{q}}}} ="
doc_to_target: "{{{{a}}}}"
generation_kwargs: {{until: ["\\n"], max_gen_toks: 8}}
filter_list:
  - {{name: first, filter: [{{function: regex, regex_pattern: "(\\\\d+)"}}, {{function: take_first}}]}}
  - {{name: whole, filter: [{{function: take_first}}]}}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
"""
ROWS = [{"q": f"{k} + 1", "a": str(k + 1), "c": [str(k), str(k + 1)]} for k in range(6)]


@pytest.fixture
def task(tmp_path, monkeypatch):
    """A task in a file, its data beside it; the libraries' caches are this test's."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hub"))
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return write(tmp_path, "sums.yaml", SUMS.format(folder=tmp_path))


def write(folder, name, text):
    path = folder / name
    path.write_text(text)
    return f"lm_eval:{path}"


def test_its_prompts_and_scores_are_the_library_s(task):
    dataset = load_dataset(task)
    assert (dataset.name, len(dataset.dev), len(dataset.test)) == ("lm_eval.own_sums", 6, 6)
    assert dataset == load_dataset(task) and dataset.digest
    first = dataset.dev[0]
    example, _, asked = first.question.rpartition("\n\n")
    assert asked == "0 + 1 =" and example.count("=") == 1 and first.answer == "1"
    evaluation = get_eval(task)
    evaluation.check(dataset)
    params = evaluation.params(dataset)
    assert (params.max_new_tokens, params.chat) == (8, False)
    assert evaluation.scorers == ("strict", "exact_match,whole") and (evaluation.lowest, evaluation.highest) == (0, 1)
    judging = evaluation.judge(dataset, dataset.dev[:4])
    queries = next(judging)
    assert [query.text for query in queries] == [example.question for example in dataset.dev[:4]]
    with pytest.raises(StopIteration) as ended:
        judging.send(["1", " It is 2.\n0 + 1 = 3", "none", "4\n5"])
    scores = ended.value.value
    assert scores["strict"].tolist() == [1, 1, 0, 1] and scores["exact_match,whole"].tolist() == [1, 0, 0, 1]


def test_of_a_task_that_compares_choices_a_letter_is_asked(task, tmp_path):
    text = SUMS.format(folder=tmp_path).replace("generate_until", "multiple_choice").replace('"{{a}}"', "1")
    name = write(tmp_path, "choose.yaml", text + 'doc_to_choice: "{{c}}"\n')
    dataset = load_dataset(name)
    assert (dict(dataset.dev[2].choices), dataset.dev[2].answer) == ({"A": "2", "B": "3"}, "B")
    get_eval("multiple_choice").check(dataset)
    with pytest.raises(UserError, match="-e multiple_choice -d lm_eval:.* asks it for a letter"):
        get_eval(name)


def test_one_split_is_drawn_from(task, tmp_path):
    dropped = ("training_split", "validation_split", "fewshot_split", "num_fewshot")
    text = "\n".join(line for line in SUMS.format(folder=tmp_path).split("\n") if not line.startswith(dropped))
    name = write(tmp_path, "one.yaml", text)
    with pytest.raises(UserError, match="one split of 6 records; draw dev from it with --dev_size"):
        load_dataset(name)
    dataset = load_dataset(Source(name, dev_size=2))
    assert len(dataset.dev) == 2 and len(dataset.test) == 4


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("generate_until", "loglikelihood_rolling"), "compares how likely texts are"),
        (("doc_to_text: ", "process_docs: !function utils.f\ndoc_to_text: "), "runs code of its own"),
        (("rows.jsonl", "none.jsonl"), "cannot be loaded"),
        (("aggregation: mean", "aggregation: perplexity"), "none of its metrics .* is a mean over questions"),
    ],
)
def test_tasks_that_will_not_do(task, tmp_path, change, said):
    name = write(tmp_path, "other.yaml", SUMS.format(folder=tmp_path).replace(*change))
    with pytest.raises(UserError, match=said) as told:
        load_dataset(name)
        get_eval(name)
    assert "\n" not in str(told.value)


def test_other_data_is_refused(task):
    with pytest.raises(UserError, match="scores its own task's questions, and graph_tasks_small has others"):
        get_eval(task).check(load_dataset("graph_tasks_small", ROOT / "data/eval"))


def test_a_search_and_a_folder_s_word_for_a_task(task, tmp_path, monkeypatch, capsys):
    """A file with templates is used only where the user has named it on this machine with this content."""
    shutil.copytree(ROOT / "data", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def run(*words):
        return front_doors.guarded(lambda: command_program(list(words)))

    small = "--graph_num 2 --trial_num 2 -m 0 --dev_limit 3 --test_limit 2 -n one".split()
    assert run("search", "-e", "lm_eval:sums.yaml", "-d", "lm_eval:sums.yaml", *small) == 0
    assert run("evaluate", "search/one", "--limit", "2") == 0
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another_machine"))
    capsys.readouterr()
    assert run("evaluate", "search/one", "--limit", "2") == 2
    error = capsys.readouterr().err
    assert "has templates, which can run code" in error and f"-d lm_eval:{Path('sums.yaml').resolve()}" in error
    name = f"lm_eval:{Path('sums.yaml').resolve()}"
    assert run("evaluate", "search/one", "-d", name, "-e", name, "--limit", "2") == 0


def test_another_task_s_questions_are_refused(task, tmp_path):
    other = write(tmp_path, "others.yaml", SUMS.format(folder=tmp_path).replace("own_sums", "others"))
    with pytest.raises(UserError, match="scores its own task's questions, and lm_eval.others has others"):
        get_eval(task).check(load_dataset(other))


@pytest.mark.parametrize(
    ("dataset", "evaluation", "given"),
    [
        (" {task}", "exact_match", {}),
        ("mine.json, {task}", "exact_match", {}),
        ("mine.json", "{task}", {"dataset": "mine.json"}),
        ("{task}", "exact_match", {"eval_type": "exact_match"}),
        ("mine.json", "t=exact_match,u={task}", {}),
    ],
)
def test_no_reading_of_a_stranger_s_settings_runs_templates(task, monkeypatch, tmp_path, dataset, evaluation, given):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "new"))
    config = SearchConfig(dataset=dataset.format(task=task), eval_type=evaluation.format(task=task))
    with pytest.raises(UserError, match="has templates, which can run code"):
        check_task_files("again", config, given)
    remember_what_is_named(config)
    check_task_files("again", config, given)
