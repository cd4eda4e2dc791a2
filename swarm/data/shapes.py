"""Layouts of records that are known: what hub sets, papers and other programs call the question and its answer.

A record of ours has question and answer (`records.FIELDS`). Where a file has no such columns and nobody says which they
are, the first layout whose columns are all there is taken, and that is said.
"""

import logging
import re
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from swarm.data.tables import Row, Table, show
from swarm.errors import UserError

log = logging.getLogger(__name__)

Record = Mapping[str, Any]
_BOXED = re.compile(r"\\boxed\s*\{")


@dataclass(frozen=True)
class Shape:
    """A layout.

    Attributes:
      name: by which people know it.
      columns: that a record of it has.
      read: record -> our fields, beside which its other columns are kept. Raises ValueError for what is not of it.
      about: what becomes of its columns, in words.
    """

    name: str
    columns: tuple[str, ...]
    read: Callable[[Record], dict[str, Any]]
    about: str

    def fits(self, columns: Sequence[str]) -> bool:
        """Whether a record with these columns is of it: it has all of its own, and none of ours that is not used."""
        return set(self.columns) <= set(columns) and not ({"question", "answer"} & set(columns)) - set(self.columns)


def in_our_fields(tables: Sequence[Table], columns: Mapping[str, str]) -> list[Table]:
    """The tables of a dataset with their records in our fields, where they have a known layout.

    Args:
      columns: our field -> the column that the user names for it.

    Raises UserError for a record that is of another layout than the first, or is broken.
    """
    first = next((row for table in tables for row in table.rows if isinstance(row.fields, Mapping)), None)
    shape = shape_of(first.fields) if first and not {"question", "answer"} & set(columns) else None
    if first is None or shape is None:
        return list(tables)
    log.info("%s: read as %s: %s", tables[0].where, shape.name, shape.about)
    return [replace(table, rows=[reshaped(row, shape, first) for row in table.rows]) for table in tables]


def shape_of(record: Record) -> Shape | None:
    """The layout that a record is of; None for one of ours, or an unknown one."""
    columns = [str(name) for name in record]
    if {"question", "answer"} <= set(columns):
        if _letters(record):
            return _OPTIONS
        return _ALIASES if isinstance(record["answer"], Mapping) else None
    return next((shape for shape in SHAPES if shape.fits(columns)), None)


def reshaped(row: Row, shape: Shape, first: Row) -> Row:
    """A record of this layout in our fields. Raises UserError for one that is not; `first` is that which is."""
    if not isinstance(row.fields, Mapping):
        return row
    if not shape.fits([str(name) for name in row.fields]):
        raise UserError(
            f"{row.where} has the columns {', '.join(map(str, row.fields))}, but {first.where} is of the layout "
            f"{shape.name} ({', '.join(shape.columns)}): put records of one layout into one file"
        )
    try:
        ours = shape.read(row.fields)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise UserError(
            f"{row.where}: not the layout {shape.name} as the columns say ({error}); mend the record, or name the "
            "columns with --columns question=NAME,answer=NAME"
        ) from error
    rest = {name: value for name, value in row.fields.items() if name not in shape.columns}
    return Row(row.where, rest | ours)


def _letters(record: Record) -> dict[str, str]:
    """Letter -> choice of a record with a column per letter, of which its answer is one."""
    found = {}
    for letter in string.ascii_uppercase:
        if not isinstance(record.get(letter), str) or not record[letter].strip():
            break
        found[letter] = record[letter]
    answer = record.get("answer")
    known = isinstance(answer, str) and answer in found and "choices" not in record
    return found if len(found) > 1 and known else {}


def _options(record: Record) -> dict[str, Any]:
    letters = _letters(record)
    if not letters:
        raise ValueError(f"no column per letter, or answer is {show(record.get('answer'))}, none of these letters")
    return {"question": record["question"], "answer": record["answer"], "choices": letters}


def _aliases(record: Record) -> dict[str, Any]:
    """TriviaQA's answer: its value, and what else it is called."""
    answer = record["answer"]
    others = [one for one in answer.get("aliases") or [] if one != answer["value"]]
    return {"question": record["question"], "answer": [answer["value"], *others]}


def _texts_of(answers: Any) -> list[str]:
    """The texts of SQuAD's answers, a list of texts or of objects with one."""
    listed = answers["text"] if isinstance(answers, Mapping) else answers
    listed = [listed] if isinstance(listed, str) else listed
    texts = [one["text"] if isinstance(one, Mapping) else one for one in listed]
    return list(dict.fromkeys(texts)) or ["unanswerable"]


def _with_context(context: Any, question: Any) -> str:
    if not isinstance(context, str) or not isinstance(question, str):
        raise ValueError(f"context is {show(context)} and question {show(question)}, wanted texts")
    return f"{context}\n\n{question}"


def _squad(record: Record) -> dict[str, Any]:
    return {"question": _with_context(record["context"], record["question"]), "answer": _texts_of(record["answers"])}


