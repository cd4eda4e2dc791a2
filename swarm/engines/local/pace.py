"""How long passes of a model take here, measured on it: whether experts that share batches are faster than folded ones.

Folded, an expert costs nothing in a pass, but its rows have their passes to themselves; side by side, few rows of many
experts fill one, and each adapter's products are extra. Which of both is faster depends on the machine, the model, the
ranks and on how many rows each expert has.
"""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from swarm.engines.local.lora_batch import BARE
from swarm.engines.local.token_budget import is_out_of_memory
from swarm.engines.local.token_core import TokenCore

TRIES = 2  # timed passes, of which the fastest counts, behind one that is not timed
CONTEXT = 32  # tokens that a row has read before a step that is timed

Measuring = Callable[[], AbstractContextManager[None]]
"""What makes the context in which passes are measured."""


@dataclass(frozen=True)
class Work:
    """Requests of one expert.

    Attributes:
      rows, tokens: how many, and the tokens of their prompts together.
    """

    rows: int
    tokens: int


class Pace:
    """Seconds of forward passes by their size and the experts in them; each kind is measured when it is asked for.

    Attributes:
      answer: the mean tokens of an answer so far, as a share of the most that it may have.
    """

    def __init__(self, core: TokenCore):
        self._core = core
        self._seconds: dict[tuple[int, int, int], float] = {}
        self.answer = 1.0
        self._answers = 0

    def note_answers(self, tokens: Sequence[int], most: int) -> None:
        """Takes answers' lengths into the mean."""
        self._answers += len(tokens)
        self.answer += (sum(tokens) / most - self.answer * len(tokens)) / self._answers

    def folded(self, work: Sequence[Work], most: int, exchange: float, rows: int) -> float:
        """Seconds for experts one after another, of which each takes `exchange`; at most `rows` rows at a time."""
        return sum(exchange + self._of(one, most, 0, rows) for one in work)

    def mixed(
        self,
        work: Sequence[Work],
        most: int,
        put: float,
        rows: int,
        with_adapters: Measuring = nullcontext,
    ) -> float:
        """Seconds for all of them side by side, of which each takes `put`; passes are measured `with_adapters`."""
        whole = Work(sum(one.rows for one in work), sum(one.tokens for one in work))
        return put * len(work) + self._of(whole, most, len(work), rows, with_adapters)

    def _of(self, work: Work, most: int, experts: int, rows: int, measuring: Measuring = nullcontext) -> float:
        length = max(work.tokens // work.rows, 1)
        together = min(work.rows, rows)
        reading = min(max(self._core.chunk // length, 1), together)
        passes = -(-work.rows // reading)
        steps = max(self.answer * most - 1, 0) * work.rows / together  # reading gives the first token
        reads = min(experts, max(experts * reading // work.rows, 1))  # experts in a pass that reads
        of_reading = self._pass(reading, length, reads, measuring)
        return passes * of_reading + steps * self._pass(together, 1, experts, measuring)

    def _pass(self, rows: int, tokens: int, experts: int, measuring: Measuring) -> float:
        """Seconds of a pass, for which all sizes are rounded to powers of two."""
        key = (_power(rows), _power(min(tokens, self._core.chunk)), _power(experts))
        if key not in self._seconds:
            try:
                with measuring():
                    self._seconds[key] = self._measured(*key)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                self._core.release()
                self._seconds[key] = math.inf  # folded or not, such passes will be halved
        return self._seconds[key]

    @torch.inference_mode()
    def _measured(self, rows: int, tokens: int, experts: int) -> float:
        core = self._core
        core.reshape(rows, CONTEXT + tokens)
        count = core.adapters.count if core.adapters else 0
        spoken = sorted(row * experts // rows % max(count, 1) if experts else BARE for row in range(rows))
        core.enter([[0] * (CONTEXT + tokens)] * rows, spoken)
        best = float("inf")
        for number in range(TRIES + 1):
            core.kept = [CONTEXT] * rows
            start = time.perf_counter()
            core.advance(dict.fromkeys(range(rows), CONTEXT + tokens))
            if core.device.type == "cuda":
                torch.cuda.synchronize(core.device)
            if number:
                best = min(best, time.perf_counter() - start)
        core.clear()
        return best


def _power(number: int) -> int:
    """The power of two that is not less; 0 for 0."""
    return 1 << (number - 1).bit_length() if number else 0
