"""Targets of the inverse step: the members' relative distributions combined (arXiv 2404.12715).

`vanilla` is the paper's weighted mean. The other modes weigh each entry by how far a member agrees with a reference
(token-level), and each member by how much it agrees in all (model-level): early forms of arXiv 2510.13855.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Agreement = Callable[[Tensor, Tensor], Tensor]

BARYCENTRE_STEPS = 200
BARYCENTRE_TOLERANCE = 1e-8
SMALLEST = 1e-12


def target(mode: str, distributions: Tensor, weights: Tensor) -> Tensor:
    """The target (..., d) of the inverse step, which sums to 1.

    `distributions` (..., N, d) are the members' relative distributions, the main model's first; `weights` is (N,) or
    (..., N). Raises ValueError if there is no such mode.
    """
    if mode not in MODES:
        raise ValueError(f"fusion mode must be one of {', '.join(MODES)}, got {mode!r}")
    return _over_its_sum(MODES[mode](distributions, weights.to(distributions)[..., None]))


def vanilla(distributions: Tensor, weights: Tensor) -> Tensor:
    """Σ_k w_k R_k; here and below weights are (..., N, 1) and the result is not normalised."""
    return (weights.mT @ distributions)[..., 0, :]  # one pass, without the products in between


def tas(distributions: Tensor, weights: Tensor) -> Tensor:
    """Every entry weighted by its agreement with the main model's."""
    return (weights * _agreement_with_main(distributions) * distributions).sum(-2)


def tas2(distributions: Tensor, weights: Tensor) -> Tensor:
    """Every entry weighted by its agreement with the members' unweighted mean."""
    return (weights * _agreement_with_mean(distributions) * distributions).sum(-2)


def tas2_mas2(distributions: Tensor, weights: Tensor) -> Tensor:
    """As `tas2`, and every member by the sum of its agreements."""
    agreement = _agreement_with_mean(distributions)
    return (weights * agreement.sum(-1, keepdim=True) * agreement * distributions).sum(-2)


def tas_mas(distributions: Tensor, weights: Tensor) -> Tensor:
    """As `tas`, with member weights that make the mixture most likely for the members' sum (their barycentre)."""
    rows = _over_its_sum(weights * _agreement_with_main(distributions) * distributions)
    return (_barycentre_weights(rows)[..., None] * rows).sum(-2)


def _agreement_with_main(distributions: Tensor) -> Tensor:
    return (distributions - distributions[..., :1, :]).abs().neg_().exp_()


def _agreement_with_mean(distributions: Tensor) -> Tensor:
    return (distributions - distributions.mean(-2, keepdim=True)).abs().neg_().exp_()


def _barycentre_weights(rows: Tensor) -> Tensor:
    """(..., N) by multiplicative updates ω_k ← ω_k Σ_j Q_j P_kj / P*_j, with Q the sum of the rows P (..., N, d)."""
    whole = rows.sum(-2, keepdim=True)
    weights = rows.new_full(rows.shape[:-1], 1 / rows.shape[-2])
    still = weights.new_ones((*weights.shape[:-1], 1), dtype=torch.bool)
    for _ in range(BARYCENTRE_STEPS):
        mixture = (weights[..., None] * rows).sum(-2, keepdim=True).clamp_min(SMALLEST)
        updated = _over_its_sum(weights * (whole * rows / mixture).sum(-1))
        moved = (updated - weights).abs().amax(-1, keepdim=True)
        # a row that has settled stays, so that it does not depend on the rows beside it
        weights = updated.where(still, weights)
        still = still & (moved >= BARYCENTRE_TOLERANCE)
        if not still.any():
            break
    return weights


def _over_its_sum(values: Tensor) -> Tensor:
    return values / values.sum(-1, keepdim=True).clamp_min(SMALLEST)


MODES: dict[str, Agreement] = {
    "vanilla": vanilla,
    "tas": tas,
    "tas2": tas2,
    "tas2+mas2": tas2_mas2,
    "tas+mas": tas_mas,
}
