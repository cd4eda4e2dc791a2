"""Instructions: the wording of nodes' prompts as templates. The published wording is one of them."""

import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from swarm.system.prompts import FIRST_HEADER, LATER_HEADER, Query, context_at

RESPONSE = "Previous response {number}: {answer}\n"
CONTEXT = "Context: {context}\n"
EXAMPLE = "Question: {question}\nAnswer: {answer}\n\n"

# template -> the fields that it may have, and the one that it must have
FIELDS: Mapping[str, tuple[frozenset[str], str]] = MappingProxyType({
    "first": (frozenset({"question", "choices", "context", "examples", "position", "nodes"}), "question"),
    "later": (frozenset({"question", "choices", "context", "examples", "position", "nodes", "previous"}), "question"),
    "response": (frozenset({"number", "answer"}), "answer"),
    "context": (frozenset({"context"}), "context"),
    "example": (frozenset({"question", "answer"}), "question"),
})  # fmt: skip


@dataclass(frozen=True)
class Instruction:
    """How a node is asked. The templates' fields are those of `FIELDS`; {{ and }} stand for braces.

    Attributes:
      name: by which a file, a run and a person call it.
      first: of a node that hears from no other. {question} is the question as its eval words it, or where the template
        has {choices}, the record's own words, without its choices.
      later: of a node that hears from others; {previous} is what they say.
      response: of one answer in {previous}; {number} is counted from 1.
      context: of {context}, the part of a context that the node reads; nothing where there is none.
      example: of one example in {examples}, which stand in front of all where a template has no such field.
      examples: (question, answer) pairs; one whose question is asked is left out.
      shots: how many of them are shown at most, the first ones.
    """

    name: str
    first: str = FIRST_HEADER + "Question: {context}{question}"
    later: str = LATER_HEADER + "{previous}Question: {context}{question}"
    response: str = RESPONSE
    context: str = CONTEXT
    example: str = EXAMPLE
    examples: tuple[tuple[str, str], ...] = ()
    shots: int = 0

    def prompt(self, query: Query, previous: Sequence[str], position: int = 0, nodes: int = 1) -> str:
        """The prompt of the node at this topological position, which is told these answers of its predecessors."""
        template = self.later if previous else self.first
        used = fields_of(template)
        shown = self._examples(query) if self.examples else ""
        own = "choices" in used and bool(query.question)
        values: dict[str, Any] = {
            "question": query.question if own else query.text,
            "choices": "".join(f"{letter}: {text}\n" for letter, text in query.choices.items()),
            "context": self._context(query, position, nodes),
            "examples": shown,
            "position": position + 1,
            "nodes": nodes,
            "previous": "".join(
                filled(self.response, {"number": number, "answer": text}) for number, text in enumerate(previous, 1)
            ),
        }
        return ("" if "examples" in used else shown) + filled(template, values)

    def _context(self, query: Query, position: int, nodes: int) -> str:
        return filled(self.context, {"context": context_at(query.chunks, position, nodes)}) if query.chunks else ""

    def _examples(self, query: Query) -> str:
        # an eval that asks a second time begins with the words of the first
        others = [pair for pair in self.examples if pair[0] != query.question and not query.text.startswith(pair[0])]
        return "".join(filled(self.example, {"question": q, "answer": a}) for q, a in others[: self.shots])


PUBLISHED = Instruction("published")


@dataclass(frozen=True)
class Wording:
    """How the nodes of a system are asked.

    Attributes:
      usual: of a member alone, and of nodes that have none of their own.
      nodes: of the nodes 0, 1, ...; may be of fewer nodes than there are.
    """

    usual: Instruction = PUBLISHED
    nodes: tuple[Instruction, ...] = ()

    def at(self, node: int) -> Instruction:
        """The instruction of a node."""
        return self.nodes[node] if node < len(self.nodes) else self.usual

    def alone(self) -> "Wording":
        """That of a member alone."""
        return Wording(self.usual)

    def record(self) -> dict[str, Any]:
        """As JSON, each instruction once."""
        every = {each.name: asdict(each) for each in (self.usual, *self.nodes)}
        return {"all": list(every.values()), "usual": self.usual.name, "nodes": [each.name for each in self.nodes]}


PUBLISHED_WORDING = Wording()


def wording_of(record: Mapping[str, Any]) -> Wording:
    """The wording of a `Wording.record`. Raises ValueError, KeyError or TypeError for what is none."""
    every = {}
    for each in record["all"]:
        examples = tuple((str(question), str(answer)) for question, answer in each["examples"])
        instruction = Instruction(**{**each, "examples": examples})
        for name in FIELDS:
            check_template(getattr(instruction, name), name)
        every[instruction.name] = instruction
    return Wording(every[record["usual"]], tuple(every[name] for name in record["nodes"]))


def check_template(text: Any, kind: str) -> None:
    """Raises ValueError, in words for people, for a template that has another field than it may, or lacks its own."""
    may, must = FIELDS[kind]
    if not isinstance(text, str):
        raise ValueError(f"{text!r} is no text")
    used = fields_of(text)
    if unknown := sorted(set(used) - may):
        wanted = ", ".join(f"{{{name}}}" for name in sorted(may))
        raise ValueError(f"it has the field {{{unknown[0]}}}, wanted of {wanted}; braces of your own are {{{{ and }}}}")
    if must not in used:
        raise ValueError(f"it has no {{{must}}}")


@lru_cache(maxsize=1024)
def fields_of(template: str) -> tuple[str, ...]:
    """The fields of a template, in their order. Raises ValueError for one that cannot be read."""
    return tuple(name for _, name in _parts(template) if name is not None)


def filled(template: str, values: Mapping[str, Any]) -> str:
    """A template with values for its fields, which are never looked into: a value is put in as it is."""
    return "".join(text + ("" if name is None else str(values[name])) for text, name in _parts(template))


@lru_cache(maxsize=1024)
def _parts(template: str) -> tuple[tuple[str, str | None], ...]:
    return tuple(_parsed(template))


def _parsed(template: str) -> Iterator[tuple[str, str | None]]:
    for text, name, form, conversion in string.Formatter().parse(template):
        if form or conversion or (name is not None and not name.isidentifier()):
            raise ValueError(f"it has {{{name}{':' if form else ''}{form or ''}}}, wanted a plain {{name}}")
        yield text, name
