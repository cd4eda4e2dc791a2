"""Relative representations of a model's tokens: all at hand, or worked out when a step needs them, and kept."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from swarm.errors import UserError
from swarm.fusion.row_store import RowStore, padded, storage_type
from swarm.maths.relative import anchor_norms, relative_rows_of

BUILT_AT_A_TIME = 1 << 24  # numbers in the rows that are worked out in one go: 64 MB
MIXED_AT_A_TIME = 1 << 26  # numbers in the rows that are copied to be mixed


class Rows(Protocol):
    """One model's relative representations, (count, width) for its tokens and the anchors.

    Attributes:
      count: V, tokens that have an embedding.
      width: d, anchors.
      device: where rows are, and where ids must be.
    """

    count: int
    width: int
    device: torch.device

    def take(self, ids: Tensor, out: Tensor | None = None) -> Tensor:
        """The rows (K, width) of token ids (K,), float32, in `out` if it is given."""
        ...

    def project(self, ids: Tensor, probabilities: Tensor) -> Tensor:
        """Relative distributions Σ_i p_i · row(id_i), (B, width) float32, for ids and probabilities (B, K)."""
        ...

    def all(self) -> Tensor:
        """All rows, (count, width) float32: for small vocabularies."""
        ...


@dataclass(frozen=True)
class RowSource:
    """What rows are made from: nothing here is a copy of the embeddings.

    Attributes:
      embeddings: (V, D), the model's own input embeddings, of any float type.
      anchors: (d,), the ids of the anchors.
      normalise: divide a row of cosines by its length before the softmax, the published way.
      centre: (D,), taken from all embeddings first, None for nothing.
    """

    embeddings: Tensor
    anchors: Tensor
    normalise: bool = True
    centre: Tensor | None = None

    def norms(self) -> Tensor:
        """The anchors' lengths (d,)."""
        return anchor_norms(self.embeddings, self.anchors, self.centre)

    def rows(self, ids: Tensor, norms: Tensor) -> Tensor:
        """Rows (K, d) of token ids (K,), float32."""
        return relative_rows_of(self.embeddings, ids, self.anchors, norms, self.normalise, self.centre)


