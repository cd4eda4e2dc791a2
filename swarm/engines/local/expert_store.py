"""A cache of materialised experts: several are materialised in one pass, and kept while there is room."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from swarm.weights.adapters import LoraWeights
from swarm.weights.full_model import FullWeights
from swarm.weights.materialise import linear_layout, materialise, materialise_all, new_buffers, open_terms
from swarm.weights.pool import Expert, Pool
from swarm.weights.streamed import Buffer

LIMIT_BYTES = 2 * 2**30
KEPT_SHARE = 1 / 8  # of the free memory, which the initial experts may take so that no step reads them again


@dataclass(frozen=True)
class _Kept:
    """An expert's weights, with the buffer that they lie in where it can be reused."""

    weights: LoraWeights
    buffer: Buffer | None


class ExpertStore:
    """An LRU cache of materialised adapters by digest. Full models pass through."""

    def __init__(self, pool: Pool, limit_bytes: int = LIMIT_BYTES):
        """Holds at most `limit_bytes` of tensors, but always one expert.

        Nor does it hold more than twice as many experts as the pool has or as were ever expected at once, enough for
        the running step of a search and the one before: memory that was used before is several times faster than new.
        """
        self._pool = pool
        self._limit = limit_bytes
        self._kept: OrderedDict[str, _Kept] = OrderedDict()  # by digest, longest unused first
        self._expected: dict[str, Expert] = {}  # by digest, those that were not asked for yet
        self._most = 2 * len(pool.names)  # experts that are held
        self._reuses = not pool.models and pool.combine == "linear"
        self._bytes_of_one = linear_layout(pool).size if self._reuses else 0  # else known from the first one on
        kept = self._bytes_of_one * len(pool.names) <= KEPT_SHARE * psutil.virtual_memory().available
        # opened once, since opening takes as long as the sums themselves
        self._terms = None if pool.models else open_terms(pool, kept and self._reuses)

    def expect(self, experts: Sequence[Expert]) -> None:
        """Announces the experts of the next requests; forgets those announced before.

        The first of them that is asked for and not there brings with it all that are not there, as far as they fit.
        """
        self._expected = {expert.digest: expert for expert in experts}
        self._most = max(self._most, 2 * len(self._expected))

    def weights(self, expert: Expert) -> LoraWeights | FullWeights:
        """An expert's weights, as `materialise` gives them.

        An adapter's tensors are the store's own, and hold until the next call: that may need their memory.
        """
        if self._pool.models:
            return materialise(self._pool, expert.coefficients)
        if expert.digest not in self._kept:
            self._fetch(expert)
        self._expected.pop(expert.digest, None)
        self._kept.move_to_end(expert.digest)
        return self._kept[expert.digest].weights

    def _fetch(self, expert: Expert) -> None:
        """Materialises an expert, and beside it what is expected and fits without displacing what is expected too."""
        capacity = min(max(self._limit // self._bytes_of_one, 1), self._most) if self._bytes_of_one else 1
        staying = sum(digest in self._expected for digest in self._kept)
        missing = [other for digest, other in self._expected.items() if digest not in self._kept]
        wanted = [expert, *(other for other in missing if other.digest != expert.digest)]
        wanted = wanted[: max(capacity - staying, 1)]
        freed = self._make_room(len(self._kept) + len(wanted) - capacity)
        buffers = [*freed, *new_buffers(self._pool, len(wanted) - len(freed))] if self._reuses else None
        made = materialise_all(self._pool, [each.coefficients for each in wanted], buffers, self._terms)
        self._bytes_of_one = self._bytes_of_one or sum(tensor.nbytes for tensor in made[0].tensors.values())
        for index, (each, weights) in enumerate(zip(wanted, made, strict=True)):
            self._kept[each.digest] = _Kept(weights, buffers[index] if buffers else None)

    def _make_room(self, count: int) -> list[Buffer]:
        """Evicts so many experts, the expected ones last; returns their buffers that can be reused."""
        leaving = sorted(self._kept, key=lambda digest: digest in self._expected)[: max(count, 0)]
        buffers = [self._kept.pop(digest).buffer for digest in leaving]
        # in the order of memory, so that neighbours are filled by one call
        return sorted((buffer for buffer in buffers if buffer is not None), key=lambda buffer: buffer.memory.data_ptr())
