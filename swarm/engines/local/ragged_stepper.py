"""A stepper with a ragged KV cache: many rows of one model side by side, each of its own length."""

from collections.abc import Sequence
from typing import Any

import torch

from swarm.engines.local.attention_masks import MaskKinds
from swarm.engines.local.greedy_decoding import CHUNKS
from swarm.engines.local.lora_batch import BARE, RowAdapters
from swarm.engines.local.plain_generate import left_padded
from swarm.engines.local.positions import learned_positions, scaled_by_length
from swarm.engines.local.ragged_kv_cache import RaggedKVCache
from swarm.engines.local.shared_prefixes import Tokens, common_prefix, shared_prefixes
from swarm.engines.local.stepper_checks import check_adapters, check_length, check_rows
from swarm.engines.local.threads import Threads

MOST_SHARED = 65_536  # tokens of beginnings that are read once for several rows


class RaggedStepper:
    """Rows of a causal model whose only memory is keys and values; see `stepper.Stepper` for what the calls mean.

    A row's tokens are read into columns 0, 1, ...; `_kept` says how many of them are valid. They are rows
    0 .. n-1 of the cache, those of one adapter side by side.

    Attributes:
      separate_prompt: False: prompt and continuation are one sequence.
      limit: the tokens that a row may have, None for any number.
      read: tokens read so far, those shared by rows counted once.
    """

    separate_prompt = False

    def __init__(self, model: Any, kinds: MaskKinds, adapters: RowAdapters | None = None):
        """`model` is the bare one; `kinds` are the masks that it takes."""
        self.model, self.kinds, self.adapters = model, kinds, adapters
        config = model.config
        self.limit = min(filter(None, (learned_positions(model), scaled_by_length(model))), default=None)
        self.read = 0
        parameter = next(model.parameters())
        self._device, self._dtype = parameter.device, parameter.dtype
        self._chunk = CHUNKS[self._device.type]
        self._cache = RaggedKVCache(config.get_text_config().num_hidden_layers)
        self._threads = Threads(model)
        self._begin([], [])

    @torch.no_grad()
    def open(self, rows: Sequence[Tokens], room: int, adapters: Sequence[int] | None = None) -> None:
        """Begins a batch; prefixes that several rows share are prefilled here, once."""
        spoken = check_adapters(self.adapters, len(rows), adapters)
        for row in rows:
            check_length(self.model, len(row) + room, self.limit)
        self._begin(rows, spoken)
        if self.adapters:
            self.adapters.attach()
        if rows:
            # the last column takes what padding writes
            self._cache.reshape(len(rows), max(map(len, rows)) + room + 1)
            self._read_beginnings()

    @torch.no_grad()
    def logits(self, rows: Sequence[int]) -> torch.Tensor:
        """Next-token logits, (len(rows), V) float32 on the model's device."""
        check_rows(rows, self._cache_row)
        for row in rows:
            # at least one token has to be read
            self._kept[row] = min(self._kept[row], len(self._tokens[row]) - 1)
        self._make_room(max((len(self._tokens[row]) for row in rows), default=0))
        if not rows:
            return torch.empty(0, 0, device=self._device)
        found = self._read({row: len(self._tokens[row]) for row in rows})
        values = torch.cat([some for _, some in found]).float()
        order = {row: number for number, row in enumerate(row for some, _ in found for row in some)}
        return values[torch.tensor([order[row] for row in rows], device=self._device)]

    def replace(self, row: int, tokens: Tokens) -> None:
        """Sets a row's tokens; what it has read of the common beginning stays."""
        check_rows([row], self._cache_row)
        check_length(self.model, len(tokens), self.limit)
        kept = self._kept[row]
        self._kept[row] = common_prefix(self._tokens[row][:kept], tokens[:kept])
        self._tokens[row] = list(tokens)

    def append(self, row: int, token: int) -> None:
        """Appends a token to a row."""
        check_rows([row], self._cache_row)
        check_length(self.model, len(self._tokens[row]) + 1, self.limit)
        self._tokens[row].append(token)

    def tokens(self, row: int) -> Tokens:
        """All tokens of a row, those of its prompt included."""
        check_rows([row], self._cache_row)
        return list(self._tokens[row])

    @torch.no_grad()
    def drop(self, row: int) -> None:
        """Frees a row; others move to where it was in the cache, at most one for each adapter."""
        check_rows([row], self._cache_row)
        hole = self._cache_row.pop(row)
        spoken = [self._spoken[other] for other in self._order]
        # the last row of each adapter's moves to the row that has become free, so that they stay side by side
        lasts = [index for index in range(hole, len(spoken)) if spoken[index] not in spoken[index + 1 : index + 2]]
        for last in lasts:
            if last != hole:
                moved = self._order[last]
                self._cache.copy(last, [hole], self._kept[moved])
                self._order[hole], self._cache_row[moved] = moved, hole
            hole = last
        self._order.pop()
        self._tokens[row] = []

    def close(self) -> None:
        """Drops all rows and frees their memory."""
        self._begin([], [])
        self._cache.release()
        if self.adapters:
            self.adapters.detach()

    def bytes(self) -> int:
        """Memory that keys and values take."""
        return self._cache.bytes()

    def _begin(self, rows: Sequence[Tokens], spoken: list[int]) -> None:
        self._tokens = [list(row) for row in rows]
        self._kept = [0] * len(rows)
        self._spoken = spoken
        # rows that are read together lie side by side
        self._order = sorted(range(len(rows)), key=lambda row: (spoken[row], -len(rows[row]), row))
        self._cache_row = {row: index for index, row in enumerate(self._order)}

    def _make_room(self, longest: int) -> None:
        columns = self._cache.shape[1]
        if longest + 1 > columns:
            self._cache.widen(longest + 1 + columns // 4)

    def _read_beginnings(self) -> None:
        """Prefills a prefix that several rows of an adapter share in one of them, and copies it to the others."""
        marked = [[BARE - 1 - one, *row] for one, row in zip(self._spoken, self._tokens, strict=True)]
        classes: dict[tuple[int, ...], list[int]] = {}
        for row, length in enumerate(shared_prefixes(marked, MOST_SHARED)):
            if length > 1:
                classes.setdefault(tuple(marked[row][:length]), []).append(row)
        self._read({rows[0]: len(beginning) - 1 for beginning, rows in classes.items()})
        for beginning, (first, *others) in classes.items():
            columns = len(beginning) - 1
            self._cache.copy(self._cache_row[first], [self._cache_row[row] for row in others], columns)
            for row in others:
                self._kept[row] = columns

    def _read(self, ends: dict[int, int]) -> list[tuple[list[int], torch.Tensor]]:
        """Prefills rows up to the given lengths; returns rows and logits, (rows, V), of the passes that ended them."""
        for row, end in ends.items():
            while end - self._kept[row] > self._chunk:
                self._pass([row], {row: self._kept[row] + self._chunk})
        found, waiting = [], sorted(ends, key=lambda row: (self._kept[row] - ends[row], self._cache_row[row]))
        while waiting:
            longest = ends[waiting[0]] - self._kept[waiting[0]]
            # as even as can be: a short last pass would cost almost as much as a long one
            passes = -(-len(waiting) * longest // self._chunk)
            count = max(-(-len(waiting) // passes), 1)
            taken, waiting = sorted(waiting[:count], key=self._cache_row.__getitem__), waiting[count:]
            found.append((taken, self._pass(taken, ends)))
        return found

    def _pass(self, rows: list[int], ends: dict[int, int]) -> torch.Tensor:
        """One forward pass over rows in the order of the cache: the logits behind each one's end."""
        new = [self._tokens[row][self._kept[row] : ends[row]] for row in rows]
        width = max(map(len, new))
        # tokens end side by side, so that the last one of each row is where logits are asked for
        bounds = [[self._kept[row], ends[row]] for row in rows]
        begin, end = torch.tensor(bounds, device=self._device).T[:, :, None]  # (rows, 1) each
        positions = end + torch.arange(-width, 0, device=self._device)  # (rows, tokens)
        columns = torch.where(positions >= begin, positions, self._cache.shape[1] - 1)
        positions = positions.clamp_(min=0)
        seen = max(ends[row] for row in rows)
        self._cache.look_at([self._cache_row[row] for row in rows], columns, seen)
        if self.adapters:
            self.adapters.speak([self._spoken[row] for row in rows])
        with self._threads.of_a_pass():
            output = self.model(
                input_ids=left_padded(new, 0, self._device),
                position_ids=positions,
                attention_mask=self.kinds.masks(positions, seen, self._dtype),
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=1,
            )
        self.read += sum(map(len, new))
        for row in rows:
            self._kept[row] = ends[row]
        return output.logits[:, -1]  # type: ignore[no-any-return]
