"""Public sets of the hub in the published files' shape and sizes; the questions drawn are not the published ones.

Each function reads its set and returns what a file of data/eval/ holds. The draw is by SEED, from whatever state of the
set the hub has.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate, islice
from typing import Any

import numpy as np

from swarm.data.hub import PARQUET_BRANCH, read_hub
from swarm.data.tables import Table
from swarm.errors import UserError

SEED = 20250206
_CHUNKS = 10  # parts of a paper, as many as the published program has nodes
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_LETTERS = "ABCDEFGHIJ"

Published = dict[str, Any]
Record = dict[str, Any]


def gsm8k() -> Published:
    """200 dev questions of openai/gsm8k's train split and 1000 test questions of its test split."""
    tables = read_hub("openai/gsm8k", ("train", "test"), "main")
    rng = np.random.default_rng(SEED)
    dev, test = (_drawn(tables[split], count, rng, _gsm8k) for split, count in (("train", 200), ("test", 1000)))
    return _published("gsm8k", "openai/gsm8k, main", dev, test)


def mmlu() -> Published:
    """200 dev and 1000 test questions of cais/mmlu's test split, none in both."""
    table = read_hub("cais/mmlu", ("test",), "all")["test"]
    both = _drawn(table, 1200, np.random.default_rng(SEED), _mmlu)
    return _published("mmlu", "cais/mmlu, all", both[:200], both[200:])


def mmlu_pro() -> Published:
    """The 70 dev questions that are TIGER-Lab/MMLU-Pro's validation split, and 1000 of its test split."""
    tables = read_hub("TIGER-Lab/MMLU-Pro", ("validation", "test"))
    dev = _records(tables["validation"], list(range(len(tables["validation"].rows))), _mmlu_pro)
    test = _drawn(tables["test"], 1000, np.random.default_rng(SEED), _mmlu_pro)
    return _published("mmlu_pro", "TIGER-Lab/MMLU-Pro", dev, test)


def qasper() -> Published:
    """100 dev questions of allenai/qasper's validation split and 100 of its test split, each with its paper in parts.

    Questions without an answer text and papers of fewer sentences than parts are passed over.
    """
    tables = read_hub("allenai/qasper", ("validation", "test"), revision=PARQUET_BRANCH)
    rng = np.random.default_rng(SEED)
    dev, test = (_drawn_questions(tables[split], 100, rng) for split in ("validation", "test"))
    return _published("qasper", "allenai/qasper", dev, test)


HUB_SETS: dict[str, Callable[[], Published]] = {
    "gsm8k": gsm8k, "mmlu": mmlu, "mmlu_pro": mmlu_pro, "qasper": qasper,
}  # fmt: skip
"""Name of the published file -> what makes one like it."""


def in_chunks(text: str, count: int = _CHUNKS) -> list[str] | None:
    """A text cut between sentences into `count` parts of about equal length; None if it has fewer sentences."""
    sentences = _SENTENCE_END.split(text.strip())
    if len(sentences) < count:
        return None
    lengths = [0, *accumulate(map(len, sentences))]  # (sentences + 1,): characters before each possible cut
    cuts = [0]
    for part in range(1, count):
        possible = range(cuts[-1] + 1, len(sentences) - (count - part) + 1)
        cuts.append(min(possible, key=lambda cut: abs(lengths[cut] - lengths[-1] * part / count)))
    return [" ".join(sentences[a:b]) for a, b in zip(cuts, [*cuts[1:], len(sentences)], strict=True)]


def _published(name: str, source: str, dev: list[Record], test: list[Record]) -> Published:
    return {"dataset": name, "source": f"{source}; drawn with seed {SEED}", "dev": dev, "test": test}


def _drawn(table: Table, count: int, rng: np.random.Generator, record: Callable[..., Record]) -> list[Record]:
    """The records of `count` rows, drawn without replacement."""
    if len(table.rows) < count:
        raise UserError(f"{table.where} has {len(table.rows)} rows, wanted {count}; the hub's set is not the usual one")
    return _records(table, rng.permutation(len(table.rows))[:count].tolist(), record)


def _records(table: Table, indices: list[int], record: Callable[..., Record]) -> list[Record]:
    """The records that `record(index, row)` makes of these rows."""
    try:
        return [record(index, table.rows[index].fields) for index in indices]
    except (KeyError, TypeError, IndexError) as error:
        raise _unusual(table, error) from error


def _unusual(table: Table, error: Exception) -> UserError:
    reason = f"{type(error).__name__}: {error}"
    return UserError(f"{table.where} has rows of another shape than was known ({reason}); give the set's files")


def _gsm8k(index: int, row: Mapping[str, Any]) -> Record:
    answer = row["answer"].rpartition("####")[2].strip().replace(",", "")
    return {"question": row["question"], "answer": answer, "id": index, "domain": "gsm8k"}


def _mmlu(index: int, row: Mapping[str, Any]) -> Record:
    choices = dict(zip(_LETTERS, row["choices"], strict=False))
    answer = _LETTERS[row["answer"]]
    return {"question": row["question"], "choices": choices, "answer": answer, "id": index, "domain": row["subject"]}


def _mmlu_pro(index: int, row: Mapping[str, Any]) -> Record:
    choices = dict(zip(_LETTERS, row["options"], strict=False))
    about = {"id": row["question_id"], "domain": row["category"]}
    return {"question": row["question"], "choices": choices, "answer": row["answer"], **about}


def _drawn_questions(table: Table, count: int, rng: np.random.Generator) -> list[Record]:
    """Records of `count` questions about papers, drawn without replacement from those that can be used."""
    try:
        pairs = [
            (index, number) for index, row in enumerate(table.rows) for number in range(len(_each(row.fields["qas"])))
        ]
        order = [pairs[index] for index in rng.permutation(len(pairs)).tolist()]
        records = list(islice(_usable(table, order), count))
    except (KeyError, TypeError, IndexError) as error:
        raise _unusual(table, error) from error
    if len(records) < count:
        raise UserError(f"{table.where} has {len(records)} questions that can be used, wanted {count}; give its files")
    return records


def _usable(table: Table, order: list[tuple[int, int]]) -> Iterator[Record]:
    for paper, number in order:
        row = table.rows[paper].fields
        asked = _each(row["qas"])[number]
        answer, chunks = _qasper_answer(asked["answers"]), in_chunks(_full_text(row["full_text"]))
        if answer and chunks:
            question = f"Question: {asked['question']}"
            yield {"question": question, "answer": answer, "id": asked["question_id"], "context_chunks": chunks}


def _full_text(text: Any) -> str:
    """A paper's paragraphs without its title, each section's name in front of its first one."""
    parts = [part for section in _each(text) for part in (section["section_name"], *section["paragraphs"])]
    return " ".join(part for part in parts if part)


def _qasper_answer(answers: Any) -> str:
    """The first annotator's answer as a text; empty if there is none."""
    first = next((each["answer"] for each in _each(answers)), None)
    if first is None:
        return ""
    if first["unanswerable"]:
        return "Unanswerable"
    if first["yes_no"] is not None:
        return "Yes" if first["yes_no"] else "No"
    return str(first["free_form_answer"] or ", ".join(first["extractive_spans"] or [])).strip()


def _each(columns: Any) -> list[dict[str, Any]]:
    """Nested rows, which the hub's library gives as lists side by side, or row by row, as the set was saved."""
    if isinstance(columns, list):
        return columns
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
