"""Guards `metric:NAME` and `reward:MODEL`: scores as the metric or model gives them, kept, and refusals in a line."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from repository import ROOT
from scorers import make_bert
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertConfig, BertForSequenceClassification

from swarm.data.example import Dataset, Example
from swarm.errors import UserError
from swarm.evals import get_eval, named_from_anywhere
from swarm.evals.score_store import ScoreStore, scores_path
from swarm.metrics.table import get_metric
from swarm.programs import front_doors
from swarm.programs.evaluate import evaluate_program
from swarm.programs.search import search_program
from swarm.system.prompts import tidy_answer

EXAMPLES = (
    Example("Where is the cat?", "the cat sat on the mat .", alternatives=("it is under the red mat",)),
    Example("What ran?", "the dog ran by the red door"),
)
DATA = Dataset("pets", EXAMPLES, EXAMPLES)
REPLIES = ["<think>the dog?</think>it is under the red mat", "a cat\nran by the door"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def scores_of(name, replies=REPLIES, dataset=DATA):
    evaluation = get_eval(name)
    evaluation.check(dataset)
    evaluation.prepare()
    judging = evaluation.judge(dataset, dataset.dev)
    assert [query.text for query in next(judging)] == [example.question for example in dataset.dev]
    with pytest.raises(StopIteration) as done:
        judging.send([tidy_answer(reply) for reply in replies])
    return evaluation, done.value.value["strict"].tolist()


@pytest.mark.parametrize("name", ["chrf", "bleu", "rougeL", "rouge1:stemmer=false", "cosine"])
def test_an_answer_gets_the_metric_s_score_against_the_best_of_its_references(name):
    evaluation, scores = scores_of(f"metric:{name}")
    assert scores[0] == pytest.approx(evaluation.highest), "thoughts aside it says what one reference says"
    assert evaluation.lowest < scores[1] < evaluation.highest
    assert scores_of(f"metric:{name}", ["", ""])[1] == [evaluation.lowest] * 2
    if name == "chrf":
        assert scores[1] == get_metric("chrf").score(["a cat\nran by the door"], [EXAMPLES[1].answer])[0]


def test_what_a_model_scored_is_kept_until_it_changes_on_the_disk(tmp_path, monkeypatch):
    folder = make_bert(tmp_path / "bert")
    name = f"metric:bertscore:model={folder}"
    evaluation, scores = scores_of(name)
    assert scores == pytest.approx([1.0, get_metric("bertscore", model=str(folder)).score(
        ["a cat\nran by the door"], [EXAMPLES[1].answer])[0]])  # fmt: skip
    monkeypatch.setattr(type(evaluation._made), "score", lambda *_: pytest.fail("it is scored already"))
    assert scores_of(name)[1] == scores

    with closing(sqlite3.connect(scores_path())) as database, database:
        database.execute("UPDATE scores SET score = 0.5")
    with pytest.raises(pytest.fail.Exception, match="scored already"):
        scores_of(name)


def test_equal_texts_are_scored_once_and_nothing_is_kept_that_is_no_number(tmp_path):
    asked = []

    def score(rows):
        asked.extend(rows)
        return [float(len(row[0])) for row in rows]

    store = ScoreStore(tmp_path / "scores.sqlite")
    rows = [("a", "b"), ("aa", "b"), ("a", "b")]
    assert store.of({"model": "m"}, rows, score) == [1.0, 2.0, 1.0]
    assert store.of({"model": "m"}, rows, score) == [1.0, 2.0, 1.0] and asked == rows[:2]
    assert store.of({"model": "n"}, rows[:1], score) == [1.0] and asked == [*rows[:2], rows[0]]
    assert np.isnan(store.of({"model": "m"}, [("x",)], lambda rows: [float("nan")])).all()
    assert store.of({"model": "m"}, [("x",)], lambda rows: [7.0]) == [7.0]


def make_reward(folder, outputs=1, labels=None):
    make_bert(folder)
    torch.manual_seed(3)
    config = BertConfig.from_pretrained(folder, num_labels=outputs)
    if labels:
        config.id2label, config.label2id = dict(enumerate(labels)), {label: i for i, label in enumerate(labels)}
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def test_a_reward_is_the_model_s_own_for_question_and_answer(tmp_path):
    folder = make_reward(tmp_path / "reward")
    evaluation, scores = scores_of(f"reward:{folder}")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    said = ["it is under the red mat", "a cat\nran by the door"]
    with torch.no_grad():
        plain = [model(**tokenizer(example.question, text, return_tensors="pt")).logits.item()
                 for example, text in zip(EXAMPLES, said, strict=True)]  # fmt: skip
    assert scores == pytest.approx(plain, abs=1e-5) and plain[0] != plain[1]
    assert evaluation.range == (-np.inf, np.inf)
    assert scores_of(f"reward:{folder}", [*reversed(REPLIES)])[1] != scores


def test_a_conversation_is_scored_where_the_model_has_a_template(tmp_path):
    folder = make_reward(tmp_path / "reward")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = "{% for turn in messages %}{{ turn.role }} {{ turn.content }} {% endfor %}"
    tokenizer.save_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    ids = tokenizer("user What ran? assistant dog ", add_special_tokens=False, return_tensors="pt")
    with torch.no_grad():
        wanted = model(**ids).logits.item()
    dataset = Dataset("pets", EXAMPLES[1:], EXAMPLES[1:])
    assert scores_of(f"reward:{folder}", ["dog"], dataset)[1] == pytest.approx([wanted], abs=1e-5)


def test_a_model_with_two_outputs_is_refused_and_the_cure_cures(tmp_path):
    folder = make_reward(tmp_path / "classifier", 2, ["bad", "good"])
    with pytest.raises(UserError, match=r"2 outputs, 0 \(bad\), 1 \(good\).*output=1") as refused:
        scores_of(f"reward:{folder}")
    cure = str(refused.value).rpartition(" ")[2]
    by_index = scores_of(cure)[1]
    assert by_index == scores_of(f"reward:{folder}:output=good")[1]
    assert [a + b for a, b in zip(by_index, scores_of(f"reward:{folder}:output=bad")[1], strict=True)] == pytest.approx(
        [1, 1]
    )
    wrong = {f"reward:{folder}:output=best": "no output 'best'", f"reward:{folder}:out=1": "option 'out'"}
    for name, message in (wrong | {"reward:": "no model", "metric:chfr": "no metric 'chfr'"}).items():
        with pytest.raises(UserError, match=message):
            scores_of(name)


def test_an_example_without_a_reference_is_named_and_filling_it_in_is_enough():
    lacking = Dataset("pets", EXAMPLES, (EXAMPLES[0], Example("Why?", " ")))
    with pytest.raises(UserError, match="pets: test record 1 has no reference.*fill its answer in"):
        get_eval("metric:chrf").check(lacking)
    get_eval("metric:chrf").check(Dataset("pets", EXAMPLES, (EXAMPLES[0], Example("Why?", "because"))))


def test_local_models_are_found_again_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models/r").mkdir(parents=True)
    assert named_from_anywhere("reward:models/r:output=1") == f"reward:{tmp_path}/models/r:output=1"
    assert named_from_anywhere("metric:bertscore:model=models/r,layer=1") == (
        f"metric:bertscore:model={tmp_path}/models/r,layer=1")  # fmt: skip
    assert named_from_anywhere("metric:chrf") == "metric:chrf"
    assert named_from_anywhere("exact_match") == "exact_match"


def test_a_search_by_a_reward_ends_with_a_result_and_is_evaluated_by_it(tmp_path, monkeypatch, capsys):
    shutil.copytree(ROOT / "data", tmp_path / "data")
    make_reward(tmp_path / "reward")
    monkeypatch.chdir(tmp_path)
    words = (
        "-e reward:reward -d graph_tasks_small --graph_num 2 --trial_num 2 --dev_limit 6 --test_limit 3 -m 1 -n mine"
    )
    assert front_doors.guarded(lambda: search_program(words.split())) == 0
    result = json.loads(Path("search/mine/result.json").read_text())
    assert result["range"] == [None, None]
    found = result["scores"]["found"]["test"]["strict"]
    assert found["low"] <= found["mean"] <= found["high"]
    capsys.readouterr()
    monkeypatch.chdir(tmp_path / "data")
    assert (
        front_doors.guarded(
            lambda: evaluate_program(["../search/mine", "--json", "-d", "../data/eval/graph_tasks_small.json"])
        )
        == 0
    )
    assert json.loads(capsys.readouterr().out.strip())["scores"]["strict"]["mean"] == pytest.approx(found["mean"])
