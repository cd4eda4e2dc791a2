"""`h-swarm deepen sweep`: accuracy and time over updates, learning rates, anchors and models (arXiv 2404.12715)."""

import argparse
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import torch

from swarm.errors import UserError
from swarm.members.fusion.fusion_models import FusionModel
from swarm.members.fusion.token_choosers import MainAlone, RelativeChooser, TokenChooser
from swarm.programs.deepen.batches import Answerer, chooser_of
from swarm.programs.deepen.deepen_figures import LOSSES, draw_axes, draw_losses, picture_of
from swarm.programs.deepen.deepen_options import check_counts, flat_settings
from swarm.programs.deepen.flags import FLAGS, RATE, UPDATES, add_flags
from swarm.programs.deepen.models import (
    Placed,
    check_devices,
    check_model_folders,
    dtype_on,
    languages_of,
    load_fusion_models,
    model_contents,
    named_languages,
)
from swarm.programs.deepen.published_metrics import TASKS, score
from swarm.programs.deepen.published_prompts import cut_generated
from swarm.programs.deepen.result_file import result_record
from swarm.programs.deepen.result_recipe import check_contents, check_recipe, write_recipe
from swarm.programs.deepen.run import add_asking
from swarm.programs.deepen.sweep_plan import ALL, NORMALISATIONS, Plan, Point, read_plan
from swarm.programs.deepen.sweep_table import AXES, is_at, line, read_rows
from swarm.programs.engine_choice import quieten_libraries
from swarm.programs.front_doors import DONE
from swarm.reports.progress_bar import ProgressBar
from swarm.storage.files import check_own_file, open_lock, take_lock, write_whole

log = logging.getLogger(__name__)

TABLE, LOCK = "sweep.jsonl", "lock"
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
    parser.add_argument("--anchor_seeds", nargs="+", type=int, metavar="SEED", help="seeds of anchors at random")
    parser.add_argument("--normalisations", nargs="+", choices=tuple(NORMALISATIONS),
                        help="divide rows of cosines by their length, or not, or both")  # fmt: skip
    parser.add_argument("--losses", action="store_true", help="note the inverse's loss before each update and after")
    parser.add_argument("--task", help=f"{', '.join(TASKS)} (default: what the data's name says)")
    add_flags(parser, [flag for flag in FLAGS if flag.name != "-rsd"], several=(RATE, UPDATES))
    add_asking(parser)
    parser.set_defaults(limit=50, results=Path("."), artefact=None)


def program(options: argparse.Namespace) -> int:
    """Works out the points that are not in the table yet, and draws a picture of each axis."""
    check_counts(options, ("limit", "batch"))
    plan = read_plan(options)
    most = max(plan.points, key=lambda point: len(point.flags.devices))
    devices, step = check_devices(most.flags.devices, most.flags.device)
    paths = [model.path for model in plan.config.models[: max(point.models for point in plan.points)]]
    check_model_folders(paths)
    dtypes = [str(dtype_on(place, options.dtype)).removeprefix("torch.") for place in devices[: len(paths)]]
    with _taken(options.out):
        _work(options, plan, _Machine(tuple(paths), tuple(devices), step, tuple(dtypes)))
    return DONE


@dataclass(frozen=True)
class _Machine:
    """The models that take part, the first being the main one, and where and in which formats they and the step are."""

    paths: tuple[str, ...]
    devices: tuple[Placed, ...]
    step: torch.device
    dtypes: tuple[str, ...]


def _taken(folder: Path) -> IO[str]:
    """The sweep's folder, made if need be, for this process alone until what this gives is closed.

    Raises UserError where it cannot be, or where something that is no ordinary file is in the place of what is written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in (folder / TABLE, *(picture_of(axis, folder) for axis in (*AXES, LOSSES))):
            check_own_file(path)
        lock = open_lock(folder / LOCK)
    except OSError as error:
        raise UserError(f"{folder} cannot be made ({error.strerror}); name another folder with --out") from error
    take_lock(lock, f"{folder} is in use by another process; wait for it, or name another folder with --out")
    return lock


def _work(options: argparse.Namespace, plan: Plan, machine: _Machine) -> None:
    """Works out the missing points, one after the other, and draws."""
    table = options.out / TABLE
    usual = {"anchor_seed": options.anchor_seed or 0, "normalise": options.normalise is not False}
    rows, recipe = read_rows(table, usual), _recipe(plan, options, machine.dtypes)
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
            machine.paths,
            machine.devices,
            options.dtype,
            bool(options.trust_remote_code),
            languages_of(plan.config.models[: len(machine.paths)]),
        )
        choosers = _Choosers(fusion_models, machine.paths, machine.step, bool(options.trust_remote_code))
        with ProgressBar("sweep", len(left) * len(plan.asked), "answers") as bar:
            for point in left:
                rows.append(_measured(plan, point, fusion_models, choosers(point), options.batch, bar, options.losses))
                write_whole(table, "".join(f"{json.dumps(row)}\n" for row in rows))
                log.info("%s", line(rows[-1]))
    log.info("table: %s", table)
    wanted = [row for row in rows if any(is_at(row, point.place) for point in plan.points)]
    pictures = [*draw_axes(wanted, AXES, options.out), *draw_losses(wanted, AXES, options.out)]
    for picture in pictures:
        log.info("picture: %s", picture)


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
        key = point.models, *(point.place[axis] for axis in ("anchors", "anchor_seed", "normalise"))
        if key not in self._made:
            self._made = {key: self._make(point)}
        made = self._made[key]
        if isinstance(made, RelativeChooser):
            return RelativeChooser(made.step.with_settings(point.settings.step))
        return made


def _measured(
    plan: Plan,
    point: Point,
    fusion_models: Sequence[FusionModel],
    chooser: TokenChooser,
    batch: int,
    bar: ProgressBar,
    with_losses: bool,
) -> dict[str, Any]:
    """A row of the table: scores, and seconds per token after a first question that does not count."""
    config = plan.config
    settings = point.settings if point.models > 1 else replace(point.settings, weights="uniform")
    losses: list[list[float]] = []
    if with_losses and isinstance(chooser, RelativeChooser):
        chooser.step.on_losses = lambda own: losses.extend(own.T.tolist())
    first, answerer = (
        Answerer(fusion_models[: point.models], chooser, settings, point.flags.processor, config.max_new_tokens, batch)
        for _ in range(2)
    )
    first.on_step = answerer.on_step = lambda: bar.show(bar.done)
    list(first.answers(plan.asked[:1]))
    losses.clear()
    records = []
    for question, asked, text in zip(plan.questions, plan.asked, answerer.answers(plan.asked), strict=True):
        prompt = asked.prompts[0]
        prediction = cut_generated(prompt, text, config.cutting)
        records.append(result_record(question, config.demo.fields, prompt, text, prediction))
        bar.show(bar.done + 1)
    scores, count = score(plan.task, records), answerer.count
    return {
        **point.place,
        **({"losses": [sum(row) / len(row) for row in zip(*losses, strict=True)]} if losses else {}),
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
        **named_languages(plan.config.models),
    }
