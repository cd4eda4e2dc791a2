"""A KV cache in buffers that stay: every row has its own length, column = position."""

from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

Prefix = list[tuple[torch.Tensor, torch.Tensor]]  # of every layer the keys and values, (heads, tokens, width) each


class KVCache(Cache):
    """A transformers cache whose rows have lengths of their own; cropping is free and exchanging rows cheap.

    A row's token at position p lies in column p, whatever other rows hold. What lies behind a row's end is never
    attended to, so forgetting the last tokens of a row is not writing anything at all. The last column takes what
    padding writes.

    Attributes:
      shape: rows and columns, the last column included.
    """

    def __init__(self, layers: int):
        super().__init__(layers=[_Layer(self) for _ in range(layers)])
        self.shape = (0, 0)
        self.rows: slice | torch.Tensor = slice(0, 0)
        self.columns = torch.zeros(0, 0, dtype=torch.long)
        self.seen = 0
        self._row_indices = self.columns
        self._places: dict[int, torch.Tensor] = {}  # by heads: where the next pass writes, in flat memory

    def reshape(self, rows: int, columns: int) -> None:
        """Sets rows and columns in the same memory, which grows if need be; the contents are lost."""
        self.shape = (rows, columns)
        for layer in self._filled():
            layer.views = []
            if any(buffer.numel() < needed for buffer, needed in zip(layer.buffers, layer.needed(), strict=True)):
                layer.buffers = []

    def widen(self, columns: int) -> None:
        """Adds columns and keeps the contents."""
        filled, before = self._filled(), self.shape[1]
        old = [[part.clone() for part in layer.parts()] for layer in filled]
        self.reshape(self.shape[0], columns)
        for layer, parts in zip(filled, old, strict=True):
            layer.allocate(parts[0])
            for part, source in zip(layer.parts(), parts, strict=True):
                part[:, :, :before] = source
                part[:, :, before:] = 0

    def look_at(self, rows: slice | list[int], columns: torch.Tensor, seen: int) -> None:
        """The next forward pass has these rows (ascending), writes its tokens to `columns` and sees the first `seen`.

        `columns` is (rows, tokens).
        """
        if isinstance(rows, slice):
            self.rows, index = rows, torch.arange(rows.start, rows.stop, device=columns.device)
        else:
            index = torch.tensor(rows, device=columns.device)
            # neighbours are seen where they lie, others are copied together
            self.rows = slice(rows[0], rows[-1] + 1) if rows[-1] - rows[0] == len(rows) - 1 else index
        self._row_indices, self.columns, self.seen = index[:, None, None], columns, seen
        self._places = {}

    def places(self, heads: int) -> torch.Tensor:
        """Where the next pass writes, (rows · heads · tokens) indices into a layer's columns one after the other."""
        found = self._places.get(heads)
        if found is None:
            head = torch.arange(heads, device=self.columns.device)[None, :, None]
            found = ((self._row_indices * heads + head) * self.shape[1] + self.columns[:, None]).reshape(-1)
            self._places[heads] = found
        return found

    def blank(self, rows: slice) -> None:
        """Writes zeros: what is masked must still be a number, whatever the row before has left."""
        for layer in self._filled():
            for part in layer.parts():
                part[rows] = 0

    def beginning(self, row: int, columns: int) -> Prefix:
        """A copy of a row's first columns."""
        parts = [[part[row, :, :columns].clone() for part in layer.parts()] for layer in self._filled()]
        return [(keys, values) for keys, values in parts]

    def fill(self, rows: list[int], prefix: Prefix) -> None:
        """Writes what `beginning` has copied over the first columns of rows."""
        index = torch.tensor(rows, device=prefix[0][0].device)
        for layer, given in zip(self._filled(), prefix, strict=True):
            for part, source in zip(layer.parts(), given, strict=True):
                part[index, :, : source.shape[-2]] = source

    def move(self, sources: list[int], targets: list[int], columns: int) -> None:
        """Copies rows' first columns over other rows', which hold nothing else then."""
        for layer in self._filled():
            for part in layer.parts():
                out_of, into = (torch.tensor(rows, device=part.device) for rows in (sources, targets))
                part[into, :, :columns] = part[out_of, :, :columns]
                part[into, :, columns:] = 0

    def bytes(self) -> int:
        """Bytes of the buffers."""
        return sum(buffer.nbytes for layer in self._filled() for buffer in layer.buffers)

    def release(self) -> None:
        """Frees the buffers."""
        self.shape = (0, 0)
        for layer in self.layers:
            layer.buffers, layer.views = [], []

    def _filled(self) -> "list[_Layer]":
        return [layer for layer in self.layers if layer.buffers]


class _Layer(DynamicLayer):
    """One layer's buffers, each a flat stretch of memory that is seen as (rows, heads, columns, width)."""

    def __init__(self, kv_cache: KVCache):
        super().__init__()
        self.kv_cache = kv_cache
        self.buffers: list[torch.Tensor] = []
        self.views: list[torch.Tensor] = []  # of them as they are seen now; made when they are asked for
        self.sizes: list[tuple[int, int]] = []  # heads and width, of keys and of values
        self.is_initialized = True

    def allocate(self, like: torch.Tensor) -> None:
        """Buffers that are large enough; new ones are all zeros: what is masked must still be a number."""
        if not self.buffers:
            self.buffers = [like.new_zeros(size) for size in self.needed()]

    def needed(self) -> list[int]:
        """The sizes of the keys and of the values."""
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
        """Writes new tokens, each row's to its own columns, and returns all that the pass sees."""
        if not self.buffers:
            self.sizes = [(part.shape[1], part.shape[3]) for part in (key_states, value_states)]
            self.allocate(key_states)
        cache, found = self.kv_cache, []
        for part, new in zip(self.parts(), (key_states, value_states), strict=True):
            width = new.shape[-1]
            part.view(-1, width).index_copy_(0, cache.places(new.shape[1]), new.reshape(-1, width))
            found.append(part[cache.rows, :, : cache.seen])
        return found[0], found[1]

    def get_seq_length(self) -> int:
        """Columns that are seen already."""
        return self.kv_cache.seen - self.kv_cache.columns.shape[1]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Columns that the pass will see, and where they begin."""
        return self.kv_cache.seen, 0
