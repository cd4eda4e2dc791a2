"""Sources of a router's labels: a metric against references, or pairwise comparisons of answers."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

from swarm.engines.local.devices import usual_device
from swarm.engines.local.side_models import read_hub_config
from swarm.errors import UserError
from swarm.evolution.config import SearchConfig
from swarm.members.blending.pair_models import WHAT, load_pair_model
from swarm.members.blending.pairwise import Texts
from swarm.members.blending.usual import PAIRRM
from swarm.metrics.gpt_rank import GPT_RANK, judge_answers
from swarm.metrics.pairwise_metric import PAIRWISE, rank_answers
from swarm.metrics.score_matrix import ScoreMatrix, score_answers
from swarm.metrics.table import METRICS, get_metric, get_preset
from swarm.plugins import names_in
from swarm.programs.engine_choice import devices_of
from swarm.programs.judge_choice import judge_maker
from swarm.values import kind_and_options

log = logging.getLogger(__name__)

COMPARING = (PAIRWISE, GPT_RANK)  # metrics that need no right answer, and score an answer among others only
LABELS = (*METRICS, *COMPARING)  # of our own


class Scoring(Protocol):
    """Scores the answers (P, M) of all members to P prompts; `references` has one right answer per prompt."""

    def __call__(
        self, prompts: Sequence[str], names: Sequence[str], texts: Texts, references: Sequence[str], split: str
    ) -> ScoreMatrix: ...


@dataclass(frozen=True)
class Comparer:
    """The comparer of answers behind a metric, where there is one.

    Attributes:
      ranker: folder or hub id of a pair model, for pairwise; None where none is named.
      mode: how many pairs that sees, see `swarm.members.blending.pairwise`.
    """

    ranker: str | None
    mode: str


def labels() -> list[str]:
    """Everything that can make labels, plugins' metrics included."""
    return [*names_in("metrics", METRICS), *COMPARING]


def scoring_by(metric: str, comparer: Comparer, config: SearchConfig) -> Scoring:
    """The scoring that makes labels of this name, NAME or NAME:OPTION=VALUE,...; `config` names judge and device.

    The option preset stands for a whole set of settings, see `swarm.metrics.table.PRESETS`.

    What it needs is looked for here, before anything is asked; a metric's own model is loaded. Raises UserError for a
    metric that there is not, or whose model, library or judge is not named or cannot be had.
    """
    if metric == PAIRWISE:
        return _pairwise(comparer, config)
    if metric == GPT_RANK:
        return _judged(config)
    name, options = kind_and_options("--metric", metric)
    if name not in labels():
        known = ", ".join(labels())
        raise UserError(f"--metric is {metric!r}; wanted one of {known}, or none for the eval's own score")
    preset = options.pop("preset", None)
    scorer = get_metric(name, **options) if preset is None else get_preset(preset, name, **options)
    return lambda prompts, names, texts, references, split: score_answers(
        prompts, names, texts, references, scorer, split
    )


def warn_of_another_judge(learnt: ScoreMatrix, held: ScoreMatrix) -> None:
    """Warns if a router is scored by another metric than the one it was fitted by."""
    if (learnt.metric, _judge_of(learnt)) != (held.metric, _judge_of(held)):
        log.warning("the labels were made by %s (%s), these scores by %s (%s): another metric, model or setting",
                    learnt.metric, _source_of(learnt), held.metric, _source_of(held))  # fmt: skip


def _judge_of(matrix: ScoreMatrix) -> dict[str, Any]:
    """The settings of a scoring, without the corpus that words are counted in: it differs between splits."""
    return {name: value for name, value in matrix.settings.items() if name not in ("corpus", "texts")}


def _source_of(matrix: ScoreMatrix) -> str:
    return "stored" if matrix.settings.get("stored") else "computed"


def device_name(config: SearchConfig) -> str:
    """The first device that -g names, else CUDA where there is any. Raises UserError for one that cannot be used."""
    return (devices_of(config)[0] or usual_device()).partition("+")[0]


def _pairwise(comparer: Comparer, config: SearchConfig) -> Scoring:
    ranker = comparer.ranker
    if ranker is None:
        raise UserError(f"--metric {PAIRWISE} compares answers by a model; name one with --ranker, such as {PAIRRM}")
    read_hub_config(WHAT, ranker)
    device = device_name(config)
    model = cache(lambda: load_pair_model(ranker, device=device))  # once, for all that is scored
    return lambda prompts, names, texts, references, split: rank_answers(
        model(), prompts, names, texts, comparer.mode, split=split
    )


def _judged(config: SearchConfig) -> Scoring:
    if config.judge_model is None:
        raise UserError(f"--metric {GPT_RANK} asks a judge which of two answers is better; name one with --judge_model "
                        "(docs/judges.md)")  # fmt: skip
    judge = judge_maker(config)()
    judge.client.check()
    return lambda prompts, names, texts, references, split: judge_answers(judge, prompts, names, texts, split)
