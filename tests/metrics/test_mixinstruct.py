"""MixInstruct's format is read as it is written, or the line that is wrong is named."""

import json
import os

import numpy as np
import pytest

from swarm.errors import UserError
from swarm.metrics.mixinstruct import read_mix_instruct

VERDICTS = {"one,two": "A is better", "three,one": "Same bad", "three,two": "B is better"}


def candidate(model, text="an answer", **scores):
    return {"decoding_method": "beam_search", "model": model, "text": text, "scores": scores}


def record(**changes):
    candidates = [candidate("one", "red", bleu=10.0, bartscore=-3.5), candidate("two", "blue", bleu=0, bartscore=-4),
                  candidate("three", "", bleu=7)]  # fmt: skip
    fields = {"id": "unified/1", "instruction": "", "input": "What\u2028colour?", "output": "red"}
    return fields | {"candidates": candidates, "cmp_results": json.dumps(VERDICTS)} | changes


def write(path, *records):
    path.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in records), encoding="utf8")
    return path


def test_a_file_is_read(tmp_path):
    turned = record(candidates=record()["candidates"][::-1], instruction="Say:", cmp_results=None)
    data = read_mix_instruct(write(tmp_path / "test_data_prepared.jsonl", record(), turned))
    assert data.names == ("one", "two", "three") and data.split == "test" and len(data) == 2
    assert data.prompts == ("What\u2028colour?", "Say:\nWhat\u2028colour?") and data.references == ("red", "red")
    assert data.texts == (("red", "blue", ""), ("red", "blue", "")) and data.rows[0].id == "unified/1"
    assert data.metrics == ("bleu",)
    np.testing.assert_array_equal(data.stored("bleu").scores, [[10, 0, 7]] * 2)
    np.testing.assert_array_equal(data.stored("bartscore").scores, [[-3.5, -4, np.nan]] * 2)
    assert data.stored("bleu").split == "test" and data.stored("bleu").settings["stored"] is True
    wanted = [[0, 1, -0.5], [-1, 0, 1], [-0.5, -1, 0]]
    np.testing.assert_array_equal(data.comparisons(), [wanted, np.full((3, 3), np.nan)])
    assert len(read_mix_instruct(tmp_path / "test_data_prepared.jsonl", limit=1)) == 1


def test_a_file_s_name_tells_the_split(tmp_path):
    assert read_mix_instruct(write(tmp_path / "validation.jsonl", record())).split == "val"
    assert read_mix_instruct(write(tmp_path / "mine.jsonl", record())).split == ""


FAULTS = [
    ([1], "line 2 is .*wanted an object"),
    (record(output=None), "line 2: output is null, wanted a text"),
    (record(instruction=3), "line 2: instruction is 3, wanted a text"),
    (record(input=" "), "line 2 has an empty prompt"),
    (record(candidates=[]), r"line 2: candidates is \[\], wanted a list"),
    (record(candidates=[3]), "line 2: a candidate is 3"),
    (record(candidates=[{"text": "x", "scores": {}}]), "line 2: a candidate is .*wanted an object with model"),
    (record(candidates=[candidate("one", None)]), "line 2: the answer of one is null"),
    (record(candidates=[candidate("one", bleu="high")]), 'line 2: bleu of one is "high", wanted a finite number'),
    (record(candidates=[candidate("one", bleu=float("nan"))]), "line 2: bleu of one is NaN"),
    (record(candidates=[candidate("one"), candidate("one")]), "line 2 has more than one answer of one"),
    (
        record(candidates=[candidate("one"), candidate("two")], cmp_results=None),
        "line 2 has no answer of three",
    ),
    (record(candidates=[*record()["candidates"], candidate("four")]), "line 2 has an answer of four, which the first"),
    (record(cmp_results="{"), "line 2: cmp_results is not JSON"),
    (record(cmp_results='{"one,five": "Same good"}'), 'line 2: cmp_results compares "one,five"'),
    (record(cmp_results='{"one,two": "A wins"}'), 'line 2: cmp_results says "A wins", wanted one of A is better'),
]


@pytest.mark.parametrize(("fault", "said"), FAULTS)
def test_what_is_wrong_is_said_with_its_line(tmp_path, fault, said):
    with pytest.raises(UserError, match=said) as caught:
        read_mix_instruct(write(tmp_path / "val.jsonl", record(), fault))
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match="cannot be read .No such file.*; name a file in MixInstruct's format"):
        read_mix_instruct(tmp_path / "none.jsonl")
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(UserError, match=r"pipe.jsonl: cannot be read .a named pipe, no file.; name a file"):
        read_mix_instruct(tmp_path / "pipe.jsonl")
    with pytest.raises(UserError, match="has no rows"):
        read_mix_instruct(write(tmp_path / "empty.jsonl"))
    (tmp_path / "half.jsonl").write_text(json.dumps(record()) + "\n{")
    with pytest.raises(UserError, match="not valid JSON at line 2"):
        read_mix_instruct(tmp_path / "half.jsonl")
    (tmp_path / "latin.jsonl").write_bytes(b'{"id": "\xff"}')
    with pytest.raises(UserError, match="is not UTF-8 text"):
        read_mix_instruct(tmp_path / "latin.jsonl")
    with pytest.raises(UserError, match="the limit of .* is 0"):
        read_mix_instruct(tmp_path / "half.jsonl", limit=0)
    data = read_mix_instruct(write(tmp_path / "val.jsonl", record()))
    with pytest.raises(UserError, match='no stored score "bleurt", only bartscore, bleu'):
        data.stored("bleurt")
