"""A batched KV cache in buffers that stay, for rows that start and end at different times."""

from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

Prefix = list[tuple[torch.Tensor, torch.Tensor]]  # of every layer the keys and values, (heads, tokens, width) each


class BatchKVCache(Cache):
    """A transformers cache whose rows and columns can be entered, left and reused without copying the rest.

    All rows are written at the same column, so that they end side by side; what lies before a row's first token is
    masked by the caller. A window says which rows and columns the next forward pass sees; nothing is concatenated.
    """

    def __init__(self, layers: int):
        super().__init__(layers=[_BatchLayer(self) for _ in range(layers)])
        self.shape = (0, 0)
        self.rows = slice(0, 0)
        self.first = self.written = 0

    def reshape(self, rows: int, columns: int) -> None:
        """Sets rows and columns in the same memory, which grows if need be; the contents are lost."""
        self.shape = (rows, columns)
        for layer in self._filled():
            layer.views = []
            if any(buffer.numel() < needed for buffer, needed in zip(layer.buffers, layer.needed(), strict=True)):
                layer.buffers = []

    def look_at(self, rows: slice, first: int, written: int) -> None:
        """Sets the next pass's window: it writes these rows from column `written` on and sees columns from `first`."""
        self.rows, self.first, self.written = rows, first, written

    def blank(self, rows: slice, columns: slice) -> None:
        """Writes zeros: what is masked must still be a number."""
        for layer in self._filled():
            for part in layer.parts():
                part[rows, :, columns] = 0

    def fill(self, rows: list[int], column: int, prefix: Prefix) -> None:
        """Writes keys and values that were computed before into rows, from a column on."""
        index = torch.tensor(rows, device=prefix[0][0].device)
        for layer, (keys, values) in zip(self.layers, prefix, strict=True):
            layer.make_room(keys[None], values[None])
            columns = slice(column, column + keys.shape[-2])
            for part, source in zip(layer.parts(), (keys, values), strict=True):
                part[index, :, columns] = source

    def move(self, sources: torch.Tensor, targets: torch.Tensor, columns: slice) -> None:
        """Copies rows' columns over other rows'; both are indices."""
        for layer in self._filled():
            for part in layer.parts():
                part[targets, :, columns] = part[sources, :, columns]

    def shift(self, rows: slice, columns: slice, by: int) -> None:
        """Moves columns to the left."""
        target = slice(columns.start - by, columns.stop - by)
        for layer in self._filled():
            for part in layer.parts():
                part[rows, :, target] = part[rows, :, columns].clone()

    def bytes(self) -> int:
        """Bytes of the buffers."""
        return sum(buffer.nbytes for layer in self._filled() for buffer in layer.buffers)

    def release(self) -> None:
        """Frees the buffers."""
        for layer in self.layers:
            layer.buffers, layer.views = [], []

    def _filled(self) -> "list[_BatchLayer]":
        return [layer for layer in self.layers if layer.buffers]


class _BatchLayer(DynamicLayer):
    """One layer's buffers, each a flat stretch of memory that is seen as (rows, heads, columns, width)."""

    def __init__(self, kv_cache: BatchKVCache):
        super().__init__()
        self.kv_cache = kv_cache
        self.buffers: list[torch.Tensor] = []
        self.views: list[torch.Tensor] = []  # of them as they are seen now; made when they are asked for
        self.sizes: list[tuple[int, int]] = []  # heads and width, of keys and of values
        self.is_initialized = True

    def make_room(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Allocates the buffers if the cache does not fit; `keys` and `values` have one token's shape."""
        if not self.buffers:
            self.sizes = [(part.shape[1], part.shape[3]) for part in (keys, values)]
            self.buffers = [part.new_zeros(size) for part, size in zip((keys, values), self.needed(), strict=True)]

    def needed(self) -> list[int]:
        """The sizes of the cache's keys and of its values."""
        return [self.kv_cache.shape[0] * self.kv_cache.shape[1] * heads * width for heads, width in self.sizes]

    def parts(self) -> list[torch.Tensor]:
        """Keys and values as (rows, heads, columns, width)."""
        if not self.views:
            rows, columns = self.kv_cache.shape
            self.views = [
                buffer[: rows * columns * heads * width].view(rows, heads, columns, width)
                for buffer, (heads, width) in zip(self.buffers, self.sizes, strict=True)
            ]
        return self.views

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Writes new tokens into the window and returns all that it sees."""
        self.make_room(key_states, value_states)
        kv_cache = self.kv_cache
        end = kv_cache.written + key_states.shape[-2]
        keys, values = self.parts()
        keys[kv_cache.rows, :, kv_cache.written : end] = key_states
        values[kv_cache.rows, :, kv_cache.written : end] = value_states
        return keys[kv_cache.rows, :, kv_cache.first : end], values[kv_cache.rows, :, kv_cache.first : end]

    def get_seq_length(self) -> int:
        """Columns that the window sees already."""
        return self.kv_cache.written - self.kv_cache.first

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Columns that it will see, and where they begin."""
        return self.get_seq_length() + query_length, 0
