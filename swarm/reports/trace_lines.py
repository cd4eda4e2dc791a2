"""What a system's nodes were asked and answered, as text."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from swarm.reports.kept_answers import KeptQuery


def trace_lines(query: KeptQuery) -> Iterator[str]:
    """Every node in the order of their answers: its prompt, whom a composite asked, its answer."""
    for position, node in enumerate(query.nodes):
        faults = ", ".join(["cut"] * node.cut + ["unreadable"] * (not node.readable))
        yield f"  role {node.node}: {node.member}"
        yield from (f"    | {line}" for line in query.prompt(position).split("\n"))
        yield from _members(node.asked, "    ")
        yield f"    -> {node.answer!r} ({node.tokens} of {node.most} tokens{f', {faults}' if faults else ''})"


def _members(asked: Sequence[Mapping[str, Any]], lead: str) -> Iterator[str]:
    """What a composite asked for its answer, and what those asked."""
    for part in asked:
        prompt = f", asked {json.dumps(part['prompt'])}" if "prompt" in part else ""
        yield f"{lead}{part['member']}{prompt}: {part['answer']!r}{' (cut)' if part['cut'] else ''}"
        yield from _members(part["asked"], f"{lead}  ")
