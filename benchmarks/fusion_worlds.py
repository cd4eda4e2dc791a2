"""What the benchmarks of fusion work on: next-token logits as language models have them, tokenizers, random models."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoTokenizer

from benchmarks.parts import ROOT
from swarm.members.fusion.anchors import common_anchors
from swarm.members.fusion.rows import LazyRows, RowSource
from swarm.members.fusion.vocabulary import read_vocabulary

TOKENIZERS = ("llama2", "gpt2")
EXPONENT = 2.5  # of Zipf's law: the 20 likeliest tokens hold 99.4 %
LEADING = 512  # ranks that are drawn one by one
COMMON = 0.7  # of them that all models know
DISAGREEMENT = 0.5  # standard deviation of the log of a common token's rank from model to model
SWEPT = 1 << 26  # bytes that are touched between two steps, as a model's forward pass does

LOGITS = (
    f"logits fall with the log of the rank (Zipf {EXPONENT}: the first 20 tokens hold 99.4 %), {COMMON:.0%} of the "
    "first are anchors, ranked alike by all models but for noise"
)


@dataclass(frozen=True)
class Real:
    """The published tokenizers, and the ids (N, d) of the tokens that they have in common."""

    tokenizers: Sequence[Any]
    anchors: Tensor


def real_vocabularies(one_in: int) -> Real | None:
    """With one in so many anchors; None where they neither lie beside the repository nor where H_SWARM_SHARED says."""
    shared = os.environ.get("H_SWARM_SHARED") or ROOT.parent / "shared"
    folders = [f"{shared}/tokenizers/{name}" for name in TOKENIZERS]
    if not all(os.path.isdir(folder) for folder in folders):
        return None
    tokenizers = [AutoTokenizer.from_pretrained(folder) for folder in folders]
    ids = common_anchors([read_vocabulary(one, str(index)) for index, one in enumerate(tokenizers)]).ids
    return Real(tokenizers, ids[:, ::one_in].contiguous())


@dataclass(frozen=True)
class Members:
    """Random models, of which a step needs the embeddings (V, D) only, and the anchors' ids (N, d) in each."""

    embeddings: Sequence[Tensor]
    anchors: Tensor

    @classmethod
    def drawn(
        cls, vocabularies: Sequence[int], anchors: Tensor | int, width: int, dtype: torch.dtype = torch.float32
    ) -> "Members":
        """Embeddings of that width; `anchors` are ids or a number, of which each model has its own ids."""
        rng = torch.Generator().manual_seed(0)
        tables = [torch.empty(size, width, dtype=dtype).normal_(generator=rng) for size in vocabularies]
        if isinstance(anchors, int):
            anchors = torch.stack([torch.randperm(size, generator=rng)[:anchors] for size in vocabularies])
        return cls(tables, anchors)

    def lazy(self, capacity: int) -> list[LazyRows]:
        """Rows of which none is known yet, of so many bytes for each model."""
        sources = [RowSource(own, ids.to(own.device)) for own, ids in zip(self.embeddings, self.anchors, strict=True)]
        return [LazyRows(source, capacity) for source in sources]

    def steps(self, count: int, seed: int = 0, batch: int = 1) -> list[list[Tensor]]:
        """The logits (batch, V_k) of every model at so many steps."""
        rng = np.random.default_rng(seed)
        ids = self.anchors.numpy()
        own = [np.setdiff1d(np.arange(len(table)), some) for table, some in zip(self.embeddings, ids, strict=True)]
        found = []
        for _ in range(count):
            rows = [_ranked(rng, ids, own, [len(table) for table in self.embeddings]) for _ in range(batch)]
            found.append([torch.stack(column).to(self.embeddings[0].device) for column in zip(*rows, strict=True)])
        return found


def _ranked(
    rng: np.random.Generator, anchors: np.ndarray, own: Sequence[np.ndarray], sizes: Sequence[int]
) -> list[Tensor]:
    """Every model's logits (V_k,) at one place of one text."""
    common = _frequent(rng, anchors.shape[1], round(COMMON * LEADING))
    logits = []
    for ids, alone, size in zip(anchors, own, sizes, strict=True):
        noise = DISAGREEMENT * rng.normal(size=len(common))
        ordered = ids[common[np.argsort(np.log(np.arange(1, len(common) + 1)) + noise)]]
        single = alone[_frequent(rng, len(alone), LEADING - len(common))]
        places = np.sort(rng.choice(len(ordered) + len(single), len(ordered), replace=False))
        first = np.empty(len(ordered) + len(single), dtype=np.int64)
        alone_places = np.setdiff1d(np.arange(len(first)), places)
        first[places], first[alone_places] = ordered, single
        ranks = np.empty(size)
        others = np.ones(size, dtype=bool)
        others[first] = False
        ranks[first] = np.arange(1, len(first) + 1)
        ranks[others] = len(first) + 1 + rng.permutation(size - len(first))
        logits.append(torch.from_numpy(-EXPONENT * np.log(ranks)).float())
    return logits


def _frequent(rng: np.random.Generator, size: int, count: int) -> np.ndarray:
    """So many different numbers below `size`, the likeliest first: small ones far oftener, as words are in texts."""
    drawn = (size ** rng.uniform(size=8 * count)).astype(np.int64) - 1
    _, first = np.unique(drawn, return_index=True)
    return drawn[np.sort(first)][:count]


def sweep() -> None:
    """Takes the processor's caches from what was there."""
    torch.zeros(SWEPT, dtype=torch.uint8).add_(1)
