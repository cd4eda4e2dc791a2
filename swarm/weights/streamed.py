"""Many linear combinations of the same tensors in one pass over them, block by block, into buffers made before."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from swarm.weights.tensors import Shape

Mapped = dict[str, list[torch.Tensor]]  # name of a tensor -> that tensor of every initial expert

ALIGNMENT = 64  # bytes, of a tensor within a buffer
ACCUMULATORS = 4 * 2**20  # bytes, of all sums that are under way: they stay in the cache while the terms come by
SHORTEST_BLOCK = 8192  # numbers of one sum, below which calls cost more than they compute


@dataclass(frozen=True)
class Place:
    """Where a tensor lies in a buffer: its first byte, its lengths, its number format."""

    begin: int
    lengths: tuple[int, ...]
    dtype: torch.dtype

    @property
    def end(self) -> int:
        """The byte behind its last one."""
        return self.begin + math.prod(self.lengths) * self.dtype.itemsize

    def numbers(self, buffers: torch.Tensor) -> torch.Tensor:
        """Its numbers, flat, in each of some buffers, (buffers, bytes) or (bytes,)."""
        return buffers[..., self.begin : self.end].view(self.dtype)


@dataclass(frozen=True)
class Layout:
    """How the tensors of one expert lie in one buffer of `size` bytes."""

    places: dict[str, Place]
    size: int

    def tensors(self, buffer: torch.Tensor) -> dict[str, torch.Tensor]:
        """The expert's tensors, as views of a buffer, (size,) bytes."""
        return {name: place.numbers(buffer).view(place.lengths) for name, place in self.places.items()}


def layout_of(shapes: Mapping[str, Shape]) -> Layout:
    """The layout for sums of tensors of these shapes: float32, and float64 where they are."""
    places: dict[str, Place] = {}
    end = 0
    for name, (lengths, number_format) in shapes.items():
        begin = -(-end // ALIGNMENT) * ALIGNMENT
        places[name] = Place(begin, lengths, torch.float64 if number_format == "F64" else torch.float32)
        end = places[name].end
    return Layout(places, -(-end // ALIGNMENT) * ALIGNMENT)


@dataclass(frozen=True)
class _Term:
    """What one initial expert adds to the sums in rows `first` to `last` (excluded) of one stack of buffers."""

    stack: int
    first: int
    last: int
    factors: torch.Tensor  # (last - first, 1)
    begins: bool  # it is the first term of these sums


def combine_rows(
    mapped: Mapped, layout: Layout, rows: Sequence[Sequence[float]], buffers: Sequence[torch.Tensor]
) -> None:
    """sum_j rows[i][j] W_j of every tensor into buffers[i], (layout.size,) bytes each.

    Terms are added in the order of j, each number by itself with one fused multiply-add, so the bits of a sum depend on
    its own row only. A single coefficient of 1 gives that W to the bit; W_j is not read where no row needs it.
    """
    stacks = _stacks(buffers)
    heights = [len(stack) for stack in stacks]
    for dtype in {place.dtype for place in layout.places.values()}:
        terms = [_terms(rows, heights, j, dtype) for j in range(len(rows[0]))]
        block = max(ACCUMULATORS // (len(rows) * dtype.itemsize), SHORTEST_BLOCK)
        for name, place in layout.places.items():
            if place.dtype == dtype:
                _combine(mapped[name], terms, [place.numbers(stack) for stack in stacks], block)
    for row, buffer in zip(rows, buffers, strict=True):
        if not any(row):
            for place in layout.places.values():
                place.numbers(buffer).fill_(-0.0)  # the sum of nothing, to which -0.0 can be added


def _combine(sources: Sequence[torch.Tensor], terms: list[list[_Term]], sums: list[torch.Tensor], block: int) -> None:
    """One tensor of all sums; `sums` are (rows of the stack, numbers)."""
    flat = [source.view(-1) for source in sources]
    for begin in range(0, sums[0].shape[1], block):
        blocks = [stack[:, begin : begin + block] for stack in sums]
        for source, parts in zip(flat, terms, strict=True):
            if not parts:
                continue
            values = source[begin : begin + block].to(sums[0].dtype)
            for part in parts:
                target = blocks[part.stack][part.first : part.last]
                if part.begins:
                    torch.mul(part.factors, values, out=target)
                else:
                    target.addcmul_(part.factors, values)


def _terms(rows: Sequence[Sequence[float]], heights: list[int], j: int, dtype: torch.dtype) -> list[_Term]:
    """Where W_j goes: rows beside each other in one stack that are at the same stage are one term."""
    terms: list[_Term] = []
    start = 0
    for stack, height in enumerate(heights):
        kinds = [(not any(row[:j])) if row[j] else None for row in rows[start : start + height]]
        first = 0
        for last in range(1, height + 1):
            if last == height or kinds[last] != kinds[first]:
                begins = kinds[first]
                if begins is not None:
                    factors = [[row[j]] for row in rows[start + first : start + last]]
                    terms.append(_Term(stack, first, last, torch.tensor(factors, dtype=dtype), begins))
                first = last
        start += height
    return terms


def _stacks(buffers: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Buffers that lie right behind each other in memory as one, (buffers, bytes): one call then serves them all."""
    stacks: list[list[torch.Tensor]] = []
    for buffer in buffers:
        behind = stacks and stacks[-1][-1].data_ptr() + buffer.nbytes == buffer.data_ptr()
        if behind and stacks[-1][-1].untyped_storage().data_ptr() == buffer.untyped_storage().data_ptr():
            stacks[-1].append(buffer)
        else:
            stacks.append([buffer])
    return [stack[0].as_strided((len(stack), stack[0].nbytes), (stack[0].nbytes, 1)) for stack in stacks]
