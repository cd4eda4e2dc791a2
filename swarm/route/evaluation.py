"""`scripts/route.py eval`: a router on the test questions, beside every member, chance and a perfect choice."""

import argparse
import json
import logging
from pathlib import Path
from typing import Any

from swarm.errors import UserError
from swarm.front_doors import DONE
from swarm.ranking.scores import ScoreMatrix, load_scores
from swarm.route.fitting import CLASSIFIER, SCORES
from swarm.route.members import Asked, add_task_options, asked_by, config_of, read_chosen, scored, task_of
from swarm.route.table import Line, Ways, choosing, chosen_by, draw, record, table
from swarm.routers.artefact import load_router, read_facts
from swarm.routers.fit import best_single
from swarm.routers.labels import filled
from swarm.routers.router import Router

log = logging.getLogger(__name__)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of this step."""
    parser.add_argument("router", type=Path, help="what `fit` has written")
    parser.add_argument("--split", default="test", choices=("dev", "test"), help="(default: test)")
    parser.add_argument("--any_weights", action="store_true", help="though the members are not as they were")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="picture of quality against cost (.png, .pdf, .svg)")
    parser.add_argument("--json", action="store_true", help="print one JSON object only")
    add_task_options(parser)


def program(options: argparse.Namespace) -> int:
    """Asks all members of the router, so that its choices can be judged; prints what they are worth."""
    folder = router_folder(options.router)
    facts = read_facts(folder)
    config = config_of(options)
    task = task_of(config)
    members, chosen = read_chosen(config, facts["names"])
    with asked_by(config, members, chosen) as asked:
        router = loaded(folder, asked, options.any_weights)
        learnt = load_scores(options.router / SCORES)
        metric = None if "eval" in learnt.settings else learnt.metric
        matrix = scored(asked, task, options.split, metric)
    lines, figures = judged(router, matrix, best_single(filled(learnt.scores)))
    if options.split == "dev" or set(matrix.prompts) & set(learnt.prompts):
        log.warning("the router was fitted on some of these prompts: its scores say nothing about new ones")
    if options.plot:
        draw(lines, options.plot, matrix.metric)
    if options.json:
        log.info("%s", json.dumps({"metric": matrix.metric, "lines": record(lines), "figures": figures}))
        return DONE
    log.info("%s, %d prompts, quality is %s:", options.split, len(matrix), matrix.metric)
    for line in table(lines, matrix.names[best_single(filled(learnt.scores))]):
        log.info("%s", line)
    log.info(
        "it picks one of the best members for %.1f %% of the prompts, falls back for %.1f %%; calibration error %.3f",
        100 * figures["accuracy"]["mean"], 100 * figures["fell_back"], figures["calibration_error"],
    )  # fmt: skip
    return DONE


def router_folder(given: Path) -> Path:
    """The fitted router in a folder that `fit` has written. Raises UserError if there is none."""
    if not (given / CLASSIFIER).is_dir():
        raise UserError(f"{given} holds no router; wanted a folder that `scripts/route.py fit --out` has written")
    return given / CLASSIFIER


def loaded(folder: Path, asked: Asked, any_weights: bool = False) -> Router:
    """The router, checked against the members. Raises UserError for others."""
    digests = dict(zip(asked.names, asked.digests, strict=True))
    kind = read_facts(folder)["features"]
    reader = asked.reader() if kind == "hidden" else None
    return load_router(folder, None if any_weights else digests, reader)


def judged(router: Router, matrix: ScoreMatrix, best: int) -> tuple[list[Line], dict[str, Any]]:
    """The lines of the router and of what it is compared with, and how well it chooses."""
    choices = router.choose(matrix.prompts)
    scores = matrix.scores
    ways = Ways(scores, matrix.names, best, router.costs, 0)
    oracle = ways.line("perfect choice", scores.argmax(axis=1), len(matrix.names))
    lines = [ways.line("router", chosen_by(choices)), *ways.singles(), ways.random(), oracle]
    return lines, choosing(choices, scores, 0)
