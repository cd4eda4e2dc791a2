"""The published program's data: records with a question, its answer or answers, and for choices a field per letter."""

import logging
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from swarm.data.load import file_table
from swarm.data.records import example_of
from swarm.data.shapes import in_our_fields
from swarm.data.tables import Kind, Row, show
from swarm.errors import UserError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Question:
    """One record.

    Attributes:
      where: its place, as messages begin with.
      fields: all of the record.
      answers: the right answers, of which any will do.
    """

    where: str
    fields: Mapping[str, Any]
    answers: tuple[str, ...]

    @property
    def question(self) -> str:
        """The question itself."""
        return str(self.fields["question"])

    @cached_property
    def choices(self) -> dict[str, str]:
        """Letter -> choice, for a question that has a field per letter."""
        return choices_of(self.fields)


def choices_of(fields: Mapping[str, Any]) -> dict[str, str]:
    """Letter -> choice of a record that has a field per letter; empty for any other."""
    return {letter: str(fields[letter]) for letter in string.ascii_uppercase if letter in fields}


def read_questions(path: Path) -> list[Question]:
    """The records of a file, in order: JSONL as the published program has it, or what else a search reads.

    Raises UserError for a file that cannot be read or is empty, and for a record without a question or an answer: the
    line, and what it holds.
    """
    table = file_table(path)
    if table.rows and not _is_published(table.rows[0].fields):
        [table] = in_our_fields([table], {})
        table = replace(table, rows=[_as_published(row, table.kind) for row in table.rows])
    if not table.rows:
        raise UserError(f"{path} has no record; name a file of questions")
    return [_question(row) for row in table.rows]


def _as_published(row: Row, kind: Kind) -> Row:
    """A record of ours in the published program's fields: answers as a list, or a letter with a field per choice."""
    if not isinstance(row.fields, Mapping) or not {"question", "answer"} <= row.fields.keys():
        return row  # which `_question` refuses
    example = example_of(row, kind)
    answer: Any = example.answer if example.choices else list(example.golds)
    return Row(row.where, {**row.fields, "question": example.question, "answer": answer, **example.choices})


def _is_published(fields: Any) -> bool:
    """Whether a record has the published program's fields, which prompts are made of as they are."""
    has_them = isinstance(fields, Mapping) and {"question", "answer"} <= fields.keys()
    return has_them and not isinstance(fields["answer"], Mapping) and "choices" not in fields


def _question(row: Row) -> Question:
    fields = row.fields
    if not isinstance(fields, Mapping):
        raise UserError(f"{row.where} is {show(fields)}; wanted an object with question and answer")
    missing = [name for name in ("question", "answer") if name not in fields]
    if missing:
        there = ", ".join(map(str, fields)) or "none"
        raise UserError(f"{row.where} has no {' and no '.join(missing)}; there are {there}: rename or add the field")
    answer = fields["answer"]
    answers = answer if isinstance(answer, list) else [answer]
    if not isinstance(fields["question"], str) or not answers or not all(isinstance(one, str) for one in answers):
        given = f"question {show(fields['question'])} and answer {show(answer)}"
        raise UserError(f"{row.where} has {given}; wanted a text, and a text or a list of texts: mend the record")
    return Question(row.where, fields, tuple(answers))


def read_demos(path: Path | None) -> list[Question]:
    """The examples that prompts begin with; none, which is logged, where the config leaves their file empty."""
    if path is None:
        log.info("the config names no file of examples (demon_file_path): zero-shot")
        return []
    return read_questions(path)


def warn_of_shared(dev: Path | None, test: Sequence[Question]) -> None:
    """Says how many of these test questions are in the dev file too: what is chosen on dev is then judged on itself.

    All 1,900 dev questions of the published TriviaQA are. A dev file that cannot be read is not needed either.
    """
    if dev is None or not dev.is_file():
        return
    try:
        known = {question.question for question in read_questions(dev)}
    except UserError as error:
        log.info("test questions are not compared with those of dev: %s", error)
        return
    if shared := sum(question.question in known for question in test):
        log.warning("%d of %d test questions are in %s too: where settings were chosen on it, scores on them say "
                    "nothing about new questions", shared, len(test), dev)  # fmt: skip
