"""`h-swarm deepen sweep`: accuracy and time over updates, learning rates, anchors and models (arXiv 2404.12715)."""

import argparse
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import IO, Any

import torch

from swarm.errors import UserError
from swarm.members.fusion.fusion_models import FusionModel
from swarm.members.fusion.fusion_settings import FusionSettings
from swarm.members.fusion.token_choosers import MainAlone, RelativeChooser, TokenChooser
from swarm.members.fusion.unused_settings import without_effect
from swarm.programs.deepen.batches import Answerer, AskedQuestion, chooser_of
from swarm.programs.deepen.deepen_figures import draw_axes, picture_of
from swarm.programs.deepen.deepen_options import check_counts, flat_settings, fusion_settings, needed_flags
from swarm.programs.deepen.flags import FLAGS, RATE, UPDATES, DeepenFlags, add_flags, check_flags
from swarm.programs.deepen.models import (
    check_devices,
    check_model_folders,
    dtype_on,
    load_fusion_models,
    model_contents,
)
from swarm.programs.deepen.published_config import DeepenConfig, read_published_config
from swarm.programs.deepen.published_data import Question, read_questions, warn_of_shared
from swarm.programs.deepen.published_metrics import TASKS, published_task, score
from swarm.programs.deepen.published_prompts import cut_generated
from swarm.programs.deepen.result_file import result_record
from swarm.programs.deepen.result_recipe import check_contents, check_recipe, write_recipe
from swarm.programs.deepen.run import add_asking, ask
from swarm.programs.deepen.sweep_table import AXES, is_at, line, read_rows
from swarm.programs.deepen.unused_options import Way, check_unused
from swarm.programs.engine_choice import quieten_libraries
from swarm.programs.front_doors import DONE
from swarm.reports.progress_bar import ProgressBar
from swarm.storage.files import check_own_file, open_lock, take_lock, write_whole

log = logging.getLogger(__name__)

TABLE, LOCK = "sweep.jsonl", "lock"
ALL = "all"
SHOWN = (  # by --help; --help all has the others
    "config", "out", "learning_rate", "updates", "anchor_counts", "model_counts", "weights", "mode", "split", "limit",
    "space", "inverse",
)  # fmt: skip


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of this step."""
    parser.add_argument("--config", type=Path, required=True, help="config of the published program")
    parser.add_argument("--out", type=Path, default=Path("sweep"), help="folder of the table and the pictures")
    parser.add_argument("--anchor_counts", nargs="+", metavar="COUNT", default=[ALL], help="numbers of anchors, or all")
    parser.add_argument("--model_counts", nargs="+", type=int, metavar="COUNT",
                        help="numbers of models, in the config's order (default: all of them)")  # fmt: skip
    parser.add_argument("--task", help=f"{', '.join(TASKS)} (default: what the data's name says)")
    add_flags(parser, [flag for flag in FLAGS if flag.name != "-rsd"], several=(RATE, UPDATES))
    add_asking(parser)
    parser.set_defaults(limit=50, results=Path("."), artefact=None)


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


def program(options: argparse.Namespace) -> int:
    """Works out the points that are not in the table yet, and draws a picture of each axis."""
    check_counts(options, ("limit", "batch"))
    plan = read_plan(options)
    most = max(plan.points, key=lambda point: len(point.flags.devices))
    devices, step = check_devices(most.flags.devices, most.flags.device)
    paths = [model.path for model in plan.config.models[: max(point.models for point in plan.points)]]
    check_model_folders(paths)
    dtypes = [str(dtype_on(device, options.dtype)).removeprefix("torch.") for device in devices[: len(paths)]]
    with _taken(options.out):
        _work(options, plan, _Machine(tuple(paths), tuple(devices), step, tuple(dtypes)))
    return DONE


@dataclass(frozen=True)
class _Machine:
    """The models that take part, the first being the main one, and where and in which formats they and the step are."""

    paths: tuple[str, ...]
    devices: tuple[torch.device, ...]
    step: torch.device
    dtypes: tuple[str, ...]


def _taken(folder: Path) -> IO[str]:
    """The sweep's folder, made if need be, for this process alone until what this gives is closed.

    Raises UserError where it cannot be, or where something that is no ordinary file is in the place of what is written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in (folder / TABLE, *(picture_of(axis, folder) for axis in AXES)):
            check_own_file(path)
        lock = open_lock(folder / LOCK)
    except OSError as error:
        raise UserError(f"{folder} cannot be made ({error.strerror}); name another folder with --out") from error
    take_lock(lock, f"{folder} is in use by another process; wait for it, or name another folder with --out")
    return lock


