"""A ragged KV cache in buffers that stay: every row has its own length, column = position."""

from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer


class RaggedKVCache(Cache):
    """A transformers cache whose rows have lengths of their own; cropping is free and exchanging rows cheap.

    A row's token at position p lies in column p. What lies behind a row's end is never attended to, so forgetting the
    last tokens of a row is not writing anything at all. The last column takes what padding writes.

    Attributes:
      shape: rows and columns, the last column included.
    """

    def __init__(self, layers: int):
        super().__init__(layers=[_RaggedLayer(self) for _ in range(layers)])
        self.shape = (0, 0)
        self.rows: slice | torch.Tensor = slice(0, 0)
        self.row_indices = self.columns = torch.zeros(0, dtype=torch.long)
        self.seen = 0

    def reshape(self, rows: int, columns: int) -> None:
        """Sets rows and columns in the same memory, which grows if need be; the contents are lost."""
        self.shape = (rows, columns)
        for layer in self._filled():
            if any(buffer.numel() < needed for buffer, needed in zip(layer.buffers, layer.needed(), strict=True)):
                layer.buffers = []

    def widen(self, columns: int) -> None:
        """Adds columns and keeps the contents."""
        filled, before = self._filled(), self.shape[1]
        old = [[part.clone() for part in layer.parts()] for layer in filled]
        self.reshape(self.shape[0], columns)
        for layer, parts in zip(filled, old, strict=True):
            if not layer.buffers:
                layer.allocate(parts[0])
            for part, source in zip(layer.parts(), parts, strict=True):
                part[:, :, :before] = source
                part[:, :, before:] = 0

    def look_at(self, rows: list[int], columns: torch.Tensor, seen: int) -> None:
        """The next forward pass has these rows (ascending), writes its tokens to `columns` and sees the first `seen`.

        `columns` is (rows, tokens).
        """
        index = torch.tensor(rows, device=columns.device)
        # neighbours are seen where they lie, others are copied together
        self.rows = slice(rows[0], rows[-1] + 1) if rows[-1] - rows[0] == len(rows) - 1 else index
        self.row_indices, self.columns, self.seen = index[:, None], columns, seen

    def copy(self, source: int, targets: list[int], columns: int) -> None:
        """Copies a row's first columns over other rows', which hold nothing else then."""
        for layer in self._filled():
            for part in layer.parts():
                for target in targets:
                    part[target, :, :columns] = part[source, :, :columns]
                    part[target, :, columns:] = 0  # what is masked must still be a number

    def bytes(self) -> int:
        """Bytes of the buffers."""
        return sum(buffer.nbytes for layer in self._filled() for buffer in layer.buffers)

    def release(self) -> None:
        """Frees the buffers."""
        self.shape = (0, 0)
        for layer in self.layers:
            layer.buffers = []

    def _filled(self) -> "list[_RaggedLayer]":
        return [layer for layer in self.layers if layer.buffers]


class _RaggedLayer(DynamicLayer):
    """One layer's buffers, each a flat stretch of memory that is seen as (rows, heads, columns, width)."""

    def __init__(self, cache: RaggedKVCache):
        super().__init__()
        self.cache = cache
        self.buffers: list[torch.Tensor] = []
        self.sizes: list[tuple[int, int]] = []  # heads and width, of keys and of values
        self.is_initialized = True

    def allocate(self, like: torch.Tensor) -> None:
        """New buffers, all zeros: what is masked must still be a number."""
        self.buffers = [like.new_zeros(size) for size in self.needed()]

    def needed(self) -> list[int]:
        """The sizes of the keys and of the values."""
        return [self.cache.shape[0] * self.cache.shape[1] * heads * width for heads, width in self.sizes]

    def parts(self) -> list[torch.Tensor]:
        """Keys and values as (rows, heads, columns, width)."""
        rows, columns = self.cache.shape
        return [
            buffer[: rows * columns * heads * width].view(rows, heads, columns, width)
            for buffer, (heads, width) in zip(self.buffers, self.sizes, strict=True)
        ]

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Writes new tokens, each row's to its own columns, and returns all that the pass sees."""
        if not self.buffers:
            self.sizes = [(part.shape[1], part.shape[3]) for part in (key_states, value_states)]
            self.allocate(key_states)
        cache = self.cache
        keys, values = self.parts()
        keys[cache.row_indices, :, cache.columns] = key_states.transpose(1, 2)
        values[cache.row_indices, :, cache.columns] = value_states.transpose(1, 2)
        return keys[cache.rows, :, : cache.seen], values[cache.rows, :, : cache.seen]

    def get_seq_length(self) -> int:
        """Columns that are seen already."""
        return self.cache.seen - self.cache.columns.shape[1]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Columns that the pass will see, and where they begin."""
        return self.cache.seen, 0
