"""`h-swarm route replay`: a router on stored answers and scores, in MixInstruct's format; nothing is generated."""

import argparse
import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from swarm.engines.local.side_models import read_hub_config
from swarm.errors import UserError
from swarm.evolution.command_line import add_settings
from swarm.evolution.config import SearchConfig, settings_of
from swarm.evolution.setting import COMPUTE
from swarm.members.blending.pair_models import WHAT, load_pair_model
from swarm.members.blending.pairwise import best_first
from swarm.members.blending.usual import PAIRRM
from swarm.members.routing.fit import fit_router
from swarm.members.routing.router_artefact import ROUTERS, save_router
from swarm.members.routing.soft_labels import without_gaps
from swarm.metrics.audit import audit_text, label_audit
from swarm.metrics.gpt_rank import GPT_RANK, TIES, TieRule, compared, gpt_columns
from swarm.metrics.mixinstruct import MixInstruct, read_mix_instruct
from swarm.metrics.pairwise_metric import PAIRWISE
from swarm.metrics.score_matrix import ScoreMatrix
from swarm.programs.blends import RANKED
from swarm.programs.front_doors import DONE
from swarm.programs.parsers import add_ranker_options
from swarm.programs.route.curve import add_curve_options, curve_of, curve_record, curve_text
from swarm.programs.route.label_sources import (
    LABELS,
    Comparer,
    Scoring,
    device_name,
    labels,
    scoring_by,
    warn_of_another_judge,
)
from swarm.programs.route.member_scores import config_of
from swarm.programs.route.quality_table import Line, Ways, check_pictures, draw, lines_as_json, table
from swarm.programs.route.router_figures import Tried, figures_of, figures_text, tried
from swarm.programs.route.router_options import add_router_options, router_settings
from swarm.values import kind_and_options

log = logging.getLogger(__name__)

