"""What a sweep works out: its points on all axes, with their settings, checked before a model is loaded."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from swarm.errors import UserError
from swarm.members.fusion.fusion_settings import FusionSettings
from swarm.members.fusion.unused_settings import without_effect
from swarm.programs.deepen.batches import AskedQuestion
from swarm.programs.deepen.deepen_options import fusion_settings, needed_flags
from swarm.programs.deepen.flags import RATE, UPDATES, DeepenFlags, check_flags
from swarm.programs.deepen.published_config import DeepenConfig, read_published_config
from swarm.programs.deepen.published_data import Question, read_questions, warn_of_shared
from swarm.programs.deepen.published_metrics import TASKS, published_task
from swarm.programs.deepen.run import ask
from swarm.programs.deepen.sweep_table import AXES
from swarm.programs.deepen.unused_options import Way, check_unused

ALL = "all"
NORMALISATIONS = {"on": True, "off": False}


@dataclass(frozen=True)
class Point:
    """One combination: values of AXES, and what they make."""

    place: dict[str, Any]
    flags: DeepenFlags
    settings: FusionSettings

    @property
    def models(self) -> int:
        """How many models take part."""
        return int(self.place["models"]) if self.flags.fuses else 1


@dataclass(frozen=True)
class Plan:
    """A sweep before models are loaded: its points, and what is asked at each of them."""

    config: DeepenConfig
    task: str
    points: tuple[Point, ...]
    questions: tuple[Question, ...]
    asked: tuple[AskedQuestion, ...]


def read_plan(options: argparse.Namespace) -> Plan:
    """All points with their settings, checked before a model is loaded."""
    config = read_published_config(options.config)
    if options.anchor_count is not None:
        raise UserError("a sweep takes --anchor_counts, a list; leave --anchor_count out")
    counts = options.model_counts or [len(config.models)]
    if wrong := [count for count in counts if not 1 <= count <= len(config.models)]:
        raise UserError(f"--model_counts has {wrong[0]}; wanted numbers from 1 to {len(config.models)}, the config's")
    _check_selection(options)
    points = tuple(_point(options, config, place) for place in _places(options, counts))
    _check_axes(points)
    check_unused(options, [Way(point.flags, point.settings) for point in points], len(config.models))
    data = config.data(points[0].flags.split)
    task = options.task or published_task(str(data))
    if task not in TASKS:
        raise UserError(f"--task is {task!r}; wanted one of {', '.join(TASKS)}")
    questions = tuple(read_questions(data)[: options.limit])
    if points[0].flags.split == "test":
        warn_of_shared(config.dev, questions)
    return Plan(config, task, points, questions, ask(config, points[0].flags, questions, options.options))


def _places(options: argparse.Namespace, counts: Sequence[int]) -> list[dict[str, Any]]:
    """The values of AXES at every point, each once: where all common tokens are anchors no seed draws any."""
    if options.anchor_seeds and options.anchor_seed is not None:
        raise UserError("--anchor_seed and --anchor_seeds are both given; leave one of them out")
    if options.normalisations and options.normalise is not None:
        raise UserError("--no_normalise and --normalisations are both given; leave one of them out")
    seeds = options.anchor_seeds or [options.anchor_seed or 0]
    ways = [NORMALISATIONS[way] for way in options.normalisations or ()] or [options.normalise is not False]
    if len(seeds) > 1 and (set(options.anchor_counts) == {ALL} or options.anchors not in (None, "random")):
        raise UserError(
            f"--anchor_seeds {' '.join(map(str, seeds))} makes no difference: anchors are not drawn at random; give "
            "numbers with --anchor_counts, or leave it out"
        )
    grid = product(
        counts, map(_anchor_count, options.anchor_counts), seeds, ways, options.updates, options.learning_rate
    )
    every = [dict(zip(AXES, place, strict=True)) for place in grid]
    every = [place | ({"anchor_seed": seeds[0]} if place["anchors"] == ALL else {}) for place in every]
    return list({tuple(place.values()): place for place in every}.values())


def _check_selection(options: argparse.Namespace) -> None:
    """Raises UserError where --anchors and --anchor_counts contradict each other."""
    counts = " ".join(options.anchor_counts)
    if options.anchors not in (None, ALL) and set(options.anchor_counts) == {ALL}:
        raise UserError(
            f"--anchors {options.anchors} has no effect on all common tokens; give numbers with --anchor_counts"
        )
    if options.anchors == ALL and set(options.anchor_counts) != {ALL}:
        raise UserError(f"--anchors {ALL} and --anchor_counts {counts} contradict each other; leave one of them out")


def _check_axes(points: Sequence[Point]) -> None:
    """Raises UserError for an axis with several values that change nothing at any point."""
    reasons = [without_effect(point.settings) for point in points if point.flags.fuses]
    for axis, option in (("learning_rate", RATE), ("updates", UPDATES), ("anchors", "--anchor_counts")):
        values = list(dict.fromkeys(str(point.place[axis]) for point in points))
        if len(values) > 1 and reasons and all(axis in own for own in reasons):
            raise UserError(f"{option} {' '.join(values)} makes no difference: {reasons[0][axis]}; leave it out")


def _anchor_count(text: str) -> int | str:
    if text == ALL:
        return ALL
    if not text.isdecimal() or int(text) < 1:
        raise UserError(f"--anchor_counts has {text!r}; wanted numbers from 1 on, or {ALL}")
    return int(text)


def _point(options: argparse.Namespace, config: DeepenConfig, place: dict[str, Any]) -> Point:
    own = argparse.Namespace(**vars(options))
    own.learning_rate, own.updates = place["learning_rate"], place["updates"]
    count = place["models"]
    if list(own.weights) != [1.0]:
        if len(own.weights) != len(config.models):
            raise UserError(f"-ew has {len(own.weights)} weights; wanted {len(config.models)}, one for each model")
        own.weights = own.weights[:count]
    if place["anchors"] != ALL:
        own.anchor_count = place["anchors"]
        own.anchors = own.anchors if own.anchors not in (None, ALL) else "random"
        own.anchor_seed = place["anchor_seed"] if own.anchors == "random" else own.anchor_seed
    else:
        own.anchors = ALL
    own.normalise = None if place["normalise"] else False
    flags = check_flags(own, count, needed_flags(own), warn=False)
    return Point(place, flags, fusion_settings(own, flags, config))
