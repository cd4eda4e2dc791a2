"""Datasets of plugins: found by name where no file has it, read and checked as a JSON file is."""

import json

import pytest

from swarm.data.example import Dataset, Example
from swarm.data.load import load_dataset
from swarm.data.source import Source
from swarm.errors import UserError
from swarm.plugins import use_plugin_files

RECORDS = [{"question": f"{n} + 1?", "answer": str(n + 1)} for n in range(4)]
SPLITS = f"{{'dev': {RECORDS[:1]!r}, 'test': {RECORDS[1:]!r}}}"


@pytest.fixture
def sums(tmp_path):
    """Uses a plugin file whose dataset `sums` returns this expression; gives the folder that has no file of it."""

    def use(code):
        (tmp_path / "sums.py").write_text(
            "from swarm.data.example import Dataset, Example\nfrom swarm.plugins import register\n\n"
            f"@register('datasets', 'sums')\ndef sums():\n    return {code}\n"
        )
        use_plugin_files(str(tmp_path / "sums.py"))
        return tmp_path / "data"

    yield use
    use_plugin_files(None)


EXAMPLE = "Example('1?', 'B', 'id', 'easy', {'B': 'one', 'A': 'two'}, ('x', ''))"


@pytest.mark.parametrize("code", [SPLITS, f"Dataset('other', (Example('0 + 1?', '1'),), {tuple(RECORDS[1:])!r})"])
def test_it_has_what_a_file_of_it_would_have(sums, code):
    directory = sums(code)
    found = load_dataset("sums", directory)
    assert found.name == "sums" and len(found.test) == 3 and found.dev == (Example("0 + 1?", "1"),)
    directory.mkdir()
    (directory / "like.json").write_text(json.dumps({"dev": RECORDS[:1], "test": RECORDS[1:]}))
    assert load_dataset(Source("like", str(directory), mend=True)).digest == found.digest == load_dataset(
        Source("sums", str(directory), mend=True)
    ).digest  # fmt: skip


def test_a_ready_dataset_keeps_all_it_says(sums):
    directory = sums(f"Dataset('x', ({EXAMPLE},), ({EXAMPLE},), 'Count.', {{'max_new_tokens': 3, 'chat': True}})")
    found = load_dataset("sums", directory)
    example = Example("1?", "B", "id", "easy", {"B": "one", "A": "two"}, ("x", ""))
    assert found.dev == found.test == (example,) and list(found.dev[0].choices) == ["B", "A"]
    assert (found.prefix, dict(found.generation)) == ("Count.", {"max_new_tokens": 3, "chat": True})
    assert isinstance(found, Dataset) and len(found.digest) == 64


def test_the_settings_of_data_hold_for_it(sums):
    rows = [{"ask": record["question"], "answer": record["answer"]} for record in RECORDS]
    source = Source("sums", str(sums(repr(rows))), columns={"question": "ask"}, dev_size=1)
    assert (len(load_dataset(source).dev), len(load_dataset(source).test)) == (1, 3)
    with pytest.raises(UserError, match="dataset sums is a plugin's, and --hub_config and --data_revision are for hub"):
        load_dataset(Source("sums", hub_config="main"))


def test_a_file_in_the_data_directory_goes_first(sums):
    directory = sums(SPLITS)
    directory.mkdir()
    (directory / "sums.json").write_text(json.dumps({"dev": RECORDS[:2], "test": RECORDS[2:]}))
    assert len(load_dataset("sums", directory).dev) == 2


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("1 / 0", r"dataset 'sums' of \S+sums.py, line 4 raised ZeroDivisionError: .*sums.py, line 6\); mend it"),
        ("Dataset('x', None, None)", "dataset 'sums' of .* raised TypeError: 'NoneType' object is not iterable"),
        ("7", "sums.py, line 4 gave 7, wanted a Dataset or what a JSON file may hold; return one of them"),
        (repr(RECORDS), "one table of 4 rows, wanted dev and test"),
        ("{'dev': [{'question': 'x'}], 'test': []}", "test split is empty"),
        ("{'dev': [{'question': 'x'}], 'test': [1]}", 'line 4: dev record 0: no field "answer", only "question"'),
        ("Dataset('x', (Example('a', 1),), (Example('a', 'b'),))", "dev record 0: answer is 1, wanted a text"),
    ],
)
def test_what_is_wrong_with_it_is_said(sums, code, message):
    with pytest.raises(UserError, match=message):
        load_dataset("sums", sums(code))


def test_an_unknown_name_lists_those_of_plugins(sums):
    with pytest.raises(UserError, match="and sums is a plugin's; give one of the names there, .*; a plugin's needs"):
        load_dataset("sum", sums(SPLITS))