def _work(options: argparse.Namespace, plan: Plan, machine: _Machine) -> None:
    """Works out the missing points, one after the other, and draws."""
    table = options.out / TABLE
    rows, recipe = read_rows(table), _recipe(plan, options, machine.dtypes)
    cure = "name another folder with --out, or delete it"
    check_recipe(table, recipe, len(rows), cure)
    left = [point for point in plan.points if not any(is_at(row, point.place) for row in rows)]
    if left:
        log.info("loading %s", ", ".join(machine.paths))
        contents = model_contents(machine.paths, bool(options.trust_remote_code))
        check_contents(table, contents, len(rows), cure)
        write_recipe(table, recipe, contents)
        quieten_libraries()
        fusion_models = load_fusion_models(
            machine.paths, machine.devices, options.dtype, bool(options.trust_remote_code)
        )
        choosers = _Choosers(fusion_models, machine.paths, machine.step, bool(options.trust_remote_code))
        with ProgressBar("sweep", len(left) * len(plan.asked), "answers") as bar:
            for point in left:
                rows.append(_measured(plan, point, fusion_models, choosers(point), options.batch, bar))
                write_whole(table, "".join(f"{json.dumps(row)}\n" for row in rows))
                log.info("%s", line(rows[-1]))
    log.info("table: %s", table)
    wanted = [row for row in rows if any(is_at(row, point.place) for point in plan.points)]
    for picture in draw_axes(wanted, AXES, options.out):
        log.info("picture: %s", picture)


def read_plan(options: argparse.Namespace) -> Plan:
    """All points with their settings, checked before a model is loaded."""
    config = read_published_config(options.config)
    if options.anchor_count is not None:
        raise UserError("a sweep takes --anchor_counts, a list; leave --anchor_count out")
    counts = options.model_counts or [len(config.models)]
    if wrong := [count for count in counts if not 1 <= count <= len(config.models)]:
        raise UserError(f"--model_counts has {wrong[0]}; wanted numbers from 1 to {len(config.models)}, the config's")
    _check_selection(options)
    grid = product(counts, map(_anchor_count, options.anchor_counts), options.updates, options.learning_rate)
    points = tuple(_point(options, config, dict(zip(AXES, place, strict=True))) for place in dict.fromkeys(grid))
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
    else:
        own.anchors = ALL
    flags = check_flags(own, count, needed_flags(own), warn=False)
    return Point(place, flags, fusion_settings(own, flags, config))


class _Choosers:
    """What chooses at each point; relative rows are shared by points with the same models and anchors."""

    def __init__(self, fusion_models: Sequence[FusionModel], paths: Sequence[str], step: torch.device, trusted: bool):
        self._make: Callable[[Point], TokenChooser] = lambda point: chooser_of(
            fusion_models[: point.models], paths[: point.models], point.settings, step, trusted
        )
        self._made: dict[tuple[Any, ...], TokenChooser] = {}

    def __call__(self, point: Point) -> TokenChooser:
        if point.models == 1:
            return MainAlone()
        key = point.models, point.place["anchors"]
        if key not in self._made:
            self._made = {key: self._make(point)}
        made = self._made[key]
        if isinstance(made, RelativeChooser):
            return RelativeChooser(made.step.with_settings(point.settings.step))
        return made


def _measured(
    plan: Plan, point: Point, fusion_models: Sequence[FusionModel], chooser: TokenChooser, batch: int, bar: ProgressBar
) -> dict[str, Any]:
    """A row of the table: scores, and seconds per token after a first question that does not count."""
    config = plan.config
    settings = point.settings if point.models > 1 else replace(point.settings, weights="uniform")
    first, answerer = (
        Answerer(fusion_models[: point.models], chooser, settings, point.flags.processor, config.max_new_tokens, batch)
        for _ in range(2)
    )
    first.on_step = answerer.on_step = lambda: bar.show(bar.done)
    list(first.answers(plan.asked[:1]))
    records = []
    for question, asked, text in zip(plan.questions, plan.asked, answerer.answers(plan.asked), strict=True):
        prompt = asked.prompts[0]
        prediction = cut_generated(prompt, text, config.cutting)
        records.append(result_record(question, config.demo.fields, prompt, text, prediction))
        bar.show(bar.done + 1)
    scores, count = score(plan.task, records), answerer.count
    return {
        **point.place,
        "questions": len(records),
        "strict": scores.strict.mean,
        "low": scores.strict.low,
        "high": scores.strict.high,
        "published": scores.published.mean,
        "tokens": count.tokens,
        "fused": count.fused,
        "seconds_per_token": answerer.seconds / max(count.tokens, 1),
        "batch": answerer.batch,
    }


def _recipe(plan: Plan, options: argparse.Namespace, dtypes: Sequence[str]) -> dict[str, Any]:
    """What all rows of a table have in common."""
    common = flat_settings(plan.points[0].settings)
    varied = ("weights", "anchors", "anchor_count", "updates", "learning_rate")
    return {
        "data": str(plan.config.data(plan.points[0].flags.split)),
        "models": [model.path for model in plan.config.models],
        "templates": [model.template for model in plan.config.models],
        "dtypes": sorted(set(dtypes)),
        "task": plan.task,
        "processor": plan.points[0].flags.processor,
        "questions": len(plan.questions),
        "max_new_tokens": plan.config.max_new_tokens,
        "batch": options.batch,
        "weights": options.weigh or list(options.weights),
        "selection": options.anchors or "random",
        **{name: value for name, value in common.items() if name not in varied},
    }
