"""Rows become checked examples: columns are mapped to fields, and the answer to one of the choices.

What is wrong is said in one line that begins with the row's line or record number and names the field.
"""

import json
import string
from collections.abc import Mapping
from typing import Any

from swarm.data.example import Example
from swarm.data.tables import Kind, Row, Table, parse_json, show
from swarm.errors import UserError

FIELDS = ("question", "answer", "choices", "id", "domain", "context_chunks", "split")
LONGEST_COLUMN = 100  # characters of what groups questions
_REQUIRED = ("question", "answer")
_JSON_CELLS = ("choices", "context_chunks")  # what a CSV cell holds as a JSON text


def examples(table: Table, columns: Mapping[str, str]) -> tuple[Example, ...]:
    """The examples of a table, in its order.

    Args:
      columns: our field -> the column that holds it; fields that are not named are columns of their own name.

    Raises UserError for a column that is not there, and for the first row that is no example.
    """
    there = table.columns()
    for field, column in columns.items():
        if table.rows and column not in there:
            raise no_column(table, field, column)
    return tuple(_example(row, columns, table.kind) for row in table.rows)


def example_of(row: Row, kind: Kind) -> Example:
    """The example of one record that has our fields. Raises UserError as `examples` does."""
    return _example(row, {}, kind)


def questions(table: Table) -> tuple[Example, ...]:
    """The examples of a table that are to be asked: as `examples`, and an answer is neither wanted nor read."""
    return tuple(_example(row, {}, table.kind, answered=False) for row in table.rows)


def no_column(table: Table, field: str, column: str) -> UserError:
    """The error for a mapping to a column that no row of the table has."""
    there = _listed(table.columns())
    return UserError(f"{table.where}: no column {show(column)} for {field}, only {there}; name one of these")


def check_text(where: str, value: Any) -> None:
    """Refuses what is not a text that every later step can encode."""
    if not isinstance(value, str):
        cure = f"write {show(json.dumps(value))}" if isinstance(value, int | float) else "put a text there"
        raise UserError(f"{where} is {show(value)}, wanted a text in quotes; {cure}")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise UserError(f"{where} is {show(value)} with half of a surrogate pair, wanted plain Unicode; mend it")


def _example(row: Row, columns: Mapping[str, str], kind: Kind, answered: bool = True) -> Example:
    where = row.where
    if not isinstance(row.fields, Mapping):
        cure = 'write {"question": "...", "answer": "..."}'
        raise UserError(f"{where} is {show(row.fields)}, wanted an object; {cure}")
    fields = _our_fields(row, columns, kind, ("question", "answer") if answered else ("question",))
    choices, listed = _choices(where, fields["choices"]) if "choices" in fields else ({}, False)
    golds = _golds(where, fields["answer"], choices, listed, kind) if answered else []
    for name, text in (("question", fields["question"]), *(("answer", gold) for gold in golds)):
        check_text(f"{where}: {name}", text)
        if not text.strip():
            raise UserError(f"{where}: {name} is {show(text)}, wanted a text; fill it in or drop the record")
    gold, *alternatives = golds or [""]
    identity = fields.get("id", "")
    if not isinstance(identity, str | int) or isinstance(identity, bool):
        raise UserError(f"{where}: id is {show(identity)}, wanted a text or a whole number; change or drop it")
    domain = fields.get("domain", "")
    if kind == "typed" and isinstance(domain, int):
        domain = str(domain)
    check_text(f"{where}: domain", domain)
    chunks = _chunks(where, fields["context_chunks"]) if "context_chunks" in fields else ()
    others = _other_columns(row, columns)
    return Example(fields["question"], gold, str(identity), domain, choices, chunks, others, tuple(alternatives))


def _other_columns(row: Row, columns: Mapping[str, str]) -> dict[str, str]:
    """The columns that are no field of ours and have a short text, a number, true or false."""
    ours = {columns.get(field, field) for field in FIELDS}
    others = {str(name): str(value) for name, value in row.fields.items()
              if name not in {*ours, *FIELDS} and isinstance(value, str | int | float)}  # fmt: skip
    return {name: value for name, value in others.items() if 0 < len(value) <= LONGEST_COLUMN}


def _our_fields(row: Row, columns: Mapping[str, str], kind: Kind, required: tuple[str, ...]) -> dict[str, Any]:
    """Our field -> its value, for the fields that the row has.

    A cell that a table leaves empty (a null, in CSV nothing) is a field that the record has not; JSON can leave the
    field away, so there it stays what it is.
    """
    fields: dict[str, Any] = {}
    for field in FIELDS:
        column = columns.get(field, field)
        if column not in row.fields:
            if field in required:
                cure = f"add or rename it, or say which it is with --columns {field}=NAME"
                raise UserError(f"{row.where}: no field {show(column)}, only {_listed(list(row.fields))}; {cure}")
            continue
        value = row.fields[column]
        if field not in _REQUIRED and ((kind == "typed" and value is None) or (kind == "text" and value == "")):
            continue
        if kind == "text" and field in _JSON_CELLS and isinstance(value, str):
            value = _cell(f"{row.where}: {column}", value)
        if kind == "typed" and field == "choices" and isinstance(value, dict):
            # all records of a table have the same letters; those that a record does not use are null
            value = {letter: text for letter, text in value.items() if text is not None}
        fields[field] = value
    return fields


