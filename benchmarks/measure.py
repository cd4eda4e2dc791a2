"""Times ways of doing one thing in turn, and shows the figures as a table."""

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

BETTER_WHEN_HIGHER = ("tokens/s", "GB/s", "GFLOP/s", "%")
HEADINGS = ("row", "ours", "reference", "ratio", "floor", "times the floor", "must reach", "note")


class Different(Exception):
    """Two ways that must do the same have not: no figure of theirs is worth anything."""


class Seconds(float):
    """What a way gives back that has timed itself, because not all that it does counts."""


@dataclass(frozen=True)
class Measured:
    """A figure: the median of its repeats, its unit, and the lowest and highest of them."""

    value: float
    unit: str
    lowest: float
    highest: float

    @property
    def higher_is_better(self) -> bool:
        """Rates and shares saved; of times and sizes less is better."""
        return self.unit in BETTER_WHEN_HIGHER

    def times(self, factor: float) -> "Measured":
        """As much work so many times."""
        return Measured(self.value * factor, self.unit, self.lowest * factor, self.highest * factor)

    def __str__(self) -> str:
        half = (self.highest - self.lowest) / 2
        spread = f" ± {100 * half / self.value:.0f} %" if half and self.value and self.unit != "%" else ""
        return f"{self.value:,.1f} %" if self.unit == "%" else f"{short(self.value)} {self.unit}{spread}"


def exactly(value: float, unit: str) -> Measured:
    """A figure that was counted, or measured once."""
    return Measured(value, unit, value, value)


def median_of(values: Sequence[float], unit: str, times: float = 1.0) -> Measured:
    """The figure of several repeats, each multiplied by `times` (milliseconds out of seconds, say)."""
    return Measured(statistics.median(values), unit, min(values), max(values)).times(times)


def rate_of(seconds: Sequence[float], amount: float, unit: str) -> Measured:
    """So much per second, over several repeats."""
    return median_of([amount / each for each in seconds], unit)


def short(value: float) -> str:
    """Three significant digits."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def interleaved(ways: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of every repeat of every way, the ways taking turns, so that a slow spell of the machine meets them all.

    The order rotates from round to round. Each way runs once before, in the given order, which does not count. Garbage
    is collected before each run but not forbidden during it: a search runs with it too.
    """
    names = list(ways)
    for name in names:
        ways[name]()
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(repeats):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            seconds[name].append(timed(ways[name]))
    return seconds


def timed(way: Callable[[], object]) -> float:
    """Seconds that one run takes; what a way says itself goes before."""
    gc.collect()
    begun = time.perf_counter()
    result = way()
    passed = time.perf_counter() - begun
    return float(result) if isinstance(result, Seconds) else passed


@dataclass(frozen=True)
class Goal:
    """What a row must reach, in words and as a test of the row."""

    text: str
    met: Callable[["Row"], bool]


def ratio_at_least(limit: float) -> Goal:
    """So many times better than the reference."""
    return Goal(f"ratio ≥ {limit:g}", lambda row: row.ratio is not None and row.ratio >= limit)


def floor_at_most(limit: float) -> Goal:
    """No more than so many times the floor."""
    return Goal(f"≤ {limit:g} × floor", lambda row: row.times_floor is not None and row.times_floor <= limit)


def below(limit: float) -> Goal:
    """Our figure, in its own unit."""
    return Goal(f"< {limit:g}", lambda row: row.ours.value < limit)


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
      name: the benchmark's, and after a colon which of its figures.
      floor: what the hardware, or the problem's structure, does not let anybody do better.
    """

    name: str
    ours: Measured
    reference: Measured | None = None
    floor: Measured | None = None
    goals: tuple[Goal, ...] = ()
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times better than the reference."""
        return None if self.reference is None else _times_better(self.ours, self.reference)

    @property
    def times_floor(self) -> float | None:
        """How many times worse than the floor."""
        return None if self.floor is None else _times_better(self.floor, self.ours)

    def record(self, with_goals: bool) -> dict[str, Any]:
        """The row for JSON."""
        figures = {name: getattr(self, name) for name in ("ours", "reference", "floor")}
        return {
            "row": self.name,
            **{name: figure and vars(figure) for name, figure in figures.items()},
            "ratio": self.ratio,
            "times_the_floor": self.times_floor,
            "must_reach": {goal.text: goal.met(self) if with_goals else None for goal in self.goals},
            "note": self.note,
        }

    def cells(self, with_goals: bool) -> list[str]:
        """The row as the table shows it, one text per heading."""
        goals = [
            f"{goal.text}: {'yes' if goal.met(self) else 'NO'}" if with_goals else goal.text for goal in self.goals
        ]
        return [
            self.name,
            str(self.ours),
            "–" if self.reference is None else str(self.reference),
            "–" if self.ratio is None else f"{short(self.ratio)} ×",
            "–" if self.floor is None else str(self.floor),
            "–" if self.times_floor is None else f"{self.times_floor:.2f} ×",
            "; ".join(goals) or "–",
            self.note,
        ]


def _times_better(one: Measured, other: Measured) -> float:
    one_value, other_value = one.value, other.value
    if one.unit != other.unit:
        raise ValueError(f"a figure in {one.unit} cannot be set beside one in {other.unit}")
    better, worse = (one_value, other_value) if one.higher_is_better else (other_value, one_value)
    return better / worse if worse else float("inf")


def table(rows: Sequence[Row], with_goals: bool) -> str:
    """The rows in Markdown, columns aligned."""
    lines = [list(HEADINGS), *(row.cells(with_goals) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )


def check_equal(ours: Sequence[Any], theirs: Sequence[Any], what: str) -> None:
    """Raises Different, showing the first, unless both ways gave the same."""
    wrong = [index for index, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]]
    if len(ours) != len(theirs):
        raise Different(f"{what}: ours gave {len(ours)}, the reference {len(theirs)}")
    if wrong:
        first = wrong[0]
        raise Different(
            f"{what}: {len(wrong)} of {len(ours)} differ; number {first} is {ours[first]!r} with us and "
            f"{theirs[first]!r} with the reference"
        )
