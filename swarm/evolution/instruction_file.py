"""A file of instructions in the user's own words (docs/instructions.md): read, checked, and fitted to a task."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from swarm.data.example import Dataset
from swarm.data.mapping_files import read_mapping_file
from swarm.data.tables import show
from swarm.errors import UserError
from swarm.evals.eval import Eval
from swarm.system.instructions import (
    FIELDS,
    PUBLISHED,
    PUBLISHED_WORDING,
    Instruction,
    Wording,
    check_template,
)

_KEYS = ("default", "instructions", "nodes", "candidates")
_DRAWN = ("dev", "seed")
_TEMPLATES = ("first", "later", "response", "context", "example")


@dataclass(frozen=True)
class Instructions:
    """The instructions of a search.

    Attributes:
      named: name -> instruction; the default's is "default".
      nodes: node -> name, of those that begin with another than the default.
      candidates: names of those that an optimizer may exchange for each other; fewer than two are no choice.
      digest: of all that it says, examples included; "" for the published wording.
    """

    named: Mapping[str, Instruction] = field(default_factory=lambda: {"default": PUBLISHED})
    nodes: Mapping[int, str] = field(default_factory=dict)
    candidates: tuple[str, ...] = ()
    digest: str = ""

    def start(self, nodes: int) -> tuple[str, ...]:
        """The name of every node's instruction at first; empty where all have the default."""
        return tuple(self.nodes.get(node, "default") for node in range(nodes)) if self.nodes else ()

    def wording(self, names: tuple[str, ...] = ()) -> Wording:
        """The wording of a system whose nodes have the instructions of these names."""
        if not names and self.named["default"] is PUBLISHED:
            return PUBLISHED_WORDING
        return Wording(self.named["default"], tuple(self.named[name] for name in names))


PUBLISHED_INSTRUCTIONS = Instructions()


def read_instructions(path: Path, evaluation: Eval, dataset: Dataset) -> Instructions:
    """The instructions of a YAML or JSON file; examples in front that are drawn are of the dataset's dev.

    Raises UserError, which names the place in the file, for what cannot be used.
    """
    content = _object(str(path), read_mapping_file(path, "instructions"), _KEYS)
    if "default" not in content:
        raise UserError(
            f"{path} has no default, wanted the instruction of nodes that have none of their own: add default: "
            "published, or default: {first: ..., later: ...}"
        )
    own = _object(f"{path}: instructions", content.get("instructions") or {})
    for name in ("default", "published"):
        if name in own:
            raise UserError(f"{path}: instructions names one {name}, which is taken: rename it")
    given = {"published": PUBLISHED}
    given |= {name: _instruction(f"{path}: instruction {name}", name, each) for name, each in own.items()}
    usual = content["default"]
    named = given | {"default": _named(f"{path}: default", usual, given) if isinstance(usual, str)
                     else _instruction(f"{path}: default", "default", usual)}  # fmt: skip
    drawn = {name: _with_examples(f"{path}: {name}", own.get(name, usual if name == "default" else None), each,
                                  evaluation, dataset) for name, each in named.items()}  # fmt: skip
    if isinstance(usual, str):
        drawn["default"] = drawn[usual]  # examples included
    nodes = {_node(f"{path}: nodes", key): _known(f"{path}: node {key}", name, drawn)
             for key, name in _object(f"{path}: nodes", content.get("nodes") or {}).items()}  # fmt: skip
    candidates = content.get("candidates") or []
    listed = candidates if isinstance(candidates, list) else [candidates]
    chosen = tuple(dict.fromkeys(_known(f"{path}: candidates", name, drawn) for name in listed))
    if not isinstance(candidates, list) or len(chosen) == 1:
        raise UserError(f"{path}: candidates is {show(candidates)}, wanted a list of names, at least two: mend it")
    facts = [drawn[name].__dict__ for name in sorted(drawn)], sorted(nodes.items()), chosen
    digest = hashlib.sha256(json.dumps(facts, default=dict).encode()).hexdigest()
    return Instructions(drawn, nodes, chosen, digest)


