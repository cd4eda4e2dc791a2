"""Decoding with continuous batching: finished rows leave the KV cache, new ones enter, also while it runs."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence

import torch

from swarm.engines.local.lora_batch import BARE
from swarm.engines.local.plain_generate import Answers
from swarm.engines.local.prefix_store import PrefixStore
from swarm.engines.local.sampled_tokens import RowSampler
from swarm.engines.local.shared_prefixes import Tokens
from swarm.engines.local.token_core import TokenCore

SECONDS = 1.0  # after which what has finished is given away, so that a kill loses little and limits are noticed
REFILL = 0.25  # share of the KV cache's rows that must be free before new ones are read, unless they fill a pass
ROOM = 1.25  # columns over what is needed where rows that came later need more


class Decoder:
    """Decoding by a `TokenCore`; greedy where no samplers draw.

    Attributes:
      token_budget: the most tokens, prompts and answers with padding, that are held at a time.
      rows: the number of rows of the last KV cache.
      held: how many tokens it held, with padding.
    """

    def __init__(self, core: TokenCore, ends: set[int], token_budget: int):
        """`ends` are the tokens that end an answer."""
        self.core, self.ends = core, ends
        self.model = core.model
        self.token_budget = token_budget
        self.rows = self.held = 0

    def decode(
        self,
        rows: Sequence[Tokens],
        max_new_tokens: int,
        samplers: Sequence[RowSampler] | None = None,
        adapters: Sequence[int] | None = None,
        is_over: Callable[[Tokens], bool] | None = None,
    ) -> Iterator[Answers]:
        """Yields every row's answer once, as they finish; rows are the tokens of prompts, at least one each.

        `samplers` draw the rows' tokens; without them the likeliest one is taken. `adapters` are the core's that rows
        speak with, for all the bare model without them. `is_over` says of an answer's tokens whether it ends there.
        """
        decoding = Decoding(self, max_new_tokens, is_over)
        decoding.add(rows, samplers, adapters)
        yield from decoding.answers()

    def release(self) -> None:
        """Frees the KV cache's memory."""
        self.core.release()


