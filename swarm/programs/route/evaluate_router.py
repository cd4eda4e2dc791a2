"""`h-swarm route eval`: a router on the test questions, beside every member, chance and a perfect choice."""

import argparse
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from swarm.errors import UserError
from swarm.evolution.config import SearchConfig
from swarm.evolution.fitted_on_dev import FLATTERED, questions_of, warn_of_router
from swarm.evolution.run_folder import read_json
from swarm.maths.routing import at
from swarm.members.blending.usual import MODES
from swarm.members.routing.fitted_on import seen_questions
from swarm.members.routing.router import Router
from swarm.members.routing.router_artefact import load_router, read_router_facts
from swarm.members.routing.soft_labels import without_gaps
from swarm.metrics.pairwise_metric import PAIRWISE
from swarm.metrics.score_matrix import ScoreMatrix, load_scores
from swarm.programs.blends import FUSED, RANKED, blends_of, with_blends
from swarm.programs.front_doors import DONE
from swarm.programs.parsers import add_blend_options
from swarm.programs.route.fit_router import CLASSIFIER, FITTED, SCORES
from swarm.programs.route.label_sources import COMPARING, Comparer, Scoring, labels, scoring_by, warn_of_another_judge
from swarm.programs.route.member_scores import (
    AskedMembers,
    add_task_options,
    answered,
    asked_by,
    checked_task,
    config_of,
    read_chosen,
    scored,
)
from swarm.programs.route.quality_table import Line, Ways, check_pictures, draw, lines_as_json, table
from swarm.programs.route.router_figures import Tried, figures_of, figures_text, tried
from swarm.programs.task import Task

log = logging.getLogger(__name__)

SHOWN = (  # by --help; --help all has the others
    "split", "plot", "json", "ranker", "fuser", "any_weights", "test_limit", "eval_type", "dataset",
    "initial_expert_directory", "base_model", "gpus",
)  # fmt: skip


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of this step."""
    parser.add_argument("router", type=Path, help="what `fit` has written")
    parser.add_argument("--split", default="test", choices=("dev", "test"), help="(default: test)")
    parser.add_argument("--any_weights", action="store_true", help="though the members are not as they were")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="picture of quality against cost (.png, .pdf, .svg)")
    parser.add_argument("--json", action="store_true", help="print one JSON object only")
    add_blend_options(parser)
    add_task_options(parser)


def program(options: argparse.Namespace) -> int:
    """Asks all members of the router, so that its choices can be scored; prints the scores."""
    check_pictures(options.plot)
    folder = router_folder(options.router)
    facts = read_router_facts(folder)
    config = config_of(options)
    task = checked_task(config)
    learnt = load_scores(options.router / SCORES)
    scoring = scoring_of(learnt, fitted_on(options.router)["metric_given"], config)
    members, chosen = read_chosen(config, facts["names"])
    blends = blends_of(options, facts["names"])
    with asked_by(config, with_blends(members, blends), chosen) as asked:
        router = loaded(folder, asked, options.any_weights)
        matrix = scored(asked, task, options.split, scoring)
        blended = blend_scores(asked, task, matrix, [blend.name for blend in blends], scoring)
    result = tried(router, matrix.prompts, matrix.scores, without_gaps(learnt.scores), 0)
    lines, figures = router_lines(result, blended), figures_of(result)
    warn_of_another_judge(learnt, matrix)
    seen, texts = router.seen, questions_of(task.evaluation, task.dataset, options.split)
    if seen is None:  # of an earlier version: what it has read lies beside it
        seen, texts = seen_questions(learnt.prompts), list(matrix.prompts)
    warn_of_router(options.router.resolve().name, seen, texts, options.split, FLATTERED)
    if options.plot:
        draw(lines, options.plot, matrix.metric, result.knob_points())
    if options.json:
        log.info("%s", json.dumps({"metric": matrix.metric, "lines": lines_as_json(lines), "figures": figures}))
        return DONE
    log.info("%s, %d prompts, quality is %s:", options.split, len(matrix), matrix.metric)
    for line in [*table(lines, matrix.names[result.best]), *figures_text(figures)]:
        log.info("%s", line)
    return DONE


def router_folder(given: Path) -> Path:
    """The fitted router in a folder that `fit` has written. Raises UserError if there is none."""
    if not (given / CLASSIFIER).is_dir():
        raise UserError(f"{given} holds no router; wanted a folder that `h-swarm route fit --out` has written")
    return given / CLASSIFIER


def fitted_on(given: Path) -> dict[str, Any]:
    """The record that `fit` has written beside the router. Raises UserError if it is missing or damaged."""
    noted = read_json(given / FITTED)
    kinds = {"eval_type": str, "dataset": str, "params": dict, "metric_given": str | None}
    if lacking := [name for name, kind in kinds.items() if not isinstance(noted.get(name, 0), kind)]:
        raise UserError(f"{given / FITTED} is damaged ({lacking[0]} is missing or wrong); fit the router again")
    return noted


def loaded(folder: Path, asked: AskedMembers, any_weights: bool = False) -> Router:
    """The router, checked against the members. Raises UserError for others."""
    digests = dict(zip(asked.names, asked.digests, strict=True))
    kind = read_router_facts(folder)["features"]
    reader = asked.reader() if kind == "hidden" else None
    return load_router(folder, None if any_weights else digests, reader)


def scoring_of(learnt: ScoreMatrix, given: str | None, config: SearchConfig) -> Scoring | None:
    """The scoring that made the labels; None for the eval. Raises UserError if it cannot be had.

    `given` is what --metric was then, options included, where that is known.
    """
    if learnt.metric not in labels():  # an eval's scores bear its name and its scorer's
        return None
    ranker = learnt.settings["model"] if learnt.metric == PAIRWISE else None
    return scoring_by(given or learnt.metric, Comparer(ranker, learnt.settings.get("mode", MODES[0])), config)


def blend_scores(
    asked: AskedMembers, task: Task, matrix: ScoreMatrix, names: Sequence[str], scoring: Scoring | None
) -> dict[str, np.ndarray]:
    """(P,) scores of each of the blends of these names over the members of `matrix`, by name."""
    if not names:
        return {}
    there = {member.name: member for member in asked.members.initial()}
    if matrix.metric not in COMPARING:
        found = scored(replace(asked, chosen=tuple(there[name] for name in names)), task, matrix.split, scoring).scores
        return dict(zip(names, found.T, strict=True))
    if FUSED in names:
        log.warning("%s: no line, as %s scores only answers of the members", FUSED, matrix.metric)
    _, texts = answered(replace(asked, chosen=(there[RANKED],)), task, matrix.split)
    chosen = [own.index(text) for own, (text,) in zip(matrix.texts, texts, strict=True)]
    return {RANKED: at(matrix.scores, np.array(chosen))}


def router_lines(result: Tried, blended: Mapping[str, np.ndarray] = {}) -> list[Line]:
    """The lines of the router and of what it is compared with; `blended` are scores (P,) of blends of all members."""
    router, scores = result.router, result.scores
    ways, everybody = Ways(scores, router.names, result.best, router.costs, result.seed), len(router.names)
    cost = float(np.sum(router.costs)) if len(router.costs) else None
    lines = [ways.line("router", result.picked), *ways.singles(), ways.random()]
    lines += [ways.line_of(name, values, everybody, cost) for name, values in blended.items()]
    return [*lines, ways.line("perfect choice", scores.argmax(axis=1), everybody)]
