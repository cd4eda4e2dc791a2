"""Many linear combinations of the same tensors in one pass over them, block by block, into given buffers."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import embedding_bag

from swarm.weights.heap import keep_freed_memory
from swarm.weights.tensors import Shape

Mapped = dict[str, list[torch.Tensor]]  # name of a tensor -> that tensor of every initial expert

DTYPES = (torch.float32, torch.float64)  # of sums
ALIGNMENT = 64  # bytes, of a tensor within a buffer
PIECE = 384  # numbers that are summed at a time: their sums stay in registers, their terms in the nearest cache
BLOCK_BYTES = 9 * 2**20  # of all terms and sums that are under way
FEWEST_PIECES = 16  # of a block, below which calls cost more than they compute


@dataclass(frozen=True)
class Extent:
    """The extent of a tensor in a buffer: its first byte, its shape, its number format."""

    begin: int
    lengths: tuple[int, ...]
    dtype: torch.dtype

    @property
    def end(self) -> int:
        """The first byte behind it."""
        return self.begin + math.prod(self.lengths) * self.dtype.itemsize

    def numbers(self, buffers: torch.Tensor) -> torch.Tensor:
        """A flat view of the tensor in each of some buffers, (buffers, bytes) or (bytes,)."""
        return buffers[..., self.begin : self.end].view(self.dtype)


@dataclass(frozen=True)
class BufferLayout:
    """The layout of one expert's tensors in one buffer of `size` bytes, grouped by number format."""

    extents: dict[str, Extent]
    size: int

    def regions(self) -> Iterator[tuple[Extent, dict[str, Extent]]]:
        """The extent of all tensors of one number format, in whole pieces, with the tensors' own."""
        for dtype in DTYPES:
            extents = {name: extent for name, extent in self.extents.items() if extent.dtype == dtype}
            if extents:
                begin = min(extent.begin for extent in extents.values())
                pieces = -(-(max(extent.end for extent in extents.values()) - begin) // (PIECE * dtype.itemsize))
                yield Extent(begin, (pieces * PIECE,), dtype), extents

    def tensors(self, buffer: torch.Tensor) -> dict[str, torch.Tensor]:
        """The expert's tensors, as views of a buffer, (size,) bytes."""
        return {name: extent.numbers(buffer).view(extent.lengths) for name, extent in self.extents.items()}


class Buffer:
    """Memory for one expert's tensors in a layout, and the tensors, which are views of it."""

    def __init__(self, layout: BufferLayout, memory: torch.Tensor):
        """`memory` is (layout.size,) bytes, which need not be initialised."""
        self.memory = memory
        self.tensors = layout.tensors(memory)  # made once: hundreds of views take a fifth of the sums' time


def layout_of(shapes: Mapping[str, Shape]) -> BufferLayout:
    """The layout for sums of tensors of these shapes: float32, and float64 where they are."""
    extents: dict[str, Extent] = {}
    end = 0
    for dtype in DTYPES:
        for name, (lengths, number_format) in shapes.items():
            if (number_format == "F64") == (dtype == torch.float64):
                extents[name] = Extent(_whole(end, ALIGNMENT), lengths, dtype)
                end = extents[name].end
        end = _whole(end, PIECE * torch.float64.itemsize)  # which is whole pieces of either
    return BufferLayout(extents, end)


def _whole(size: int, unit: int) -> int:
    """`size` rounded up to whole units."""
    return -(-size // unit) * unit


@dataclass(frozen=True)
class _Cut:
    """Some numbers of a tensor, from `first` on, that a block holds from `begin` to `end` (excluded)."""

    name: str
    first: int
    begin: int
    end: int


@dataclass(frozen=True)
class _Bags:
    """The indices of a block's sums for `embedding_bag`: piece after piece, the sums of one together."""

    pieces: torch.Tensor  # (pieces of a block x terms of all sums,)
    ends: torch.Tensor  # (pieces of a block x sums + 1,)
    factors: torch.Tensor  # (pieces of a block x terms of all sums,)

    def sums(self, block: torch.Tensor) -> torch.Tensor:
        """All pieces of each sum, piece after piece, (pieces x sums, PIECE), of the terms in a block, (terms, numbers).

        Every bag is PIECE numbers wide and adds up its own pieces in their order, whatever else is asked for.
        """
        terms = block.view(-1, PIECE)
        return embedding_bag(
            self.pieces, terms, self.ends, mode="sum", per_sample_weights=self.factors, include_last_offset=True
        )


class Terms:
    """The tensors of all initial experts, block by block: what a block's sums are made of lies beside each other."""

    def __init__(self, mapped: Mapped, layout: BufferLayout, kept: bool = False):
        """`kept` holds every block from its first use on, which takes the experts' size in the numbers of the sums.

        That spares most of the time; without it, blocks are gathered from the mapped files every time.
        """
        self.mapped = mapped
        self.layout = layout
        self._count = len(next(iter(mapped.values())))
        self._kept: dict[tuple[torch.dtype, int], torch.Tensor] | None = {} if kept else None
        keep_freed_memory()

    def pieces(self, region: Extent) -> int:
        """Pieces of a whole block, so that all terms and as many sums are BLOCK_BYTES."""
        in_cache = BLOCK_BYTES // (2 * self._count * PIECE * region.dtype.itemsize)
        return min(max(in_cache, FEWEST_PIECES), region.lengths[0] // PIECE)

    def blocks(
        self, region: Extent, extents: Mapping[str, Extent], needed: Sequence[int]
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """First number and content, (initial experts, numbers), of every block; only `needed` experts must be right.

        A block that is not kept holds until the next one.
        """
        width = self.pieces(region) * PIECE
        used = None
        for begin, cuts in _cuts(region, extents, width).items():
            block = self._kept.get((region.dtype, begin)) if self._kept is not None else None
            if block is None and self._kept is not None:
                block = torch.zeros(self._count, min(width, region.lengths[0] - begin), dtype=region.dtype)
                _gather(self.mapped, cuts, block, range(self._count))
                self._kept[region.dtype, begin] = block
            elif block is None:
                used = torch.zeros(self._count, width, dtype=region.dtype) if used is None else used
                block = used
                _gather(self.mapped, cuts, block, needed)
            yield begin, block


def combine_rows(terms: Terms, rows: Sequence[Sequence[float]], buffers: Sequence[Buffer]) -> None:
    """sum_j rows[i][j] W_j of every tensor into buffers[i], which are of the terms' layout.

    The terms of a sum are added in the order of j, those with coefficient 0 left out, without regard to other sums, so
    its bits depend on its own row only. A single coefficient of 1 gives that W to the bit; unless terms are kept, W_j
    is not read where no row needs it.
    """
    for region, extents in terms.layout.regions():
        _combine(terms, region, extents, rows, [buffer.memory for buffer in buffers])


def _combine(
    terms: Terms,
    region: Extent,
    extents: Mapping[str, Extent],
    rows: Sequence[Sequence[float]],
    buffers: Sequence[torch.Tensor],
) -> None:
    """All sums of the tensors of one number format: block by block, the terms are summed and the sums put down.

    What lies between the tensors is summed with them.
    """
    whole = {i: row.index(1.0) for i, row in enumerate(rows) if 1.0 in row and sum(map(bool, row)) == 1}
    summed = [i for i, row in enumerate(rows) if any(row) and i not in whole]
    stacks = [region.numbers(stack) for stack in _stacks([buffers[i] for i in summed])]
    bags: dict[int, _Bags] = {}  # by pieces of a block, of which the last one has fewer
    needed = [j for j in range(len(rows[0])) if any(row[j] for row in rows)]
    for begin, block in terms.blocks(region, extents, needed):
        end = min(begin + block.shape[1], region.lengths[0])
        for i, j in whole.items():
            region.numbers(buffers[i])[begin:end].copy_(block[j, : end - begin])
        if summed:
            pieces, width = (end - begin) // PIECE, block.shape[1] // PIECE
            if pieces not in bags:
                bags[pieces] = _bags([rows[i] for i in summed], pieces, width, region.dtype)
            sums = bags[pieces].sums(block).view(pieces, -1, PIECE).split([len(stack) for stack in stacks], dim=1)
            for stack, part in zip(stacks, sums, strict=True):
                stack[:, begin:end].unflatten(1, (-1, PIECE)).copy_(part.transpose(0, 1))
    for row, buffer in zip(rows, buffers, strict=True):
        if not any(row):
            region.numbers(buffer).fill_(-0.0)  # the sum of nothing, to which -0.0 can be added


def _gather(mapped: Mapped, cuts: list[_Cut], block: torch.Tensor, needed: Sequence[int]) -> None:
    """Fills those rows of a block, (initial experts, numbers), with one call: calls one by one take a fifth longer."""
    targets: list[torch.Tensor] = []
    values: list[torch.Tensor] = []
    for cut in cuts:
        for j in needed:
            targets.append(block[j, cut.begin : cut.end])
            values.append(mapped[cut.name][j].view(-1)[cut.first : cut.first + cut.end - cut.begin])
    if values:
        torch._foreach_copy_(targets, values)


def _bags(rows: Sequence[Sequence[float]], pieces: int, width: int, dtype: torch.dtype) -> _Bags:
    """The bags of some sums, of so many pieces each, in a block of so many pieces."""
    terms = [[j for j, coefficient in enumerate(row) if coefficient] for row in rows]
    firsts = torch.tensor([j * width for row in terms for j in row], dtype=torch.int32)
    ends = torch.tensor(list(itertools.accumulate(map(len, terms))), dtype=torch.int32)
    factors = torch.tensor([row[j] for row, used in zip(rows, terms, strict=True) for j in used], dtype=dtype)
    steps = torch.arange(pieces, dtype=torch.int32)[:, None]
    behind = torch.cat([ends.new_zeros(1), (ends + steps * len(firsts)).flatten()])
    return _Bags((firsts + steps).flatten(), behind, factors.repeat(pieces))


def _cuts(region: Extent, extents: Mapping[str, Extent], width: int) -> dict[int, list[_Cut]]:
    """The cuts of tensors in each block of so many numbers, by its first number."""
    cuts: dict[int, list[_Cut]] = {begin: [] for begin in range(0, region.lengths[0], width)}
    for name, extent in extents.items():
        first = (extent.begin - region.begin) // region.dtype.itemsize
        last = first + math.prod(extent.lengths)
        for begin in range(first // width * width, last, width):
            low, high = max(first, begin), min(last, begin + width)
            cuts[begin].append(_Cut(name, low - first, low - begin, high - begin))
    return cuts


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
