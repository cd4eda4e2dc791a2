"""Pairwise ranking as a metric: the score matrix of a model that compares answers two at a time."""

from collections.abc import Sequence

import numpy as np

from swarm.members.blending.pair_models import PairModel
from swarm.members.blending.pairwise import Texts, pairwise_scores
from swarm.metrics.score_matrix import ScoreMatrix

PAIRWISE = "pairwise"  # the name of its scores


def rank_answers(
    model: PairModel,
    prompts: Sequence[str],
    names: Sequence[str],
    texts: Texts,
    mode: str = "all",
    top: int = 1,
    split: str = "",
) -> ScoreMatrix:
    """The matrix of a pairwise ranker's scores, which needs no reference; see `pairwise_scores`.

    Raises UserError for a mode that is not there, or as ScoreMatrix does, before anything is compared.
    """
    kept = tuple(tuple(row) for row in texts)
    matrix = ScoreMatrix(tuple(prompts), tuple(names), kept, PAIRWISE, np.full((len(prompts), len(names)), np.nan))
    scores = pairwise_scores(model, prompts, kept, mode, top)
    settings = model.settings() | {"mode": mode, "orders": "both"} | ({"top": top} if mode == "bubble" else {})
    return ScoreMatrix(matrix.prompts, matrix.names, kept, PAIRWISE, scores, settings, split=split)
