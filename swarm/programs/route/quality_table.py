"""Policies compared: a table, a record, and a picture of quality against cost."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from swarm.errors import UserError
from swarm.maths.interval import Estimate
from swarm.maths.routing import at, bootstrap_mean
from swarm.reports.figures import needed_figure, save_picture


@dataclass(frozen=True)
class Line:
    """The figures of one policy on P prompts.

    Attributes:
      who: its name.
      quality: mean score.
      gain: over the best single member, prompt by prompt.
      regret: to the best member of each prompt, which no choice exceeds: the oracle's score less its own.
      accuracy: share of prompts whose answer scores as much as the best member's; any of equals counts.
      asked: how many members answer a prompt.
      cost: of a prompt, in the unit of the costs; None where none are known.
      more: further columns by name, each ready to be shown.
    """

    who: str
    quality: Estimate
    gain: Estimate
    regret: Estimate
    accuracy: Estimate
    asked: int
    cost: float | None
    more: Mapping[str, float]


@dataclass(frozen=True)
class Ways:
    """The data of the lines: scores (P, M), the best single member, costs (M,) or none."""

    scores: np.ndarray
    names: Sequence[str]
    best: int
    costs: Sequence[float]
    seed: int

    def line(self, who: str, choices: np.ndarray, asked: int = 1, more: Mapping[str, float] | None = None) -> Line:
        """The line of choices (P,)."""
        cost = None
        if len(self.costs):
            every = float(np.sum(self.costs))
            cost = every if asked > 1 else float(np.asarray(self.costs, dtype=np.float64)[choices].mean())
        return self.line_of(who, at(self.scores, choices), asked, cost, more)

    def line_of(
        self,
        who: str,
        values: np.ndarray,
        asked: int,
        cost: float | None,
        more: Mapping[str, float] | None = None,
        right: np.ndarray | None = None,
    ) -> Line:
        """The line of what each prompt's answer scores (P,); `right` (P,) where that is no single member's score."""
        rng = np.random.default_rng(self.seed)  # the same resamples for all, so that lines can be compared
        single, best = self.scores[:, self.best], self.scores.max(axis=1)
        right = values >= best if right is None else right
        quality, gain, regret, accuracy = (
            bootstrap_mean(each, rng) for each in (values, values - single, best - values, right)
        )
        return Line(who, quality, gain, regret, accuracy, asked, cost, more or {})

    def singles(self, more: Sequence[Mapping[str, float]] = ()) -> list[Line]:
        """Every member alone."""
        size = len(self.scores)
        return [
            self.line(name, np.full(size, index), more=more[index] if more else None)
            for index, name in enumerate(self.names)
        ]

    def random(self, more: Mapping[str, float] | None = None) -> Line:
        """The line of a random member, in expectation."""
        cost = float(np.mean(self.costs)) if len(self.costs) else None
        right = (self.scores == self.scores.max(axis=1, keepdims=True)).mean(axis=1)
        return self.line_of("random member", self.scores.mean(axis=1), 1, cost, more, right)


def table(lines: Sequence[Line], best: str) -> list[str]:
    """Lines as text; the best single member is marked."""
    extra = list(dict.fromkeys(name for line in lines for name in line.more))
    header = ["", "quality", "gain over best single", "regret", "a best member", "asked", "cost", *extra]
    rows = [header]
    for line in lines:
        cost = "–" if line.cost is None else f"{line.cost:.4g}"
        more = [f"{line.more[name]:.3f}" if name in line.more else "–" for name in extra]
        who = f"{line.who} (best single)" if line.who == best else line.who
        figures = [shown(each) for each in (line.quality, line.gain, line.regret, line.accuracy)]
        rows.append([who, *figures, str(line.asked), cost, *more])
    if all(line.cost is None for line in lines):
        column = header.index("cost")
        rows = [[*row[:column], *row[column + 1 :]] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def lines_as_json(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """Lines as JSON can hold them."""
    return [
        {"who": line.who, "asked": line.asked, "cost": line.cost} | dict(line.more)
        | {name: vars(getattr(line, name)) for name in ("quality", "gain", "regret", "accuracy")}
        for line in lines
    ]  # fmt: skip


def check_pictures(*paths: Path | None) -> None:
    """Raises UserError, before anything expensive is done, for a picture that cannot be drawn in its format."""
    wanted = [path for path in paths if path is not None]
    if not wanted:
        return
    needed_figure()
    from matplotlib.backend_bases import FigureCanvasBase

    known = FigureCanvasBase.get_supported_filetypes()
    for path in wanted:
        if path.suffix.removeprefix(".") not in known:
            raise UserError(f"a picture cannot be written to {path}; wanted a name that ends in .png, .pdf or .svg")


def draw(lines: Sequence[Line], path: Path, quality: str, knob: Sequence[tuple[float, float]] = ()) -> None:
    """Quality against cost (or members asked) as a picture; `knob` are further points of the router, dearest first.

    Raises UserError where matplotlib is not there, or the picture cannot be written; see `check_pictures`.
    """
    figure = needed_figure(figsize=(7, 4.5))
    axes = figure.subplots()
    for line, marker in zip(lines, itertools.cycle("os^vDPX")):
        x = line.asked if line.cost is None else line.cost
        below, above = line.quality.mean - line.quality.low, line.quality.high - line.quality.mean
        axes.errorbar(x, line.quality.mean, yerr=[[below], [above]], fmt=marker, capsize=3, label=line.who)
    if knob:
        axes.plot(*zip(*knob, strict=True), ".-", color="grey", zorder=0, label="router, other --cost_weight")
    axes.set_xlabel("members asked" if lines[0].cost is None else "cost of a prompt")
    axes.set_ylabel(f"quality ({quality}, mean with 95 % interval)")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8)  # many may be at one point
    save_picture(figure, path, dots=150)


def shown(estimate: Estimate) -> str:
    """A figure with its 95 % interval."""
    return f"{estimate.mean:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"
