"""Learning curves of routers on the command line: figures, and a picture with intervals."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from swarm.members.routing.fit import RouterSettings
from swarm.members.routing.interfaces import LanguageModel
from swarm.members.routing.learning import CurvePoint, learning_curve
from swarm.metrics.score_matrix import ScoreMatrix
from swarm.programs.route.quality_table import shown
from swarm.reports.figures import needed_figure, save_picture

SIZES = (25, 50, 100, 200, 400, 800, 1600, 3200)  # labelled prompts, as many as there are
_FOLDS = 4
_FIGURES = ("quality", "gain", "regret")


def add_curve_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of learning curves."""
    parser.add_argument("--curve", action="store_true", help="what more labelled prompts would bring, too")
    parser.add_argument("--curve_plot", type=Path, metavar="FILE", help="picture of that (.png, .pdf, .svg)")


def curve_of(
    options: argparse.Namespace,
    matrix: ScoreMatrix,
    settings: RouterSettings,
    generator: np.random.Generator,
    language_model: LanguageModel | None = None,
) -> list[CurvePoint]:
    """The learning curve on these prompts, drawn where a picture is asked for; empty where no curve is.

    Raises UserError as `learning_curve`, or where the picture cannot be written; see `check_pictures`.
    """
    if not options.curve and not options.curve_plot:
        return []
    sizes = [*(size for size in SIZES if size < len(matrix)), len(matrix)]  # the last is as many as there can be
    points = learning_curve(
        matrix.prompts, matrix.scores, matrix.names, settings, generator, sizes, _FOLDS, language_model
    )
    if options.curve_plot:
        _draw(points, options.curve_plot, matrix.metric)
    return points


def curve_record(points: Sequence[CurvePoint]) -> list[dict[str, Any]]:
    """Points as JSON can hold them."""
    return [{"size": each.size} | {name: vars(getattr(each, name)) for name in _FIGURES} for each in points]


def curve_text(points: Sequence[CurvePoint]) -> list[str]:
    """A line per point."""
    return [f"{each.size:6d} labelled prompts: gain over best single {shown(each.gain)}" for each in points]


def _draw(points: Sequence[CurvePoint], path: Path, metric: str) -> None:
    figure = needed_figure(figsize=(7, 4.5))
    axes = figure.subplots()
    sizes = [point.size for point in points]
    for name, marker in zip(_FIGURES, "os^", strict=True):
        found = [getattr(point, name) for point in points]
        spread = [[each.mean - each.low for each in found], [each.high - each.mean for each in found]]
        label = {"quality": "quality", "gain": "gain over best single", "regret": "regret to the oracle"}[name]
        axes.errorbar(sizes, [each.mean for each in found], yerr=spread, marker=marker, capsize=3, label=label)
    axes.set_xscale("log")
    axes.set_xticks(sizes, labels=[str(size) for size in sizes])
    axes.minorticks_off()
    axes.set_xlabel("labelled prompts")
    axes.set_ylabel(f"{metric} (mean with 95 % interval)")
    axes.legend()
    save_picture(figure, path, dots=150)
