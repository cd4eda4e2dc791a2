"""The published program's result file: one record per question, appended, and gone on with where it ends."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from swarm.data.tables import parse_json, read_data_file, show
from swarm.errors import UserError
from swarm.programs.deepen.published_data import Question
from swarm.storage.files import open_own, take_lock

FIELDS = ("answer", "prediction", "main_model_input", "all", "model_answer", "question")


def result_name(learning_rate: float, updates: int) -> str:
    """The name that the published program gives its result file: "ensemble_lr0.15_learning_epochs_nums5.jsonl"."""
    return f"ensemble_lr{float(learning_rate)}_learning_epochs_nums{updates}.jsonl"


def result_record(
    question: Question, fields: Sequence[str], prompt: str, generated: str, prediction: str
) -> dict[str, Any]:
    """A record with the published fields, and those of the question that the config's examples name (`fields`).

    `all` is prompt and answer together, `model_answer` a list of the one text that was generated.
    """
    record = {
        "answer": question.fields["answer"],
        "prediction": prediction,
        "main_model_input": prompt,
        "all": prompt + generated,
        "model_answer": [generated],
        "question": question.question,
    }
    return record | {name: question.fields[name] for name in fields if name not in record and name in question.fields}


def read_results(path: Path) -> list[dict[str, Any]]:
    """The records of a result file; a torn last line is left out.

    Raises UserError for a line before it that is no record.
    """
    return _whole_records(path)[0]


def _whole_records(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The records, and how many bytes of the file they take."""
    content = read_data_file(path)
    lines = content.split(b"\n")
    records, size = [], 0
    for number, line in enumerate(lines, start=1):
        last = number == len(lines)
        record = _torn(line) if last else parse_json(path, line.decode(errors="surrogateescape") or "null", number)
        if record is None and last:
            break  # nothing behind the last line's end, or a line that a kill has torn
        if not isinstance(record, Mapping) or not {"question", "answer"} <= record.keys():
            raise UserError(
                f"{path}: line {number} is {show(record)}; wanted a record with {', '.join(FIELDS)}: name another "
                "folder for the results, or delete the file"
            )
        records.append(dict(record))
        size += len(line) + (not last)
    return records, size


def _torn(line: bytes) -> Any:
    """What the last line says; None where it is torn. A torn object never is whole JSON, so that this is certain."""
    try:
        return json.loads(line)
    except ValueError:
        return None


class ResultFile:
    """A result file that is gone on with.

    Attributes:
      path: of the file.
      done: how many questions it has answers for.
    """

    def __init__(self, path: Path, questions: Sequence[Question], prompts: Sequence[str] | None = None) -> None:
        """Reads what is there, and drops a torn last line.

        With `prompts`, the main model's, what was asked is compared too.

        Raises UserError where another process writes to the file, and where it belongs to other questions or prompts:
        the line, and what differs.
        """
        self.path, self.done = path, 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open_own(path, "ab")
        except OSError as error:
            raise UserError(f"{path} cannot be written ({error.strerror}); name another folder with -rsd") from error
        # two processes would answer all questions twice, and their lines would mix
        take_lock(self._file, f"{path} is being written by another process; wait for it, or name another folder: -rsd")
        try:
            records, size = _whole_records(path)
            _check_same(path, records, questions, prompts)
        except UserError:
            self.close()
            raise
        self.done = len(records)
        self._file.truncate(size)
        if size and not _ends_with_newline(path):
            self._file.write(b"\n")

    def append(self, record: Mapping[str, Any]) -> None:
        """Writes one record, on the disk when this returns; raises UserError where it cannot be written."""
        try:
            self._file.write(json.dumps(record, ensure_ascii=False).encode(errors="backslashreplace") + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise UserError(f"{self.path} cannot be written ({error.strerror}); make room, and run it again") from error
        self.done += 1

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def __enter__(self) -> "ResultFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _ends_with_newline(path: Path) -> bool:
    with open(path, "rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _check_same(
    path: Path, records: Sequence[Mapping[str, Any]], questions: Sequence[Question], prompts: Sequence[str] | None
) -> None:
    """Raises UserError if the records are not answers to the first of these questions."""
    cure = "name another folder with -rsd, or delete the file"
    if len(records) > len(questions):
        raise UserError(f"{path} has {len(records)} answers, given {len(questions)} questions; {cure}")
    for index, (record, question) in enumerate(zip(records, questions, strict=False)):
        wanted = {"question": question.question, "answer": question.fields["answer"]}
        if prompts is not None:
            wanted["main_model_input"] = prompts[index]
        for name, value in wanted.items():
            if record.get(name) != value:
                given = f"{name} {show(record.get(name))}, wanted {show(value)}"
                raise UserError(f"{path}: line {index + 1} belongs to another run: {given}; {cure}")
