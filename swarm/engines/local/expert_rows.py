"""The experts that rows of one batch speak with: LoRA adapters beside the bare base, as many as there is memory for."""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from swarm.engines.local.lora_batch import RowAdapters
from swarm.weights.adapters import LoraWeights
from swarm.weights.pool import Expert


class ExpertRows:
    """An LRU cache of `RowAdapters` by an expert's digest.

    Attributes:
      adapters: what the token core sets each row's adapter with.
      seconds: that putting one expert's factors there has taken, on average.
    """

    def __init__(self, model: Any, weights: Callable[[Expert], LoraWeights], limit_bytes: int):
        """`weights` gives an expert's, which hold until the next call; at most `limit_bytes` are held, or one expert.

        All experts are of one pool, of which `why_not_batched` has nothing against any.
        """
        self.adapters = RowAdapters(model)
        self.seconds = 0.0
        self._weights, self._limit = weights, limit_bytes
        self._numbers: OrderedDict[str, int] = OrderedDict()  # by digest, longest unused first
        self._speaking: set[str] = set()  # digests that must stay
        self._of_one = 0
        self._puts = 0

    def most(self, expert: Expert) -> int:
        """How many experts like this one may speak at a time."""
        if not self._of_one:
            self.numbers([expert])
        return max(self._limit // self._of_one, 1)

    def numbers(self, experts: Sequence[Expert]) -> list[int]:
        """The experts' adapters, at most `most` of them; what is not there yet is put there."""
        self._speaking.update(expert.digest for expert in experts)
        for expert in experts:
            if expert.digest in self._numbers:
                self._numbers.move_to_end(expert.digest)
            else:
                self._make_room()
                self._numbers[expert.digest] = self._put(expert)
        return [self._numbers[expert.digest] for expert in experts]

    def may_join(self, expert: Expert) -> bool:
        """Whether an expert is one of those that speak, or there is memory for it beside them."""
        return expert.digest in self._speaking or len(self._speaking) < self.most(expert)

    @contextmanager
    def speaking(self) -> Iterator[None]:
        """Rows speak with their adapters meanwhile, if the model is the bare one."""
        self.adapters.attach()
        try:
            yield
        finally:
            self.adapters.detach()
            self._speaking.clear()

    def _make_room(self) -> None:
        most = max(self._limit // self._of_one, 1) if self._of_one else 1
        silent = [digest for digest in self._numbers if digest not in self._speaking]
        for digest in silent[: max(len(self._numbers) - most + 1, 0)]:
            self.adapters.remove(self._numbers.pop(digest))

    def _put(self, expert: Expert) -> int:
        weights = self._weights(expert)
        start = time.perf_counter()
        number = self.adapters.put(weights)
        took = time.perf_counter() - start
        self._puts += 1
        self.seconds += (took - self.seconds) / self._puts
        self._of_one = max(self._of_one, self.adapters.bytes_of_one())
        return number