class DenseRows:
    """All rows of a model, for small vocabularies: V · d numbers."""

    def __init__(self, store: RowStore, count: int, device: torch.device):
        self.count, self.width, self.device = count, store.width, device
        self._store = store

    @classmethod
    def build(cls, source: RowSource, dtype: str = "float32") -> "DenseRows":
        """Works out all rows, a block with one matrix product each; `dtype` is float32 or bfloat16."""
        count, width = len(source.embeddings), len(source.anchors)
        device = source.embeddings.device
        store = RowStore(count, width, storage_type(dtype), device)
        norms = source.norms()
        for ids in torch.arange(count, device=device).split(max(BUILT_AT_A_TIME // width, 1)):
            store.write(ids, source.rows(ids, norms))
        return cls(store, count, device)

    @classmethod
    def of(cls, rows: Tensor) -> "DenseRows":
        """Rows (V, d) that were worked out before."""
        dtype = rows.dtype if rows.dtype == torch.bfloat16 else torch.float32
        store = RowStore(len(rows), rows.shape[1], dtype, rows.device)
        store.write(torch.arange(len(rows), device=rows.device), rows)
        return cls(store, len(rows), rows.device)

    def take(self, ids: Tensor, out: Tensor | None = None) -> Tensor:
        """See `Rows`."""
        return self._store.take(ids, out)

    def project(self, ids: Tensor, probabilities: Tensor) -> Tensor:
        """See `Rows`."""
        return _mixed_in_parts(self._store.mix, ids, probabilities, self.width)

    def all(self) -> Tensor:
        """See `Rows`; no copy if they are stored in float32."""
        return self._store.all()


class LazyRows:
    """Rows that are worked out when they are asked for, from the model's own embeddings, and kept while there is room.

    Attributes:
      hits, misses: rows that were asked for and were there, or were worked out, so far.
      slots: how many rows there is room for.
    """

    def __init__(self, source: RowSource, capacity: int = 1 << 28, dtype: str = "bfloat16"):
        """`capacity` is in bytes; `dtype`, float32 or bfloat16, is what rows are kept in.

        Raises UserError if there is not room for one row.
        """
        self.count, self.width = len(source.embeddings), len(source.anchors)
        self.device = source.embeddings.device
        kept = storage_type(dtype)
        a_row = padded(self.width) * kept.itemsize
        self.slots = min(capacity // a_row, self.count)
        if self.slots < 1:
            raise UserError(
                f"a cache of {capacity} bytes holds no relative row of {self.width} anchors ({a_row} bytes); "
                "give it more room or take fewer anchors"
            )
        self.hits = self.misses = 0
        self._source, self._norms = source, source.norms()
        self._store = RowStore(self.slots, self.width, kept, self.device)
        self._slot_of = torch.full((self.count,), -1, dtype=torch.int32, device=self.device)
        self._token_in = torch.full((self.slots,), -1, dtype=torch.long, device=self.device)
        self._used_at = torch.zeros(self.slots, dtype=torch.long, device=self.device)
        self._now = 0

    @torch.inference_mode()
    def take(self, ids: Tensor, out: Tensor | None = None) -> Tensor:
        """See `Rows`."""
        if len(ids) <= self.slots:
            return self._store.take(self._places(ids), out)
        if out is None:
            out = torch.empty(len(ids), self.width, device=self.device)
        for part, rows in zip(ids.split(self.slots), out.split(self.slots), strict=True):
            self._store.take(self._places(part), rows)
        return out

    @torch.inference_mode()
    def project(self, ids: Tensor, probabilities: Tensor) -> Tensor:
        """See `Rows`."""

        def mixed(some: Tensor, weights: Tensor) -> Tensor:
            return self._store.mix(self._places(some.flatten()).view_as(some), weights)

        return _mixed_in_parts(mixed, ids, probabilities, self.width, self.slots)

    @torch.inference_mode()
    def all(self) -> Tensor:
        """See `Rows`; nothing is kept."""
        ids = torch.arange(self.count, device=self.device)
        return torch.cat([self._worked_out(part) for part in ids.split(max(BUILT_AT_A_TIME // self.width, 1))])

    def _places(self, ids: Tensor) -> Tensor:
        """Slots of token ids (K,), at most as many as there are slots, after working out those that are missing."""
        self._now += 1
        places = self._slot_of[ids]
        there = places >= 0
        absent = len(ids) - int(there.sum())
        self.hits += len(ids) - absent
        places = places.long()
        if absent:
            missing = ids[~there].unique()
            self.misses += len(missing)
            self._used_at[places[there]] = self._now
            self._fill(missing)
            places = self._slot_of[ids].long()
        self._used_at[places] = self._now
        return places

    def _fill(self, missing: Tensor) -> None:
        """Puts the rows of new ids where those are that have been used least lately."""
        taken = self._used_at.topk(len(missing), largest=False).indices
        before = self._token_in[taken]
        self._slot_of[before[before >= 0]] = -1
        self._token_in[taken] = -1
        size = max(BUILT_AT_A_TIME // self.width, 1)
        for ids, places in zip(missing.split(size), taken.split(size), strict=True):
            self._store.write(places, self._worked_out(ids))
            # only now: where memory has run out, the next call must not take them for there
            self._token_in[places] = ids
            self._slot_of[ids] = places.int()

    def _worked_out(self, ids: Tensor) -> Tensor:
        return self._source.rows(ids, self._norms)


def _mixed_in_parts(
    mixed: Callable[[Tensor, Tensor], Tensor], ids: Tensor, probabilities: Tensor, width: int, most: int | None = None
) -> Tensor:
    """`mixed` of some columns at a time, summed, so that at most so many rows are asked for and copied at a time."""
    batch, count = ids.shape
    at_a_time = max(MIXED_AT_A_TIME // width, 1)
    if most is not None:
        at_a_time = min(at_a_time, most)
    if batch > at_a_time:
        halves = zip(ids.split(at_a_time), probabilities.split(at_a_time), strict=True)
        return torch.cat([_mixed_in_parts(mixed, some, weights, width, most) for some, weights in halves])
    columns = max(at_a_time // max(batch, 1), 1)
    total = mixed(ids[:, :columns], probabilities[:, :columns])
    for start in range(columns, count, columns):
        total.add_(mixed(ids[:, start : start + columns], probabilities[:, start : start + columns]))
    return total
