"""Materialisation: tensors of experts from coefficients, in float32; ways to combine by name in `COMBINERS`."""

from collections.abc import Sequence

import torch

from swarm.weights.adapters import Adapter, LoraWeights, Tensors, factor_pairs, scaling
from swarm.weights.full_model import FullWeights
from swarm.weights.pool import Pool
from swarm.weights.streamed import Buffer, BufferLayout, Terms, combine_rows, layout_of

Rows = Sequence[Sequence[float]]  # coefficients: one row per expert that is wanted, one column per initial expert
Buffers = Sequence[Buffer]


def materialise(pool: Pool, coefficients: Sequence[float]) -> LoraWeights | FullWeights:
    """The weights of the expert at these coefficients, float32: LoRA tensors, or a full model's one after the other."""
    if pool.models:
        return FullWeights(pool.models, tuple(coefficients))
    return materialise_all(pool, [coefficients])[0]


def materialise_all(
    pool: Pool, rows: Rows, buffers: Buffers | None = None, terms: Terms | None = None
) -> list[LoraWeights]:
    """The weights of several experts of a pool of adapters, one per row of coefficients, in one pass over the files.

    The bits of an expert do not depend on which others are asked for beside it, nor on the number of threads.
    `buffers` for linear, as `new_buffers` makes them, one per row, receive the tensors:
    memory that was used before is several times faster than new. `terms` as `open_terms` gives them save opening the
    files again, and reading them where they are kept.
    """
    return COMBINERS[pool.combine](pool, rows, open_terms(pool) if terms is None else terms, buffers)


def open_terms(pool: Pool, kept: bool = False) -> Terms:
    """The tensors of all initial adapters, mapped from their files; `kept` holds them for the linear way's sums.

    That takes len(pool.adapters) times `linear_layout(pool).size` bytes.
    """
    handles = [adapter.open() for adapter in pool.adapters]
    mapped = {name: [handle.get_tensor(name) for handle in handles] for name in pool.adapters[0].shapes}
    return Terms(mapped, linear_layout(pool), kept)


def new_buffers(pool: Pool, count: int) -> list[Buffer]:
    """Uninitialised buffers for so many linear combinations, contiguous in memory."""
    layout = linear_layout(pool)
    return [Buffer(layout, memory) for memory in torch.empty(count, layout.size, dtype=torch.uint8)]


def linear_layout(pool: Pool) -> BufferLayout:
    """The buffer layout of a linear combination."""
    return layout_of(pool.adapters[0].shapes)


def _linear(pool: Pool, rows: Rows, terms: Terms, buffers: Buffers | None) -> list[LoraWeights]:
    """A = sum_j c_j A_j and B = sum_j c_j B_j: the published arithmetic, every tensor by itself (not linear in ΔW)."""
    buffers = new_buffers(pool, len(rows)) if buffers is None else buffers
    combine_rows(terms, rows, buffers)
    return [LoraWeights(buffer.tensors, pool.adapters[0].config) for buffer in buffers]


def _exact(pool: Pool, rows: Rows, terms: Terms, _: Buffers | None) -> list[LoraWeights]:
    """ΔW = sum_j c_j s_j B_j A_j: [A_1; ...; A_n], which all rows share, and [c_1 s_1 B_1, ..., c_n s_n B_n].

    Rank n r, scale 1.
    """
    experts: list[Tensors] = [{} for _ in rows]
    for module, (name_a, name_b) in factor_pairs(terms.mapped).items():
        downs = torch.cat([down.float() for down in terms.mapped[name_a]], dim=0)  # (n r, in)
        ups = [up.float() for up in terms.mapped[name_b]]  # each (out, r)
        scales = [scaling(adapter.config, module, up.shape[1]) for adapter, up in zip(pool.adapters, ups, strict=True)]
        for tensors, row in zip(experts, rows, strict=True):
            tensors[name_a] = downs
            scaled = torch.empty(len(ups[0]), len(downs))
            parts = scaled.split([up.shape[1] for up in ups], dim=1)
            for part, up, coefficient, scale in zip(parts, ups, row, scales, strict=True):
                torch.mul(up, coefficient * scale, out=part)
            tensors[name_b] = scaled
    return [LoraWeights(tensors, _scale_one(pool.adapters[0], tensors)) for tensors in experts]


def _svd(pool: Pool, rows: Rows, terms: Terms, _: Buffers | None) -> list[LoraWeights]:
    """The best approximation of the exact ΔW by `pool.rank` (default: the adapters' own rank), without a dense ΔW."""
    return [_truncated(pool, _exact(pool, [row], terms, None)[0].tensors) for row in rows]


def _truncated(pool: Pool, tensors: Tensors) -> LoraWeights:
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
