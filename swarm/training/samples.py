"""From the rows of a source to what a model is to say: checked conversations, the answer last.

A row is {"messages": [...]}, {prompt, completion} (texts, or lists of messages), MixInstruct's {instruction, input,
output}, or a record of this project's data files {question, answer, choices?}. The first row decides which of these a
source holds.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from swarm.data.example import Dataset, Example
from swarm.data.records import check_text, example_of
from swarm.data.shapes import reshaped, shape_of
from swarm.data.tables import Row, show
from swarm.errors import UserError
from swarm.evals import get_eval
from swarm.evals.eval import Eval
from swarm.system.prompts import Query, context_at, node_prompt
from swarm.training.recipe import NODE, DataSource
from swarm.training.sources import SourceRows, open_source

log = logging.getLogger(__name__)

ROLES = ("system", "user", "assistant")
_FORMS = {
    "messages": ("messages",),
    "prompt": ("prompt", "completion"),
    "instruction": ("instruction", "output"),
    "question": ("question", "answer"),
}
_KNOWN = "a known layout"
_OPTIONAL = {"instruction": ("input",), "question": ("choices", "context_chunks")}

Message = tuple[str, str]


class _EmptyRow(Exception):
    """A text of a row has nothing in it: the place and the field."""


@dataclass(frozen=True)
class Sample:
    """What one row teaches.

    Attributes:
      where: the row's place, as messages begin with.
      messages: (role, text) pairs, the last of them the assistant's.
      chat: whether the row is a conversation, of which all that the assistant says is learned; else the last text is.
      separator: what stands between prompt and answer where there is no chat template.
      question: what is asked, without what stands around it, by which the row is known again in other data.
      in_chat: whether its eval asks in the chat template; None where the recipe and the base decide that.
      arguments: what else the template is given, by name.
    """

    where: str
    messages: tuple[Message, ...]
    chat: bool
    separator: str
    question: str = ""
    in_chat: bool | None = None
    arguments: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class Samples:
    """What a source teaches.

    Attributes:
      split: which part of the source it is; "" where a file has none.
      skipped: rows that were passed over, since a text of theirs is empty.
    """

    source: str
    split: str
    samples: tuple[Sample, ...]
    skipped: int

    @property
    def digest(self) -> str:
        """SHA-256 of the samples, places aside; equal digests mean equal texts."""
        hashed = hashlib.sha256()
        for sample in self.samples:
            told = [sample.arguments] if sample.arguments else []  # others are what they were
            content = [sample.messages, sample.chat, sample.separator, *told]
            hashed.update(json.dumps(content, separators=(",", ":")).encode() + b"\n")
        return hashed.hexdigest()


def read_samples(place: str, source: DataSource, rng: np.random.Generator) -> Samples:
    """The samples of a source; `rng` draws its share.

    Raises UserError that names the row's place for the first row that teaches nothing, and where no row is left.
    """
    opened = open_source(place, source)
    skipped: list[str] = []
    questions = _Questions(source, opened)
    every = _samples(place, source, opened, skipped, questions)
    if source.share < 1:
        all_of_them = list(every)
        kept = rng.permutation(len(all_of_them))[: round(source.share * len(all_of_them))]
        every = (all_of_them[number] for number in sorted(kept.tolist()))
    samples = tuple(islice(every, source.limit))
    questions.check()
    if not samples:
        raise UserError(f"{place}: no row of {source.source} is left, wanted at least one: raise share, or add rows")
    return Samples(source.source, opened.split, samples, len(skipped))


def _samples(
    place: str, source: DataSource, opened: SourceRows, skipped: list[str], questions: "_Questions"
) -> Iterator[Sample]:
    """The samples of a source; places of rows that are passed over are added to `skipped`."""
    read: Callable[[Mapping[str, Any], Row], Sample] | None = None
    for row in opened.rows:
        if not isinstance(row.fields, Mapping):
            raise UserError(f"{row.where} is {show(row.fields)}, wanted an object as {{...}}: mend it")
        if read is None:
            read = _reader(_form(place, source, row), source, questions, row)
        fields = dict(row.fields)
        for field, column in source.columns.items():
            fields[field] = row.fields.get(column)
        try:
            yield read(fields, row)
        except _EmptyRow as error:
            if not source.skip_empty:
                raise UserError(f"{error}: fill it in, drop the row, or say empty: skip") from error
            skipped.append(row.where)


def _form(place: str, source: DataSource, row: Row) -> str:
    """Which of the forms the rows of a source have."""
    for field, column in source.columns.items():
        if column not in row.fields:
            there = ", ".join(row.fields) or "none"
            raise UserError(f"{place}: no column {show(column)} for {field} in {row.where}, only {there}: name one")
    columns = {*row.fields, *source.columns}
    shape = None if source.columns else shape_of(row.fields)
    for form, fields in _FORMS.items():
        if form == "question" and shape is not None:
            return _KNOWN
        if columns.issuperset(fields) and {*source.columns} <= {*fields, *_OPTIONAL.get(form, ())}:
            return form
    if shape is not None:
        return _KNOWN
    wanted = "; or ".join(" and ".join(fields) for fields in _FORMS.values())
    raise UserError(
        f"{row.where} has the columns {', '.join(row.fields) or 'none'}, wanted {wanted}: say which is which under "
        "columns"
    )


def _reader(
    form: str, source: DataSource, questions: "_Questions", first: Row
) -> Callable[[Mapping[str, Any], Row], Sample]:
    if form == "messages":
        return _conversation
    if form == "question":
        return questions.sample
    if form == _KNOWN:
        shape = shape_of(first.fields)
        assert shape is not None
        log.info("%s: read as %s: %s", first.where, shape.name, shape.about)
        return lambda fields, row: questions.sample(reshaped(row, shape, first).fields, row)
    separator = source.separator if source.separator is not None else "" if form == "prompt" else " "

    def read(fields: Mapping[str, Any], row: Row) -> Sample:
        if form == "prompt":
            if isinstance(fields.get("prompt"), list):
                return _answered(fields, row)
            asked, said = _text(fields, "prompt", row), _text(fields, "completion", row)
        else:
            asked, said = _instruction(fields, row), _text(fields, "output", row)
        return _pair(row, _in_template(asked, source.template), said, separator, asked)

    return read


def _text(fields: Mapping[str, Any], name: str, row: Row) -> str:
    """A field that is a text with something in it."""
    value: Any = fields.get(name)
    check_text(f"{row.where}: {name}", value)
    if not value.strip():
        raise _EmptyRow(f"{row.where}: {name} is {show(value)}, wanted a text")
    text: str = value
    return text


def _instruction(fields: Mapping[str, Any], row: Row) -> str:
    """MixInstruct's prompt: the instruction and the input below it, either of which may be empty."""
    parts: list[str] = []
    for name in ("instruction", "input"):
        part: Any = fields.get(name) or ""
        check_text(f"{row.where}: {name}", part)
        parts += [part] if part.strip() else []
    if not parts:
        raise _EmptyRow(f"{row.where}: instruction and input are empty, wanted a text")
    return "\n".join(parts)