def check_nodes(instructions: Instructions, path: str, nodes: int) -> None:
    """Raises UserError for an instruction of a node that no graph of this search has."""
    if beyond := [node for node in instructions.nodes if node >= nodes]:
        raise UserError(f"{path}: nodes has {beyond[0]}, but graphs have nodes 0 to {nodes - 1}: drop or renumber it")


def _instruction(place: str, name: str, content: Any) -> Instruction:
    given = _object(place, content, (*_TEMPLATES, "examples"))
    templates = {key: text for key, text in given.items() if key != "examples"}
    for key, text in templates.items():
        try:
            check_template(text, key)
        except ValueError as error:
            raise UserError(f"{place}: {key}: {error}; mend the template") from error
    examples = given.get("examples")
    if isinstance(examples, list):
        pairs = tuple(_example(f"{place}: example {number}", each) for number, each in enumerate(examples))
        return Instruction(name, **templates, examples=pairs, shots=len(pairs))
    return Instruction(name, **templates)


def _example(place: str, content: Any) -> tuple[str, str]:
    given = _object(place, content, ("question", "answer"))
    for key in ("question", "answer"):
        if not isinstance(given.get(key), str) or not given[key].strip():
            raise UserError(f"{place}: {key} is {show(given.get(key))}, wanted a text: fill it in")
    return given["question"], given["answer"]


def _with_examples(place: str, content: Any, made: Instruction, evaluation: Eval, dataset: Dataset) -> Instruction:
    """The instruction with examples drawn from dev, where its `examples` says so: one more than are shown.

    That one takes the place of an example that is itself the question asked.
    """
    wanted = content.get("examples") if isinstance(content, Mapping) else None
    if wanted is None or isinstance(wanted, list):
        return made
    drawn = _object(f"{place}: examples", wanted, _DRAWN)
    count, seed = drawn.get("dev"), drawn.get("seed", 0)
    for key, number, least in (("dev", count, 1), ("seed", seed, 0)):
        if not isinstance(number, int) or isinstance(number, bool) or number < least:
            raise UserError(f"{place}: examples: {key} is {show(number)}, wanted a whole number from {least}: mend it")
    assert isinstance(count, int)
    if count >= len(dataset.dev):
        raise UserError(f"{place}: examples: dev is {count}, but dev has {len(dataset.dev)} questions, of which one is "
                        "left over for whoever is asked one of them: give fewer")  # fmt: skip
    order = np.random.default_rng(seed).permutation(len(dataset.dev))[: count + 1].tolist()
    chosen = [dataset.dev[index] for index in order]
    queries = next(evaluation.judge(dataset, chosen))
    pairs = tuple((query.text, example.answer) for query, example in zip(queries, chosen, strict=False))
    return replace(made, examples=pairs, shots=count)


def _named(place: str, name: str, given: Mapping[str, Instruction]) -> Instruction:
    return given[_known(place, name, given)]


def _known(place: str, name: Any, given: Mapping[str, Instruction]) -> str:
    if not isinstance(name, str) or name not in given:
        raise UserError(f"{place} names {show(name)}, wanted one of {', '.join(given)}: correct it, or add it below "
                        "instructions")  # fmt: skip
    return name


def _node(place: str, key: Any) -> int:
    number = int(key) if isinstance(key, str) and key.isdecimal() else key
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise UserError(f"{place} has {show(key)}, wanted the numbers of nodes, from 0: mend it")
    return number


def _object(place: str, content: Any, known: tuple[str, ...] | None = None) -> Mapping[str, Any]:
    if not isinstance(content, Mapping):
        raise UserError(f"{place} is {show(content)}, wanted names with values: mend it")
    for key in content:
        if known is not None and key not in known:
            raise UserError(f"{place} has {show(key)}, wanted of {', '.join(known)}: rename or drop it")
    return content


assert {*_TEMPLATES} == {*FIELDS} and {*_TEMPLATES} < {each.name for each in fields(Instruction)}
