"""Models whose rotary positions are scaled by the longest row of a batch: long rows are read alone, short ones at once.

A text must not depend on what was asked beside it or before it, but "longrope" (arXiv 2402.13753) takes other
frequencies for all rows of a pass as soon as one of them is longer than the model was trained for, and "dynamic" others
for every length beyond that, which it then keeps. Up to that length both are ordinary positions.
"""

from collections.abc import Iterator, Sequence

from swarm.engines.local.decoder import Decoder
from swarm.engines.local.plain_generate import Answers, PlainGenerate
from swarm.engines.local.positions import FreshPositions
from swarm.engines.local.sampled_tokens import RowSampler
from swarm.engines.local.shared_prefixes import Tokens


class LongRowsAlone:
    """A decoder that gives short rows to `short`, and decodes longer ones one by one by `generate`.

    Attributes:
      short: what decodes the rows that reach no further than `limit` with their answers.
      rows, held: of the last batch, as those of `Decoder`.
    """

    def __init__(self, short: Decoder | PlainGenerate, alone: PlainGenerate, limit: int):
        """`alone` takes rows one by one; it may have PEFT's wrapper around the same model."""
        self.short, self._alone, self._limit = short, alone, limit
        self.model = short.model
        self.rows = self.held = 0
        self._positions = FreshPositions(alone.model)

    @property
    def token_budget(self) -> int:
        """The most tokens that are held at a time, but always one row."""
        return self.short.token_budget

    @token_budget.setter
    def token_budget(self, tokens: int) -> None:
        self.short.token_budget = tokens

    def decode(
        self, rows: Sequence[Tokens], max_new_tokens: int, samplers: Sequence[RowSampler] | None = None
    ) -> Iterator[Answers]:
        """Yields every row's answer once; rows are the tokens of prompts, at least one each."""
        fits = [index for index, row in enumerate(rows) if len(row) + max_new_tokens <= self._limit]
        if fits:
            yield from self._part(self.short, rows, fits, max_new_tokens, samplers)
        for index in sorted(set(range(len(rows))).difference(fits)):
            yield from self._part(self._alone, rows, [index], max_new_tokens, samplers)

    def _part(
        self,
        way: Decoder | PlainGenerate,
        rows: Sequence[Tokens],
        indices: list[int],
        most: int,
        samplers: Sequence[RowSampler] | None,
    ) -> Iterator[Answers]:
        self._positions.restore()
        try:
            own = None if samplers is None else [samplers[index] for index in indices]
            for answers in way.decode([rows[index] for index in indices], most, own):
                yield [(indices[row], answer) for row, answer in answers]
        finally:
            self.rows, self.held = way.rows, way.held
            self._positions.restore()  # others may step the model meanwhile

    def release(self) -> None:
        """Frees the memory that is held between batches."""
        self.short.release()
