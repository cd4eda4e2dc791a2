"""Fusion without relative representations: the members' probabilities on one set of tokens, averaged.

Which token of one vocabulary is which of another is decided elsewhere; here it is an index.
"""

import torch
from torch import Tensor

SMALLEST = 1e-12


def union_mean(probabilities: Tensor, weights: Tensor) -> Tensor:
    """The weighted mean (..., U) of members' probabilities (..., N, U) over a union of their tokens, which sums to 1.

    `weights` is (N,) or (..., N). Over the union of whole vocabularies this is GaC (arXiv 2406.12585), in which a
    member gives 0 to tokens that it does not have.
    """
    mean = (weights[..., None] * probabilities).sum(-2)
    return mean / mean.sum(-1, keepdim=True).clamp_min(SMALLEST)


def top_union(logits: Tensor, index: Tensor) -> Tensor:
    """One member's probabilities (..., U) of the tokens of a union: UniTE (arXiv 2410.03777).

    `logits` (..., V) are the member's; `index` (..., U) is the id that stands for each token of the union in its
    vocabulary, -1 for none. The softmax runs over the union only.
    """
    values = logits.float().gather(-1, index.clamp_min(0)).masked_fill(index < 0, -torch.inf)
    # a member that has none of the tokens has nothing to say, rather than nan
    return values.softmax(-1).nan_to_num(0.0)


def mapped(probabilities: Tensor, token_map: Tensor, size: int) -> Tensor:
    """Probabilities (..., V_k) carried over to a vocabulary of `size` tokens: MinED (arXiv 2401.10491).

    `token_map` (V_k,) says for every token its token there, -1 for none, whose mass is lost; masses that meet add up.
    """
    kept = token_map >= 0
    carried = probabilities.new_zeros((*probabilities.shape[:-1], size))
    return carried.index_add_(-1, token_map[kept], probabilities[..., kept])
