"""Where questions come from: one file per dataset, `{dataset, dev: [...], test: [...]}`, becomes a checked Dataset.

A record is `{question, answer, id?, choices?, domain?}`; other fields are left alone. Text stays as the file has it, so
a backslash followed by an n in a question remains those two characters, as in the published program.

What is wrong with a file is said here, before anything is loaded or generated, in one line that names the place:
file, split, record (counted from 0) and field.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from swarm.errors import UserError
from swarm.evals.base import Dataset, Example

DIRECTORY = "data/eval"
_SHOWN = 60  # characters of an offending value that a message shows


def load_dataset(name_or_path: str, directory: str | Path = DIRECTORY) -> Dataset:
    """The dataset of that name in `directory`, or the one in the .json file that is named.

    Raises:
      UserError: there is no such dataset, or its file does not hold one.
    """
    path = _locate(name_or_path, Path(directory))
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); name a dataset file that exists") from error
    return _dataset(path, _parse_json(path, content), hashlib.sha256(content).hexdigest())


def limit(dataset: Dataset, dev_limit: int | None = None, test_limit: int | None = None) -> Dataset:
    """The dataset with the first `dev_limit` and `test_limit` examples only; None keeps all of a split.

    The digest stays: it is the file's.
    """
    for split, count in (("dev", dev_limit), ("test", test_limit)):
        if count is not None and count < 1:
            raise UserError(f"the limit of the {split} split is {count}; give at least 1, or none to keep all of it")
    return replace(dataset, dev=dataset.dev[:dev_limit], test=dataset.test[:test_limit])


def _locate(name_or_path: str, directory: Path) -> Path:
    """The file that a name or a path means."""
    if name_or_path.endswith(".json"):
        return Path(name_or_path)
    files = {path.stem: path for path in sorted(directory.glob("*.json"))}
    if name_or_path not in files:
        there = f"it holds {', '.join(files)}" if files else "it holds no .json file, or is not a folder"
        cure = "give one of the names there or the path of a .json file"
        raise UserError(f"no dataset {_show(name_or_path)} in {directory}: {there}; {cure}")
    return files[name_or_path]


def _parse_json(path: Path, content: bytes) -> object:
    """What JSON says; a byte-order mark in front is allowed."""
    try:
        return json.loads(content.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}: {error.msg}"
        raise UserError(f"{path}: not valid JSON at {where}; mend the file there") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: byte {error.start} is not UTF-8 text; save the file as UTF-8") from error
    except (ValueError, RecursionError) as error:  # a number too long, or brackets too deep, for Python to hold
        raise UserError(f"{path}: JSON that cannot be read ({error}); mend the file") from error


def _dataset(path: Path, raw: Any, digest: str) -> Dataset:
    """The checked dataset that a parsed file holds."""
    if not isinstance(raw, dict):
        raise _fault(path, "the file", raw, "an object", 'wrap the two splits as {"dev": [...], "test": [...]}')
    prefix = raw.get("icl_prompt", "")
    _check_text(f"{path}: icl_prompt", prefix)
    return Dataset(
        name=path.stem,
        dev=_split(path, raw, "dev"),
        test=_split(path, raw, "test"),
        prefix=prefix,
        generation=_generation(path, raw.get("generation", {})),
        digest=digest,
    )


def _generation(path: Path, raw: Any) -> dict[str, int | bool]:
    """The generation settings that a file asks for."""
    where = f"{path}: generation"
    if not isinstance(raw, dict):
        raise _fault(path, "generation", raw, "an object", 'write {"max_new_tokens": 100, "chat": true} or drop it')
    for key, value in raw.items():
        if key == "max_new_tokens":
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise UserError(f"{where}: max_new_tokens is {_show(value)}, wanted a whole number from 1; write one")
        elif key == "chat":
            if not isinstance(value, bool):
                raise UserError(f"{where}: chat is {_show(value)}, wanted true or false; write one of them unquoted")
        else:
            raise UserError(f"{where}: no setting {_show(key)}, only max_new_tokens and chat; drop or rename it")
    return raw


def _split(path: Path, raw: Mapping[str, Any], split: str) -> tuple[Example, ...]:
    """One split's examples, at least one."""
    if split not in raw:
        raise UserError(f"{path}: no {split} split, wanted dev and test; add a list of records as {_show(split)}")
    records = raw[split]
    if not isinstance(records, list):
        raise _fault(path, f"the {split} split", records, "a list of records", "put its records into [...]")
    if not records:
        raise UserError(f"{path}: the {split} split is empty, wanted at least one record; add some")
    return tuple(_example(f"{path}: {split} record {index}", record) for index, record in enumerate(records))


def _example(where: str, record: Any) -> Example:
    """One checked record."""
    if not isinstance(record, dict):
        raise UserError(f'{where} is {_show(record)}, wanted an object; write {{"question": "...", "answer": "..."}}')
    for name in ("question", "answer"):
        if name not in record:
            fields = ", ".join(_show(key) for key in list(record)[:8]) or "none"
            raise UserError(f"{where}: no field {_show(name)}, only {fields}; add or rename it")
        _check_text(f"{where}: {name}", record[name])
        if not record[name].strip():
            raise UserError(f"{where}: {name} is {_show(record[name])}, wanted a text; fill it in or drop the record")
    if record.get("context_chunks"):
        raise UserError(
            f"{where} has context_chunks, which this version cannot give to nodes; wanted questions without"
        )
    identity = record.get("id", "")
    if not isinstance(identity, str | int) or isinstance(identity, bool):
        raise UserError(f"{where}: id is {_show(identity)}, wanted a text or a whole number; change or drop it")
    domain = record.get("domain", "")
    _check_text(f"{where}: domain", domain)
    choices = _choices(where, record["choices"], record["answer"]) if "choices" in record else {}
    return Example(record["question"], record["answer"], str(identity), domain, choices)


def _choices(where: str, choices: Any, answer: str) -> dict[str, str]:
    """The checked letter -> text table of a record whose answer is one of the letters."""
    if not isinstance(choices, dict) or not choices:
        cure = 'write {"A": "...", "B": "..."} or drop the field'
        raise UserError(f"{where}: choices is {_show(choices)}, wanted letters with their texts; {cure}")
    for letter, text in choices.items():
        if not letter or letter != letter.strip():
            raise UserError(f"{where}: choices has the letter {_show(letter)}, wanted one without blanks; rename it")
        _check_text(f"{where}: a letter of choices", letter)
        _check_text(f"{where}: choices {letter}", text)
    if answer not in choices:
        letters = ", ".join(choices)
        raise UserError(f"{where}: answer is {_show(answer)}, wanted a letter of its choices ({letters}); correct it")
    return choices


def _check_text(where: str, value: Any) -> None:
    """Refuses what is not a text that every later step can encode."""
    if not isinstance(value, str):
        cure = f"write {_show(json.dumps(value))}" if isinstance(value, int | float) else "put a text there"
        raise UserError(f"{where} is {_show(value)}, wanted a text in quotes; {cure}")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise UserError(f"{where} is {_show(value)} with half of a surrogate pair, wanted plain Unicode; mend it")


def _fault(path: Path, what: str, value: Any, wanted: str, cure: str) -> UserError:
    """The error for a part of the file that has the wrong shape."""
    return UserError(f"{path}: {what} is {_show(value)}, wanted {wanted}; {cure}")


def _show(value: Any) -> str:
    """A value as JSON writes it, on one line and not longer than a message can bear."""
    text = json.dumps(value, ensure_ascii=False).encode(errors="backslashreplace").decode()
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
