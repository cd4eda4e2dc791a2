"""Relative representations of a model's tokens: computed at once, or when a step needs them, and cached."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from swarm.engines.local.token_budget import is_out_of_memory
from swarm.errors import UserError
from swarm.maths.relative import ROUND, anchor_embeddings, anchor_norms, relative_rows_of
from swarm.members.fusion.kept_rows import KeptRows
from swarm.members.fusion.row_memory import never
from swarm.members.fusion.row_table import RowStore, storage_type, stored_width

BUILT_AT_A_TIME = 1 << 24  # numbers in the rows that are worked out in one go: 64 MB
MIXED_AT_A_TIME = 1 << 26  # numbers in the rows that are copied to be mixed
MIXED_OF_A_PROMPT = 512  # rows of a prompt that are summed at a time, whatever there is room for
GROWTH = 2  # how much larger a cache gets when it grows


class RelativeRows(Protocol):
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
    """The embeddings and anchors that rows are computed from, not copied.

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

    @property
    def anchors_size(self) -> int:
        """Bytes that the anchors' embeddings take."""
        return 4 * len(self.anchors) * self.embeddings.shape[1]

    def anchor_embeddings(self) -> Tensor:
        """The anchors' embeddings (d, D), float32: with them at hand, rows are worked out twice as fast."""
        return anchor_embeddings(self.embeddings, self.anchors, self.centre)

    def rows(self, ids: Tensor, norms: Tensor, at_hand: Tensor | None = None) -> Tensor:
        """Rows (K, d) of token ids (K,), float32."""
        return relative_rows_of(self.embeddings, ids, self.anchors, norms, self.normalise, self.centre, at_hand)


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
        norms, at_hand = source.norms(), source.anchor_embeddings()
        for ids in torch.arange(count, device=device).split(_built_at_a_time(width)):
            store.write(ids, source.rows(ids, norms, at_hand))
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
    """An LRU cache of rows that are computed from the model's own embeddings when they are asked for.

    What they are, and what is mixed of them, does not depend on how much room there is.

    Attributes:
      hits, misses: rows that were asked for and were there, or were read or worked out, so far.
      slots: how many rows there is room for.
    """

    def __init__(
        self,
        source: RowSource,
        capacity: int = 1 << 28,
        dtype: str = "bfloat16",
        may_grow: Callable[[int], bool] = never,
        kept: KeptRows | None = None,
    ):
        """`capacity` is in bytes; `dtype`, float32 or bfloat16, is what rows are kept in.

        When there is no room any more, `may_grow` is asked whether so many bytes may be taken beside those that are.
        The anchors' embeddings are kept, too, where they leave three quarters of the room to rows. Rows that are `kept`
        on the disk are read from there, and others added to them.

        Raises UserError if there is not room for one row.
        """
        self.count, self.width = len(source.embeddings), len(source.anchors)
        self.device = source.embeddings.device
        self._kept, self._may_grow = storage_type(dtype), may_grow
        self._source, self._norms = source, source.norms()
        self._a_row = stored_width(self.width) * self._kept.itemsize
        fits = source.anchors_size <= (capacity - self._a_row) // 4
        self._at_hand = source.anchor_embeddings() if fits or may_grow(source.anchors_size) else None
        capacity -= source.anchors_size if fits else 0
        self.slots = min(capacity // self._a_row, self.count)
        if self.slots < 1:
            raise UserError(
                f"a cache of {capacity} bytes holds no relative row of {self.width} anchors ({self._a_row} bytes); "
                "give it more room or take fewer anchors"
            )
        self.hits = self.misses = 0
        self._store = RowStore(self.slots, self.width, self._kept, self.device)
        self._slot_of = torch.full((self.count,), -1, dtype=torch.int32, device=self.device)
        self._token_in = torch.full((self.slots,), -1, dtype=torch.long, device=self.device)
        self._used_at = torch.zeros(self.slots, dtype=torch.long, device=self.device)
        self._now = self._filled = 0
        self._kept_rows = kept

    @torch.inference_mode()
    def take(self, ids: Tensor, out: Tensor | None = None) -> Tensor:
        """See `Rows`."""
        if out is None:
            out = torch.empty(len(ids), self.width, device=self.device)
        size = max(len(ids), 1) if self._have_room_for(len(ids)) else self.slots
        for part, rows in zip(ids.split(size), out.split(size), strict=True):
            slots = self._ready_slots(part)  # which may put a larger store in the place of the store
            self._store.take(slots, rows)
        return out

    @torch.inference_mode()
    def project(self, ids: Tensor, probabilities: Tensor) -> Tensor:
        """See `Rows`."""
        return _mixed_in_parts(self._mixed, ids, probabilities, self.width)

    @torch.inference_mode()
    def all(self) -> Tensor:
        """See `Rows`; nothing is kept."""
        ids = torch.arange(self.count, device=self.device)
        return torch.cat([self._worked_out(part) for part in ids.split(_built_at_a_time(self.width))])

    def _mixed(self, ids: Tensor, weights: Tensor) -> Tensor:
        """`RowStore.mix` of token ids and weights (B, K); of copies of the rows where not all have room at a time."""
        flat = ids.flatten()
        if self._have_room_for(len(flat)):
            slots = self._ready_slots(flat)
            return self._store.mix(slots.view_as(ids), weights)
        copies, size = RowStore(len(flat), self.width, self._kept, self.device), self.slots
        for start in range(0, len(flat), size):
            slots = self._ready_slots(flat[start : start + size])
            copies.put(torch.arange(start, start + len(slots), device=self.device), self._store.picked(slots))
        return copies.mix(torch.arange(len(flat), device=self.device).view_as(ids), weights)

    def _ready_slots(self, ids: Tensor) -> Tensor:
        """Slots of token ids (K,), at most as many as there are slots; missing rows are computed first."""
        self._now += 1
        slots = self._slot_of[ids]
        there = slots >= 0
        absent = len(ids) - int(there.sum())
        self.hits += len(ids) - absent
        slots = slots.long()
        if absent:
            missing = ids[~there].unique()
            self.misses += len(missing)
            self._used_at[slots[there]] = self._now
            self._fill(missing)
            slots = self._slot_of[ids].long()
        self._used_at[slots] = self._now
        return slots

    def _fill(self, missing: Tensor) -> None:
        """Computes the rows of new ids into the least recently used slots."""
        self._have_room_for(self._filled + len(missing))
        taken = self._used_at.topk(len(missing), largest=False).indices
        before = self._token_in[taken]
        self._slot_of[before[before >= 0]] = -1
        self._token_in[taken] = -1
        self._filled = min(self._filled + len(missing), self.slots)
        size = _built_at_a_time(self.width)
        if self._kept_rows is not None:
            for ids, slots in zip(missing.split(size), taken.split(size), strict=True):
                there, rows = self._kept_rows.take(ids)
                self._store.put(slots[there], rows)
                self._are_there(ids[there], slots[there])
            absent = self._slot_of[missing] < 0
            missing, taken = missing[absent], taken[absent]
        for ids, slots in zip(missing.split(size), taken.split(size), strict=True):
            self._store.write(slots, self._worked_out(ids))
            self._are_there(ids, slots)
        if self._kept_rows is not None:
            self._kept_rows.note(missing, self._still_there)

    def _are_there(self, ids: Tensor, slots: Tensor) -> None:
        """Notes new rows, only now: where memory has run out, the next call must not take them for there."""
        self._token_in[slots] = ids
        self._slot_of[ids] = slots.int()

    def _still_there(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Those of token ids that have not had to go, and their rows as they are stored."""
        ids = ids[self._slot_of[ids] >= 0]
        return ids, self._store.picked(self._slot_of[ids].long())

    def _worked_out(self, ids: Tensor) -> Tensor:
        return self._source.rows(ids, self._norms, self._at_hand)

    def _have_room_for(self, rows: int) -> bool:
        """Whether there are so many slots, after growing if that is allowed."""
        while self.slots < min(rows, self.count):
            slots = min(GROWTH * self.slots, self.count)
            if not self._may_grow(slots * self._a_row):
                break
            try:
                self._store = self._store.grown(slots)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                self._may_grow = never  # a limit that nobody knew of: what there is will do
                break
            fresh = slots - self.slots
            self._token_in = torch.cat([self._token_in, self._token_in.new_full((fresh,), -1)])
            self._used_at = torch.cat([self._used_at, self._used_at.new_zeros(fresh)])
            self.slots = slots
        return rows <= self.slots


def _built_at_a_time(width: int) -> int:
    """Rows that are worked out in one go."""
    rows = max(BUILT_AT_A_TIME // width, 1)
    return rows // ROUND * ROUND or rows


def _mixed_in_parts(
    mixed: Callable[[Tensor, Tensor], Tensor], ids: Tensor, probabilities: Tensor, width: int
) -> Tensor:
    """`mixed` of some prompts and some columns at a time, so that only so many rows are copied at a time.

    A prompt's sum is put together in the same parts whatever stands beside it.
    """
    at_a_time = max(MIXED_AT_A_TIME // width, 1)
    columns = min(MIXED_OF_A_PROMPT, at_a_time)
    prompts = max(at_a_time // min(columns, max(ids.shape[1], 1)), 1)
    sums = []
    for some, weights in zip(ids.split(prompts), probabilities.split(prompts), strict=True):
        total = mixed(some[:, :columns], weights[:, :columns])
        for start in range(columns, ids.shape[1], columns):
            total.add_(mixed(some[:, start : start + columns], weights[:, start : start + columns]))
        sums.append(total)
    return torch.cat(sums) if len(sums) > 1 else sums[0]
