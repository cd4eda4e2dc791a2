"""Guards the layouts of records that are known without being named, and the kinds of files that hold them."""

import gzip
import json
import logging

import pyarrow
import pytest

from swarm.data import file_formats
from swarm.data.load import load_dataset
from swarm.data.shapes import SHAPES
from swarm.data.source import Source
from swarm.errors import UserError
from swarm.evals import get_eval
from swarm.evals.exact_match import strict

COLOURS = {"label": ["A", "B"], "text": ["red", "green"]}
# name -> record, question, right answers, choices
KNOWN = {
    "ARC": ({"question": "Hue?", "choices": COLOURS, "answerKey": "B", "id": "x1"}, "Hue?", ("B",), ["red", "green"]),
    "OpenBookQA": (
        {"question_stem": "Hue?", "choices": COLOURS, "answerKey": "A"}, "Hue?", ("A",), ["red", "green"]),
    "SQuAD": (
        {"context": "Oak is hard.", "question": "What is hard?", "answers": {"text": ["Oak", "oak", "Oak"],
         "answer_start": [0, 0, 0]}}, "Oak is hard.\n\nWhat is hard?", ("Oak", "oak"), []),
    "questions with answers": ({"question": "Who?", "answers": [{"text": "Ada"}]}, "Who?", ("Ada",), []),
    "SciQ": (
        {"question": "Hue?", "correct_answer": "red", "distractor1": "blue", "distractor2": "green",
         "distractor3": "white", "support": ""}, "Hue?", ("C",), ["blue", "green", "red", "white"]),
    "BoolQ": ({"passage": "It rains.", "question": "is it wet", "label": 1}, "It rains.\n\nis it wet", ("yes",), []),
    "HellaSwag": ({"ctx": "He runs", "endings": ["up", "off"], "label": "1"}, "He runs", ("B",), ["up", "off"]),
    "PIQA": ({"goal": "Dry it", "sol1": "heat", "sol2": "wet", "label": 0}, "Dry it", ("A",), ["heat", "wet"]),
    "WinoGrande": (
        {"sentence": "The _ fell.", "option1": "cup", "option2": "cat", "answer": "2"}, "The _ fell.", ("B",),
        ["cup", "cat"]),
    "MATH with answers": ({"problem": "1+1", "solution": "so", "answer": "2"}, "1+1", ("2",), []),
    "MATH": ({"problem": "Half?", "solution": r"It is \boxed{3}, no, $\boxed{\frac{1}{2}}$."}, "Half?",
             (r"\frac{1}{2}",), []),
    "chat messages": (
        {"messages": [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Ho."}]}, "Hi?", ("Ho.",),
        []),
    "ShareGPT": (
        {"conversations": [{"from": "system", "value": "Be brief."}, {"from": "human", "value": "Hi?"},
                           {"from": "gpt", "value": "Ho."}, {"from": "human", "value": "Bye."}]},
        "system: Be brief.\nuser: Hi?", ("Ho.",), []),
    "instructions (Alpaca, MixInstruct)": (
        {"instruction": "Add.", "input": "1 1", "output": "2", "candidates": []}, "Add.\n1 1", ("2",), []),
    "input and output (MoCo)": ({"input": "1+1", "output": "2"}, "1+1", ("2",), []),
    "prompts with completions": ({"prompt": "1+1", "completion": " 2"}, "1+1", (" 2",), []),
    "prompts with responses": ({"prompt": "1+1", "response": "2"}, "1+1", ("2",), []),
    "queries with responses": ({"query": "1+1", "response": "2"}, "1+1", ("2",), []),
    "inputs with targets": ({"input": "1+1", "target": "2"}, "1+1", ("2",), []),
    "options in columns (DeePEn)": ({"question": "Hue?", "A": "red", "B": "green", "answer": "B"}, "Hue?", ("B",),
                                    ["red", "green"]),
    "TriviaQA": (
        {"question": "Who?", "answer": {"value": "Ada", "aliases": ["Ada", "A. Lovelace"]}}, "Who?",
        ("Ada", "A. Lovelace"), []),
}  # fmt: skip


def written(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.mark.parametrize("name", KNOWN)
def test_a_known_layout_is_read_as_it_is_and_that_is_said(tmp_path, caplog, name):
    caplog.set_level(logging.INFO)
    record, question, golds, choices = KNOWN[name]
    dataset = load_dataset(Source(str(written(tmp_path / "mine.jsonl", [record] * 3)), dev_size=1))
    example = dataset.test[1]
    assert (example.question, example.golds, list(example.choices.values())) == (question, golds, choices)
    assert f"mine.jsonl: read as {name}: " in caplog.text
    if name == "ARC":
        assert example.id == "x1"


def test_every_layout_has_its_case():
    assert {shape.name for shape in SHAPES} <= KNOWN.keys()


def test_columns_that_the_user_names_go_before_any_layout(tmp_path):
    path = written(tmp_path / "mine.jsonl", [{"input": "1+1", "output": "2", "note": "3"}] * 2)
    assert (
        load_dataset(Source(str(path), dev_size=1, columns={"question": "input", "answer": "note"})).dev[0].answer
        == "3"
    )


def test_hub_layouts_of_gsm8k_and_mmlu_need_nothing(tmp_path):
    chain = {"question": "4 hens, 8 eggs each?", "answer": "4*8 = <<4*8=32>>32.\n#### 32"}
    path = written(tmp_path / "a.jsonl", [chain] * 2)
    example = load_dataset(Source(str(path), dev_size=1)).dev[0]
    assert strict("So 32 eggs.", example) and not strict("4*8", example)
    mmlu = {"question": "Hue?", "choices": ["red", "green"], "answer": 1, "subject": "art"}
    example = load_dataset(Source(str(written(tmp_path / "b.jsonl", [mmlu] * 2)), dev_size=1)).dev[0]
    assert (example.answer, example.column("subject")) == ("B", "art")
    deepen = {"question": "4 hens?", "answer": "Four hens have 8 eggs each.\nTherefore, the answer is 32"}
    assert strict("32", load_dataset(Source(str(written(tmp_path / "c.jsonl", [deepen] * 2)), dev_size=1)).dev[0])


def test_several_right_answers_and_one_that_is_none(tmp_path):
    several = written(tmp_path / "a.jsonl", [{"question": "Who?", "answer": ["Ada", "A. Lovelace", "Ada"]}] * 2)
    dataset = load_dataset(Source(str(several), dev_size=1))
    assert dataset.dev[0].golds == ("Ada", "A. Lovelace")
    assert strict("It was A. Lovelace.", dataset.dev[0]) and not strict("It was Babbage.", dataset.dev[0])
    judging = get_eval("multiple_choice").judge(dataset, [dataset.dev[0]])
    assert next(judging)
    for bad, said in (
        ([], r"answer is \[\], wanted a text"),
        ([None], "answer has null in its list"),
        (["a", {}], "answer has {} in its list"),
    ):
        path = written(tmp_path / "b.jsonl", [{"question": "Who?", "answer": bad}] * 2)
        with pytest.raises(UserError, match=f"b.jsonl: line 1: {said}"):
            load_dataset(Source(str(path), dev_size=1))


def test_a_file_of_two_layouts_is_refused_and_dividing_it_cures(tmp_path):
    squad, chat = KNOWN["SQuAD"][0], KNOWN["chat messages"][0]
    with pytest.raises(UserError, match="line 2 has the columns messages, but .*line 1 is of the layout SQuAD"):
        load_dataset(Source(str(written(tmp_path / "both.jsonl", [squad, chat])), dev_size=1))
    for name, record in (("a", squad), ("b", chat)):
        load_dataset(Source(str(written(tmp_path / f"{name}.jsonl", [record] * 2)), dev_size=1))


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"messages": [{"role": "assistant", "content": "Ho."}]}, "the assistant answers nothing"),
        ({"messages": [{"role": "judge", "content": "Ho."}]}, "a turn of .*judge"),
        ({"context": 3, "question": "q", "answers": ["a"]}, "context is 3"),
        ({"goal": "g", "sol1": "a", "sol2": "b", "label": "x"}, "not the layout PIQA"),
        ({"topic": "a", "text": "b"}, 'no field "question", only "topic", "text"; .*--columns question=NAME'),
    ],
)
def test_what_is_of_no_layout_is_told_in_a_line(tmp_path, record, said):
    with pytest.raises(UserError, match=said) as told:
        load_dataset(Source(str(written(tmp_path / "mine.jsonl", [record] * 2)), dev_size=1))
    assert "\n" not in str(told.value)


