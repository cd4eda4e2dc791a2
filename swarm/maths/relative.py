"""Relative representations: a token as its similarities to the tokens that all models share (arXiv 2404.12715).

Models with different vocabularies and widths have no common space, but the cosines of a token's embedding with those
of d common tokens, the anchors, mean the same in each of them.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from swarm.maths.inverse import adamw, mix

Inverse = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Main's logits (B, K) after a step, from those before, rows (B, K, d) and a target (B, d); see `adamw`."""

TEMPERATURE = 100.0  # what the row's cosines are multiplied by before the softmax
NORM_FLOOR = 1e-8  # least norm of an embedding, so that a zero one has cosine 0 with everything
ROW_FLOOR = 1e-12  # least norm of a row of cosines
BLOCK_BYTES = 1 << 24  # of float32 copies that are made of embeddings at a time
SPAN = 1 << 20  # numbers of rows that are worked on at a time on a CPU: they stay in its cache from pass to pass
AT_ONCE = 512  # anchors that a product takes at a time on a CPU: larger parts take a library a third longer
ROUND = 16  # rows are worked out in multiples of it: a product of fewer rows is summed in another order

BEHIND = 0.5  # nat, a third of what the published step can close: a token that another model has to bring forward
PUBLISHED: Inverse = partial(adamw, learning_rate=0.15, updates=5)


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
    at_hand: Tensor | None = None,
) -> Tensor:
    """`relative_rows` (K, d) of the token ids (K,) to the anchor ids (d,), both of rows of `embeddings` (V, D).

    `norms` are the anchors', as `anchor_norms` gives them. Embeddings may have any float type; no more than
    `BLOCK_BYTES` of them are copied at a time, so that a large model needs little beyond the (K, d) result. `at_hand`,
    what `anchor_embeddings` gives, saves copying those again. A row is the same to the bit whatever is worked out
    beside it.
    """
    count = len(tokens)
    own = unit_rows(_gathered(embeddings, _rounded(tokens), centre))
    rows = torch.empty(len(own), len(anchors), device=embeddings.device)
    start = 0
    for ids in anchors.split(_rows_at_a_time(embeddings)):
        stop = start + len(ids)
        block = _gathered(embeddings, ids, centre) if at_hand is None else at_hand[start:stop]
        size = AT_ONCE if block.device.type == "cpu" else len(block)
        for part, columns in zip(block.split(size), rows[:, start:stop].split(size, 1), strict=True):
            torch.mm(own, part.T, out=columns)
        start = stop
    for part in rows.split(_span(rows)):
        rows_from_cosines(part.div_(norms), normalise)
    return rows[:count]


def anchor_embeddings(embeddings: Tensor, anchors: Tensor, centre: Tensor | None = None) -> Tensor:
    """The embeddings (d, D) of `anchors`, ids (d,) of rows of `embeddings` (V, D), less the centre, float32."""
    found = torch.empty(len(anchors), embeddings.shape[1], device=embeddings.device)
    size = _rows_at_a_time(embeddings)
    for ids, part in zip(anchors.split(size), found.split(size), strict=True):
        part.copy_(_gathered(embeddings, ids, centre))
    return found


def recognised(own: Tensor, rivals: Tensor, other: Tensor, inverse: Inverse = PUBLISHED) -> Tensor:
    """Whether the main model writes each of m tokens of which another model is certain: (m,) bool.

    `own` and `other` are the tokens' relative representations (m, d) in the main and the other model, `rivals` those of
    other tokens in the main model, which puts each token `BEHIND` its rival. Then the step of two models of one weight
    is made. All are recognised where representations tell tokens apart and mean the same in both models; few are where
    they are so flat that the step hardly moves (that of `adamw` where gradients vanish in its epsilon).
    """
    rows = torch.stack([rivals, own], 1)  # (m, 2, d)
    logits = own.new_tensor([0.0, -BEHIND]).expand(len(own), 2)
    wanted = (mix(logits.softmax(-1), rows) + other) / 2
    moved = inverse(logits, rows, wanted)
    return moved[:, 1] > moved[:, 0]


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


def _rounded(tokens: Tensor) -> Tensor:
    """The ids, filled up with the last of them to a multiple of `ROUND`."""
    missing = -len(tokens) % ROUND
    return torch.cat([tokens, tokens[-1:].expand(missing)]) if missing and len(tokens) else tokens


def _span(rows: Tensor) -> int:
    """Rows that are worked on at a time: all of them on a GPU."""
    if rows.device.type != "cpu":
        return max(len(rows), 1)
    return max(SPAN // rows.shape[1] // ROUND, 1) * ROUND


def _rows_at_a_time(embeddings: Tensor) -> int:
    return max(BLOCK_BYTES // (4 * embeddings.shape[1]), 1)


def _gathered(embeddings: Tensor, ids: Tensor, centre: Tensor | None) -> Tensor:
    rows = embeddings.detach()[ids].float()
    return rows if centre is None else rows.sub_(centre)
