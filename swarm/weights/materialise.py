"""Coefficients become tensors, in float32. Three ways to combine adapters, by name in `COMBINERS`."""

from collections.abc import Sequence

import torch

from swarm.weights.adapters import Adapter, LoraWeights, Tensors, factor_pairs, scaling
from swarm.weights.full_model import FullWeights
from swarm.weights.pool import Pool
from swarm.weights.tensors import combined


def materialise(pool: Pool, coefficients: Sequence[float]) -> LoraWeights | FullWeights:
    """The weights of the expert at these coefficients, float32: LoRA tensors, or a full model's one after the other."""
    if pool.models:
        return FullWeights(pool.models, tuple(coefficients))
    return COMBINERS[pool.combine](pool, coefficients)


def _linear(pool: Pool, coefficients: Sequence[float]) -> LoraWeights:
    """A = sum_j c_j A_j and B = sum_j c_j B_j: the published arithmetic, every tensor by itself (not linear in ΔW)."""
    handles = [adapter.open() for adapter in pool.adapters]
    shapes = pool.adapters[0].shapes
    tensors = {name: combined(handles, coefficients, name, lengths) for name, (lengths, _) in shapes.items()}
    return LoraWeights(tensors, pool.adapters[0].config)


def _exact(pool: Pool, coefficients: Sequence[float]) -> LoraWeights:
    """ΔW = sum_j c_j s_j B_j A_j: [A_1; ...; A_n] and [c_1 s_1 B_1, ..., c_n s_n B_n], rank n r, scale 1."""
    handles = [adapter.open() for adapter in pool.adapters]
    tensors: Tensors = {}
    for module, (name_a, name_b) in factor_pairs(pool.adapters[0].shapes).items():
        downs = [handle.get_tensor(name_a).float() for handle in handles]  # each (r, in)
        ups = [
            handle.get_tensor(name_b).float() * (coefficient * scaling(adapter.config, module, len(down)))
            for handle, coefficient, adapter, down in zip(handles, coefficients, pool.adapters, downs, strict=True)
        ]  # each (out, r)
        tensors[name_a], tensors[name_b] = torch.cat(downs, dim=0), torch.cat(ups, dim=1)
    return LoraWeights(tensors, _scale_one(pool.adapters[0], tensors))


def _svd(pool: Pool, coefficients: Sequence[float]) -> LoraWeights:
    """The best approximation of the exact ΔW by `pool.rank` (default: the adapters' own rank), without a dense ΔW."""
    tensors = _exact(pool, coefficients).tensors
    for name_a, name_b in factor_pairs(tensors).values():
        rank = pool.rank or pool.adapters[0].shapes[name_a][0][0]
        left, left_core = torch.linalg.qr(tensors[name_b])  # (out, k), (k, n r)
        right, right_core = torch.linalg.qr(tensors[name_a].T)  # (in, k'), (k', n r)
        u, s, vh = torch.linalg.svd(left_core @ right_core.T, full_matrices=False)
        root = s[:rank].sqrt()
        tensors[name_b] = left @ (u[:, :rank] * root)
        tensors[name_a] = (root[:, None] * vh[:rank]) @ right.T
    return LoraWeights(tensors, _scale_one(pool.adapters[0], tensors))


def _scale_one(adapter: Adapter, tensors: Tensors) -> dict[str, object]:
    """The adapter's config with ranks as they now are and alpha equal to the rank, so that s = 1."""
    ranks = {module: tensors[name_a].shape[0] for module, (name_a, _) in factor_pairs(tensors).items()}
    usual = max(set(ranks.values()), key=list(ranks.values()).count)
    unusual = {module: rank for module, rank in ranks.items() if rank != usual}
    patterns = {"rank_pattern": unusual, "alpha_pattern": unusual}
    return adapter.config | patterns | {"r": usual, "lora_alpha": usual, "use_rslora": False}


COMBINERS = {"linear": _linear, "exact": _exact, "svd": _svd}