def _conversation(turns: Sequence[Record], role: str, text: str, names: Mapping[str, str]) -> dict[str, Any]:
    """All that is said before the last answer as the question; one turn alone as it is."""
    said = [(names.get(turn[role], turn[role]), turn[text]) for turn in turns]
    for who, what in said:
        if not isinstance(what, str) or who not in ("system", "user", "assistant", "tool"):
            raise ValueError(f"a turn of {show(who)} says {show(what)}, wanted a text of system, user or assistant")
    last = max((index for index, (who, _) in enumerate(said) if who == "assistant"), default=0)
    if last == 0:
        raise ValueError("the assistant answers nothing")
    before = said[:last]
    alone = len(before) == 1 and before[0][0] == "user"
    question = before[0][1] if alone else "\n".join(f"{who}: {what}" for who, what in before)
    return {"question": question, "answer": said[last][1]}


def _instruction(record: Record) -> dict[str, Any]:
    parts = [part for name in ("instruction", "input") if (part := record.get(name) or "").strip()]
    return {"question": "\n".join(parts), "answer": record["output"]}


def _boxed(record: Record) -> dict[str, Any]:
    """MATH's problem; the answer is what its solution puts into the last \\boxed{}, or all of one without."""
    found = list(_BOXED.finditer(record["solution"]))
    if not found:
        return {"question": record["problem"], "answer": record["solution"]}
    depth, start = 1, found[-1].end()
    for end in range(start, len(record["solution"])):
        depth += {"{": 1, "}": -1}.get(record["solution"][end], 0)
        if not depth:
            return {"question": record["problem"], "answer": record["solution"][start:end]}
    raise ValueError("the solution's \\boxed{} is not closed")


def _one_of(question: str, texts: Sequence[Any], index: Any) -> dict[str, Any]:
    """A question with texts to choose from, and the place of the right one, from 0."""
    return {"question": question, "choices": list(texts), "answer": int(index)}


def _winogrande(record: Record) -> dict[str, Any]:
    return _one_of(record["sentence"], [record["option1"], record["option2"]], int(record["answer"]) - 1)


def _sciq(record: Record) -> dict[str, Any]:
    texts = [record["correct_answer"], *(record[f"distractor{number}"] for number in (1, 2, 3))]
    order = sorted(range(4), key=lambda place: (texts[place], place))  # else A would always be right
    return _one_of(record["question"], [texts[place] for place in order], order.index(0))


def _plainly(question: str, answer: str) -> Callable[[Record], dict[str, Any]]:
    return lambda record: {"question": record[question], "answer": record[answer]}


def _named(name: str, question: str, answer: str) -> Shape:
    return Shape(name, (question, answer), _plainly(question, answer), f"{question} is asked, {answer} is right")


_OPTIONS = Shape("options in columns (DeePEn)", ("question", "answer"), _options, "A, B ... are the choices")
_ALIASES = Shape("TriviaQA", ("question", "answer"), _aliases, "answer.value and its aliases are right")
_SHAREGPT = {"human": "user", "gpt": "assistant"}

SHAPES = (
    Shape("ARC", ("question", "choices", "answerKey"),
          lambda record: {"question": record["question"], "choices": record["choices"], "answer": record["answerKey"]},
          "answerKey is the answer"),
    Shape("OpenBookQA", ("question_stem", "choices", "answerKey"),
          lambda record: {"question": record["question_stem"], "choices": record["choices"],
                          "answer": record["answerKey"]}, "question_stem is asked, answerKey is the answer"),
    Shape("SQuAD", ("context", "question", "answers"), _squad,
          "the context stands before the question, any of the answers is right"),
    Shape("questions with answers", ("question", "answers"),
          lambda record: {"question": record["question"], "answer": _texts_of(record["answers"])},
          "any of the answers is right"),
    Shape("SciQ", ("question", "correct_answer", "distractor1", "distractor2", "distractor3"), _sciq,
          "the correct answer and the distractors, sorted, are the choices"),
    Shape("BoolQ", ("passage", "question", "label"),
          lambda record: {"question": _with_context(record["passage"], record["question"]),
                          "answer": {0: "no", 1: "yes"}[int(record["label"])]},
          "the passage stands before the question, label 1 is yes"),
    Shape("HellaSwag", ("ctx", "endings", "label"),
          lambda record: _one_of(record["ctx"], record["endings"], record["label"]),
          "ctx is asked, the endings are the choices"),
    Shape("PIQA", ("goal", "sol1", "sol2", "label"),
          lambda record: _one_of(record["goal"], [record["sol1"], record["sol2"]], record["label"]),
          "goal is asked, the two solutions are the choices"),
    Shape("WinoGrande", ("sentence", "option1", "option2", "answer"), _winogrande,
          "the sentence is asked, the two options are the choices"),
    _named("MATH with answers", "problem", "answer"),
    Shape("MATH", ("problem", "solution"), _boxed, "problem is asked, what the solution boxes last is right"),
    Shape("chat messages", ("messages",),
          lambda record: _conversation(record["messages"], "role", "content", {}),
          "all before the assistant's last turn is asked, that turn is right"),
    Shape("ShareGPT", ("conversations",),
          lambda record: _conversation(record["conversations"], "from", "value", _SHAREGPT),
          "all before the assistant's last turn is asked, that turn is right"),
    Shape("instructions (Alpaca, MixInstruct)", ("instruction", "output"), _instruction,
          "instruction and input are asked, output is right"),
    _named("input and output (MoCo)", "input", "output"),
    _named("prompts with completions", "prompt", "completion"),
    _named("prompts with responses", "prompt", "response"),
    _named("queries with responses", "query", "response"),
    _named("inputs with targets", "input", "target"),
    _named("inputs with targets", "inputs", "targets"),
)  # fmt: skip
