"""Scores by domain, or any other column of the data, beside a yardstick's."""

from collections.abc import Sequence

from swarm.errors import UserError
from swarm.evolution.answer_records import FOUND
from swarm.maths.interval import estimate, paired, verdict
from swarm.reports.kept_answers import KeptAnswer

NONE = "(none)"


def columns_of(answers: Sequence[KeptAnswer]) -> list[str]:
    """The columns by which these questions can be grouped: those with several values, of which some occur again."""
    names = ["domain", *dict.fromkeys(name for each in answers for name in each.columns)]
    values = {name: {each.column(name) for each in answers} for name in names}
    return [name for name in names if 1 < len(values[name]) < len(answers)]


def groups(answers: Sequence[KeptAnswer], column: str) -> dict[str, list[KeptAnswer]]:
    """Value of a column -> its questions, most first. Raises UserError for a column that no question has."""
    found: dict[str, list[KeptAnswer]] = {}
    for each in answers:
        found.setdefault(each.column(column) or NONE, []).append(each)
    if set(found) == {NONE}:
        there = ", ".join(["id", "domain", "gold", *dict.fromkeys(name for each in answers for name in each.columns)])
        raise UserError(f"--by {column}: no question has such a column; there are {there}")
    return dict(sorted(found.items(), key=lambda item: (-len(item[1]), item[0])))


def by_column(
    answers: Sequence[KeptAnswer], column: str, scorer: str, bounds: tuple[float, float], against: str = ""
) -> list[str]:
    """A table: for each value of a column the system's score; and that of the yardstick `against`, paired, if any.

    `bounds` are the lowest and the highest score. Raises UserError for a column that no question has.
    """
    rows: list[tuple[str, ...]] = [(column, "questions", "found system")]
    if against:
        rows[0] += (against.replace("_", " "), "difference", "")
    for value, own in groups(answers, column).items():
        ours = [each.score(FOUND, scorer) for each in own]
        score = estimate(ours, *bounds)
        if not against:
            rows.append((value, str(len(own)), str(score)))
            continue
        theirs = [each.score(against, scorer) for each in own]
        apart = paired(ours, theirs, *bounds)
        told = {1: "better", -1: "worse", 0: ""}[verdict(apart)]
        means = f"{score.mean:.3f}", f"{estimate(theirs, *bounds).mean:.3f}"
        rows.append((value, str(len(own)), *means, f"{apart.mean:+.3f} [{apart.low:+.3f}, {apart.high:+.3f}]", told))
    return aligned(rows)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as lines, the columns below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
