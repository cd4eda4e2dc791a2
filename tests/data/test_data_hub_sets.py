"""Guards the making of sets like the published ones where the hub's are not as they were known."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.data import hub_sets, mix_instruct
from swarm.data.tables import Row, Table
from swarm.errors import UserError

RNG = np.random.default_rng(0)


def table(*rows: object) -> Table:
    return Table("owner/name: test", [Row(f"row {index}", row) for index, row in enumerate(rows)], "typed")


def test_too_few_rows_are_told() -> None:
    with pytest.raises(UserError, match="^owner/name: test has 1 rows, wanted 2; "):
        hub_sets._drawn(table({}), 2, RNG, hub_sets._gsm8k)
    with pytest.raises(UserError, match="^owner/name: test has 0 questions that can be used, wanted 1; "):
        hub_sets._drawn_questions(table({"qas": []}), 1, RNG)


@pytest.mark.parametrize("row", [{"question": "q"}, {"question": "q", "subject": "law", "choices": 5, "answer": 1}])
def test_rows_of_another_shape_are_told_in_one_line(row: dict[str, object]) -> None:
    with pytest.raises(UserError, match=r"^owner/name: test has rows of another shape than was known \(\w+Error: .*$"):
        hub_sets._drawn(table(row), 1, RNG, hub_sets._mmlu)


def test_nested_rows_are_read_in_both_ways_of_saving_them() -> None:
    side_by_side = {"section_name": ["One", None], "paragraphs": [["a.", ""], ["b."]]}
    row_by_row = [{"section_name": "One", "paragraphs": ["a.", ""]}, {"section_name": None, "paragraphs": ["b."]}]
    assert hub_sets._full_text(side_by_side) == hub_sets._full_text(row_by_row) == "One a. b."


WORDS = st.lists(st.sampled_from(["a", "bb.", "ccc!", "(3.5)", "d?", "eeee"]), max_size=120)


@settings(max_examples=60, deadline=None)
@given(WORDS, st.integers(1, 10))
def test_chunks_are_whole_sentences_and_together_the_text(words: list[str], count: int) -> None:
    text = " ".join(words)
    chunks = hub_sets.in_chunks(text, count)
    if chunks is None:
        assert sum(word[-1] in ".!?" for word in words) < count
        return
    assert len(chunks) == count and " ".join(chunks) == text
    assert all(chunk[-1] in ".!?" for chunk in chunks[:-1])


def test_chunks_are_of_about_equal_length() -> None:
    chunks = hub_sets.in_chunks(" ".join(f"Sentence number {k} of this paper." for k in range(200)))
    assert chunks is not None and max(map(len, chunks)) - min(map(len, chunks)) < 80


@pytest.mark.parametrize(("line", "said"), [("{", "line 2 is not JSON; "), ("[1]", "line 2 is not a JSON object; ")])
def test_a_damaged_file_of_mix_instruct_is_not_copied(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "val.jsonl").write_text('{"id": 1}\n' + line)
    with pytest.raises(UserError, match=f"val.jsonl, {re.escape(said)}"):
        mix_instruct._copy(tmp_path / "val.jsonl", tmp_path / "to.jsonl")
    assert not (tmp_path / "to.jsonl").exists()


def test_a_folder_in_the_place_of_mix_instruct_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(UserError, match="is there and does not hold train, validation, test.jsonl; move it away"):
        mix_instruct.bring_mix_instruct(tmp_path)
    for split in ("train", "validation", "test"):
        (tmp_path / f"{split}.jsonl").touch()
    assert mix_instruct.bring_mix_instruct(tmp_path) == f"{tmp_path} is there"
