"""Pictures of sweeps, and of tokens in the relative spaces of several models; matplotlib draws them."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from swarm.reports.figures import figure_of, needed_figure, save_picture

LOSSES = "losses"
MOST_LINES = 8  # beyond which a legend is longer than its picture

log = logging.getLogger(__name__)


def draw_axes(rows: Sequence[Mapping[str, Any]], axes: Sequence[str], folder: Path) -> list[Path]:
    """A picture for every axis on which the rows differ: strict accuracy, and milliseconds per token.

    Rows that are the same on all other axes are one line. Without matplotlib there are none, which is said.
    """
    varied = [axis for axis in axes if len({row[axis] for row in rows}) > 1]
    if not varied:
        return []
    try:
        figures = [figure_of(figsize=(10, 4)) for _ in varied]
    except ImportError:
        log.warning("no pictures, since matplotlib is not installed: pip install matplotlib, and run this again")
        return []
    return [
        _draw_axis(figure, rows, axis, [other for other in varied if other != axis], folder)
        for figure, axis in zip(figures, varied, strict=True)
    ]


def _draw_axis(figure: Any, rows: Sequence[Mapping[str, Any]], axis: str, others: Sequence[str], folder: Path) -> Path:
    panels = figure.subplots(1, 2)
    lines: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        lines.setdefault(tuple(row[other] for other in others), []).append(row)
    # numbers first, "all" at the right end
    values = sorted({row[axis] for row in rows}, key=lambda value: (isinstance(value, str), value))
    even = any(isinstance(value, str) for value in values)
    for values_there, line in lines.items():
        line = sorted(line, key=lambda row: values.index(row[axis]))
        where = [values.index(row[axis]) if even else row[axis] for row in line]
        label = ", ".join(f"{_said(other)} {value}" for other, value in zip(others, values_there, strict=True))
        means = np.array([row["strict"] for row in line])
        spread = [means - [row["low"] for row in line], np.array([row["high"] for row in line]) - means]
        panels[0].errorbar(where, means, yerr=spread, marker="o", capsize=3, label=label)
        panels[1].plot(where, [1000 * row["seconds_per_token"] for row in line], marker="o", label=label)
    for panel, title in zip(panels, ("strict accuracy, 95 % interval", "milliseconds per token"), strict=True):
        panel.set_xlabel(_said(axis))
        panel.set_title(title)
        if even:
            panel.set_xticks(range(len(values)), [str(value) for value in values])
    panels[1].set_ylim(bottom=0)
    if others and len(lines) <= MOST_LINES:
        panels[0].legend(fontsize=8)
    figure.suptitle(f"{rows[0]['questions']} questions, {rows[0]['batch']} at a time")
    path = picture_of(axis, folder)
    save_picture(figure, path, dots=130)
    return path


def draw_losses(rows: Sequence[Mapping[str, Any]], axes: Sequence[str], folder: Path) -> list[Path]:
    """A picture of the inverse's mean loss over its updates, a line for each row that has noted it (figure 5 there)."""
    noted = [row for row in rows if row.get("losses")]
    varied = [axis for axis in axes if len({row[axis] for row in noted}) > 1]
    if not noted:
        return []
    try:
        figure = figure_of(figsize=(6, 4))
    except ImportError:  # which `draw_axes` has said, or there is nothing to compare
        return []
    panel = figure.subplots()
    for row in noted:
        label = ", ".join(f"{_said(axis)} {row[axis]}" for axis in varied)
        panel.plot(range(len(row["losses"])), row["losses"], marker="o", label=label)
    panel.set_xlabel("updates")
    panel.set_title("mean loss of the inverse, in nat")
    panel.set_ylim(bottom=0)
    if varied and len(noted) <= MOST_LINES:
        panel.legend(fontsize=8)
    path = picture_of(LOSSES, folder)
    save_picture(figure, path, dots=130)
    return [path]


def picture_of(axis: str, folder: Path) -> Path:
    """Where the picture of an axis lies."""
    return folder / f"sweep_{axis}.png"


def principal_plane(points: np.ndarray) -> np.ndarray:
    """The first two principal components (n, 2) of points (n, d), by singular values; zeros where there is one only."""
    centred = points - points.mean(0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    plane = np.zeros((len(points), 2))
    count = min(2, len(sizes))
    plane[:, :count] = left[:, :count] * sizes[:count]
    return plane


def draw_tokens(
    plane: np.ndarray, labels: Sequence[tuple[str, str]], path: Path, groups: Sequence[int] | None = None
) -> None:
    """Points (P, 2) with the (model, token) of each: a mark for each model, a colour for each token, or of `groups`.

    Raises UserError where matplotlib is not there, or the picture cannot be written.
    """
    figure = needed_figure(figsize=(7, 6))
    axes = figure.subplots()
    from matplotlib import colormaps

    marks, colours = "osD^vP*X<>", colormaps["tab20"]
    tokens = list(dict.fromkeys(token for _, token in labels))
    shown = groups or [tokens.index(token) for _, token in labels]
    for index, model in enumerate(dict.fromkeys(model for model, _ in labels)):
        places = [place for place, (own, _) in enumerate(labels) if own == model]
        axes.scatter(plane[places, 0], plane[places, 1], marker=marks[index % len(marks)], s=60, alpha=0.8, label=model,
                     c=[colours(shown[place] % 20) for place in places])  # fmt: skip
    for token in tokens:
        centre = plane[[place for place, (_, own) in enumerate(labels) if own == token]].mean(0)
        axes.annotate(
            repr(token)[1:-1].replace(" ", "␣"),
            centre,
            parse_math=False,
            fontsize=9,
            xytext=(6, 6),
            textcoords="offset points",
        )
    axes.legend()
    coloured = "" if groups is None else ", coloured by K-means"
    axes.set_title(f"relative representations: first two principal components{coloured}")
    save_picture(figure, path, dots=130)


def _said(axis: str) -> str:
    return axis.replace("_", " ")