def _cell(where: str, text: str) -> Any:
    """The value of the JSON text in a CSV cell."""
    try:
        return parse_json(where, text)
    except UserError as error:
        raise UserError(f'{where} is {show(text)}, wanted JSON such as ["yes", "no"] in the cell; mend it') from error


def _choices(where: str, choices: Any) -> tuple[dict[str, str], bool]:
    """The checked letter -> text table, and whether the letters are ours, given to a list."""
    listed = isinstance(choices, list)
    if isinstance(choices, dict) and set(choices) == {"text", "label"} and isinstance(choices["label"], list):
        choices = _labelled(where, choices["label"], choices["text"])
    elif listed and choices:
        if len(choices) > len(string.ascii_uppercase):
            raise UserError(f"{where}: choices lists {len(choices)} texts, wanted at most 26; give them letters")
        choices = dict(zip(string.ascii_uppercase, choices, strict=False))
    if not isinstance(choices, dict) or not choices:
        cure = 'write {"A": "...", "B": "..."} or ["...", "..."], or drop the field'
        raise UserError(f"{where}: choices is {show(choices)}, wanted letters with their texts; {cure}")
    for letter, text in choices.items():
        check_text(f"{where}: a letter of choices", letter)
        if not letter or letter != letter.strip():
            raise UserError(f"{where}: choices has the letter {show(letter)}, wanted one without blanks; rename it")
        check_text(f"{where}: choices {letter}", text)
    return choices, listed


def _labelled(where: str, labels: list[Any], texts: Any) -> dict[str, str]:
    """The table of choices given as two lists side by side."""
    if not isinstance(texts, list) or len(texts) != len(labels):
        given = f"{len(labels)} labels and text {show(texts)}"
        raise UserError(f"{where}: choices has {given}, wanted a list of as many texts; complete them")
    for label in labels:
        check_text(f"{where}: a letter of choices", label)
    if len(set(labels)) != len(labels):
        raise UserError(f"{where}: choices has a label twice in {show(labels)}; give each text its own")
    return dict(zip(labels, texts, strict=True))


def _golds(where: str, answer: Any, choices: Mapping[str, str], listed: bool, kind: Kind) -> list[Any]:
    """The right answers, one or a list of them, each once."""
    if not isinstance(answer, list):
        return [_answer(where, answer, choices, listed, kind)]
    if not answer:
        raise UserError(f"{where}: answer is [], wanted a text, or several right ones as [...]; fill it in")
    for one in answer:
        if not isinstance(one, str | int | float):
            raise UserError(f'{where}: answer has {show(one)} in its list, wanted texts; write ["...", "..."]')
    return list(dict.fromkeys(_answer(where, one, choices, listed, kind) for one in answer))


def _answer(where: str, answer: Any, choices: Mapping[str, str], listed: bool, kind: Kind) -> Any:
    """The answer; with choices the letter that it means: a letter, the text of one choice, an index into a list."""
    if isinstance(answer, bool) and kind == "typed":
        return "True" if answer else "False"
    if isinstance(answer, int) and not isinstance(answer, bool):
        if listed:
            return _at_index(where, answer, choices)
        if kind == "typed":  # a column of numbers holds what a person would have written as a text
            answer = str(answer)
    if not choices or not isinstance(answer, str) or (answer in choices and not listed):
        return answer
    means = {answer} & set(choices) | _by_text(answer, choices)
    if listed and answer.isascii() and answer.isdecimal() and int(answer) < len(choices):
        means.add(_at_index(where, int(answer), choices))
    if len(means) == 1:
        return means.pop()
    letters = ", ".join(choices)
    if means:
        could = " or ".join(sorted(means))
        raise UserError(f"{where}: answer is {show(answer)}, which can mean {could} of its choices; write a table "
                        "of letters with their texts, and the letter")  # fmt: skip
    raise UserError(f"{where}: answer is {show(answer)}, wanted a letter of its choices ({letters}); correct it")


def _by_text(answer: str, choices: Mapping[str, str]) -> set[str]:
    """The letter of the one choice with this text; none if several have it."""
    letters = {letter for letter, text in choices.items() if text == answer}
    return letters if len(letters) == 1 else set()


def _at_index(where: str, index: int, choices: Mapping[str, str]) -> str:
    """The letter of the choice at an index, counted from 0."""
    if not 0 <= index < len(choices):
        wanted = f"an index of its choices from 0 to {len(choices) - 1}"
        raise UserError(f"{where}: answer is {index}, wanted {wanted}; correct it")
    return list(choices)[index]


def _chunks(where: str, chunks: Any) -> tuple[str, ...]:
    """The checked parts of a context; a part may be empty."""
    if not isinstance(chunks, list) or not chunks:
        cure = 'write ["...", "..."] with at least one text, or drop the field'
        raise UserError(f"{where}: context_chunks is {show(chunks)}, wanted a list of texts; {cure}")
    for index, chunk in enumerate(chunks):
        check_text(f"{where}: context_chunks {index}", chunk)
    return tuple(chunks)


def _listed(columns: list[Any]) -> str:
    """Column names for a message, the first eight of them."""
    more = f" and {len(columns) - 8} more" if len(columns) > 8 else ""
    return f"{', '.join(map(show, columns[:8])) or 'none'}{more}"
