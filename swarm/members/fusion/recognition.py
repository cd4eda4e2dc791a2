"""A check of relative representations: the share of tokens that the inverse step recovers."""

import logging
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from swarm.maths.inverse import em
from swarm.maths.relative import PUBLISHED, recognised
from swarm.members.fusion.rows import RelativeRows
from swarm.members.fusion.step_settings import StepSettings

SAMPLE = 128  # common tokens that are looked at
# Half is what chance would give. Measured by the published step: .91 to 1 for the embedded pair; of SmolLM2-135M with
# Gemma-3-270M 1.00 on 2,000 centred anchors, .69 and .83 on all 46,148 centred, .26 and .44 without centring; there .05
# and .30 with shuffled anchors, and 0 where all embeddings are alike
LEAST = 0.5
AT_A_TIME = 1 << 22  # numbers of the rows of one model that are looked at in one go: 16 MB

log = logging.getLogger(__name__)


@torch.inference_mode()
def recognised_shares(rows: Sequence[RelativeRows], anchors: Tensor, step: StepSettings) -> list[float]:
    """For every model but the first, the main one, the share of common tokens that main recognises from its rows.

    `anchors` (N, d) are each model's ids. At most `SAMPLE` of them, evenly spaced, are looked at, each with the one
    half the sample on as its rival (see `swarm.maths.relative.recognised`). `adamw` has the published learning rate and
    updates, whatever those of the `step` are: how far it may go is another question. 1 where there is but one anchor.
    """
    inverse = partial(em, updates=max(step.updates, 1)) if step.inverse == "em" else PUBLISHED
    width = anchors.shape[1]
    columns = torch.linspace(0, width - 1, min(SAMPLE, width)).round().long()
    rivals = columns.roll(-(len(columns) // 2))
    if len(columns) < 2:
        return [1.0] * (len(rows) - 1)
    size = max(AT_A_TIME // width, 1)
    found = [0] * (len(rows) - 1)
    for some, against in zip(columns.split(size), rivals.split(size), strict=True):
        own, rival = _taken(rows[0], anchors[0, some]), _taken(rows[0], anchors[0, against])
        for index, (other, ids) in enumerate(zip(rows[1:], anchors[1:], strict=True)):
            found[index] += int(recognised(own, rival, _taken(other, ids[some]).to(own.device), inverse).sum())
    return [count / len(columns) for count in found]


def warn_of_unrecognised(main: str, other: str, share: float, centred: bool) -> None:
    """Logs a warning, with the cure, where the main model recognises fewer than half of another model's tokens."""
    if share < LEAST:
        cure = "" if centred else "subtract the mean embedding (centre) and, if that is not enough, "
        log.warning(
            "%s: %s recognises %.2f of the common tokens that it is certain of, wanted at least %.1f: relative "
            "representations hardly tell tokens apart here, so that it hardly counts; %stake fewer anchors (anchors "
            "random, anchor_count 2000)",
            other, main, share, LEAST, cure,
        )  # fmt: skip


def _taken(rows: RelativeRows, ids: Tensor) -> Tensor:
    return rows.take(ids.to(rows.device))
