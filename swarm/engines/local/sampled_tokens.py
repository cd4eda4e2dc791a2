"""Tokens drawn from logits, each row by random numbers of its own: what is beside it in a batch changes nothing."""

import hashlib
import json
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from swarm.engines.base import Request
from swarm.engines.sampling import Sampling

_FEW = 1024  # tokens that hold a nucleus, mostly


class RowSampler:
    """Draws one row's tokens, one after the other."""

    def __init__(self, sampling: Sampling, key: bytes):
        """`key` says which row it is: equal ones draw the same."""
        self._sampling = sampling
        self._random = np.random.Generator(np.random.Philox(int.from_bytes(key[:16], "little")))

    def draw(self, logits: Tensor) -> int:
        """The next token, of logits (V,)."""
        order, shares = distribution(logits, self._sampling)
        place = np.searchsorted(np.cumsum(shares), self._random.random() * shares.sum(), side="right")
        return int(order[min(place, len(order) - 1)])


def distribution(logits: Tensor, sampling: Sampling) -> tuple[np.ndarray, np.ndarray]:
    """The tokens that may be drawn, in an order of their own, and their shares, of any sum.

    Worked out in double precision, so that rounding in a sum over the vocabulary decides nothing.
    """
    values = logits.double().cpu().numpy() / sampling.temperature
    tokens = np.flatnonzero(values > -np.inf)
    if 0 < sampling.top_k < len(tokens):
        tokens = _likeliest(values, tokens, sampling.top_k)
    shares = np.exp(values[tokens] - values[tokens].max())
    if sampling.top_p < 1:
        tokens, shares = _nucleus(tokens, shares, sampling.top_p)
    if sampling.min_p:
        kept = shares >= sampling.min_p * shares.max()
        tokens, shares = tokens[kept], shares[kept]
    return tokens, shares


def _nucleus(tokens: np.ndarray, shares: np.ndarray, top_p: float) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest tokens that hold this part of all shares; mostly these are few, and the others need no order."""
    wanted = top_p * shares.sum()
    some = np.arange(len(tokens))
    if len(tokens) > _FEW:
        first = np.argpartition(-shares, _FEW)[:_FEW]
        some = np.sort(first) if shares[first].sum() >= wanted else some
    order = some[np.argsort(-shares[some], kind="stable")]
    before = np.cumsum(shares[order]) - shares[order]
    order = order[: max(int(np.count_nonzero(before < wanted)), 1)]
    return tokens[order], shares[order]


def _likeliest(values: np.ndarray, tokens: np.ndarray, count: int) -> np.ndarray:
    """So many of the tokens with the largest values, of equals those of the lowest ids."""
    least = np.partition(values[tokens], -count)[-count]
    above, equal = tokens[values[tokens] > least], tokens[values[tokens] == least]
    return np.sort(np.concatenate([above, equal[: count - len(above)]]))


def samplers_of(requests: Sequence[Request]) -> list[RowSampler] | None:
    """A sampler for each of these requests, which have the same parameters; None where they are greedy.

    What is drawn depends on the member's name, the prompt, the conversation, the parameters and the draw number: not on
    weights, so that members that differ little have texts that do.
    """
    params = requests[0].params
    if params.sampling is None:
        return None
    return [RowSampler(params.sampling, _key(request)) for request in requests]


def _key(request: Request) -> bytes:
    assert request.params.sampling is not None
    content = [request.member.name, request.prompt, request.history, request.params.facts(), request.draw]
    return hashlib.sha256(json.dumps(content).encode("utf8", "surrogatepass")).digest()


class DrawnTokens:
    """A logits processor for transformers' `generate`, greedy otherwise: leaves the drawn token of each row alone."""

    def __init__(self, samplers: Sequence[RowSampler]):
        self._samplers = samplers

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """The scores (rows, V), of which all but the drawn token are -inf."""
        drawn = [sampler.draw(row) for sampler, row in zip(self._samplers, scores, strict=True)]
        only = torch.full_like(scores, -torch.inf)
        only[torch.arange(len(drawn)), drawn] = 0
        return only
