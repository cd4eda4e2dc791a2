"""Anchors: the tokens that all models of a fusion have in common (arXiv 2404.12715, section 3.1)."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch

from swarm.errors import UserError
from swarm.members.fusion.vocabulary import Key, Vocabulary

SELECTIONS = ("all", "random", "consistency")
_BLOCK = 512  # anchors whose similarities with all others are in memory at a time

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Anchors:
    """Tokens that several vocabularies have in common.

    Attributes:
      keys: what they are, in ascending order, so that every process has the same columns.
      ids: (N, d) int64; their ids in each vocabulary.
      rule: how the keys were made: "bytes" or "published".
      selection: which of the common tokens these are: "all", "random" or "consistency".
    """

    keys: tuple[Key, ...]
    ids: torch.Tensor
    rule: str
    selection: str = "all"

    def __len__(self) -> int:
        """d, the number of anchors."""
        return len(self.keys)

    def digest(self) -> str:
        """SHA-256 of the list of keys, in their order."""
        return keys_digest(self.keys)

    def picked(self, indices: Sequence[int], selection: str) -> "Anchors":
        """The anchors at these indices, still in ascending order."""
        chosen = sorted(set(indices))
        return Anchors(tuple(self.keys[index] for index in chosen), self.ids[:, chosen], self.rule, selection)


def keys_digest(keys: Sequence[Key]) -> str:
    """SHA-256 of a list of keys, in its order."""
    digest = hashlib.sha256()
    for kind, content in keys:
        digest.update(f"{kind} {content.hex()}\n".encode())
    return digest.hexdigest()


def common_anchors(vocabularies: Sequence[Vocabulary], rows: Sequence[int] | None = None) -> Anchors:
    """All tokens that the vocabularies have in common, in ascending order of their keys.

    `rows` says how many rows each model's embedding matrix has. Rows beyond the tokenizer's last id are no anchors;
    a token beyond the matrix's last row is none either, which is logged.

    Raises UserError if nothing is in common, or if the keys were made by different rules.
    """
    rules = {vocabulary.rule for vocabulary in vocabularies}
    if len(rules) != 1:
        raise ValueError(f"keys made by {len(rules)} rules cannot be compared: {sorted(rules)}")
    limits = [len(vocabulary) for vocabulary in vocabularies] if rows is None else rows
    for vocabulary, limit in zip(vocabularies, limits, strict=True):
        beyond = sum(key is not None for key in vocabulary.keys[limit:])
        if beyond:
            log.warning(
                "%s: %d tokens have no row in the embedding matrix; they are no anchors", vocabulary.name, beyond
            )
    reachable = [
        {key for key, token in vocabulary.ids.items() if token < limit}
        for vocabulary, limit in zip(vocabularies, limits, strict=True)
    ]
    keys = tuple(sorted(set.intersection(*reachable)))
    if not keys:
        names = ", ".join(f"{vocabulary.name} ({len(vocabulary.ids)})" for vocabulary in vocabularies)
        raise UserError(
            f"the vocabularies of {names} have no token in common, and a fusion needs some to translate by; leave out "
            "the model that shares none with the others"
        )
    ids = torch.tensor([[vocabulary.ids[key] for key in keys] for vocabulary in vocabularies], dtype=torch.int64)
    return Anchors(keys, ids, rules.pop())


def select_anchors(
    anchors: Anchors,
    selection: str,
    count: int | None = None,
    generator: np.random.Generator | None = None,
    embeddings: Sequence[torch.Tensor] | None = None,
) -> Anchors:
    """Some of the anchors: "all", `count` at "random" (by `generator`), or the `count` of most "consistency".

    Consistency asks for `embeddings`, each model's matrix of (rows, D). A count that is not below d takes all.

    Raises UserError for an unknown selection, and for one without its count or with a count below 1.
    """
    if selection not in SELECTIONS:
        raise UserError(f"anchors are chosen by {selection!r}; wanted one of {', '.join(SELECTIONS)}")
    if selection == "all":
        return anchors
    if count is None or count < 1:
        raise UserError(f"anchors chosen by {selection!r} ask for their number, which is {count}; wanted 1 or more")
    if count > len(anchors):
        log.warning("%d anchors were asked for, but the models share %d tokens: all are taken", count, len(anchors))
    count = min(count, len(anchors))
    if selection == "random":
        if generator is None:
            raise ValueError("a random choice needs a generator")
        return anchors.picked(generator.choice(len(anchors), count, replace=False).tolist(), selection)
    if embeddings is None:
        raise ValueError("a choice by consistency needs the embeddings")
    scores = consistency(anchors, embeddings)
    best = torch.argsort(scores, descending=True, stable=True)[:count]
    return anchors.picked(best.tolist(), selection)


def consistency(anchors: Anchors, embeddings: Sequence[torch.Tensor], block: int = _BLOCK) -> torch.Tensor:
    """(d,) float32: how alike an anchor's similarities to all anchors are from model to model, from -1 to 1.

    For each model the cosines of an anchor to all anchors are a row; the score is the cosine of two models' rows, as in
    the published program, here averaged over all pairs of models. Reckoned in blocks of (block, d), in float32, where
    the embeddings are. With a single model every score is 1.
    """
    units = []
    for ids, embedding in zip(anchors.ids, embeddings, strict=True):
        chosen = embedding.detach()[ids.to(embedding.device)].float()
        units.append(torch.nn.functional.normalize(chosen, eps=1e-8))
    pairs = list(combinations(range(len(units)), 2))
    scores = torch.ones(len(anchors))
    for start in range(0, len(anchors) if pairs else 0, block):
        rows = [torch.nn.functional.normalize(unit[start : start + block] @ unit.T) for unit in units]
        rows = [row.to(rows[0].device) for row in rows]
        alike = torch.stack([(rows[one] * rows[other]).sum(-1) for one, other in pairs])
        scores[start : start + block] = alike.mean(0).cpu()
    return scores