ROWS = [{"question": f"{k} + 1?", "answer": str(k + 1), "split": "dev" if k else "test"} for k in range(3)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
SEMICOLONS = 'question;answer;split\n"0, or 1?";1;test\n1 + 1?;2;dev\n2 + 1?;3;dev\n'


def packed(content):
    """The same bytes at any time of day, since they are the tests' names, too."""
    return gzip.compress(content, mtime=0)


def zstandard(content):
    sink = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("mine.ndjson", LINES.encode()),
        ("mine", LINES.encode()),
        ("mine.txt", ("\ufeff" + LINES).encode()),
        ("mine.data", json.dumps(ROWS).encode()),
        ("mine.data", json.dumps({"dev": ROWS[1:], "test": ROWS[:1]}, indent=1).encode()),
        ("mine.csv", SEMICOLONS.encode()),
        ("mine.tsv", SEMICOLONS.replace(";", "\t").encode()),
        ("mine.csv", SEMICOLONS.replace(";", "\t").encode("utf-16")),
        ("mine.dat", SEMICOLONS.encode("utf-8-sig")),
        ("mine.jsonl", LINES.encode("utf-16")),
        ("mine.jsonl.gz", packed(LINES.encode())),
        ("mine.json.gz", packed(json.dumps(ROWS).encode()[:20]) + packed(json.dumps(ROWS).encode()[20:])),
        ("mine.jsonl.zst", zstandard(LINES.encode())),
        ("mine.csv.gz", packed(SEMICOLONS.encode())),
    ],
)
def test_a_file_is_read_whatever_its_name_its_packing_and_its_letters(tmp_path, monkeypatch, name, content):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(content)
    dataset = load_dataset(name)
    assert dataset.name == "mine" or "." not in file_formats.suffix_of(tmp_path / name)
    assert [example.answer for example in dataset.dev] == ["2", "3"] and dataset.test[0].answer == "1"


