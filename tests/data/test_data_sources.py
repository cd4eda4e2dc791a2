"""Guards what a dataset may be besides a published file: tables, folders, mapped columns, drawn splits."""

import csv
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.data.example import Dataset, Example
from swarm.data.load import load_dataset
from swarm.data.source import Source, parse_mapping
from swarm.errors import UserError

ROWS: list[dict[str, Any]] = [
    {"question": "Is it,\nor not?", "answer": "B", "choices": ["yes", "no"], "id": "a", "split": "dev"},
    {"question": "1 + 1?", "answer": "A", "choices": ["2", "3"], "domain": "sums", "split": "test"},
    {"question": "read!", "answer": "B", "choices": ["x", "y"], "context_chunks": ["", "é"], "split": "test"},
    {"question": "never", "answer": "A", "choices": ["x", "y"], "split": "train"},
]
DEV = (Example("Is it,\nor not?", "B", "a", choices={"A": "yes", "B": "no"}),)
TEST = (
    Example("1 + 1?", "A", domain="sums", choices={"A": "2", "B": "3"}),
    Example("read!", "B", choices={"A": "x", "B": "y"}, chunks=("", "é")),
)


def content(rows: list[dict[str, Any]], kind: str) -> bytes:
    """A file of these rows."""
    if kind == "json":
        return json.dumps(rows).encode()
    if kind == "jsonl":
        return "\n\n".join(json.dumps(row) for row in rows).encode()
    if kind == "parquet":
        file = io.BytesIO()
        columns = list(dict.fromkeys(key for row in rows for key in row))
        table = pyarrow.Table.from_pylist([{key: row.get(key) for key in columns} for row in rows])
        pyarrow.parquet.write_table(table, file)
        return file.getvalue()
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)))
    writer.writeheader()
    for row in rows:
        writer.writerow({k: json.dumps(v) if isinstance(v, list | dict) else v for k, v in row.items()})
    return text.getvalue().encode()


