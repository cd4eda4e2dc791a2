"""Members that were fitted or trained on the very questions that score them: said, as their scores are optimistic."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from swarm.data.example import Dataset
from swarm.evals.eval import Eval
from swarm.members.members import Members
from swarm.members.routing.fitted_on import SeenQuestions
from swarm.members.routing.router_node import routers_of
from swarm.storage.files import read_text

log = logging.getLogger(__name__)

TRAINING_RECORD = "finetune.json"  # in an expert's folder, by h-swarm finetune
CHOOSES = "dev flatters it, and with it every system that uses it; trust test"
FLATTERED = "its score on them is optimistic, and says nothing about new ones"


def warn_of_seen(
    members: Members, evaluation: Eval, dataset: Dataset, split: str, follows: str = FLATTERED, refreshed: bool = False
) -> None:
    """Warns of each member that was fitted on questions of the split which scores it; `follows` says what of it.

    `refreshed` is whether routers will be fitted on that split again.
    """
    texts = questions_of(evaluation, dataset, split)
    for router in routers_of(members.composites):
        if refreshed:
            log.warning("router %s is fitted on the %s questions (--refresh_routers): %s", router.name, split, follows)
        else:
            warn_of_router(router.name, router.seen, texts, split, follows)
    for expert in members.pool.initial:
        for source, rows in trained_on(expert.folder, dataset.name, split):
            log.warning(
                "expert %s was trained on %d rows of %s (%s): where those are the %s questions, %s",
                expert.name, rows, source, TRAINING_RECORD, split, follows,
            )  # fmt: skip


def warn_of_router(name: str, seen: SeenQuestions | None, texts: Sequence[str], split: str, follows: str) -> None:
    """Warns if a router was fitted on some of these questions, or does not say on which."""
    if seen is None:
        log.warning(
            "router %s, of an earlier version, does not say which questions it was fitted on: where those are the %s "
            "questions, %s (fitted again, it says so)",
            name, split, follows,
        )  # fmt: skip
    elif known := seen.among(texts):
        log.warning("router %s was fitted on %d of these %d %s questions: %s", name, known, len(texts), split, follows)


def questions_of(evaluation: Eval, dataset: Dataset, split: str) -> list[str]:
    """The questions of a split, as a system is asked them first."""
    examples = getattr(dataset, split)
    return [query.text for query in next(evaluation.judge(dataset, examples))[: len(examples)]]


def trained_on(expert: Path, dataset: str, split: str) -> list[tuple[str, int]]:
    """The sources of an expert's training, with their rows, that have a dataset's name and may be this split of it.

    None where there is no record of its training that can be read.
    """
    try:
        sources = json.loads(read_text(expert / TRAINING_RECORD))["data"]
        found = [(str(one["source"]), str(one["split"]), int(one["rows"])) for one in sources]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [
        (f"{source}, split {part}" if part else source, rows)
        for source, part, rows in found
        if dataset in (Path(source).stem, Path(source).name) and part in ("", split)
    ]
