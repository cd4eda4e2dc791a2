"""The division of requests into sittings: experts side by side in one batch, or one after the other, each folded."""

import logging
from collections.abc import Callable, Iterator, Sequence
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


@dataclass(frozen=True)
class Sitting:
    """Requests that are decoded together.

    Attributes:
      indices: of the requests.
      expert: whose they are where its weights are in the model; None where each row has its adapter.
      adapters: each row's.
    """

    indices: list[int]
    expert: Expert | None
    adapters: list[int] | None = None


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

    def sittings(
        self,
        by_expert: Sequence[tuple[Expert, list[int]]],
        tokens: Sequence[Tokens],
        most: int,
        exchange: float,
    ) -> Iterator[Sitting]:
        """The sittings for experts' requests, whose prompts have these tokens and answers at most `most`.

        `exchange` is what folding one expert takes, in seconds. What comes later is decided when it is asked for.
        """
        at_once = self.rows.most(by_expert[0][0]) if len(by_expert) > 1 else 1
        for start in range(0, len(by_expert), at_once):
            part = by_expert[start : start + at_once]
            numbers = self.rows.numbers([expert for expert, _ in part]) if len(part) > 1 else []
            if numbers and self._pays([indices for _, indices in part], tokens, most, exchange):
                own = [number for number, (_, indices) in zip(numbers, part, strict=True) for _ in indices]
                yield Sitting([index for _, indices in part for index in indices], None, own)
            else:
                yield from (Sitting(indices, expert) for expert, indices in part)

    def _pays(self, groups: Sequence[Sequence[int]], tokens: Sequence[Tokens], most: int, exchange: float) -> bool:
        work = [Work(len(group), sum(len(tokens[index]) for index in group)) for group in groups]
        longest = max(len(tokens[index]) for group in groups for index in group)
        rows = max(self._decoder.token_budget // (longest + most + 1), 1)
        with self.rows.speaking():
            mixed = exchange + self.pace.mixed(work, most, self.rows.seconds, rows)
        folded = self.pace.folded(work, most, exchange, rows)
        if mixed < folded and not self._told:
            self._told = True
            log.info("%d experts share batches: about %.2g s instead of %.2g s one after the other",
                     len(groups), mixed, folded)  # fmt: skip
        return mixed < folded


def side_by_side(
    decoder: Any, model: Any, first: LoraWeights | FullWeights, weights: Callable[[Expert], Any], limit_bytes: int
) -> SideBySide | None:
    """How a pool's experts share batches; None where they cannot: full models, DoRA, embeddings, other decoders.

    `first` are the first expert's weights, to which all others' are alike.
    """
    if not isinstance(decoder, Decoder) or isinstance(first, FullWeights):
        return None
    if obstacle := why_not_batched(model, first):
        log.info("experts do not share batches: %s", obstacle)
        return None
    rows = ExpertRows(model, weights, limit_bytes)
    decoder.core.adapters = rows.adapters
    return SideBySide(decoder, rows)
