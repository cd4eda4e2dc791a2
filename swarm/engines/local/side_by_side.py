"""The division of requests into sittings: experts side by side in one batch, or one after the other, each folded."""

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from swarm.engines.local.decoder import Decoder
from swarm.engines.local.expert_rows import ExpertRows
from swarm.engines.local.lora_batch import why_not_batched
from swarm.engines.local.pace import Pace, Work
from swarm.engines.local.shared_prefixes import Tokens
from swarm.weights.adapters import LoraWeights
from swarm.weights.full_model import FullWeights
from swarm.weights.pool import Expert

log = logging.getLogger(__name__)

SURELY = 0.9  # of the time by folding that sharing must be reckoned to take: what is reckoned is not what it will be


@dataclass(frozen=True)
class Sitting:
    """Requests that are decoded together.

    Attributes:
      indices: of the requests.
      expert: whose they are where its weights are in the model; None where each row has its adapter.
    """

    indices: list[int]
    expert: Expert | None


class SideBySide:
    """Decides by measured passes whether experts share batches.

    Attributes:
      rows: the adapters of the experts that do.
      pace: how long passes take here.
    """

    def __init__(self, decoder: Decoder, rows: ExpertRows):
        self.rows, self.pace = rows, Pace(decoder.core)
        self._decoder = decoder
        self._told = False

    def sitting(
        self, by_expert: Sequence[tuple[Expert, list[int]]], tokens: Sequence[Tokens], most: int, exchange: float
    ) -> Sitting | None:
        """The first of these experts' requests side by side, as many as there is memory for; None where folding pays.

        Prompts have these tokens by request, answers at most `most`; folding an expert takes `exchange` seconds.
        """
        part = by_expert[: self.rows.most(by_expert[0][0])]
        work = [Work(len(indices), sum(len(tokens[index]) for index in indices)) for _, indices in part]
        longest = max(len(tokens[index]) for _, indices in part for index in indices)
        capacity = max(self._decoder.token_budget // (longest + most + 1), 1)
        folded = self.pace.folded(work, most, exchange, capacity)

        def with_adapters() -> AbstractContextManager[None]:
            self.rows.numbers([expert for expert, _ in part])
            return self.rows.speaking()

        mixed = exchange + self.pace.mixed(work, most, self.rows.seconds, capacity, with_adapters)
        if mixed >= SURELY * folded:
            return None
        if not self._told:
            self._told = True
            log.info("%d experts share batches: about %.2g s instead of %.2g s one after the other",
                     len(part), mixed, folded, extra={"file_only": True})  # fmt: skip
        return Sitting([index for _, indices in part for index in indices], None)


def side_by_side(
    decoder: Any, model: Any, first: LoraWeights | FullWeights, weights: Callable[[Expert], Any], limit_bytes: int
) -> SideBySide | None:
    """How a pool's experts share batches; None where they cannot: full models, DoRA, embeddings, other decoders.

    `first` are the first expert's weights, to which all others' are alike.
    """
    if not isinstance(decoder, Decoder) or isinstance(first, FullWeights):
        return None
    if obstacle := why_not_batched(model, first):
        log.info("experts do not share batches: %s", obstacle, extra={"file_only": True})
        return None
    rows = ExpertRows(model, weights, limit_bytes)
    decoder.core.adapters = rows.adapters
    return SideBySide(decoder, rows)
