"""Weights of a fusion's members: not negative, with sum 1, the main model's first."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

SMALLEST = 1e-12
RBF_RATE, POWER, RECIPROCAL_RATE = 2.0, 5.0, 1.0


def uniform(count: int) -> Tensor:
    """Equal weights, (count,): "DeePEn-Avg" (arXiv 2404.12715)."""
    return torch.full((count,), 1 / count)


def explicit(values: Sequence[float], count: int) -> Tensor:
    """Given weights over their sum, (count,) float32; zeros are allowed.

    Raises ValueError if there are not `count` of them, one is negative or no number, or all are 0.
    """
    if len(values) != count:
        raise ValueError(f"{count} members need {count} weights, got {len(values)}: {_shown(values)}")
    if not all(math.isfinite(value) and value >= 0 for value in values):
        raise ValueError(f"weights must be numbers of at least 0, got {_shown(values)}")
    if not any(values):
        raise ValueError(f"at least one weight must be above 0, got {_shown(values)}")
    # by the largest first: tiny and huge weights then have a sum in range
    largest = max(values)
    weights = torch.tensor([value / largest for value in values], dtype=torch.float64)
    return (weights / weights.sum()).float()


def from_perplexity(mean_log_losses: Tensor, temperature: float = 1.0) -> Tensor:
    """Weights by the members' perplexity on the prompt: softmax of -log perplexity / temperature, shape (..., N).

    `mean_log_losses` (..., N) are log perplexities: a prompt's mean loss per token, in nat. Vocabularies cut a prompt
    into different numbers of tokens, so losses per byte compare members more fairly. The closed form of PackLLM
    (arXiv 2404.11531). Raises ValueError if the temperature is not above 0.
    """
    if not temperature > 0:
        raise ValueError(f"the temperature of perplexity weights must be above 0, got {temperature}")
    return (-mean_log_losses.float() / temperature).softmax(-1)


def token_consistency(distributions: Tensor, kind: str = "rbf") -> Tensor:
    """Agreement of each member with the mean of all at each key, from 0 to 1, for distributions (..., N, U).

    A function of δ = |p_k - mean|; keys that neither the member nor the main model (the first) thinks possible get 0
    (arXiv 2510.13855). Raises ValueError if there is no such kind.
    """
    if kind not in CONSISTENCIES:
        raise ValueError(f"consistency must be one of {', '.join(CONSISTENCIES)}, got {kind!r}")
    difference = (distributions - distributions.mean(-2, keepdim=True)).abs()
    possible = distributions + distributions[..., :1, :] > SMALLEST
    return CONSISTENCIES[kind](difference) * possible


def consistency_weights(distributions: Tensor, kind: str = "rbf", by_agreement: bool = True) -> Tensor:
    """Weights (..., N) by a member's agreement with the others over its entropy (arXiv 2510.13855).

    `distributions` (..., N, U) are the members' probabilities of keys that all share, the main model's first, which
    counts at least as much as all others together. Without `by_agreement`, the published way for multiple choice,
    only certainty counts. Raises ValueError if there is no such kind.
    """
    agreement = token_consistency(distributions, kind).sum(-1) if by_agreement else 1.0
    shares = distributions / distributions.sum(-1, keepdim=True).clamp_min(SMALLEST)
    # p log p is below 0 by rounding where a member is certain
    entropy = -torch.xlogy(shares, shares).sum(-1)
    scores = agreement / (entropy.clamp_min(0) + SMALLEST)
    others = scores[..., 1:].sum(-1, keepdim=True)
    scores = torch.cat([torch.maximum(scores[..., :1], others), scores[..., 1:]], -1)
    return scores / scores.sum(-1, keepdim=True)


def _rbf(difference: Tensor) -> Tensor:
    least = math.exp(-RBF_RATE)
    return ((-RBF_RATE * difference).exp() - least) / (1 - least)


def _linear(difference: Tensor) -> Tensor:
    return 1 - difference


def _power(difference: Tensor) -> Tensor:
    return (1 - difference) ** POWER


def _reciprocal(difference: Tensor) -> Tensor:
    """1 / (1 + δ), stretched to run from 0 to 1 over all members and keys."""
    scores = 1 / (1 + RECIPROCAL_RATE * difference)
    lowest, highest = scores.amin((-2, -1), keepdim=True), scores.amax((-2, -1), keepdim=True)
    return (scores - lowest) / (highest - lowest + 1e-8)


def _shown(values: Sequence[float]) -> str:
    return ", ".join(map(str, values)) or "none"


CONSISTENCIES: dict[str, Callable[[Tensor], Tensor]] = {
    "rbf": _rbf,
    "linear": _linear,
    "power": _power,
    "reciprocal": _reciprocal,
}
