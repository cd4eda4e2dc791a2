"""`h-swarm route fit`: every member's answers to the dev questions, scored, and a router fitted on them."""

import argparse
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np

from swarm.errors import UserError
from swarm.evolution.fitted_on_dev import questions_of
from swarm.members.blending.usual import PAIRRM
from swarm.members.composite import NODE_FILE
from swarm.members.routing.fit import fit_router
from swarm.members.routing.router import Router
from swarm.members.routing.router_artefact import save_router
from swarm.metrics.audit import audit_text, label_audit
from swarm.metrics.pairwise_metric import PAIRWISE
from swarm.metrics.score_matrix import ScoreMatrix, save_scores
from swarm.programs.front_doors import DONE
from swarm.programs.parsers import add_ranker_options
from swarm.programs.route.curve import add_curve_options, curve_of, curve_record, curve_text
from swarm.programs.route.label_sources import LABELS, Comparer, scoring_by
from swarm.programs.route.member_scores import (
    add_task_options,
    asked_by,
    check_references,
    checked_task,
    config_of,
    read_chosen,
    scored,
)
from swarm.programs.route.quality_table import check_pictures
from swarm.programs.route.router_options import add_router_options, router_settings
from swarm.programs.task import Task
from swarm.storage.files import asked_folder, write_json

log = logging.getLogger(__name__)

FEW = 50  # fewer questions tell members apart by chance: an accuracy of .5 has a standard error of .07
CLASSIFIER, SCORES, FITTED = "classifier", "scores", "fit.json"
SHOWN = (  # by --help; --help all has the others
    "out", "members", "metric", "classifier", "features", "costs", "curve", "eval_type", "dataset",
    "initial_expert_directory", "base_model", "gpus",
)  # fmt: skip


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of this step."""
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the router is put: a "
                        "composite, which a search can use (--composites: the folder around it)")  # fmt: skip
    parser.add_argument("--members", nargs="+", metavar="NAME", help="whom it chooses among (default: all experts)")
    parser.add_argument("--metric", help=f"what makes the labels: {', '.join(LABELS)} (default: the eval's score)")
    add_ranker_options(parser, f"model that compares two answers, for --metric {PAIRWISE}, such as {PAIRRM}")
    parser.add_argument("--json", action="store_true", help="print one JSON object only")
    add_curve_options(parser)
    add_router_options(parser)
    add_task_options(parser)


def program(options: argparse.Namespace) -> int:
    """Asks, scores, audits, fits, and writes the router's folder, whole or not at all."""
    out: Path = options.out
    if out.exists() and not (out / FITTED).is_file():
        raise UserError(f"--out {out} is there and was not written by this program; name a folder that is new")
    check_pictures(options.curve_plot)
    config = config_of(options)
    task = checked_task(config)
    comparer = Comparer(options.ranker, options.ranking)
    if options.ranker is not None and options.metric != PAIRWISE:
        raise UserError(f"--ranker makes no labels by itself; add --metric {PAIRWISE}, or leave it to eval")
    scoring = None if options.metric is None else scoring_by(options.metric, comparer, config)
    check_references(options.metric, task)
    members, chosen = read_chosen(config, options.members)
    settings = router_settings(options, [member.name for member in chosen])
    with asked_by(config, members, chosen) as asked:
        matrix = scored(asked, task, "dev", scoring)
        reader = asked.reader() if settings.features.kind == "hidden" else None
    audit = label_audit([matrix])
    if not options.json:
        for line in audit_text(audit).splitlines():
            log.info("%s", line)
    generator = np.random.default_rng(options.seed)
    questions = questions_of(task.evaluation, task.dataset, "dev")
    router = fit_router(
        matrix.prompts, matrix.scores, asked.names, settings, generator, asked.digests, reader, questions
    )
    points = curve_of(options, matrix, settings, generator, reader)
    record = _record_of(matrix, router, task, options)
    if points:
        record["curve"] = curve_record(points)
    replaced = " (in the place of the one that was there)" if out.exists() else ""
    _write(out, matrix, router, record)
    if len(matrix) < FEW:
        log.warning("%d dev questions are few to fit a router on: its choices will hardly hold for others", len(matrix))
    if options.json:
        log.info("%s", json.dumps(record | {"audit": audit}))
        return DONE
    for line in [*_summary(router), *curve_text(points), f"router: {out}{replaced}"]:
        log.info("%s", line)
    return DONE


def _record_of(matrix: ScoreMatrix, router: Router, task: Task, options: argparse.Namespace) -> dict[str, Any]:
    """What is kept with a router: how its labels were made, and on what."""
    return {
        "metric": matrix.metric,
        "metric_given": options.metric,
        "settings": dict(matrix.settings),
        "eval_type": task.config.eval_type,
        "dataset": task.config.dataset,
        "prompts": len(matrix),
        "params": task.params.record(),
        "seed": options.seed,
        "router": dict(router.facts),
    }


def _write(out: Path, matrix: ScoreMatrix, router: Router, record: dict[str, Any]) -> None:
    with asked_folder(out) as new:
        save_scores(new / SCORES, matrix)
        saved = save_router(new / CLASSIFIER, router)
        write_json(new / NODE_FILE, {"type": "router", "members": list(router.names), "classifier": CLASSIFIER})
        write_json(new / FITTED, record | {"digest": saved.digest})


def _summary(router: Router) -> list[str]:
    facts, unit = router.facts, " (less cost)" if router.cost_weight else ""
    return [
        f"on dev prompts that it had not seen: {facts['value']:.3f}{unit}, best single "
        f"{facts['value_of_best_single']:.3f}; falls back for {100 * facts['fell_back']:.0f} %; calibration error "
        f"{facts['calibration_error']:.3f}"
    ]
