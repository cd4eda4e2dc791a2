"""Greedy decoding with continuous batching: finished rows leave the KV cache, new ones enter."""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers import DynamicCache

from swarm.engines.local.attention_masks import causal_mask
from swarm.engines.local.kv_cache import BatchKVCache, Prefix
from swarm.engines.local.plain_generate import Answers, left_padded
from swarm.engines.local.sampled_tokens import RowSampler
from swarm.engines.local.shared_prefixes import Tokens, shared_prefixes
from swarm.engines.local.threads import Threads

# tokens that one forward pass reads: enough to keep a device busy, few enough for its caches
CHUNKS = {"cpu": 512, "cuda": 4096}
SECONDS = 1.0  # after which what has finished is given away, so that a kill loses little and limits are noticed
REFILL = 0.25  # share of the KV cache's rows that must be free before new ones are read


class Decoder:
    """Greedy decoding of a causal language model with a batched KV cache.

    Attributes:
      token_budget: the most tokens, prompts and answers with padding, that are held at a time.
      rows: the number of rows of the last KV cache.
      held: how many tokens it held, with padding.
      chunk: tokens that one forward pass reads, half as many again at most.
    """

    def __init__(self, model: Any, plain: bool, ends: set[int], pad: int, token_budget: int):
        """`plain` says that all layers attend to all columns and take a mask as it is (see `stepping`).

        `ends` are the tokens that end an answer, `pad` fills rows up.
        """
        self.model, self.plain = model, plain
        self.ends, self.pad = ends, pad
        self.token_budget = token_budget
        self.rows = self.held = 0
        self.kv_cache = BatchKVCache(model.config.get_text_config().num_hidden_layers)
        parameter = next(model.parameters())
        self.device, self.dtype = parameter.device, parameter.dtype
        self.chunk = CHUNKS[self.device.type]
        self._threads = Threads(model)

    @torch.inference_mode()
    def decode(
        self, rows: Sequence[Tokens], max_new_tokens: int, samplers: Sequence[RowSampler] | None = None
    ) -> Iterator[Answers]:
        """Yields every row's answer once, as they finish; rows are the tokens of prompts, at least one each.

        `samplers` draw the rows' tokens; without them the likeliest one is taken.
        """
        run = _Run(self, rows, max_new_tokens, samplers)
        self.rows, self.held = run.capacity, run.capacity * run.columns
        yield from run.run()

    def forward(self, ids: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor, cache: Any) -> torch.Tensor:
        """The logits of every row's next token, (rows, V); ids and positions are (rows, tokens)."""
        with self._threads.of_a_pass():
            output = self.model(
                input_ids=ids,
                position_ids=positions,
                attention_mask=mask,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
        return output.logits[:, -1]  # type: ignore[no-any-return]

    @torch.inference_mode()
    def read_prefixes(self, beginnings: Sequence[Tokens]) -> list[Prefix]:
        """Keys and values of each shared prefix, read side by side."""
        longest = max(map(len, beginnings))
        ids = left_padded(beginnings, self.pad, self.device)
        lengths = torch.tensor([[len(row)] for row in beginnings], device=self.device)
        columns = torch.arange(-longest, 0, device=self.device)
        cache = DynamicCache(config=self.model.config)
        mask = causal_mask(columns >= -lengths, longest, self.dtype)
        self.forward(ids, (lengths + columns).clamp_(min=0), mask, cache)
        return [
            [(layer.keys[row, :, -len(own) :], layer.values[row, :, -len(own) :]) for layer in cache.layers]
            for row, own in enumerate(beginnings)
        ]

    def release(self) -> None:
        """Frees the KV cache's memory."""
        self.kv_cache.release()


class _Run:
    """One call of `Decoder.decode`.

    Rows 0 .. len(ids)-1 of the KV cache are in use. All end at column `cursor`; row r begins at column `starts[r]`.
    """

    def __init__(
        self,
        decoder: Decoder,
        rows: Sequence[Tokens],
        max_new_tokens: int,
        samplers: Sequence[RowSampler] | None = None,
    ):
        self._samplers = samplers
        self._decoder, self._kv_cache = decoder, decoder.kv_cache
        self._tokens, self._most = rows, max_new_tokens
        budget = decoder.token_budget
        self._shared = shared_prefixes(rows, budget // 4) if decoder.plain else [0] * len(rows)
        own = [len(row) - shared for row, shared in zip(rows, self._shared, strict=True)]
        # longest first, so that rows that are read together need little padding
        self._queue = deque(sorted(range(len(rows)), key=lambda i: (-own[i], -self._shared[i], i)))
        self._prefixes: dict[tuple[int, ...], Prefix] = {}
        self._width = max(own) + max(self._shared)
        # room to the right, so that new rows need not wait for the longest to end
        self._slack = max_new_tokens // 2
        self.columns = columns = self._width + max_new_tokens + self._slack
        self._beginnings = [tuple(row[:shared]) for row, shared in zip(rows, self._shared, strict=True)]
        kept = sum(map(len, set(self._beginnings)))
        self.capacity = min(max((budget - kept) // columns, 1), len(rows))
        self._kv_cache.reshape(self.capacity, columns)
        self._cursor = self._width
        self._filling = True
        self._ids: list[int] = []
        self._starts: list[int] = []
        self._answers: list[Tokens] = [[] for _ in rows]
        self._finished: Answers = []
        device = decoder.device
        self._last = torch.zeros(0, dtype=torch.long, device=device)
        self._positions = torch.zeros(0, dtype=torch.long, device=device)
        # what a row may attend to: added to its attention's scores, or as transformers wants it, 1 or 0
        self._yes: float = 0.0 if decoder.plain else 1
        self._no: float = float("-inf") if decoder.plain else 0
        kind = decoder.dtype if decoder.plain else torch.long
        self._mask = torch.full((self.capacity, columns), self._no, dtype=kind, device=device)

    def run(self) -> Iterator[Answers]:
        """The answers of all rows, in parts: whenever new rows are read, every second or so, and at the end."""
        self._read_prefixes()
        given = time.monotonic()
        while self._queue or self._ids:
            reading = self._wants_more()
            if self._finished and (reading or time.monotonic() - given >= SECONDS):
                yield self._take_finished()
                given = time.monotonic()
            if reading:
                self._read(self._next_chunk())
            else:
                self._step()
        if self._finished:
            yield self._take_finished()

    def _take_finished(self) -> Answers:
        finished, self._finished = self._finished, []
        return finished

    def _wants_more(self) -> bool:
        """Whether prompts of the queue are to be read now."""
        active, free = len(self._ids), self.capacity - len(self._ids)
        if not self._queue:
            return False
        if not active:
            self._cursor, self._filling = self._width, True
        elif not self._filling and free >= max(self.capacity * REFILL, 1):
            self._filling = self._make_room()
        self._filling = self._filling and free > 0
        return self._filling

    def _make_room(self) -> bool:
        """Moves all rows to the left so that new ones have columns for their answers; False if they do not get them."""
        most = self._width + self._slack
        if self._cursor <= most:
            return True
        by = min(self._cursor - self._width, min(self._starts))
        if self._cursor - by > most:
            return False
        rows, columns = slice(0, len(self._ids)), slice(by, self._cursor)
        self._kv_cache.shift(rows, columns, by)
        self._mask[rows, : self._cursor - by] = self._mask[rows, columns].clone()
        self._starts = [start - by for start in self._starts]
        self._cursor -= by
        return True

    def _next_chunk(self) -> list[int]:
        longest = len(self._tokens[self._queue[0]]) - self._shared[self._queue[0]]
        rows = min(self.capacity - len(self._ids), len(self._queue))
        # as even as can be: a short last pass would cost almost as much as a long one
        passes = max(round(rows * longest / self._decoder.chunk), 1)
        count = -(-rows // passes)
        return [self._queue.popleft() for _ in range(count)]

    def _read(self, chunk: list[int]) -> None:
        """Prefills new rows below those in use, which gives their first tokens."""
        own = [self._tokens[i][self._shared[i] :] for i in chunk]
        shared = [self._shared[i] for i in chunk]
        longest = max(map(len, own))
        begin, device = self._cursor - longest, self._decoder.device
        rows = slice(len(self._ids), len(self._ids) + len(chunk))
        self._fill_prefixes(chunk, rows.start, begin)
        ids = left_padded(own, self._decoder.pad, device)
        lengths = torch.tensor([[len(row), prefix] for row, prefix in zip(own, shared, strict=True)], device=device)
        before = torch.arange(-self._cursor, 0, device=device)  # columns, counted back from the cursor
        there = (before >= -lengths[:, :1]) | ((before < -longest) & (before >= -longest - lengths[:, 1:]))
        self._mask[rows] = self._no
        self._mask[rows, : self._cursor].masked_fill_(there, self._yes)
        positions = (lengths.sum(1, keepdim=True) + before[-longest:]).clamp_(min=0)
        first = begin - max(shared)
        self._kv_cache.look_at(rows, first, begin)
        there = there[:, first:]
        mask = causal_mask(there, longest, self._decoder.dtype) if self._decoder.plain else there.long()
        tokens = self._next(self._decoder.forward(ids, positions, mask, self._kv_cache), chunk)
        self._ids += chunk
        self._starts += [min(begin - prefix, self._cursor - len(row)) for row, prefix in zip(own, shared, strict=True)]
        self._last = torch.cat([self._last, tokens])
        self._positions = torch.cat([self._positions, lengths.sum(1)])
        self._note(tokens, rows.start)

    def _read_prefixes(self) -> None:
        """Prefills the prefixes that rows share, as many side by side as one forward pass takes."""
        waiting = sorted({beginning for beginning in self._beginnings if beginning}, key=len, reverse=True)
        while waiting:
            count = max(self._decoder.chunk // len(waiting[0]), 1)
            taken, waiting = waiting[:count], waiting[count:]
            self._prefixes |= zip(taken, self._decoder.read_prefixes([list(one) for one in taken]), strict=True)

    def _fill_prefixes(self, chunk: list[int], row: int, column: int) -> None:
        """Copies the shared prefixes into the rows' caches, so that they end before this column."""
        self._kv_cache.blank(slice(row, row + len(chunk)), slice(0, column))
        rows: dict[tuple[int, ...], list[int]] = {}
        for offset, index in enumerate(chunk):
            if self._shared[index]:
                rows.setdefault(self._beginnings[index], []).append(row + offset)
        for beginning, own in rows.items():
            self._kv_cache.fill(own, column - len(beginning), self._prefixes[beginning])

    def _step(self) -> None:
        """Decodes one token for every row."""
        rows, first = slice(0, len(self._ids)), min(self._starts)
        self._mask[rows, self._cursor] = self._yes
        mask = self._mask[rows, first : self._cursor + 1]
        self._kv_cache.look_at(rows, first, self._cursor)
        logits = self._decoder.forward(
            self._last[:, None],
            self._positions[:, None],
            mask[:, None, None] if self._decoder.plain else mask,
            self._kv_cache,
        )
        self._last = self._next(logits, self._ids)
        self._cursor += 1
        self._positions = self._positions + 1
        self._note(self._last, 0)

    def _next(self, logits: torch.Tensor, indices: Sequence[int]) -> torch.Tensor:
        """The next tokens of these rows."""
        if self._samplers is None:
            return logits.argmax(-1)
        drawn = [self._samplers[index].draw(row) for index, row in zip(indices, logits, strict=True)]
        return torch.tensor(drawn, device=logits.device)

    def _note(self, tokens: torch.Tensor, start: int) -> None:
        """Appends the new tokens of the rows from `start` on; rows that have ended leave the KV cache."""
        ended = []
        for row, token in enumerate(tokens.tolist(), start):
            index = self._ids[row]
            answer = self._answers[index]
            answer.append(token)
            if token in self._decoder.ends or len(answer) == self._most:
                ended.append(row)
                self._finished.append((index, answer))
        if ended:
            self._leave(ended)

    def _leave(self, ended: list[int]) -> None:
        """Frees rows and moves the last ones to where they were."""
        order = list(range(len(self._ids)))  # row -> the row that it takes over
        for row in reversed(ended):
            order[row] = order[-1]
            order.pop()
        targets = [row for row, source in enumerate(order) if row != source]
        if targets:
            device = self._decoder.device
            into = torch.tensor(targets, device=device)
            out_of = torch.tensor([order[row] for row in targets], device=device)
            columns = slice(min(self._starts), self._cursor)
            self._kv_cache.move(out_of, into, columns)
            for values in (self._mask, self._last, self._positions):
                values[into] = values[out_of]
        self._ids = [self._ids[source] for source in order]
        self._starts = [self._starts[source] for source in order]
        self._last, self._positions = self._last[: len(order)], self._positions[: len(order)]
