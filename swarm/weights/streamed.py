"""Many linear combinations of the same tensors in one pass over them, block by block, into buffers made before."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import embedding_bag

from swarm.weights.tensors import Shape

Mapped = dict[str, list[torch.Tensor]]  # name of a tensor -> that tensor of every initial expert

DTYPES = (torch.float32, torch.float64)  # of sums
ALIGNMENT = 64  # bytes, of a tensor within a buffer
PIECE = 384  # numbers that are summed at a time: their sums stay in registers, their terms in the nearest cache
BLOCK_BYTES = 6 * 2**20  # of all terms and sums that are under way
FEWEST_PIECES = 16  # of a block, below which calls cost more than they compute


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
    """How the tensors of one expert lie in one buffer of `size` bytes: those of one number format beside each other."""

    places: dict[str, Place]
    size: int

    def regions(self) -> Iterator[tuple[Place, dict[str, Place]]]:
        """What all tensors of one number format take, in whole pieces, and where they lie."""
        for dtype in DTYPES:
            places = {name: place for name, place in self.places.items() if place.dtype == dtype}
            if places:
                begin = min(place.begin for place in places.values())
                pieces = -(-(max(place.end for place in places.values()) - begin) // (PIECE * dtype.itemsize))
                yield Place(begin, (pieces * PIECE,), dtype), places

    def tensors(self, buffer: torch.Tensor) -> dict[str, torch.Tensor]:
        """The expert's tensors, as views of a buffer, (size,) bytes."""
        return {name: place.numbers(buffer).view(place.lengths) for name, place in self.places.items()}


def layout_of(shapes: Mapping[str, Shape]) -> Layout:
    """The layout for sums of tensors of these shapes: float32, and float64 where they are."""
    places: dict[str, Place] = {}
    end = 0
    for dtype in DTYPES:
        for name, (lengths, number_format) in shapes.items():
            if (number_format == "F64") == (dtype == torch.float64):
                places[name] = Place(_whole(end, ALIGNMENT), lengths, dtype)
                end = places[name].end
        end = _whole(end, PIECE * torch.float64.itemsize)  # which is whole pieces of either
    return Layout(places, end)


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
    """Which pieces make up which sums of a block, for `embedding_bag`: piece after piece, the sums of one together."""

    pieces: torch.Tensor  # (pieces of a block, terms of all sums)
    ends: torch.Tensor  # (pieces of a block, sums)
    factors: torch.Tensor  # (pieces of a block, terms of all sums)

    def sums(self, block: torch.Tensor, count: int) -> torch.Tensor:
        """The first `count` pieces of each sum, (count, sums, PIECE), of the terms in a block, (terms, numbers).

        Every bag is PIECE numbers wide and adds up its own pieces in their order, whatever else is asked for.
        """
        offsets = torch.cat([self.ends.new_zeros(1), self.ends[:count].flatten()])
        sums = embedding_bag(
            self.pieces[:count].flatten(),
            block.view(-1, PIECE),
            offsets,
            mode="sum",
            per_sample_weights=self.factors[:count].flatten(),
            include_last_offset=True,
        )
        return sums.view(count, -1, PIECE)


def combine_rows(
    mapped: Mapped, layout: Layout, rows: Sequence[Sequence[float]], buffers: Sequence[torch.Tensor]
) -> None:
    """sum_j rows[i][j] W_j of every tensor into buffers[i], (layout.size,) bytes each.

    The terms of a sum are added in the order of j, those with coefficient 0 left out, without regard to other sums, so
    its bits depend on its own row only. A single coefficient of 1 gives that W to the bit; W_j is not read where no row
    needs it.
    """
    needed = [j for j in range(len(rows[0])) if any(row[j] for row in rows)]
    terms = [[row[j] for j in needed] for row in rows]
    for region, places in layout.regions():
        sources = {name: [mapped[name][j].view(-1) for j in needed] for name in places}
        _combine(sources, region, places, terms, buffers)


def _combine(
    sources: Mapped,
    region: Place,
    places: Mapping[str, Place],
    rows: Sequence[Sequence[float]],
    buffers: Sequence[torch.Tensor],
) -> None:
    """All sums of the tensors of one number format: block by block, the terms are gathered, summed and put down.

    What lies between the tensors is summed with them.
    """
    whole = {i: row.index(1.0) for i, row in enumerate(rows) if 1.0 in row and sum(map(bool, row)) == 1}
    summed = [i for i, row in enumerate(rows) if any(row) and i not in whole]
    stacks = [region.numbers(stack) for stack in _stacks([buffers[i] for i in summed])]
    bytes_of_piece = max(len(rows[0]) + len(summed), 1) * PIECE * region.dtype.itemsize
    pieces = min(max(BLOCK_BYTES // bytes_of_piece, FEWEST_PIECES), region.lengths[0] // PIECE)
    bags = _bags([rows[i] for i in summed], pieces, region.dtype)
    block = torch.zeros(len(rows[0]), pieces * PIECE, dtype=region.dtype)
    for begin, cuts in _cuts(region, places, block.shape[1]).items():
        end = min(begin + block.shape[1], region.lengths[0])
        _gather(sources, cuts, block)
        for i, j in whole.items():
            region.numbers(buffers[i])[begin:end].copy_(block[j, : end - begin])
        if summed:
            sums = bags.sums(block, (end - begin) // PIECE).split([len(stack) for stack in stacks], dim=1)
            for stack, part in zip(stacks, sums, strict=True):
                stack[:, begin:end].unflatten(1, (-1, PIECE)).copy_(part.transpose(0, 1))
    for row, buffer in zip(rows, buffers, strict=True):
        if not any(row):
            region.numbers(buffer).fill_(-0.0)  # the sum of nothing, to which -0.0 can be added


def _gather(sources: Mapped, cuts: list[_Cut], block: torch.Tensor) -> None:
    """Fills a block, (sources, numbers), with one call: calls one by one take a fifth longer."""
    targets: list[torch.Tensor] = []
    values: list[torch.Tensor] = []
    for cut in cuts:
        targets += block[:, cut.begin : cut.end].unbind()
        values += [source[cut.first : cut.first + cut.end - cut.begin] for source in sources[cut.name]]
    if values:
        torch._foreach_copy_(targets, values)


def _bags(rows: Sequence[Sequence[float]], pieces: int, dtype: torch.dtype) -> _Bags:
    """The bags of some sums in blocks of so many pieces."""
    terms = [[j for j, coefficient in enumerate(row) if coefficient] for row in rows]
    firsts = torch.tensor([j * pieces for row in terms for j in row], dtype=torch.int32)
    ends = torch.tensor(list(itertools.accumulate(map(len, terms))), dtype=torch.int32)
    factors = torch.tensor([row[j] for row, used in zip(rows, terms, strict=True) for j in used], dtype=dtype)
    steps = torch.arange(pieces, dtype=torch.int32)[:, None]
    return _Bags(firsts + steps, ends + steps * len(firsts), factors.expand(pieces, -1).contiguous())


def _cuts(region: Place, places: Mapping[str, Place], width: int) -> dict[int, list[_Cut]]:
    """What each block of so many numbers holds, by its first number."""
    cuts: dict[int, list[_Cut]] = {begin: [] for begin in range(0, region.lengths[0], width)}
    for name, place in places.items():
        first = (place.begin - region.begin) // region.dtype.itemsize
        last = first + math.prod(place.lengths)
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