SHOWN = (  # by --help; --help all has the others
    "metric", "limit", "classifier", "features", "costs", "curve", "out", "plot", "json", "ranker", "judge_model",
    "gpus",
)  # fmt: skip


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of this step."""
    parser.add_argument("learn", type=Path, metavar="VAL", help="JSON Lines to learn from, in MixInstruct's format")
    parser.add_argument("test", type=Path, metavar="TEST", help="JSON Lines to try the router on")
    parser.add_argument("--metric", help="stored score that makes the labels, or one that is computed: "
                        f"{', '.join(LABELS)} (default: the first that is stored)")  # fmt: skip
    parser.add_argument("--limit", type=int, help="rows of each file that are read (default: all)")
    parser.add_argument("--against", nargs="+", default=[], metavar="MODEL", help="models of the files: also print "
                        "how often a choice is no worse than each, by the comparisons that TEST has")  # fmt: skip
    parser.add_argument("--ties", choices=TIES, default="defined", help="what counts as no worse: as the paper defines "
                        "it, as its table was printed, or as that was corrected later (docs/routing.md)")  # fmt: skip
    add_curve_options(parser)
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="keep the router there")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="picture of quality against cost (.png, .pdf, .svg)")
    parser.add_argument("--json", action="store_true", help="print one JSON object only")
    about = f"model that compares two answers, such as {PAIRRM}: also try what it finds best; labels by {PAIRWISE}"
    add_ranker_options(parser, about)
    add_router_options(parser)
    taken = settings_of("replay")
    judged = [setting for setting in taken if setting.group != COMPUTE]
    add_settings(parser.add_argument_group(f"labels by {GPT_RANK} (docs/judges.md)"), judged)
    add_settings(parser.add_argument_group("engine"), [setting for setting in taken if setting.group == COMPUTE])


def program(options: argparse.Namespace) -> int:
    """Fits on VAL, prints the label audit, and what the router is worth on TEST."""
    check_named(options)
    learn = read_mix_instruct(options.learn, "val", options.limit)
    test = read_mix_instruct(options.test, "test", options.limit)
    check_apart(learn, test)
    check_against(options.against, test)
    given = options.metric or next(iter(learn.metrics), "")
    metric, how = kind_and_options("--metric", given)
    if not metric:
        raise UserError(f"{learn.where}: no score is stored for every answer; name one to compute with --metric")
    settings = router_settings(options, learn.names)
    config = config_of(options, {"eval_type": "replay", "dataset": str(options.learn)})
    comparer = Comparer(options.ranker, options.ranking)
    scoring = computed(given, (learn, test), comparer, config)
    seen, held = (matrix_of(rows, metric, scoring, stored=not how) for rows in (learn, test))
    warn_of_another_judge(seen, held)
    ranked = ranked_first(test, held, comparer, config)
    rng = np.random.default_rng(options.seed)
    views = {name: learn.stored(name) for name in learn.metrics} | {metric: seen}
    # labels by GPT-Rank stand in the audit themselves
    compared_too = metric != GPT_RANK and compared(learn.comparisons()).any()
    audit = label_audit(list(views.values()), learn.comparisons() if compared_too else None)
    learnt = labelled(seen, learn.where)
    router = fit_router(learnt.prompts, learnt.scores, seen.names, settings, rng)
    if options.out:
        router = save_router(options.out, router)
    prompts, scores, comparisons = scored_for_all(test, held)
    result = tried(router, prompts, scores, without_gaps(learnt.scores), options.seed)
    lines = replay_lines(result, test, held, comparisons, ranked, options.against, TIES[options.ties])
    points = curve_of(options, learnt, settings, rng)
    if options.plot:
        draw(lines, options.plot, metric, result.knob_points())
    if options.json:
        found: dict[str, Any] = {"metric": metric, "audit": audit, "router": dict(router.facts)}
        found |= {"lines": lines_as_json(lines), "figures": figures_of(result), "best_single": seen.names[result.best]}
        log.info("%s", json.dumps(found | ({"curve": curve_record(points)} if points else {})))
        return DONE
    for line in audit_text(audit).splitlines():
        log.info("%s", line)
    log.info("")
    log.info("on test, %d prompts, quality is %s:", len(prompts), metric)
    for line in [*table(lines, seen.names[result.best]), *figures_text(figures_of(result)), *curve_text(points)]:
        log.info("%s", line)
    return DONE


def check_named(options: argparse.Namespace) -> None:
    """Raises UserError for a picture, folder or ranker that cannot be; nothing is loaded."""
    check_pictures(options.plot, options.curve_plot)
    if options.out is not None:
        ROUTERS.check_place(options.out)
    if options.ranker is not None:
        read_hub_config(WHAT, options.ranker)


def check_apart(learn: MixInstruct, test: MixInstruct) -> None:
    """Raises UserError unless both have the same models and are two splits; says so where a prompt is in both."""
    if Path(learn.where).name.startswith("test"):
        raise UserError(
            f"{learn.where} is a test set by its name, on which no router is fitted; name the validation set first, "
            "then the test set"
        )
    if learn.names != test.names:
        raise UserError(
            f"{test.where} has the models {', '.join(test.names)}, {learn.where} {', '.join(learn.names)}; wanted the "
            "same in the same order"
        )
    shared = set(learn.prompts) & set(test.prompts)
    if 2 * len(shared) > len(set(test.prompts)):
        raise UserError(
            f"{len(shared)} of {len(set(test.prompts))} prompts of {test.where} are in {learn.where}, which is learnt "
            "from: these are no two splits; name the validation set first, then the test set"
        )
    if shared:
        log.warning(
            "%d prompts of %s are in %s, too, and are learnt from: scores on them say nothing about new prompts",
            len(shared), test.where, learn.where,
        )  # fmt: skip


def check_against(against: Sequence[str], test: MixInstruct) -> None:
    """Raises UserError for a model that is not there, or if there is nothing to compare it by."""
    for name in against:
        if name not in test.names:
            raise UserError(f"--against {name}: {test.where} has no such model, only {', '.join(test.names)}: name one")
    if against and not compared(test.comparisons()).any():
        raise UserError(f"{test.where}: no row has comparisons (cmp_results), which --against counts; leave it out")


def computed(metric: str, files: Sequence[MixInstruct], comparer: Comparer, config: SearchConfig) -> Scoring | None:
    """What scores the answers where not all files have that score stored, or options
    say how; None where nothing can or need be computed.

    GPT-Rank is by the judge that is named, else by the comparisons that the files have.
    """
    name, how = kind_and_options("--metric", metric)
    stored = not how and all(name in rows.metrics for rows in files)
    stored = stored or (name == GPT_RANK and config.judge_model is None)
    return scoring_by(metric, comparer, config) if name in labels() and not stored else None


def matrix_of(rows: MixInstruct, metric: str, scoring: Scoring | None, stored: bool = True) -> ScoreMatrix:
    """The stored scores of a metric if they may be used, else those that `scoring` computes."""
    if stored and metric in rows.metrics:
        return rows.stored(metric)
    if scoring is not None:
        return scoring(rows.prompts, rows.names, rows.texts, rows.references, rows.split)
    return rows.judged() if metric == GPT_RANK else rows.stored(metric)


def labelled(matrix: ScoreMatrix, where: str) -> ScoreMatrix:
    """The rows that have any score; it is said how many have none, and so teach nothing."""
    known = ~np.isnan(matrix.scores).all(axis=1)
    if not known.all():
        log.warning("%d of %d prompts of %s have no %s score and are left out", (~known).sum(), len(known), where,
                    matrix.metric)  # fmt: skip
    rows = np.flatnonzero(known)
    return replace(
        matrix,
        prompts=tuple(matrix.prompts[row] for row in rows),
        texts=tuple(matrix.texts[row] for row in rows),
        references=tuple(matrix.references[row] for row in rows if matrix.references),
        scores=matrix.scores[rows],
    )


def ranked_first(rows: MixInstruct, held: ScoreMatrix, comparer: Comparer, config: SearchConfig) -> np.ndarray | None:
    """(P,) whose answer the ranker finds best, all answers seen; None without a ranker."""
    if comparer.ranker is None:
        return None
    if held.metric == PAIRWISE and "mode" in held.settings:  # the labels are its scores: all are there already
        return held.scores.argmax(axis=1)
    model = load_pair_model(comparer.ranker, device=device_name(config))
    return np.array(best_first(model, rows.prompts, rows.texts, comparer.mode, 1))[:, 0]


def scored_for_all(test: MixInstruct, held: ScoreMatrix) -> tuple[list[str], np.ndarray, np.ndarray]:
    """The prompts with a score for every model, these scores (P, M), and their comparisons (P, M, M).

    Raises UserError if there is no such prompt.
    """
    whole = ~np.isnan(held.scores).any(axis=1)
    if not whole.any():
        raise UserError(f"{test.where}: no prompt has a {held.metric} score for every model; complete the scores")
    return [held.prompts[index] for index in np.flatnonzero(whole)], held.scores[whole], test.comparisons()[whole]


def replay_lines(
    result: Tried, test: MixInstruct, held: ScoreMatrix, comparisons: np.ndarray, ranked: np.ndarray | None,
    against: Sequence[str], rule: TieRule,
) -> list[Line]:  # fmt: skip
    """The lines of the router and of what it is compared with; `ranked` (P,) is whom a ranker finds best.

    Of each also how often its choice is no worse than each of `against`, by this rule.
    """
    scores, names = result.scores, held.names
    ways = Ways(scores, names, result.best, result.router.costs, result.seed)
    chosen = result.picked

    def more(picked: np.ndarray) -> dict[str, float]:
        if not compared(comparisons).any():
            return {}
        columns = gpt_columns(comparisons, picked, names, against, rule)
        at_least = {f"≥ {name}": share for name, share in columns.at_least.items()}
        return {"GPT-Rank": columns.gpt_rank, "top 3": columns.top3} | at_least

    alone = [more(np.full(len(scores), index)) for index in range(len(names))]
    chance = {name: float(np.mean([one[name] for one in alone])) for name in alone[0]}
    lines = [ways.line("router", chosen, more=more(chosen)), *ways.singles(alone), ways.random(chance)]
    whole = ~np.isnan(held.scores).any(axis=1)
    if ranked is not None:
        lines.append(ways.line(RANKED, ranked[whole], len(names), more(ranked[whole])))
    for metric in [held.metric, *(name for name in test.metrics if name != held.metric)]:
        judged_by = scores if metric == held.metric else test.stored(metric).scores[whole]
        picked = np.nan_to_num(judged_by, nan=-np.inf).argmax(axis=1)
        # a perfect choice has to see everybody's answer
        lines.append(ways.line(f"perfect choice by {metric}", picked, len(names), more(picked)))
    return lines
