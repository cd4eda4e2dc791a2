"""Prefixes that rows share, read once and kept until the last of these rows has entered."""

from collections import Counter
from collections.abc import Sequence

from swarm.engines.local.kv_cache import Prefix
from swarm.engines.local.lora_batch import BARE
from swarm.engines.local.shared_prefixes import Tokens, shared_prefixes
from swarm.engines.local.token_core import TokenCore

Beginning = tuple[int, tuple[int, ...]]  # an adapter, and the tokens that it has read


class PrefixStore:
    """The prefixes of rows that are to enter a core, by adapter: what one has read is not what another would have.

    Attributes:
      lengths: the length of every row's prefix, 0 where none is shared.
    """

    def __init__(self, core: TokenCore, rows: Sequence[Tokens], adapters: Sequence[int], most: int):
        """The prefixes together have at most `most` tokens."""
        self._core = core
        self.lengths: list[int] = []
        self._beginnings: list[Beginning] = []
        self._waiting: Counter[Beginning] = Counter()
        self._kept: dict[Beginning, Prefix] = {}
        self.add(rows, adapters, most)

    def add(self, rows: Sequence[Tokens], adapters: Sequence[int], most: int) -> None:
        """Further rows, numbered on, which share among themselves."""
        marks = [BARE - 1 - adapter for adapter in adapters] if len(set(adapters)) > 1 else []
        if marks:  # a mark before the row stands for its adapter
            rows = [[mark, *row] for mark, row in zip(marks, rows, strict=True)]
        lengths = [max(length - bool(marks), 0) for length in shared_prefixes(rows, most)]
        first = bool(marks)
        new = [
            (adapter, tuple(row[first : first + length]))
            for adapter, row, length in zip(adapters, rows, lengths, strict=True)
        ]
        self.lengths += lengths
        self._beginnings += new
        self._waiting.update(beginning for beginning in new if beginning[1])

    @property
    def tokens(self) -> int:
        """The tokens of all prefixes that are kept, or still to be."""
        return sum(len(tokens) for _, tokens in self._waiting)

    def enter(self, entering: Sequence[tuple[int, int]]) -> None:
        """Gives rows that have entered the core what they share; pairs of a row's number here and its row there."""
        classes: dict[Beginning, list[int]] = {}
        for number, row in entering:
            if self.lengths[number]:
                classes.setdefault(self._beginnings[number], []).append(row)
        new = {rows[0]: len(key[1]) for key, rows in classes.items() if key not in self._kept}
        self._core.advance(new)
        for key, rows in classes.items():
            self._waiting[key] -= len(rows)
            others = [row for row in rows if row not in new]
            if key not in self._kept and (others or self._waiting[key]):
                self._kept[key] = self._core.beginning(rows[0], len(key[1]))
            if others:
                self._core.fill(others, self._kept[key])
            if not self._waiting[key]:
                del self._waiting[key]
                self._kept.pop(key, None)
