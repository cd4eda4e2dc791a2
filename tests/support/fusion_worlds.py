"""Models for fusion without models: embeddings, anchors and next-token logits, drawn."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from swarm.maths.relative import TEMPERATURE
from swarm.members.fusion.rows import DenseRows, LazyRows, RowSource


@dataclass(frozen=True)
class FusionWorld:
    """N drawn models: embeddings (V_k, D_k) each, and the anchors' ids (N, d) in each of them."""

    embeddings: list[Tensor]
    anchors: Tensor

    def sources(self) -> list[RowSource]:
        return [RowSource(table, ids) for table, ids in zip(self.embeddings, self.anchors, strict=True)]

    def dense(self) -> list[DenseRows]:
        return [DenseRows.build(source) for source in self.sources()]

    def lazy(self, capacity: int = 1 << 24, dtype: str = "float32") -> list[LazyRows]:
        return [LazyRows(source, capacity, dtype) for source in self.sources()]

    def logits(self, batch: int = 1, seed: int = 0, steepness: float = 2.5) -> list[Tensor]:
        """Next-token logits (B, V_k) that fall as the logarithm of a token's rank, as language models' do.

        Four anchors a row are among every model's first, in an order of its own.
        """
        rng = torch.Generator().manual_seed(seed)
        drawn = []
        favoured = torch.stack([torch.randperm(self.anchors.shape[1], generator=rng)[:4] for _ in range(batch)])
        for ids, table in zip(self.anchors, self.embeddings, strict=True):
            ranks = torch.stack([torch.randperm(len(table), generator=rng) for _ in range(batch)])
            logits = 10 - steepness * (ranks + 5).log()
            drawn.append(logits.scatter_(1, ids[favoured], 10 - 2 * steepness * torch.rand(batch, 4, generator=rng)))
        return drawn


def fusion_world(vocabularies=(700, 900, 800), anchors=500, width=48, seed=0) -> FusionWorld:
    """Models of these vocabularies whose common tokens are anywhere in each of them."""
    rng = torch.Generator().manual_seed(seed)
    tables = [torch.randn(count, width + 8 * k, generator=rng) for k, count in enumerate(vocabularies)]
    ids = torch.stack([torch.randperm(count, generator=rng)[:anchors] for count in vocabularies])
    return FusionWorld(tables, ids)


def row_error(width: int, anchors: int, normalise: bool = True) -> float:
    """What the rounding of float32 may add to or take from a relative row of drawn embeddings, or two rows' difference.

    A cosine is off by less than (width + 4) * 2**-24, what goes into the softmax by `TEMPERATURE` times that over the
    length of the row of cosines, and a probability by half of it; of two rows, each may be.
    """
    length = math.sqrt(anchors / width) if normalise else 1.0
    return TEMPERATURE / length * (width + 4) * 2.0**-24
