"""The queue of requests that are ready: equal ones once, and which of them a free worker takes."""

from collections import Counter
from collections.abc import Sequence
from itertools import islice
from math import ceil
from typing import Generic, TypeVar

from swarm.engines.base import GenerationParams
from swarm.engines.executor import IdleWorker

Group = tuple[str, GenerationParams]  # what requests have in common that can be answered in one batch
FEWEST_ROWS = 16  # of a batch for one of several workers: a pass over fewer rows takes nearly as long
RESIDENT, ELSEWHERE = 1.5, 0.75  # weight of a row whose member is resident at this worker, or at another one

Waiting = TypeVar("Waiting")
Batch = list[tuple[bytes, Waiting]]


class _Rows(Generic[Waiting]):
    """The ready requests of a group; of those with most answers ahead the oldest is the first.

    Attributes:
      ahead: by key, how many answers are ahead of a request.
    """

    def __init__(self) -> None:
        self.ahead: dict[bytes, int] = {}
        self._waiting: dict[int, dict[bytes, Waiting]] = {}  # by what is ahead of them

    def __len__(self) -> int:
        return len(self.ahead)

    @property
    def most_ahead(self) -> int:
        """Of the first one."""
        return max(self._waiting)

    def add(self, key: bytes, waiting: Waiting, ahead: int) -> None:
        """One more, whose key is not there."""
        self.ahead[key] = ahead
        rows = self._waiting.get(ahead)
        if rows is None:
            self._waiting[ahead] = {key: waiting}
        else:
            rows[key] = waiting

    def again(self, key: bytes, ahead: int) -> Waiting:
        """What waits for a key that is there, from now on with the most that is ahead of whoever asks for it."""
        before = self.ahead[key]
        waiting = self._waiting[before][key]
        if ahead > before:
            self._remove(before, [key])
            self.add(key, waiting, ahead)
        return waiting

    def take(self, count: int) -> Batch[Waiting]:
        """The first ones."""
        batch: Batch[Waiting] = []
        for ahead in sorted(self._waiting, reverse=True):
            rows = list(islice(self._waiting[ahead].items(), count - len(batch)))
            self._remove(ahead, [key for key, _ in rows])
            batch += rows
        return batch

    def _remove(self, ahead: int, keys: Sequence[bytes]) -> None:
        waiting = self._waiting[ahead]
        for key in keys:
            del waiting[key], self.ahead[key]
        if not waiting:
            del self._waiting[ahead]


class Queue(Generic[Waiting]):
    """Requests by group and key, those that nobody has taken yet and those that are under way.

    Attributes:
      ready: how many requests nobody has taken yet.
      flying: the batches that are under way, by number; of each the requests that are not answered, by index.
    """

    def __init__(self, workers: int, fewest_rows: int = FEWEST_ROWS):
        """`workers` share what is ready."""
        self._workers, self._fewest = workers, fewest_rows
        self._groups: dict[Group, _Rows[Waiting]] = {}
        self._under_way: dict[bytes, Waiting] = {}
        self._resident: dict[int, str] = {}  # by worker, digest of the member of its last batch
        self._resident_at: Counter[str] = Counter()  # by digest, at how many workers it is resident
        self.ready = 0
        self.flying: dict[int, dict[int, tuple[bytes, Waiting]]] = {}

    def __len__(self) -> int:
        """Requests that are not answered."""
        return self.ready + len(self._under_way)

    def add(self, group: Group, key: bytes, waiting: Waiting, ahead: int = 0) -> Waiting:
        """What waits for this key: `waiting`, unless there is something already.

        `ahead` is how many further answers wait for this one, one after the other; it matters for several workers only.
        """
        if key in self._under_way:
            return self._under_way[key]
        rows = self._groups.get(group)
        if rows is None:
            rows = self._groups[group] = _Rows()
        if self._workers == 1:
            ahead = 0
        if key in rows.ahead:
            return rows.again(key, ahead)
        rows.add(key, waiting, ahead)
        self.ready += 1
        return waiting

    def take(self, idle: IdleWorker) -> Batch[Waiting]:
        """What a free worker is to do next; nothing if nothing is ready.

        That is the member with most rows to give, the oldest of equals; the one that is resident at this worker already
        goes before, and one that is resident at another one comes after. One worker takes all of a member's. Several
        take no more than their share of all that is not answered, so that none is idle at the end, but no fewer rows
        than are worth a pass; and rows count the more, the longer the way of their graphs still is, since its end is
        waited for.
        """
        if not self._groups:
            return []
        self._note_resident(idle.worker, idle.resident)
        most = max(ceil(len(self) / self._workers), self._fewest) if self._workers > 1 else self.ready

        def worth(group: Group) -> float:
            rows = self._groups[group]
            value = min(len(rows), most) * (1 + rows.most_ahead)
            if group[0] == idle.resident:
                return value * RESIDENT
            return value * (ELSEWHERE if self._resident_at[group[0]] else 1)

        chosen = max(self._groups, key=worth)
        self._note_resident(idle.worker, chosen[0])
        rows = self._groups[chosen]
        batch = rows.take(most)
        if not rows:
            del self._groups[chosen]
        self.ready -= len(batch)
        self._under_way |= batch
        return batch

    def _note_resident(self, worker: int, digest: str) -> None:
        self._resident_at[self._resident.get(worker, "")] -= 1
        self._resident[worker] = digest
        self._resident_at[digest] += 1

    def sent(self, number: int, batch: Batch[Waiting]) -> None:
        """A batch that was taken is under way under this number."""
        self.flying[number] = dict(enumerate(batch))

    def answered(self, number: int, nodes: Sequence[int]) -> Batch[Waiting]:
        """The requests of a batch that have an answer now. Raises KeyError for one that had it already."""
        batch = self.flying[number]
        found = [batch.pop(node) for node in nodes]
        for key, _ in found:
            del self._under_way[key]
        if not batch:
            del self.flying[number]
        return found
