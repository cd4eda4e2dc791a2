"""Guards the datasets' file shape: what is read, and that what is wrong is said in one line that names the place."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from repository import SHARED

from swarm.data.example import Example
from swarm.data.load import limit, load_dataset
from swarm.data.published import SHA256
from swarm.errors import UserError
from swarm.evals import get_eval

GOOD = {"question": "1 + 1?", "answer": "2"}
CHOOSE = {"question": "Is it?", "answer": "B", "choices": {"A": "yes", "B": "no"}}


def write(folder: Path, content: Any, name: str = "toy.json") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def fault(folder: Path, content: Any) -> str:
    """The message with which a file of this content is refused, checked to be one line that names the file."""
    path = write(folder, content)
    with pytest.raises(UserError) as refused:
        load_dataset(str(path))
    message = str(refused.value)
    assert message.startswith(str(path)) and "\n" not in message
    return message.removeprefix(str(path))


def test_a_file_becomes_a_dataset(tmp_path: Path) -> None:
    content = {
        "dataset": "whatever",
        "dev": [{"question": "a\\nb", "answer": "2", "id": 7, "domain": "sums", "more": ["left alone"]}],
        "test": [CHOOSE, {**CHOOSE, "id": "x"}],
        "icl_prompt": "First an example.",
        "generation": {"max_new_tokens": 4, "chat": False},
    }
    path = write(tmp_path, content)
    for dataset in (load_dataset("toy", tmp_path), load_dataset(str(path), "/nowhere")):
        assert dataset.name == "toy"
        assert dataset.dev == (Example("a\\nb", "2", "7", "sums"),), "a backslash and an n stay two characters"
        assert [example.id for example in dataset.test] == ["", "x"]
        assert list(dataset.test[0].choices.items()) == [("A", "yes"), ("B", "no")]
        assert dataset.prefix == "First an example."
        assert dataset.generation == {"max_new_tokens": 4, "chat": False}
        assert dataset.digest == hashlib.sha256(path.read_bytes()).hexdigest()


def test_choices_keep_the_order_of_the_file(tmp_path: Path) -> None:
    record = {"question": "q", "answer": "A", "choices": {"C": "3", "A": "1", "B": "2"}}
    write(tmp_path, {"dev": [record], "test": [record]})
    assert list(load_dataset("toy", tmp_path).dev[0].choices) == ["C", "A", "B"]


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    write(tmp_path, "\ufeff" + json.dumps({"dev": [GOOD], "test": [GOOD]}))
    assert load_dataset("toy", tmp_path).dev[0].answer == "2"


def test_an_unknown_name_lists_what_there_is(tmp_path: Path) -> None:
    for name in ("b.json", "a.json", "notes.txt"):
        write(tmp_path, "", name)
    with pytest.raises(UserError, match=r'no dataset "c" in .*: it holds a, b; give one'):
        load_dataset("c", tmp_path)
    with pytest.raises(UserError, match=r"holds no \.json file, or is not a folder"):
        load_dataset("c", tmp_path / "nowhere")


def test_a_path_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.json: cannot be read \(No such file"):
        load_dataset(str(tmp_path / "gone.json"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"dev": [],\n "test": [}', ": not valid JSON at line 2, column 11: "),
        ("", ": not valid JSON at line 1, column 1: "),
        ("[" * 200_000, ": JSON that cannot be read ("),
        (5, ": the file is 5, wanted an object or a list; "),
        ([GOOD, GOOD], ": one table of 2 rows, wanted dev and test; "),
        ([GOOD], " holds 1 records, wanted some for dev and some for test; "),
        ({"test": [GOOD]}, ": no dev split, wanted dev and test; "),
        ({"dev": [GOOD]}, ": no test split, wanted dev and test; "),
        ({"dev": [GOOD], "test": []}, ": the test split is empty, wanted at least one record; "),
        ({"dev": {"0": GOOD}, "test": [GOOD]}, ": the dev split is {"),
        ({"dev": [GOOD], "test": [GOOD], "icl_prompt": ["a"]}, ': icl_prompt is ["a"], wanted a text in quotes; '),
        ({"dev": [GOOD], "test": [GOOD], "generation": 5}, ": generation is 5, wanted an object; "),
        (
            {"dev": [GOOD], "test": [GOOD], "generation": {"max_new_tokens": True}},
            ": generation: max_new_tokens is true",
        ),
        (
            {"dev": [GOOD], "test": [GOOD], "generation": {"max_new_tokens": 0}},
            ": generation: max_new_tokens is 0, wan",
        ),
        ({"dev": [GOOD], "test": [GOOD], "generation": {"chat": "no"}}, ': generation: chat is "no", wanted true or f'),
        (
            {"dev": [GOOD], "test": [GOOD], "generation": {"temperature": 1}},
            ': generation: no setting "temperature", on',
        ),
    ],
)
def test_a_fault_of_the_file_is_named(tmp_path: Path, content: Any, said: str) -> None:
    assert fault(tmp_path, content).startswith(said)


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ("2", ' is "2", wanted an object; '),
        (
            {"answer": "2"},
            ': no field "question", only "answer"; add or rename it, or say which it is with ',
        ),
        ({"question": "q", "gold": "2"}, ': no field "answer", only "question", "gold"; '),
        ({**GOOD, "answer": 2}, r': answer is 2, wanted a text in quotes; write "2"'),
        ({**GOOD, "answer": None}, ": answer is null, wanted a text in quotes; "),
        ({**GOOD, "answer": ""}, ': answer is "", wanted a text; '),
        ({**GOOD, "question": " \n"}, r': question is " \n", wanted a text; '),
        ({**GOOD, "question": "x" * 500 + "\ud800"}, ': question is "xxxx'),
        ({**GOOD, "id": 1.5}, ": id is 1.5, wanted a text or a whole number; "),
        ({**GOOD, "domain": 3}, ": domain is 3, wanted a text in quotes; "),
        ({**GOOD, "answer": 2, "choices": {"2": "a"}}, r': answer is 2, wanted a text in quotes; write "2"'),
        ({**CHOOSE, "choices": []}, ": choices is [], wanted letters with their texts; "),
        ({**CHOOSE, "choices": ["yes", 0]}, ": choices B is 0, wanted a text in quotes; "),
        ({**CHOOSE, "choices": ["x"] * 27}, ": choices lists 27 texts, wanted at most 26; "),
        (
            {**CHOOSE, "choices": ["yes", "no"], "answer": 2},
            ": answer is 2, wanted an index of its choices from 0 to 1",
        ),
        ({**CHOOSE, "choices": ["yes", "no"], "answer": -1}, ": answer is -1, wanted an index of its choices from 0"),
        ({**CHOOSE, "choices": ["yes", "no"], "answer": True}, ": answer is true, wanted a text in quotes; "),
        (
            {**CHOOSE, "choices": ["2", "3", "1"], "answer": "1"},
            ': answer is "1", which can mean B or C of',
        ),
        ({**CHOOSE, "choices": ["x", "x"], "answer": "x"}, ': answer is "x", wanted a letter of its choices (A, B)'),
        (
            {**CHOOSE, "choices": {"text": ["yes"], "label": ["A", "B"]}},
            ': choices has 2 labels and text ["yes"], want',
        ),
        ({**CHOOSE, "choices": {"text": ["a", "b"], "label": ["A", "A"]}}, ": choices has a label twice in "),
        (
            {**CHOOSE, "choices": {"text": ["a", "b"], "label": [1, 2]}},
            ": a letter of choices is 1, wanted a text in q",
        ),
        ({**GOOD, "context_chunks": []}, ": context_chunks is [], wanted a list of texts; "),
        ({**GOOD, "context_chunks": "all of it"}, ': context_chunks is "all of it", wanted a list of texts; '),
        ({**GOOD, "context_chunks": ["", None]}, ": context_chunks 1 is null, wanted a text in quotes; "),
        ({**CHOOSE, "choices": {}}, ": choices is {}, wanted letters with their texts; "),
        ({**CHOOSE, "choices": None}, ": choices is null, wanted letters with their texts; "),
        ({**CHOOSE, "choices": {"A": 1, "B": "2"}}, ": choices A is 1, wanted a text in quotes; "),
        ({**CHOOSE, "choices": {"A ": "1", "B": "2"}}, ': choices has the letter "A ", wanted one without blanks; '),
        ({**CHOOSE, "answer": "C"}, ': answer is "C", wanted a letter of its choices (A, B); '),
    ],
)
def test_a_fault_of_a_record_is_named_with_its_place(tmp_path: Path, record: Any, said: str) -> None:
    message = fault(tmp_path, {"dev": [GOOD], "test": [GOOD, GOOD, record]})
    assert message.startswith(": test record 2")
    assert message.removeprefix(": test record 2").startswith(said)
    assert len(message) < 300


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "toy.json").write_bytes(b'{"dev": "\xff"}')
    with pytest.raises(UserError, match=r"byte 9 is not UTF-8 text; save"):
        load_dataset("toy", tmp_path)


@pytest.mark.parametrize("answer", ["B", "no", 1, "1"])
@pytest.mark.parametrize(
    "choices", [["yes", "no"], {"A": "yes", "B": "no"}, {"text": ["yes", "no"], "label": ["A", "B"]}]
)
def test_choices_in_three_shapes_and_an_answer_in_three_ways(tmp_path: Path, choices: Any, answer: Any) -> None:
    record = {"question": "q", "choices": choices, "answer": answer}
    path = write(tmp_path, {"dev": [record], "test": [record]})
    if answer in (1, "1") and not isinstance(choices, list):  # letters of their own have no index
        with pytest.raises(UserError, match="answer is"):
            load_dataset(str(path))
        return
    [example] = load_dataset(str(path)).dev
    assert list(example.choices.items()) == [("A", "yes"), ("B", "no")] and example.answer == "B"


def test_a_letter_that_the_file_gives_is_the_letter_whatever_the_texts_say(tmp_path: Path) -> None:
    record = {"question": "q", "choices": {"text": ["2", "1"], "label": ["1", "2"]}, "answer": "1"}
    assert load_dataset(str(write(tmp_path, {"dev": [record], "test": [record]}))).dev[0].answer == "1"


def test_limit_keeps_the_first_of_each_split(tmp_path: Path) -> None:
    records = [{**GOOD, "id": k} for k in range(5)]
    write(tmp_path, {"dev": records, "test": records})
    whole = load_dataset("toy", tmp_path)
    assert limit(whole) == whole
    short = limit(whole, 2, 99)
    assert [example.id for example in short.dev] == ["0", "1"]
    assert short.test == whole.test and short.digest == whole.digest
    with pytest.raises(UserError, match="limit of the test split is 0; give at least 1"):
        limit(whole, None, 0)


def test_the_table_of_evals_lists_its_names() -> None:
    for name in ("exact_match", "multiple_choice"):
        assert get_eval(name).name == name
    with pytest.raises(
        UserError, match="no eval 'exact'; did you mean exact_match[?] There are exact_match, multiple_ch"
    ):
        get_eval("exact")
    with pytest.raises(UserError, match="no eval 'bleu'; give one of exact_match, multiple_choice"):
        get_eval("bleu")


@pytest.mark.parametrize("name", ["gsm8k", "knowledge_crosswords", "mmlu", "nlgraph"])
def test_the_published_files_load(name: str) -> None:
    if not (SHARED / "data" / "eval" / f"{name}.json").exists():
        pytest.skip("the published data files are not here")
    dataset = load_dataset(name, SHARED / "data" / "eval")
    assert (len(dataset.dev), len(dataset.test)) == (200, 1000)
    assert bool(dataset.prefix) == (name == "knowledge_crosswords")


@pytest.mark.parametrize(("name", "sizes"), [("gaia", (13, 28)), ("qasper", (100, 100))])
def test_the_published_contexts_become_chunks(name: str, sizes: tuple[int, int]) -> None:
    if not (SHARED / "data" / "eval" / f"{name}.json").exists():
        pytest.skip("the published data files are not here")
    dataset = load_dataset(name, SHARED / "data" / "eval")
    assert (len(dataset.dev), len(dataset.test)) == sizes
    assert {len(example.chunks) for example in dataset.dev} == {10}
    assert any("" in example.chunks for example in dataset.dev) == (name == "gaia")


def test_the_checksums_of_the_published_files_are_true() -> None:
    here = [name for name in SHA256 if (SHARED / "data" / "eval" / f"{name}.json").exists()]
    if not here:
        pytest.skip("the published data files are not here")
    for name in here:
        assert hashlib.sha256((SHARED / "data" / "eval" / f"{name}.json").read_bytes()).hexdigest() == SHA256[name]


def test_a_published_name_that_is_not_there_says_how_to_bring_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'no dataset "ltp" in .*; bring it: h-swarm data get ltp$'):
        load_dataset("ltp", tmp_path)