def put(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_bytes(content(rows, path.suffix[1:]))
    return path


def fault(path: Path, **options: Any) -> str:
    """The one line with which a source is refused, without the path in front."""
    with pytest.raises(UserError) as refused:
        load_dataset(Source(str(path), **options))
    assert "\n" not in str(refused.value)
    return str(refused.value).removeprefix(str(path))


@pytest.mark.parametrize("kind", ["json", "jsonl", "csv", "parquet"])
def test_a_table_of_any_kind_with_a_column_of_splits(tmp_path: Path, kind: str) -> None:
    path = put(tmp_path / f"mine.{kind}", ROWS)
    dataset = load_dataset(str(path))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert dataset == Dataset("mine", DEV, TEST, digest=digest)
    other = load_dataset(Source(str(path), splits={"dev": "train", "test": "dev"}))
    assert (other.dev[0].question, other.test) == ("never", DEV) and other.digest != digest


@pytest.mark.parametrize("kind", ["json", "jsonl", "csv", "parquet"])
def test_a_folder_with_a_file_for_each_split(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    put(folder / f"validation.{kind}", ROWS[:1])
    put(folder / f"test.{kind}", ROWS[1:3])
    (folder / "README.md").write_text("a table about tables")
    dataset = load_dataset(Source(str(folder), splits={"dev": "validation"}))
    assert (dataset.name, dataset.dev, dataset.test) == ("mine", DEV, TEST)
    put(folder / f"dev.{kind}", [ROWS[0] | {"more": "ignored"}])
    assert load_dataset(str(folder)).digest == dataset.digest, "equal examples have equal digests"
    put(folder / f"dev.{kind}", [ROWS[0] | {"choices": ["no", "no."]}])
    assert load_dataset(str(folder)).digest != dataset.digest


def test_a_folder_says_which_files_it_has(tmp_path: Path) -> None:
    put(tmp_path / "train.csv", ROWS)
    put(tmp_path / "test.csv", ROWS)
    said = fault(tmp_path)
    assert said.startswith(": no file dev.json, .jsonl, .csv or .parquet, only test.csv, train.csv; ")
    assert "--splits dev=NAME,test=NAME" in said
    put(tmp_path / "dev.csv", ROWS)
    put(tmp_path / "dev.jsonl", ROWS)
    assert fault(tmp_path).startswith(": more than one file dev.json, ")
    (tmp_path / "train.csv").unlink()
    (tmp_path / "train.json").write_text('{"dev": []}')
    assert fault(tmp_path, splits={"dev": "train"}).startswith('/train.json is {"dev": []}, wanted a list of records')


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(2, 40), size=st.integers(1, 39), seed=st.integers(0, 2**32))
def test_drawn_splits_part_the_rows_and_depend_on_the_seed_alone(tmp_path_factory, rows, size, seed) -> None:
    path = put(
        tmp_path_factory.mktemp("drawn") / "mine.jsonl", [{"question": str(k), "answer": "1"} for k in range(rows)]
    )
    if size >= rows:
        assert fault(path, dev_size=size).startswith(f"--dev_size is {size}, wanted 1 to {rows - 1} of ")
        return
    dataset = load_dataset(Source(str(path), dev_size=size, seed=seed))
    numbers = [[int(example.question) for example in split] for split in (dataset.dev, dataset.test)]
    assert len(numbers[0]) == size and sorted(numbers[0] + numbers[1]) == list(range(rows))
    assert numbers == [sorted(split) for split in numbers]
    assert load_dataset(Source(str(path), dev_size=size, seed=seed)) == dataset


def test_another_draw_is_other_data(tmp_path: Path) -> None:
    path = put(tmp_path / "mine.jsonl", [{"question": str(k), "answer": "1"} for k in range(40)])
    one, two = (load_dataset(Source(str(path), dev_size=20, seed=seed)) for seed in (1, 2))
    assert one.dev != two.dev and one.digest != two.digest


def test_one_split_for_both_is_drawn_from(tmp_path: Path) -> None:
    records = [{"question": str(k), "answer": "1"} for k in range(5)]
    (tmp_path / "mine.json").write_text(json.dumps({"train": records, "icl_prompt": "first"}))
    both = {"dev": "train", "test": "train"}
    dataset = load_dataset(Source(str(tmp_path / "mine.json"), splits=both, dev_size=2))
    assert (len(dataset.dev), len(dataset.test), dataset.prefix) == (2, 3, "first")


def test_a_size_of_dev_is_refused_where_nothing_is_drawn(tmp_path: Path) -> None:
    table = put(tmp_path / "mine.csv", ROWS)
    assert fault(table, dev_size=1).startswith(' has a column "split", and --dev_size is for tables without; ')
    published = tmp_path / "both.json"
    published.write_text(json.dumps({"dev": ROWS[:1], "test": ROWS[1:]}))
    assert fault(published, dev_size=1).startswith(
        " has a dev and a test split, and --dev_size is for sources with one"
    )


def test_columns_of_other_names_are_mapped(tmp_path: Path) -> None:
    rows = [{"problem": "1 + 1?", "solution": "2", "subject": "sums", "question": "ignored", "split": "dev"}]
    path = put(tmp_path / "mine.csv", [*rows, rows[0] | {"split": "test"}])
    columns = parse_mapping("question=problem, answer=solution,domain=subject", "--columns")
    assert load_dataset(Source(str(path), columns=columns)).dev == (Example("1 + 1?", "2", domain="sums"),)
    there = 'only "problem", "solution", "subject", "question", "split"; name one of these'
    assert fault(path, columns={"answer": "gold"}) == f': no column "gold" for answer, {there}'
    assert fault(path, columns={"split": "part"}) == f': no column "part" for split, {there}'
    said = ': line 2: no field "answer", only "problem", "solution", "subject", "question", "split"; add or rename it'
    assert fault(path).startswith(said)
    with pytest.raises(
        UserError,
        match=r'--columns maps "gold", wanted one of question, answer, .* before the =; did you mean answer=gold',
    ):
        Source("x", columns={"gold": "answer"})
    with pytest.raises(
        UserError, match=r'--splits maps "train", wanted one of dev, test before the =; did you mean dev=train'
    ):
        Source("x", splits={"train": "dev"})


@pytest.mark.parametrize("text", ["", "question", "question=", "=problem", "question=problem,", "a=b,a=c"])
def test_a_mapping_that_is_none_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UserError, match="^--columns is .*; "):
        parse_mapping(text, "--columns")


