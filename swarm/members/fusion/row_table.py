"""A table of relative representations, stored narrow and worked with in float32."""

import torch
from torch import Tensor
from torch.nn import functional

from swarm.engines.local.threads import one_thread

PART = 512  # columns of a row that are summed at a time: the sum stays in a processor's nearest cache
WIDENED = 8  # rows that are made float32 at a time to be mixed: few, so that they stay in a processor's cache
STORAGE = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class RowStore:
    """Rows (count, width) in float32 or bfloat16, which can be picked out and mixed.

    Memory that was never written costs nothing on a CPU: rows take their space as they come.
    """

    def __init__(self, count: int, width: int, dtype: torch.dtype, device: torch.device):
        self.width = width
        self._table = torch.empty(count, stored_width(width), dtype=dtype, device=device)

    def grown(self, count: int) -> "RowStore":
        """A larger table, with the same rows at the same indices."""
        larger = RowStore(count, self.width, self._table.dtype, self._table.device)
        larger._table[: len(self._table)] = self._table
        return larger

    def picked(self, indices: Tensor) -> Tensor:
        """The rows at indices (K,) as they are stored, for `put`."""
        return self._table[indices]

    def put(self, indices: Tensor, rows: Tensor) -> None:
        """Puts rows that another store has `picked` at indices (K,)."""
        self._table[indices] = rows

    def write(self, indices: Tensor, rows: Tensor) -> None:
        """Writes float32 rows (K, width) at indices (K,)."""
        self._table[indices, : self.width] = rows.to(self._table.dtype)
        if self.width < self._table.shape[1]:
            self._table[indices, self.width :] = 0

    def all(self) -> Tensor:
        """Every row (count, width), float32; no copy if they are stored so."""
        return self._table[:, : self.width].float()

    def take(self, indices: Tensor, out: Tensor | None = None) -> Tensor:
        """The rows at indices (K,) as (K, width) float32, in `out` if it is given, which must have that shape."""
        if self._table.device.type != "cpu":
            rows = self._table[indices, : self.width]
            return rows.float() if out is None else out.copy_(rows)
        if out is None:
            out = torch.empty(len(indices), self.width)
        with one_thread():
            self._copy(indices, out)
        return out

    def mix(self, indices: Tensor, probabilities: Tensor) -> Tensor:
        """Σ_i p_bi · row(index_bi) as (B, width) float32, for indices and probabilities (B, K)."""
        if self._table.device.type != "cpu":
            rows = self.take(indices.flatten()).view(*indices.shape, self.width)
            return torch.bmm(probabilities[:, None], rows)[:, 0]
        if self._table.dtype == torch.float32:
            return self._mix_parts(indices, probabilities)
        with one_thread():
            return self._mix_widened(indices, probabilities)

    def _copy(self, indices: Tensor, out: Tensor) -> None:
        """Copies rows, one by one.

        Picking them all at once makes a copy first, whose fresh memory costs more than the reading. One thread reads
        about as fast as memory gives; several wait for each other at every row, on a busy machine ten times as long.
        """
        for row, index in zip(out, indices.tolist(), strict=True):
            row.copy_(self._table[index, : self.width])

    def _mix_widened(self, indices: Tensor, probabilities: Tensor) -> Tensor:
        """`mix` with a few rows at a time made float32."""
        mixed = torch.zeros(len(indices), self.width)
        buffer = torch.empty(min(WIDENED, indices.shape[1]), self.width)
        for row, own, weights in zip(mixed, indices, probabilities, strict=True):
            # filling goes before rows are grouped, so that a prompt's sum is the same whatever stands beside it
            counts = weights.nonzero()[:, 0]
            for some, shares in zip(own[counts].split(WIDENED), weights[counts].split(WIDENED), strict=True):
                widened = buffer[: len(some)]
                self._copy(some, widened)
                row.addmv_(widened.T, shares)
        return mixed

    def _mix_parts(self, indices: Tensor, probabilities: Tensor) -> Tensor:
        """`mix` without copying rows: every part of `PART` columns is a sum of its own."""
        batch, count = indices.shape
        parts = self._table.shape[1] // PART
        index = indices[:, None] * parts + torch.arange(parts)[None, :, None]  # (B, parts, K)
        weights = probabilities[:, None].expand(batch, parts, count)
        mixed = functional.embedding_bag(
            index.view(-1, count),
            self._table.view(-1, PART),
            mode="sum",
            per_sample_weights=weights.reshape(-1, count),
        )
        return mixed.view(batch, -1)[:, : self.width]


def stored_width(width: int) -> int:
    """Columns that a row of this width is stored in."""
    return -(-width // PART) * PART


def storage_type(name: str) -> torch.dtype:
    """The dtype of that name; raises ValueError, naming those there are, if rows cannot be stored in it."""
    if name not in STORAGE:
        raise ValueError(f"rows can be stored as {' or '.join(STORAGE)}, got {name!r}")
    return STORAGE[name]