def _in_template(prompt: str, template: str | None) -> str:
    if template is None:
        return prompt
    return node_prompt(Query(prompt), []) if template == NODE else template.replace("{}", prompt)


def _pair(row: Row, asked: str, said: str, separator: str, question: str, in_chat: bool | None = None) -> Sample:
    return Sample(row.where, (("user", asked), ("assistant", said)), False, separator, question, in_chat)


class _Questions:
    """Reads records of data files, asked in the words and the form of their eval."""

    def __init__(self, source: DataSource, opened: SourceRows) -> None:
        self._source, self._opened = source, opened
        self._evals: dict[str, Eval] = {}
        self._examples: list[Example] = []

    def sample(self, fields: Mapping[str, Any], row: Row) -> Sample:
        """What a record teaches. Raises UserError for one that has not our fields, or that the eval cannot ask."""
        example = example_of(Row(row.where, fields), self._opened.kind)
        evaluation = self._eval(self._source.eval or ("multiple_choice" if example.choices else "exact_match"))
        if self._source.eval is not None:
            self._examples.append(example)
        dataset = Dataset(self._opened.name, (), (), self._opened.prefix, self._opened.generation)
        [query, *_] = next(evaluation.judge(dataset, [example]))
        if self._source.template in (None, NODE):
            asked = node_prompt(query, [])
        else:
            context = f"Context: {context_at(query.chunks, 0, 1)}\n" if query.chunks else ""
            asked = _in_template(context + query.text, self._source.template)
        separator = " " if self._source.separator is None else self._source.separator
        params = evaluation.params(dataset)
        pair = _pair(row, asked, example.answer, separator, example.question, params.chat)
        if not params.chat:
            return pair
        told: tuple[Message, ...] = () if params.system_message is None else (("system", params.system_message),)
        return replace(pair, messages=told + pair.messages, arguments=params.chat_template_kwargs)

    def check(self) -> None:
        """Raises UserError if the eval that the recipe names cannot ask some of the records."""
        if self._source.eval is not None:
            self._eval(self._source.eval).check(Dataset(self._opened.name, tuple(self._examples), ()))

    def _eval(self, name: str) -> Eval:
        if name not in self._evals:
            self._evals[name] = get_eval(name, _unasked)
        return self._evals[name]