def test_whole_numbers_of_typed_columns_are_answers(tmp_path: Path) -> None:
    rows = [{"question": "q", "answer": 1200, "id": k, "split": split} for k, split in enumerate(["dev", "test"])]
    dataset = load_dataset(str(put(tmp_path / "mine.parquet", rows)))
    assert (dataset.dev[0].answer, dataset.test[0].id) == ("1200", "1")
    choose = [row | {"answer": 1, "choices": {"A": "x", "B": "y"}} for row in rows]
    choose[1]["choices"] = {"1": "x", "2": "y"}
    said = fault(put(tmp_path / "mine.parquet", choose))
    assert said == ': row 0: answer is "1", wanted a letter of its choices (A, B); correct it'
    choose[0]["choices"] = {"1": "x"}
    dataset = load_dataset(str(put(tmp_path / "mine.parquet", choose)))
    assert dict(dataset.dev[0].choices) == {"1": "x"}, "a letter that a record does not use is a null there"
    assert fault(put(tmp_path / "mine.parquet", [row | {"answer": 1.5} for row in rows])).startswith(
        ": row 0: answer is 1.5, wanted a text in quotes; "
    )
    assert fault(put(tmp_path / "mine.jsonl", rows)).startswith(": line 1: answer is 1200, wanted a text in quotes; w")


@pytest.mark.parametrize(
    ("name", "bad", "said"),
    [
        ("a.jsonl", b'{"question": "q", "answer": "1"}\n\n{"question"', ": not valid JSON at line 3, column 12: "),
        ("a.jsonl", b'{"question": "q", "answer": "1"}\n5\n', ": one table of 2 rows, wanted dev and test; "),
        ("a.csv", b"question,answer\n1,2,3\n", ": line 2 has 3 cells, wanted 2 as in the header; "),
        ("a.csv", b'question,answer\n"1\n2",3\n4\n', ": line 4 has 1 cells, wanted 2 as in the header; "),
        ("a.csv", b'question,answer\n"1"2,3\n', ": line 2 is not CSV ("),
        ("a.csv", b"question,question\n", ': line 1: the header has the column "question" more than once; '),
        ("a.csv", b"", " holds 0 records, wanted some for dev and some for test; "),
        ("a.csv", b"question,answer,split\nq,1,dev\nq,1,\n", ': no row has "test" as its split, only "dev", ""; say '),
        ("a.csv", b"question,answer\n\xff,1\n", ": byte 16 is not UTF-8 text; save the file as UTF-8"),
        (
            "a.csv",
            b"question,answer,choices,split\nq,A,yes,dev\nq,A,x,test\n",
            ': line 2: choices is "yes", wanted JSON such as ["yes", "no"] in the cell; mend it',
        ),
        ("a.parquet", b"no table", ": not parquet that can be read ("),
    ],
)
def test_a_fault_of_a_table_is_named_with_its_line(tmp_path: Path, name: str, bad: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(bad)
    assert fault(tmp_path / name).startswith(said)


def test_options_of_the_hub_are_refused_for_files(tmp_path: Path) -> None:
    said = fault(put(tmp_path / "mine.csv", ROWS), revision="main")
    assert said == " is a file or folder, and --hub_config and --data_revision are for hub sets; drop them"


def test_a_cell_may_hold_a_whole_paper(tmp_path: Path) -> None:
    chunks = json.dumps(["x" * 200_000]).replace('"', '""')
    (tmp_path / "long.csv").write_text(
        f'question,answer,split,context_chunks\nq,a,dev,"{chunks}"\nq2,a,test,"{chunks}"\n'
    )
    assert len(load_dataset(str(tmp_path / "long.csv")).dev[0].chunks[0]) == 200_000


def test_typed_columns_of_truth_values_and_numbers_are_read_as_people_write_them(tmp_path: Path) -> None:
    rows = [
        {"question": f"q{i}", "answer": bool(i), "domain": i, "split": split} for i, split in enumerate(["dev", "test"])
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "typed.parquet")
    dataset = load_dataset(str(tmp_path / "typed.parquet"))
    assert (dataset.dev[0].answer, dataset.test[0].answer, dataset.test[0].domain) == ("False", "True", "1")