def test_packed_files_that_are_broken_or_bombs_are_told(tmp_path, monkeypatch):
    whole = packed(LINES.encode())
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[:-12])
    with pytest.raises(UserError, match="cut.jsonl.gz: cannot be unpacked"):
        load_dataset(str(tmp_path / "cut.jsonl.gz"))
    monkeypatch.setattr(file_formats, "MOST_BYTES", 100)
    for name, content in (("bomb.jsonl.gz", packed(b" " * 5000)), ("bomb.jsonl.zst", zstandard(b" " * 5000))):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match="unpacks to more than .* GB; divide it"):
            load_dataset(str(tmp_path / name))


def test_a_csv_of_a_known_layout_is_read_like_its_json(tmp_path):
    """Whose cells are texts, of which our own choices are none."""
    (tmp_path / "a.csv").write_text("question,A,B,C,answer\nHue?,red,blue,,B\nAge?,one,two,,A\n")
    dataset = load_dataset(Source(str(tmp_path / "a.csv"), dev_size=1))
    assert dict(dataset.test[0].choices).keys() == {"A", "B"} and dataset.test[0].answer in "AB"
    (tmp_path / "b.csv").write_text("goal,sol1,sol2,label\nOpen it,pull,push,0\nShut it,pull,push,1\n")
    assert {one.answer for one in load_dataset(Source(str(tmp_path / "b.csv"), dev_size=1)).dev} <= {"A", "B"}


@pytest.mark.parametrize(
    ("records", "said"),
    [
        (
            [{"question": "q", "answer": {"value": "a"}}, {"question": "r", "answer": "b"}],
            "line 2: not the layout TriviaQA",
        ),
        ([{"instruction": 3, "output": "a"}] * 2, "not the layout instructions"),
        ([{"passage": "p", "question": "q", "label": -1}] * 2, "not the layout BoolQ"),
    ],
)
def test_a_broken_record_of_a_known_layout_is_told_in_a_line(tmp_path, records, said):
    with pytest.raises(UserError, match=said) as told:
        load_dataset(Source(str(written(tmp_path / "mine.jsonl", records)), dev_size=1))
    assert "\n" not in str(told.value)


def test_several_right_answers_beside_letters_stay_what_they_are(tmp_path):
    path = written(tmp_path / "mine.jsonl", [{"question": "q", "answer": ["A", "x"], "A": "1", "B": "2"}] * 2)
    assert load_dataset(Source(str(path), dev_size=1)).dev[0].golds == ("A", "x")
