"""The token core: rows of one causal model side by side, each with its own length and adapter."""

from collections.abc import Sequence
from typing import Any

import torch

from swarm.engines.local.attention_masks import FULL, MaskKinds
from swarm.engines.local.kv_cache import KVCache, Prefix
from swarm.engines.local.lora_batch import BARE, RowAdapters
from swarm.engines.local.shared_prefixes import Tokens
from swarm.engines.local.threads import Threads

# tokens that one forward pass reads: enough to keep a device busy, few enough for its caches
CHUNKS = {"cpu": 512, "cuda": 4096}
# rows and columns that a step's shape is rounded up to: a device has its kernels ready for few shapes, and aligned
GRAINS = {"cpu": (1, 1), "cuda": (16, 64)}


class TokenCore:
    """Reads and decodes rows of tokens with a KV cache addressed by position.

    Rows 0 .. n-1 of the cache are in use. Memory is linear in the tokens held: prompts are read in bounded chunks.

    Attributes:
      adapters: the experts that rows may have adapters of; None for the bare model alone.
      rows: the tokens of each row in use.
      kept: how many of them the cache holds.
      spoken: each row's adapter.
      chunk: tokens that one pass reads, half as many again at most.
      read: tokens read so far, those shared by rows counted once.
    """

    def __init__(self, model: Any, kinds: MaskKinds, adapters: RowAdapters | None = None):
        """`model` is the bare one; `kinds` are the masks that it takes."""
        self.model, self.kinds, self.adapters = model, kinds, adapters
        parameter = next(model.parameters())
        self.device, self.dtype = parameter.device, parameter.dtype
        self.chunk = CHUNKS[self.device.type]
        self._grains = GRAINS[self.device.type]
        self.kv_cache = KVCache(model.config.get_text_config().num_hidden_layers)
        self.read = 0
        self._threads = Threads(model)
        # without windows, what a step may see grows by a column
        self._grows = set(kinds.windows) == {FULL} and not kinds.mixed
        self.clear()

    def clear(self) -> None:
        """Forgets all rows; the memory stays."""
        self.rows: list[Tokens] = []
        self.kept: list[int] = []
        self.spoken: list[int] = []
        self._changed()

    def reshape(self, rows: int, longest: int) -> None:
        """Makes room for so many rows of so many tokens; all that is held is lost."""
        self.clear()
        self.kv_cache.reshape(rows, self._columns(longest))

    def widen(self, longest: int) -> None:
        """Makes room for rows of so many tokens, and keeps what is held."""
        self.kv_cache.widen(self._columns(longest))
        self._changed()

    def holds(self, longest: int) -> bool:
        """Whether rows of so many tokens have room."""
        return longest < self.kv_cache.shape[1]

    def enter(self, rows: Sequence[Tokens], adapters: Sequence[int]) -> None:
        """Adds rows behind those in use, of which nothing is read yet."""
        start = len(self.rows)
        self.rows += [list(row) for row in rows]
        self.kept += [0] * len(rows)
        self.spoken += adapters
        self.kv_cache.blank(slice(start, len(self.rows)))
        self._changed()

    def leave(self, gone: Sequence[int]) -> list[int]:
        """Removes rows (ascending) and moves the last ones to where they were; returns where each row now came from."""
        order = list(range(len(self.rows)))
        for row in reversed(gone):
            order[row] = order[-1]
            order.pop()
        targets = [row for row, source in enumerate(order) if row != source]
        if targets:
            sources = [order[row] for row in targets]
            self.kv_cache.move(sources, targets, max(self.kept[row] for row in sources))
        self.rows = [self.rows[source] for source in order]
        self.kept = [self.kept[source] for source in order]
        self.spoken = [self.spoken[source] for source in order]
        self._changed()
        return order

    def keep(self, row: int, tokens: int) -> None:
        """Forgets all but a row's first tokens."""
        self.kept[row] = min(self.kept[row], tokens)
        self._changed()

    def beginning(self, row: int, tokens: int) -> Prefix:
        """A copy of the keys and values of a row's first tokens."""
        return self.kv_cache.beginning(row, tokens)

    def fill(self, rows: list[int], prefix: Prefix) -> None:
        """Gives rows, of which nothing is read yet, what another row with their adapter has read."""
        self.kv_cache.fill(rows, prefix)
        for row in rows:
            self.kept[row] = prefix[0][0].shape[-2]
        self._changed()

    def advance(self, ends: dict[int, int]) -> list[tuple[list[int], torch.Tensor]]:
        """Reads rows up to the given lengths; the rows and next-token logits, (rows, V), of the passes that ended them.

        A row of which nothing is left to read reads its last token again.
        """
        for row, end in ends.items():
            self.kept[row] = min(self.kept[row], end - 1)
            while end - self.kept[row] > self.chunk:
                self._pass([row], {row: self.kept[row] + self.chunk})
        found, waiting = [], sorted(ends, key=lambda row: (self.kept[row] - ends[row], row))
        while waiting:
            longest = ends[waiting[0]] - self.kept[waiting[0]]
            # as even as can be: a short last pass would cost almost as much as a long one
            passes = max(round(len(waiting) * longest / self.chunk), 1)
            count = -(-len(waiting) // passes)
            taken, waiting = sorted(waiting[:count]), waiting[count:]
            found.append((taken, self._pass(taken, ends)))
        self._changed()
        return found

    def step(self, ids: torch.Tensor) -> torch.Tensor:
        """Reads one more token, ids (rows,), for every row; the logits of the next ones, (rows, V).

        The tokens are not written into `rows`: who decodes has them.
        """
        count, longest = len(self.kept), max(self.kept)
        if self._positions is None:
            self._begin_steps(count)
        assert self._positions is not None
        size, columns = len(self._positions), self.kv_cache.shape[1]
        seen = min(_rounded(longest + 1, self._grains[1]), columns)
        positions = self._positions[:, None]
        if self._visible is None:
            mask = self.kinds.masks(positions, seen, self.dtype)
        else:
            self._visible[self._numbers, self._positions] = 0
            mask = self._visible[:, None, None, :seen]
        self.kv_cache.look_at(slice(0, size), positions, seen)
        ids = ids if size == count else torch.cat([ids, ids.new_zeros(size - count)])
        logits = self.forward(ids[:, None], positions, mask, [*self.spoken, *[BARE] * (size - count)])
        self._positions[:count] += 1
        self.kept = [kept + 1 for kept in self.kept]
        return logits[:count]

    def forward(self, ids: torch.Tensor, positions: torch.Tensor, mask: Any, spoken: Sequence[int]) -> torch.Tensor:
        """The logits of every row's next token, (rows, V); ids and positions are (rows, tokens)."""
        if self.adapters and self.adapters.attached:
            self.adapters.speak(spoken, ids.shape[1])
        with self._threads.of_a_pass():
            output = self.model(
                input_ids=ids,
                position_ids=positions,
                attention_mask=mask,
                past_key_values=self.kv_cache,
                use_cache=True,
                logits_to_keep=1,
            )
        return output.logits[:, -1]  # type: ignore[no-any-return]

    def release(self) -> None:
        """Frees the memory."""
        self.clear()
        self.kv_cache.release()

    def _columns(self, longest: int) -> int:
        return _rounded(longest + 1, self._grains[1])  # the last one takes what padding writes

    def _changed(self) -> None:
        """To be called where rows or what is kept of them have changed otherwise than by a step."""
        self._positions: torch.Tensor | None = None
        self._visible: torch.Tensor | None = None

    def _begin_steps(self, count: int) -> None:
        """Positions, and without windows the mask, of the steps to come; rows that only fill the shape up are at 0."""
        rows, columns = self.kv_cache.shape
        size = min(_rounded(count, self._grains[0]), rows)
        self._positions = torch.tensor([*self.kept, *[0] * (size - count)], device=self.device)
        self._numbers = torch.arange(size, device=self.device)
        if self._grows:
            hidden = torch.arange(columns, device=self.device) > self._positions[:, None]
            self._visible = torch.zeros(hidden.shape, dtype=self.dtype, device=self.device)
            self._visible.masked_fill_(hidden, float("-inf"))

    def _pass(self, rows: list[int], ends: dict[int, int]) -> torch.Tensor:
        """One forward pass over rows, ascending: the logits behind each one's end."""
        new = [self.rows[row][self.kept[row] : ends[row]] for row in rows]
        width = max(map(len, new))
        # tokens end side by side, so that the last one of each row is where logits are asked for
        bounds = [[self.kept[row], ends[row]] for row in rows]
        begin, end = torch.tensor(bounds, device=self.device).T[:, :, None]  # (rows, 1) each
        positions = end + torch.arange(-width, 0, device=self.device)  # (rows, tokens)
        columns = torch.where(positions >= begin, positions, self.kv_cache.shape[1] - 1)
        positions = positions.clamp_(min=0)
        seen = min(_rounded(max(ends[row] for row in rows), self._grains[1]), self.kv_cache.shape[1])
        self.kv_cache.look_at(rows, columns, seen)
        ids = torch.tensor([row[:1] * (width - len(row)) + row for row in new], device=self.device)
        masks = self.kinds.masks(positions, seen, self.dtype)
        logits = self.forward(ids, positions, masks, [self.spoken[row] for row in rows])
        self.read += sum(map(len, new))
        for row in rows:
            self.kept[row] = ends[row]
        return logits


def _rounded(number: int, grain: int) -> int:
    """The smallest multiple of `grain` that is not less."""
    return -(-number // grain) * grain
