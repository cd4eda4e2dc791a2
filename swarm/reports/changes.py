"""What a search has changed: every expert's mixture over the pool, and the graph from the first best to the found."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from swarm.evolution.candidate import Candidate
from swarm.evolution.problem import Problem
from swarm.evolution.state import Best
from swarm.members.composite import label, used_members
from swarm.system.system import System
from swarm.weights.pool import Expert

SMALL = 0.05  # coefficients below it are left out of the words


def mixtures(problem: Problem, best: Best) -> list[dict[str, Any]]:
    """What each expert that moves is made of, as JSON has it, by how far it has moved.

    `distance` is that of its coefficients from where they began (design: an expert's position); `used` says whether the
    found system asks it.
    """
    if best.candidate is not None:
        return _own_experts(problem, best.candidate)
    began, names = problem.starting_experts, problem.names
    system = problem.best_system(best)
    used = {part.name for node in system.graph for part in used_members(system.member_at(node))}
    rows = [
        {
            "expert": name,
            "mixture": dict(zip(problem.pool.names, map(float, now), strict=True)),
            "distance": float(np.linalg.norm(now - then)),
            "used": name in used,
        }
        for name, now, then in zip(names, best.coefficients, began, strict=True)
    ]
    return sorted(rows, key=lambda row: (-row["distance"], row["expert"]))


def _own_experts(problem: Problem, one: Candidate) -> list[dict[str, Any]]:
    """The same of a candidate: the experts at its nodes, from the initial one that each is named after."""
    system, names = problem.candidate_system(one), problem.pool.names
    placed = dict.fromkeys(member for member in map(system.member_at, system.graph) if isinstance(member, Expert))
    rows = []
    for expert in placed:
        now, began = np.array(expert.coefficients), np.zeros(len(names))
        began[int(np.argmax(np.abs(now)))] = 1.0
        mixture = dict(zip(names, map(float, now), strict=True))
        distance = float(np.linalg.norm(now - began))
        rows.append({"expert": expert.name, "mixture": mixture, "distance": distance, "used": True})
    return sorted(rows, key=lambda row: (-row["distance"], row["expert"]))


def mixture_in_words(row: dict[str, Any]) -> str:
    """One expert's mixture in a line."""
    name, mixture = row["expert"], dict(row["mixture"])
    if row["distance"] < 1e-9:
        return f"{name} stayed as it was" if name in mixture else f"{name} stayed as it was bred"
    own = mixture.pop(name, None)
    parts = [] if own is None else [f"{own:+.2f} itself"]
    others = sorted(mixture.items(), key=lambda item: -abs(item[1]))
    parts += [f"{value:+.2f} {other}" for other, value in others if abs(value) >= SMALL]
    unused = "" if row["used"] else "; not asked by the system"
    return f"{name} moved by {row['distance']:.2f}: {', '.join(parts) or 'nothing of any size is left'}{unused}"


def graph_changes(first: System, found: System) -> list[str]:
    """What differs between two systems over the same nodes, a line each; empty if nothing does."""
    if len(first.graph) != len(found.graph):
        who = label(first.member_at(first.end))
        began = f"{who} alone" if len(first.graph) == 1 else f"a system of {len(first.graph)} roles"
        return [f"the search began from {began}, and has found a system of {len(found.graph)} roles"]
    before, after = set(first.graph.edges), set(found.graph.edges)
    lines = [f"role {u} no longer tells role {v}" for u, v in sorted(before - after)]
    lines += [f"role {u} now tells role {v}" for u, v in sorted(after - before)]
    if first.end != found.end:
        lines.append(f"role {found.end} has the last word, no longer role {first.end}")
    for node in sorted(found.graph):
        then, now = (label(system.member_at(node)) for system in (first, found))
        if then != now:
            lines.append(f"role {node} is {now} now, no longer {then}")
        asked, asks = (system.wording.at(node).name for system in (first, found))
        if asked != asks:
            lines.append(f"role {node} is asked as {asks} now, no longer as {asked}")
    return lines


def gain_lines(gain: Sequence[dict[str, int]]) -> list[str]:
    """The collaborative gain as a table: questions by how many experts solve them alone."""
    questions = sum(row["questions"] for row in gain)
    lines = ["solved alone by   questions   of these the system solves"]
    for row in gain:
        share = f"{row['solved']:>4} ({row['solved'] / row['questions']:.2f})" if row["questions"] else "   -"
        who = "no expert" if row["members"] == 0 else f"{row['members']} of {len(gain) - 1}"
        lines.append(f"{who:<16}  {row['questions']:>9}   {share}")
    alone = gain[0]["solved"]
    lines.append(f"solved by the system and by no expert alone: {alone} of {questions} ({alone / questions:.3f})")
    return lines