def _unasked() -> Any:
    """In the place of a judge, which is asked about answers only, and there are none."""
    return None


def _conversation(fields: Mapping[str, Any], row: Row) -> Sample:
    """A chat, up to the last thing that the assistant says in it."""
    listed = fields.get("messages")
    if not isinstance(listed, list) or not listed:
        raise UserError(f'{row.where}: messages is {show(listed)}, wanted a list of {{"role": ..., "content": ...}}')
    messages = [_message(f"{row.where}: message {number}", entry) for number, entry in enumerate(listed)]
    spoken = [number for number, (role, _) in enumerate(messages) if role == "assistant"]
    if not spoken or spoken[-1] == 0:
        raise UserError(f"{row.where}: the assistant answers nothing, wanted an answer of it after a question: add one")
    asked = next((text for role, text in reversed(messages[: spoken[-1]]) if role == "user"), "")
    return Sample(row.where, tuple(messages[: spoken[-1] + 1]), True, " ", asked)


def _answered(fields: Mapping[str, Any], row: Row) -> Sample:
    """A prompt that is a conversation, with the one message that answers it; only that is learned."""
    said = fields.get("completion")
    if not isinstance(said, list) or len(said) != 1:
        raise UserError(f"{row.where}: completion is {show(said)}, wanted a list of one message, as prompt is a list")
    sample = _conversation({"messages": [*fields["prompt"], *said]}, row)
    if len(sample.messages) != len(fields["prompt"]) + 1:
        raise UserError(f"{row.where}: the completion's role is {show(said[0]['role'])}, wanted assistant: mend it")
    return replace(sample, chat=False)


def _message(where: str, entry: Any) -> Message:
    if not isinstance(entry, Mapping) or not {"role", "content"} <= {*entry}:
        raise UserError(f'{where} is {show(entry)}, wanted {{"role": "user", "content": "..."}}: mend it')
    role, content = entry["role"], entry["content"]
    if role not in ROLES:
        raise UserError(f"{where}: role is {show(role)}, wanted one of {', '.join(ROLES)}: rename it or drop the row")
    check_text(f"{where}: content", content)
    if role != "system" and not content.strip():
        raise _EmptyRow(f"{where}: content is {show(content)}, wanted a text")
    return role, content
