"""Pictures of a run: its best graph in layers, and the curves of its two swarms."""

import logging
import time
from pathlib import Path
from typing import Any

from swarm.evolution.problem import Problem
from swarm.evolution.run_folder import CURVES_PICTURE, GRAPH_PICTURE
from swarm.evolution.state import SearchState
from swarm.maths.layers import in_layers
from swarm.maths.pso import Swarm
from swarm.members.composite import label
from swarm.plugins import in_short
from swarm.reports.figures import figure_of, picture_of, save_picture
from swarm.storage.background import BackgroundWriter
from swarm.system.system import System

log = logging.getLogger(__name__)

EVERY = 60.0  # seconds between two pictures of a run that goes on
LONGEST = 30  # characters of a name in a box
LETTER, LINE = 0.075, 0.19  # inches that a letter and a line of 9 points take
GAP, ROW = 0.9, 0.72  # inches between two layers' boxes, and from one row to the next
HEIGHT = 0.46  # inches of a box
FEWEST = 6.4  # inches of width that the title takes


def draw_graph(system: System, path: Path) -> None:
    """Draws the graph: roles, members, and arrows to whom they tell their answers. Needs matplotlib."""
    save_picture(_graph(system), path, 130)


def graph_as_svg(system: System) -> str:
    """The same picture as SVG. Needs matplotlib."""
    return picture_of(_graph(system), "svg").decode()


def _graph(system: System) -> Any:
    layout = in_layers(system.graph)
    names = {node: _short(label(system.member_at(node))) for node in system.graph}
    width = LETTER * max(max(map(len, names.values())), 8) + 0.2
    heights = layout.heights.values()
    span = max(heights) - min(heights)
    size = (max(len(layout.layers) * (width + GAP) - GAP + 0.4, FEWEST), ROW * span + HEIGHT + 0.8)
    figure = figure_of(figsize=size)
    axes = figure.add_axes((0, 0, 1, 1))
    left = (size[0] - len(layout.layers) * (width + GAP) + GAP) / 2
    lefts = [left + column * (width + GAP) for column in range(len(layout.layers))]
    rows = {vertex: 0.2 + HEIGHT / 2 + ROW * (max(heights) - height) for vertex, height in layout.heights.items()}
    for node, column in layout.columns.items():
        _box(axes, lefts[column], rows[node, column], width, f"role {node}\n{names[node]}", node == system.end)
    for points in _arrows(layout.paths, lefts, rows, width):
        _arrow(axes, points)
    axes.set(xlim=(0, size[0]), ylim=(0, size[1]))
    axes.axis("off")
    title = "an arrow tells an answer; the last role (orange) speaks for all"
    axes.text(size[0] / 2, size[1] - 0.3, title, ha="center", va="center", fontsize=10)
    return figure


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST // 2]}…{name[-LONGEST // 2 + 1 :]}"


def _box(axes: Any, left: float, middle: float, width: float, text: str, end: bool) -> None:
    from matplotlib.patches import FancyBboxPatch

    colour = "#ffd27f" if end else "#cfe3f7"
    axes.add_patch(
        FancyBboxPatch((left, middle - HEIGHT / 2), width, HEIGHT, boxstyle="round,pad=0,rounding_size=0.08",
                       facecolor=colour, edgecolor="#333333", zorder=2)
    )  # fmt: skip
    # a folder's name may hold dollar signs
    axes.text(left + width / 2, middle, text, ha="center", va="center", fontsize=9, parse_math=False, zorder=3)


def _arrows(paths: Any, lefts: list[float], rows: Any, width: float) -> list[list[tuple[float, float]]]:
    """The points of every arrow: through the gaps between layers it slants, beside boxes it is level."""
    into: dict[Any, list[Any]] = {}
    for path in paths.values():
        into.setdefault(path[-1], []).append(path[-2])
    found = []
    for path in paths.values():
        points = [(lefts[path[0][1]] + width, rows[path[0]])]
        for vertex in path[1:-1]:
            points += [(lefts[vertex[1]], rows[vertex]), (lefts[vertex[1]] + width, rows[vertex])]
        target = path[-1]
        beside = sorted(into[target], key=lambda vertex: rows[vertex])
        spread = (beside.index(path[-2]) + 1) / (len(beside) + 1) - 0.5  # so that heads do not lie on each other
        found.append([*points, (lefts[target[1]], rows[target] + spread * HEIGHT)])
    return found


def _arrow(axes: Any, points: list[tuple[float, float]]) -> None:
    xs, ys = zip(*points, strict=True)
    axes.plot(xs[:-1], ys[:-1], color="#555555", linewidth=1, zorder=1)
    axes.annotate(
        "", points[-1], points[-2], zorder=1,
        arrowprops={"arrowstyle": "-|>", "color": "#555555", "linewidth": 1, "shrinkA": 0, "shrinkB": 0},
    )  # fmt: skip


def draw_curves(state: SearchState, path: Path) -> None:
    """Draws both swarms' utilities over the iterations, or the rounds, with the best so far. Needs matplotlib."""
    figure = figure_of(figsize=(11, 4.4), layout="constrained")
    drawn: list[tuple[Swarm | None, str]] = [(state.graphs, "graphs"), (state.experts, "experts (JFK)")]
    if state.by_candidates:
        drawn = [(None, f"{state.tried:,} candidates")]
    panels = figure.subplots(1, len(drawn), sharey=True, squeeze=False)[0]
    for panel, (swarm, name) in zip(panels, drawn, strict=True):
        for history in swarm.histories if swarm else ():
            panel.plot(history, color="#9db8d2", linewidth=1, marker="." if len(history) == 1 else None)
        if swarm:
            panel.plot(swarm.best_history, color="#1f4e79", linewidth=2, marker=".", label="swarm's best")
        panel.plot(state.best_history, color="#c55a11", linewidth=2, marker=".", label="best system")
        panel.axhline(max(state.singles), color="#777777", linestyle="--", label="best single member, alone")
        panel.set_xlabel("round" if state.by_candidates else "iteration")
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.set_title(name)
    panels[0].set_ylabel("utility on dev")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    save_picture(figure, path, 130)


class BackgroundPictures:
    """The pictures of a run that goes on, drawn beside the search and seldom."""

    def __init__(self, folder: Path):
        """Nothing is drawn yet, and matplotlib is not imported."""
        self._folder = folder
        self._writer = BackgroundWriter()
        self._drawn = float("-inf")
        self._wanted = True

    def draw(self, problem: Problem, state: SearchState) -> None:
        """Draws the run as it is now, unless that was done a short while ago."""
        if self._wanted and state.best is not None and time.monotonic() - self._drawn >= EVERY:
            self._drawn = time.monotonic()
            self._writer.write(lambda: self._draw(problem, state))

    def finish(self, problem: Problem, state: SearchState) -> None:
        """Draws the run as it has ended."""
        self._writer.wait()
        self._draw(problem, state)

    def close(self) -> None:
        """Waits for the drawing in hand."""
        self._writer.close()

    def _draw(self, problem: Problem, state: SearchState) -> None:
        assert state.best is not None
        try:
            draw_graph(problem.best_system(state.best), self._folder / GRAPH_PICTURE)
            draw_curves(state, self._folder / CURVES_PICTURE)
        except ImportError:
            if self._wanted:
                log.info("no pictures: they need matplotlib (pip install matplotlib)")
            self._wanted = False
        except Exception as error:  # a search is worth more than its pictures, whatever keeps them from being drawn
            if self._wanted:
                log.warning("%s; the search goes on without pictures", in_short(error))
            self._wanted = False
