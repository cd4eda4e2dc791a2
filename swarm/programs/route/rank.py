"""`h-swarm route rank`: all answers scored by several metrics, kept, and the metrics beside each other."""

import argparse
import json
import logging
from pathlib import Path

from swarm.errors import UserError
from swarm.members.blending.usual import PAIRRM
from swarm.metrics.audit import audit_text, label_audit
from swarm.metrics.pairwise_metric import PAIRWISE
from swarm.metrics.score_matrix import save_scores
from swarm.programs.front_doors import DONE
from swarm.programs.parsers import add_ranker_options
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
from swarm.storage.files import asked_folder
from swarm.values import kind_and_options

log = logging.getLogger(__name__)

EVAL = "eval"  # what the eval's own scores are called
SHOWN = (  # by --help; --help all has the others
    "metrics", "split", "members", "out", "json", "ranker", "judge_model", "eval_type", "dataset",
    "initial_expert_directory", "base_model", "gpus",
)  # fmt: skip


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of this step."""
    parser.add_argument("--metrics", nargs="+", default=[], metavar="NAME", help="what scores the answers beside the "
                        f"eval: {', '.join(LABELS)}")  # fmt: skip
    parser.add_argument("--split", default="dev", choices=("dev", "test"), help="(default: dev)")
    parser.add_argument("--members", nargs="+", metavar="NAME", help="whose answers (default: all experts)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="keep the scores there, a folder for each metric")
    parser.add_argument("--json", action="store_true", help="print one JSON object only")
    add_ranker_options(parser, f"model that compares two answers, for {PAIRWISE}, such as {PAIRRM}")
    add_task_options(parser)


def program(options: argparse.Namespace) -> int:
    """Asks, scores, prints the audit, and writes the scores, all of them or none."""
    out: Path | None = options.out
    if out is not None and out.exists():
        raise UserError(f"--out {out} is there; name a folder that is new")
    names = list(dict.fromkeys(options.metrics))
    config = config_of(options)
    task = checked_task(config)
    comparer = Comparer(options.ranker, options.ranking)
    scorings = {EVAL: None} | {name: scoring_by(name, comparer, config) for name in names}
    for name in names:
        check_references(name, task)
    kinds = [kind_and_options("--metrics", name)[0] for name in names]
    if twice := next((kind for kind in kinds if kinds.count(kind) > 1), None):
        raise UserError(f"--metrics has {twice} more than once; rank with one of them at a time")
    members, chosen = read_chosen(config, options.members)
    with asked_by(config, members, chosen) as asked:
        matrices = {name: scored(asked, task, options.split, scoring) for name, scoring in scorings.items()}
    audit = label_audit(list(matrices.values()))
    if out is not None:
        with asked_folder(out) as new:
            for folder, matrix in zip([EVAL, *kinds], matrices.values(), strict=True):
                save_scores(new / folder, matrix)
    log.info("%s", json.dumps(audit) if options.json else audit_text(audit).rstrip())
    if out is not None and not options.json:
        log.info("scores: %s", out)
    return DONE
