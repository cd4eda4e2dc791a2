"""A stepper on the token core: many rows of one model side by side, each of its own length."""

from collections.abc import Sequence
from typing import Any

import torch

from swarm.engines.local.attention_masks import MaskKinds
from swarm.engines.local.lora_batch import RowAdapters
from swarm.engines.local.positions import learned_positions, scaled_by_length
from swarm.engines.local.prefix_store import PrefixStore
from swarm.engines.local.shared_prefixes import Tokens, common_prefix
from swarm.engines.local.stepper_checks import check_adapters, check_length, check_rows
from swarm.engines.local.token_core import TokenCore

MOST_SHARED = 65_536  # tokens of beginnings that are read once for several rows


class RaggedStepper:
    """Rows of a causal model whose only memory is keys and values; see `stepper.Stepper` for what the calls mean.

    Attributes:
      separate_prompt: False: prompt and continuation are one sequence.
      limit: the tokens that a row may have, None for any number.
    """

    separate_prompt = False

    def __init__(self, model: Any, kinds: MaskKinds, adapters: RowAdapters | None = None):
        """`model` is the bare one; `kinds` are the masks that it takes."""
        self.model, self.adapters = model, adapters
        self.limit = min(filter(None, (learned_positions(model), scaled_by_length(model))), default=None)
        self._core = TokenCore(model, kinds, adapters)
        self._order: list[int] = []  # row of the core -> the row that it holds
        self._place: dict[int, int] = {}  # the same from the other side

    @property
    def read(self) -> int:
        """Tokens read so far, those shared by rows counted once."""
        return self._core.read

    @torch.no_grad()
    def open(self, rows: Sequence[Tokens], room: int, adapters: Sequence[int] | None = None) -> None:
        """Begins a batch; prefixes that several rows share are prefilled here, once."""
        spoken = check_adapters(self.adapters, len(rows), adapters)
        for row in rows:
            check_length(self.model, len(row) + room, self.limit)
        if self.adapters:
            self.adapters.attach()
        # rows that are read together lie side by side
        self._order = sorted(range(len(rows)), key=lambda row: (spoken[row], -len(rows[row]), row))
        self._place = {row: place for place, row in enumerate(self._order)}
        self._core.clear()
        if rows:
            self._core.reshape(len(rows), max(map(len, rows)) + room)
            ordered, own = [rows[row] for row in self._order], [spoken[row] for row in self._order]
            self._core.enter(ordered, own)
            PrefixStore(self._core, ordered, own, MOST_SHARED).enter([(place, place) for place in range(len(rows))])

    @torch.no_grad()
    def logits(self, rows: Sequence[int]) -> torch.Tensor:
        """Next-token logits, (len(rows), V) float32 on the model's device."""
        check_rows(rows, self._place)
        core = self._core
        longest = max((len(tokens) for tokens in core.rows), default=0)
        if core.rows and not core.holds(longest):
            core.widen(longest + longest // 4)
        if not rows:
            return torch.empty(0, 0, device=core.device)
        found = core.advance({place: len(core.rows[place]) for place in (self._place[row] for row in rows)})
        values = torch.cat([some for _, some in found]).float()
        order = {place: number for number, place in enumerate(place for some, _ in found for place in some)}
        return values[torch.tensor([order[self._place[row]] for row in rows], device=core.device)]

    def replace(self, row: int, tokens: Tokens) -> None:
        """Sets a row's tokens; what it has read of the common beginning stays."""
        check_rows([row], self._place)
        check_length(self.model, len(tokens), self.limit)
        core, place = self._core, self._place[row]
        kept = core.kept[place]
        core.keep(place, common_prefix(core.rows[place][:kept], tokens[:kept]))
        core.rows[place] = list(tokens)

    def append(self, row: int, token: int) -> None:
        """Appends a token to a row."""
        check_rows([row], self._place)
        own = self._core.rows[self._place[row]]
        check_length(self.model, len(own) + 1, self.limit)
        own.append(token)

    def tokens(self, row: int) -> Tokens:
        """All tokens of a row, those of its prompt included."""
        check_rows([row], self._place)
        return list(self._core.rows[self._place[row]])

    @torch.no_grad()
    def drop(self, row: int) -> None:
        """Frees a row; the last one moves to where it was."""
        check_rows([row], self._place)
        order = self._core.leave([self._place[row]])
        self._order = [self._order[place] for place in order]
        self._place = {row: place for place, row in enumerate(self._order)}

    def close(self) -> None:
        """Drops all rows and frees their memory."""
        self._order, self._place = [], {}
        self._core.release()
        if self.adapters:
            self.adapters.detach()

    def bytes(self) -> int:
        """Memory that keys and values take."""
        return self._core.kv_cache.bytes()
