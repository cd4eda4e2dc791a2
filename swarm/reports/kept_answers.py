"""The answers that a run has kept (best/answers.jsonl), read and checked: the file may come from anybody."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swarm.errors import UserError
from swarm.evolution.answer_records import FOUND
from swarm.evolution.run_folder import ANSWERS, BEST
from swarm.reports.finished_run import DAMAGED
from swarm.storage.files import read_text
from swarm.system.prompts import Query, node_prompt


@dataclass(frozen=True)
class KeptNode:
    """What a node answered; the fields are those of answers.jsonl (docs/answers.md)."""

    node: int
    member: str
    answer: str
    sources: tuple[int, ...]
    tokens: int
    most: int
    cut: bool
    readable: bool
    asked: tuple[Mapping[str, Any], ...] = ()
    prompt: str | None = None


@dataclass(frozen=True)
class KeptQuery:
    """What the system was asked, and what its nodes answered, in topological order."""

    number: int
    text: str
    context: tuple[str, ...]
    nodes: tuple[KeptNode, ...]

    @property
    def answer(self) -> str:
        """The system's answer: that of the last node."""
        return self.nodes[-1].answer

    def prompt(self, position: int) -> str:
        """The prompt of the node at this position."""
        if (kept := self.nodes[position].prompt) is not None:
            return kept
        answers = {each.node: each.answer for each in self.nodes}
        told = [answers[source] for source in self.nodes[position].sources]
        return node_prompt(Query(self.text, self.context), told, position, len(self.nodes))


@dataclass(frozen=True)
class KeptAnswer:
    """A question with all that was answered to it.

    Attributes:
      scores: who -> scorer -> score; the found system is FOUND.
      others: who -> answer, of the yardsticks.
    """

    split: str
    index: int
    question: str
    gold: str
    asked: tuple[KeptQuery, ...]
    scores: Mapping[str, Mapping[str, float]]
    others: Mapping[str, str]
    id: str = ""
    domain: str = ""
    choices: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def answer(self) -> str:
        """The system's answer, to the first question of an eval that asks several."""
        return self.asked[0].answer

    def column(self, name: str) -> str:
        """The value of a column; "" where there is none."""
        return {"id": self.id, "domain": self.domain, "gold": self.gold}.get(name) or self.columns.get(name, "")

    def score(self, who: str, scorer: str) -> float:
        """A score. Raises KeyError where there is none."""
        return self.scores[who][scorer]


def answers_path(run: Path) -> Path:
    """Where the answers of a run, or of a system's folder, lie."""
    return (run / BEST if (run / BEST).is_dir() else run) / ANSWERS


def read_answers(run: Path, split: str) -> list[KeptAnswer]:
    """The kept answers of a split. Raises UserError if there are none, or the file is damaged."""
    path = answers_path(run)
    if not path.is_file():
        raise UserError(
            f"{run} has kept no answers ({ANSWERS} missing): it is not finished, or is of an earlier version, or was "
            f"run with --no-answers; h-swarm evaluate {run} --save_answers FILE answers again"
        )
    found = list(parse_answers(read_text(path), str(path), split))
    if not found:
        raise UserError(f"{path} has no answers of {split}; wanted a split that it has")
    return found


def parse_answers(text: str, where: str, split: str) -> Iterator[KeptAnswer]:
    """The answers of a split in the lines of a file. Raises UserError for a line that is none."""
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            if record["split"] == split:
                yield kept_answer(record)
        except DAMAGED as error:
            raise UserError(
                f"{where}: line {number} is no record of an answer ({type(error).__name__}: {error}); restore it, "
                "or answer again with h-swarm evaluate"
            ) from error


def kept_answer(record: Mapping[str, Any]) -> KeptAnswer:
    """A record of answers.jsonl. Raises ValueError, KeyError or TypeError for what is none."""
    asked = tuple(map(kept_query, record["asked"]))
    if not asked:
        raise ValueError("nothing was asked")
    scores = {who: {name: float(value) for name, value in own.items()} for who, own in record["scores"].items()}
    if not all(math.isfinite(value) for own in scores.values() for value in own.values()):
        raise ValueError("a score is not finite")
    if FOUND not in scores:
        raise KeyError(FOUND)
    return KeptAnswer(
        str(record["split"]),
        int(record["index"]),
        str(record["question"]),
        str(record["gold"]),
        asked,
        scores,
        _texts(record.get("others", {})),
        str(record.get("id", "")),
        str(record.get("domain", "")),
        _texts(record.get("choices", {})),
        _texts(record.get("columns", {})),
    )


def _texts(record: Mapping[str, Any]) -> dict[str, str]:
    return {str(name): str(value) for name, value in record.items()}


def kept_query(record: Mapping[str, Any]) -> KeptQuery:
    """What a system was asked once. Raises as `kept_answer` does."""
    nodes = tuple(map(_node, record["nodes"]))
    known: set[int] = set()
    for node in nodes:
        if not known.issuperset(node.sources):
            raise ValueError(f"node {node.node} was told by one that has not answered before it")
        known.add(node.node)
    if not nodes:
        raise ValueError("no node answered")
    return KeptQuery(int(record["pass"]), str(record["text"]), tuple(map(str, record.get("context", ()))), nodes)


def _node(record: Mapping[str, Any]) -> KeptNode:
    return KeptNode(
        int(record["node"]),
        str(record["member"]),
        str(record["answer"]),
        tuple(int(source) for source in record["from"]),
        int(record["tokens"]),
        int(record["most"]),
        bool(record["cut"]),
        bool(record["readable"]),
        tuple(_members(record.get("asked", ()))),
        str(record["prompt"]) if "prompt" in record else None,
    )


def _members(records: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """What a composite's members answered, each with what theirs answered."""
    for record in records:
        yield {
            "member": str(record["member"]),
            "answer": str(record["answer"]),
            "cut": bool(record["cut"]),
            "asked": tuple(_members(record.get("asked", ()))),
        } | ({"prompt": str(record["prompt"])} if "prompt" in record else {})