class Decoding:
    """A decode that runs: rows can be added and withdrawn whenever it has given answers away.

    Rows are numbered in the order in which they are added.
    """

    def __init__(
        self,
        decoder: Decoder,
        max_new_tokens: int,
        is_over: Callable[[Tokens], bool] | None = None,
        more: bool = False,
    ):
        """`more` is whether rows may be added while it runs: memory is then taken for as many as may be held."""
        self._more, self._is_over = more, is_over
        self._decoder, self._core, self._most = decoder, decoder.core, max_new_tokens
        self._core.clear()
        self._tokens: list[Tokens] = []
        self._adapters: list[int] = []
        self._samplers: list[RowSampler | None] = []
        self._draws = False
        self._answers: list[Tokens] = []
        self._prefixes = PrefixStore(self._core, [], [], 0)
        self._queue: deque[int] = deque()
        self._ids: list[int] = []  # row of the KV cache -> its number
        self._last = torch.zeros(0, dtype=torch.long, device=self._core.device)
        self._finished: Answers = []
        self._capacity = self._longest = 0
        self._filling = True

    @torch.inference_mode()
    def add(
        self,
        rows: Sequence[Tokens],
        samplers: Sequence[RowSampler] | None = None,
        adapters: Sequence[int] | None = None,
    ) -> None:
        """Rows to be answered. Longer ones than all before need room; see `has_room`."""
        first = len(self._tokens)
        own = [BARE] * len(rows) if adapters is None else list(adapters)
        self._tokens += rows
        self._adapters += own
        self._samplers += [None] * len(rows) if samplers is None else samplers
        self._draws |= bool(samplers)
        self._answers += [[] for _ in rows]
        self._prefixes.add(rows, own, max(self._decoder.token_budget // 4 - self._prefixes.tokens, 0))
        new = range(first, len(self._tokens))
        # longest first, so that rows that are read together need little padding; those of one adapter side by side
        shared = self._prefixes.lengths
        left = {number: len(self._tokens[number]) - shared[number] for number in new}
        self._queue.extend(sorted(new, key=lambda n: (self._adapters[n], -left[n], -shared[n], n)))
        longest = max((len(row) for row in rows), default=0) + self._most
        if not self._ids:
            self._make_room(max(longest, self._longest))
        elif not self._core.holds(longest):
            self._longest = int(longest * ROOM)
            self._core.widen(self._longest)
            self._set_capacity()

    def has_room(self, longest: int) -> bool:
        """Whether rows of so many tokens, their answers not included, can be added while others are decoded."""
        needed = longest + self._most
        return not self._ids or self._core.holds(needed) or len(self._ids) < self._rows_of(int(needed * ROOM))

    @torch.inference_mode()
    def withdraw(self, numbers: Sequence[int]) -> None:
        """Rows that need no answer any more."""
        gone = set(numbers)
        self._queue = deque(number for number in self._queue if number not in gone)
        self._leave([row for row, number in enumerate(self._ids) if number in gone])

    @torch.inference_mode()
    def answers(self) -> Iterator[Answers]:
        """The answers of all rows, in parts: whenever new rows are read, every second or so, and at the end.

        Where rows may be added behind every part, also as soon as so many are free that new ones would be read.
        """
        given = time.monotonic()
        while self._queue or self._ids:
            reading = self._wants_more()
            starved = self._more and not self._queue and len(self._finished) >= REFILL * len(self._ids)
            if self._finished and (reading or starved or time.monotonic() - given >= SECONDS):
                yield self._take_finished()
                given = time.monotonic()
                reading = self._wants_more()
            if reading:
                self._read(self._next_chunk())
            elif self._ids:
                self._step()
        if self._finished:
            yield self._take_finished()

    def _rows_of(self, longest: int) -> int:
        columns = longest + 1
        return max((self._decoder.token_budget - self._prefixes.tokens) // columns, 1)

    def _make_room(self, longest: int) -> None:
        self._longest = longest
        rows = self._rows_of(longest)
        rows = rows if self._more else min(rows, len(self._queue))
        self._core.reshape(rows, longest)
        self._filling = True
        self._set_capacity()

    def _set_capacity(self) -> None:
        rows, columns = self._core.kv_cache.shape
        self._capacity = min(rows, self._rows_of(self._longest))
        self._decoder.rows, self._decoder.held = rows, rows * columns

    def _take_finished(self) -> Answers:
        finished, self._finished = self._finished, []
        return finished

    def _frees_enough(self) -> bool:
        """Whether so many rows are free that reading new ones is worth a pass."""
        free = self._capacity - len(self._ids)
        return free >= max(self._capacity * REFILL, 1)

    def _wants_more(self) -> bool:
        """Whether prompts of the queue are to be read now."""
        if not self._queue:
            return False
        free = self._capacity - len(self._ids)
        if not self._ids:
            self._filling = True
        elif not self._filling:
            left = len(self._tokens[self._queue[0]]) - self._prefixes.lengths[self._queue[0]]
            self._filling = self._frees_enough() or free * left >= self._core.chunk
        self._filling = self._filling and free > 0
        return self._filling

    def _next_chunk(self) -> list[int]:
        longest = len(self._tokens[self._queue[0]]) - self._prefixes.lengths[self._queue[0]]
        rows = min(self._capacity - len(self._ids), len(self._queue))
        # as even as can be: a short last pass would cost almost as much as a long one
        passes = max(round(rows * longest / self._core.chunk), 1)
        count = -(-rows // passes)
        return [self._queue.popleft() for _ in range(count)]

    def _read(self, chunk: list[int]) -> None:
        """Prefills new rows below those in use, which gives their first tokens."""
        start = len(self._ids)
        rows = range(start, start + len(chunk))
        self._core.enter([self._tokens[number] for number in chunk], [self._adapters[number] for number in chunk])
        self._prefixes.enter(list(zip(chunk, rows, strict=True)))
        ends = {row: len(self._tokens[number]) for row, number in zip(rows, chunk, strict=True)}
        self._ids += chunk
        tokens = self._last.new_zeros(len(chunk))
        for some, logits in self._core.advance(ends):
            tokens[[row - start for row in some]] = self._next(logits, [self._ids[row] for row in some])
        self._last = torch.cat([self._last, tokens])
        self._note(tokens, start)

    def _step(self) -> None:
        """Decodes one token for every row."""
        self._last = self._next(self._core.step(self._last), self._ids)
        self._note(self._last, 0)

    def _next(self, logits: torch.Tensor, numbers: Sequence[int]) -> torch.Tensor:
        """The next tokens of these rows."""
        best = logits.argmax(-1)
        if self._draws:
            for row, number in enumerate(numbers):
                if (sampler := self._samplers[number]) is not None:
                    best[row] = sampler.draw(logits[row])
        return best

    def _note(self, tokens: torch.Tensor, start: int) -> None:
        """Appends the new tokens of the rows from `start` on; rows that have ended leave the KV cache."""
        ended = []
        for row, token in enumerate(tokens.tolist(), start):
            number = self._ids[row]
            answer = self._answers[number]
            answer.append(token)
            ends = token in self._decoder.ends or len(answer) == self._most
            if ends or (self._is_over is not None and self._is_over(answer)):
                ended.append(row)
                self._finished.append((number, answer))
        if ended:
            self._leave(ended)

    def _leave(self, ended: list[int]) -> None:
        """Frees rows and moves the last ones to where they were."""
        order = self._core.leave(ended)
        self._ids = [self._ids[source] for source in order]
        self._last = self._last[torch.tensor(order, dtype=torch.long, device=self._last.device)]
