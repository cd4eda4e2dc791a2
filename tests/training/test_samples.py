"""Rows of every kind become the same samples; what is wrong with one is told with its place."""

import json

import pytest
from finetuning import lines, read

from swarm.errors import UserError

PAIR = {"prompt": "what is", "completion": " red"}


def texts(path, **settings):
    return [tuple(text for _, text in sample.messages) for sample in read(path, **settings).samples]


def test_every_form(tmp_path):
    path = lines(tmp_path / "a.jsonl", PAIR)
    assert texts(path) == [("what is", " red")] and read(path).samples[0].separator == ""
    first = {"instruction": "", "input": "one", "output": "two", "candidates": [1]}
    path = lines(tmp_path / "b.jsonl", first, first | {"instruction": "add"}, {"instruction": "add", "output": "x"})
    assert texts(path) == [("one", "two"), ("add\none", "two"), ("add", "x")]
    talk = [{"role": "system", "content": ""}, {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    path = lines(tmp_path / "c.jsonl", {"messages": [*talk, {"role": "user", "content": "and"}], "prompt": "no"})
    assert texts(path) == [("", "a", "b")] and read(path).samples[0].chat


def test_a_prompt_may_be_a_conversation_of_which_only_the_answer_is_learned(tmp_path):
    said = [{"role": role, "content": text} for role, text in (("user", "a"), ("assistant", "b"), ("user", "c"))]
    row = {"prompt": said, "completion": [{"role": "assistant", "content": "d"}]}
    [sample] = read(lines(tmp_path / "a.jsonl", row)).samples
    assert [text for _, text in sample.messages] == ["a", "b", "c", "d"] and not sample.chat
    for completion, message in (("d", "wanted a list of one message"), (said[2:], 'role is "user", wanted assistant')):
        with pytest.raises(UserError, match=message):
            read(lines(tmp_path / "b.jsonl", row | {"completion": completion}))


def test_questions_are_asked_as_a_node_asks_them(tmp_path):
    path = tmp_path / "mine.json"
    plain = {"question": "is it red", "answer": "yes"}
    chosen = {"question": "which", "answer": "B", "choices": {"A": "red", "B": "blue"}, "context_chunks": ["so", "it"]}
    path.write_text(json.dumps({"dev": [plain], "train": [chosen], "icl_prompt": "Think."}))
    header = "Please answer the following question.\nQuestion: "
    assert texts(path) == [(f"{header}Think.\nis it red", "yes")]
    [(asked, said)] = texts(path, split="train")
    assert said == "B" and asked.startswith(f"{header}Context: so\nit\nThink.\n")
    assert asked.endswith("Question: which\nA: red\nB: blue\nThe answer is")
    assert texts(path, template="Q: {}\nA:") == [("Q: Think.\nis it red\nA:", "yes")]
    assert texts(lines(tmp_path / "p.jsonl", PAIR), template="node") == [(f"{header}what is", " red")]


def test_columns_of_other_names(tmp_path):
    path = lines(tmp_path / "a.jsonl", {"ask": "a", "say": "b", "prompt": "no", "completion": "no"})
    assert texts(path, columns={"prompt": "ask", "completion": "say"}) == [("a", "b")]
    assert texts(path, columns={"question": "ask", "answer": "say"}, template="{}") == [("a", "b")]
    assert texts(path, columns={"instruction": "ask", "input": "prompt", "output": "say"}) == [("a\nno", "b")]
    with pytest.raises(UserError, match='no column "reply" for completion in .* only ask, say, prompt, completion'):
        read(path, columns={"prompt": "ask", "completion": "reply"})


def test_share_and_limit(tmp_path):
    path = lines(tmp_path / "a.jsonl", *({"prompt": str(n), "completion": "x"} for n in range(10)))
    half = texts(path, share=0.5)
    assert len(half) == 5 and half == sorted(half) and half == texts(path, share=0.5)
    assert half != texts(path, share=0.5, seed=1)
    assert texts(path, share=0.5, limit=2) == half[:2]
    assert [asked for asked, _ in texts(path, limit=3)] == ["0", "1", "2"]
    with pytest.raises(UserError, match="no row of .* is left"):
        read(path, share=0.01)


def test_rows_beyond_the_limit_are_not_read(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(PAIR) + "\n\nno JSON\n")
    assert len(texts(path, limit=1)) == 1
    with pytest.raises(UserError, match=r"a\.jsonl: not valid JSON at line 3"):
        read(path)


def test_a_digest_is_that_of_the_texts(tmp_path):
    one, two = lines(tmp_path / "a.jsonl", PAIR), lines(tmp_path / "b.jsonl", PAIR | {"id": 3})
    assert read(one).digest == read(two).digest != read(one, separator=" ").digest


def test_empty_rows_are_passed_over_where_that_is_asked_for(tmp_path):
    rows = [{"instruction": "a", "output": ""}, {"instruction": "", "input": "b", "output": "c"}]
    path = lines(tmp_path / "a.jsonl", *rows, {"instruction": " ", "output": "d"})
    found = read(path, skip_empty=True)
    assert (len(found.samples), found.skipped) == (1, 2)
    with pytest.raises(UserError, match='line 1: output is "", wanted a text: fill it in, drop the row, or say empty'):
        read(path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (PAIR | {"completion": " "}, 'line 2: completion is " ", wanted a text'),
        (PAIR | {"prompt": 7}, "line 2: prompt is 7, wanted a text in quotes"),
        ({"prompt": "a"}, "line 2: completion is null"),
        ([], r"line 2 is \[\], wanted an object"),
    ],
)
def test_wrong_rows(tmp_path, row, message):
    with pytest.raises(UserError, match=message):
        read(lines(tmp_path / "a.jsonl", PAIR, row))


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ("hello", 'line 1: messages is "hello", wanted a list'),
        ([{"role": "user", "content": "a"}], "line 1: the assistant answers nothing"),
        ([{"role": "human", "content": "a"}], 'line 1: message 0: role is "human", wanted one of system, user'),
        ([{"role": "user", "content": ""}], 'message 0: content is "", wanted a text'),
        ([{"from": "user", "value": ""}], 'message 0 is .* wanted {"role": "user"'),
    ],
)
def test_wrong_conversations(tmp_path, messages, message):
    with pytest.raises(UserError, match=message):
        read(lines(tmp_path / "a.jsonl", {"messages": messages}))


def test_wrong_files(tmp_path):
    (tmp_path / "both.json").write_text(json.dumps({"dev": [], "train": [], "dataset": "x"}))
    (tmp_path / "set").mkdir()
    lines(tmp_path / "set" / "train.jsonl", PAIR)
    lines(tmp_path / "other.jsonl", {"text": "a"})
    assert texts(tmp_path / "set") == [("what is", " red")]
    for name, settings, message in (
        ("both.json", {"split": "test"}, "has no split test, only dev, train"),
        ("both.json", {}, "no row of .* is left"),
        ("set", {"split": "val"}, "no val.json or .jsonl or .ndjson or .csv or .tsv or .parquet, only train.jsonl"),
        ("set", {"config": "main"}, "config is for sets of the hub"),
        ("other.jsonl", {"split": "train"}, "has no splits, but split is train"),
        ("other.jsonl", {}, "line 1 has the columns text, wanted messages; or prompt and completion; or instruction"),
    ):
        with pytest.raises(UserError, match=message):
            read(tmp_path / name, **settings)
