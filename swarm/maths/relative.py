"""Relative representations: a token as its similarities to the tokens that all models share (arXiv 2404.12715).

Models with different vocabularies and widths have no common space, but the cosines of a token's embedding with those
of d common tokens, the anchors, mean the same in each of them.
"""

import torch
from torch import Tensor

TEMPERATURE = 100.0  # what the row's cosines are multiplied by before the softmax
NORM_FLOOR = 1e-8  # least norm of an embedding, so that a zero one has cosine 0 with everything
ROW_FLOOR = 1e-12  # least norm of a row of cosines
BLOCK_BYTES = 1 << 24  # of float32 copies that are made of embeddings at a time


def unit_rows(embeddings: Tensor, floor: float = NORM_FLOOR) -> Tensor:
    """Rows of length 1, float32, shape of `embeddings`; a row of zeros stays zero."""
    rows = embeddings.float()
    return rows / rows.norm(dim=-1, keepdim=True).clamp_min(floor)


def rows_from_cosines(cosines: Tensor, normalise: bool = True) -> Tensor:
    """Softmax of `TEMPERATURE` times each row of (K, d), worked out in place and returned.

    With `normalise`, the published way, a row is divided by its length before.
    """
    if normalise:
        cosines.div_(cosines.norm(dim=-1, keepdim=True).clamp_min_(ROW_FLOOR))
    cosines.mul_(TEMPERATURE)
    cosines.sub_(cosines.amax(-1, keepdim=True)).exp_()
    return cosines.div_(cosines.sum(-1, keepdim=True))


def relative_rows(tokens: Tensor, anchors: Tensor, normalise: bool = True, centre: Tensor | None = None) -> Tensor:
    """Relative representations (K, d) of token embeddings (K, D) to anchor embeddings (d, D): float32, rows sum to 1.

    A token whose embedding is zero has the uniform row. `centre` (D,) is taken from all embeddings first: embeddings
    that share a mean direction are all alike otherwise.
    """
    if centre is not None:
        tokens, anchors = tokens.float() - centre, anchors.float() - centre
    return rows_from_cosines(unit_rows(tokens) @ unit_rows(anchors).T, normalise)


def embedding_mean(embeddings: Tensor) -> Tensor:
    """The mean (D,) of embeddings (V, D), float32; what `centre` takes everywhere here."""
    total = torch.zeros(embeddings.shape[1], dtype=torch.float64, device=embeddings.device)
    for block in embeddings.detach().split(_rows_at_a_time(embeddings)):
        total += block.double().sum(0)
    return (total / len(embeddings)).float()


def anchor_norms(embeddings: Tensor, anchors: Tensor, centre: Tensor | None = None) -> Tensor:
    """Lengths (d,) of the embeddings of `anchors`, ids (d,) of rows of `embeddings` (V, D), float32."""
    parts = [_gathered(embeddings, ids, centre).norm(dim=1) for ids in anchors.split(_rows_at_a_time(embeddings))]
    return torch.cat(parts).clamp_min_(NORM_FLOOR)


def relative_rows_of(
    embeddings: Tensor,
    tokens: Tensor,
    anchors: Tensor,
    norms: Tensor,
    normalise: bool = True,
    centre: Tensor | None = None,
) -> Tensor:
    """`relative_rows` (K, d) of the token ids (K,) to the anchor ids (d,), both of rows of `embeddings` (V, D).

    `norms` are the anchors', as `anchor_norms` gives them. Embeddings may have any float type; no more than
    `BLOCK_BYTES` of them are copied at a time, so that a large model needs little beyond the (K, d) result.
    """
    own = unit_rows(_gathered(embeddings, tokens, centre))
    rows = torch.empty(len(tokens), len(anchors), device=embeddings.device)
    start = 0
    for ids in anchors.split(_rows_at_a_time(embeddings)):
        stop = start + len(ids)
        rows[:, start:stop] = own @ _gathered(embeddings, ids, centre).T
        start = stop
    return rows_from_cosines(rows.div_(norms), normalise)


def self_mass(
    embeddings: Tensor,
    anchors: Tensor,
    normalise: bool = True,
    centre: Tensor | None = None,
    sample: int = 512,
) -> float:
    """The mean share of an anchor's row that lies on the anchor itself, between 1 / d and 1.

    Near 1 the representation tells tokens apart; where it is under about 0.5 the embeddings share a direction, which
    `centre` cures. At most `sample` anchors, evenly spaced, are looked at.
    """
    count = len(anchors)
    looked_at = torch.linspace(0, count - 1, min(sample, count), device=anchors.device).round().long()
    norms = anchor_norms(embeddings, anchors, centre)
    total = 0.0
    for columns in looked_at.split(64):
        rows = relative_rows_of(embeddings, anchors[columns], anchors, norms, normalise, centre)
        total += rows.gather(1, columns[:, None]).double().sum().item()
    return total / len(looked_at)


def _rows_at_a_time(embeddings: Tensor) -> int:
    return max(BLOCK_BYTES // (4 * embeddings.shape[1]), 1)


def _gathered(embeddings: Tensor, ids: Tensor, centre: Tensor | None) -> Tensor:
    rows = embeddings.detach()[ids].float()
    return rows if centre is None else rows.sub_(centre)
