"""The queue of requests that are ready: equal ones once, and which of them a free worker takes."""

from collections import Counter
from collections.abc import Sequence
from itertools import islice
from math import ceil
from typing import Generic, TypeVar

from swarm.engines.base import GenerationParams
from swarm.engines.crew import Seat

Group = tuple[str, GenerationParams]  # what requests have in common that can be answered in one batch
FEWEST_ROWS = 8  # of a batch for one of several workers: a pass over fewer rows takes nearly as long
IN_PLACE, ELSEWHERE = 1.5, 0.75  # what a row of a member counts that this worker, or another one, has in place

Waiting = TypeVar("Waiting")
Batch = list[tuple[bytes, Waiting]]


class Queue(Generic[Waiting]):
    """Requests by group and key, those that nobody has taken yet and those that are under way.

    Attributes:
      ready: how many requests nobody has taken yet.
      flying: the batches that are under way, by number; of each the requests that are not answered, by place.
    """

    def __init__(self, workers: int, fewest_rows: int = FEWEST_ROWS):
        """`workers` share what is ready."""
        self._workers, self._fewest = workers, fewest_rows
        self._groups: dict[Group, dict[bytes, Waiting]] = {}
        self._under_way: dict[bytes, Waiting] = {}
        self._in_place: dict[int, str] = {}  # by worker, digest of the member of its last batch
        self._placed: Counter[str] = Counter()  # how many workers have a member in place
        self.ready = 0
        self.flying: dict[int, dict[int, tuple[bytes, Waiting]]] = {}

    def __len__(self) -> int:
        """Requests that are not answered."""
        return self.ready + len(self._under_way)

    def add(self, group: Group, key: bytes, waiting: Waiting) -> Waiting:
        """What waits for this key: `waiting`, unless there is something already."""
        if key in self._under_way:
            return self._under_way[key]
        ready = self._groups.setdefault(group, {})
        if key not in ready:
            ready[key] = waiting
            self.ready += 1
        return ready[key]

    def take(self, seat: Seat) -> Batch[Waiting]:
        """What a free worker is to do next; nothing if nothing is ready.

        That is the member with most rows to give, the oldest of equals; what the worker has in place already goes
        before, and what another one has in place comes after. One worker takes all of a member's; several take no more
        than their share of all that is ready, so that none is idle at the end, but no fewer rows than are worth a pass.
        """
        if not self._groups:
            return []
        self._place(seat.worker, seat.in_place)
        most = max(ceil(self.ready / self._workers), self._fewest) if self._workers > 1 else self.ready

        def worth(group: Group) -> float:
            rows = min(len(self._groups[group]), most)
            if group[0] == seat.in_place:
                return rows * IN_PLACE
            return rows * (ELSEWHERE if self._placed[group[0]] else 1)

        largest = max(self._groups, key=worth)
        self._place(seat.worker, largest[0])
        waiting = self._groups[largest]
        count = min(len(waiting), most)
        batch = list(islice(waiting.items(), count))
        if count == len(waiting):
            del self._groups[largest]
        else:
            for key, _ in batch:
                del waiting[key]
        self.ready -= count
        self._under_way |= batch
        return batch

    def _place(self, worker: int, digest: str) -> None:
        self._placed[self._in_place.get(worker, "")] -= 1
        self._in_place[worker] = digest
        self._placed[digest] += 1

    def sent(self, number: int, batch: Batch[Waiting]) -> None:
        """A batch that was taken is under way under this number."""
        self.flying[number] = dict(enumerate(batch))

    def answered(self, number: int, places: Sequence[int]) -> Batch[Waiting]:
        """The requests of a batch that have an answer now. Raises KeyError for one that had it already."""
        batch = self.flying[number]
        found = [batch.pop(place) for place in places]
        for key, _ in found:
            del self._under_way[key]
        if not batch:
            del self.flying[number]
        return found
