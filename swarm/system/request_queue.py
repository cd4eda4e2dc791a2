"""The queue of ready requests: equal ones once, batched by member for the next idle worker."""

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
        """The largest `ahead` among its requests."""
        return max(self._waiting)

    def add(self, key: bytes, waiting: Waiting, ahead: int) -> None:
        """Adds a request with a new key."""
        self.ahead[key] = ahead
        rows = self._waiting.get(ahead)
        if rows is None:
            self._waiting[ahead] = {key: waiting}
        else:
            rows[key] = waiting

    def again(self, key: bytes, ahead: int) -> Waiting:
        """The receivers of a key that is there, whose `ahead` becomes the larger of both."""
        before = self.ahead[key]
        waiting = self._waiting[before][key]
        if ahead > before:
            self._remove(before, [key])
            self.add(key, waiting, ahead)
        return waiting

    def take(self, count: int) -> Batch[Waiting]:
        """Removes and returns the first requests."""
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
    """Requests by group and key: those that are ready, and those that are submitted.

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
        """Adds a request; returns the receivers of its key: `waiting`, or those that are there already.

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
        """The next batch of an idle worker; empty if nothing is ready.

        That is the member with most rows to give, the oldest of equals; the one that is resident at this worker already
        goes before, and one that is resident at another one comes after. One worker takes all of a member's. Several
        take no more than their share of all that is not answered, so that none is idle at the end, but no fewer rows
        than are worth a pass; and rows count the more, the longer the way of their graphs still is, since its end is
        waited for. A worker that mixes members takes those of further ones, with the same parameters, up to as many.
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
        batch = self._take(chosen, most)
        while idle.mixes and len(batch) < most and (others := [one for one in self._groups if one[1] == chosen[1]]):
            batch += self._take(max(others, key=worth), most - len(batch))
        self._under_way |= batch
        return batch

    def _take(self, group: Group, most: int) -> Batch[Waiting]:
        rows = self._groups[group]
        batch = rows.take(most)
        if not rows:
            del self._groups[group]
        self.ready -= len(batch)
        return batch

    def _note_resident(self, worker: int, digest: str) -> None:
        self._resident_at[self._resident.get(worker, "")] -= 1
        self._resident[worker] = digest
        self._resident_at[digest] += 1

    def sent(self, number: int, batch: Batch[Waiting]) -> None:
        """Records the number under which a batch was submitted."""
        self.flying[number] = dict(enumerate(batch))

    def answered(self, number: int, nodes: Sequence[int]) -> Batch[Waiting]:
        """Removes and returns the answered requests of a batch. Raises KeyError for one that was answered before."""
        batch = self.flying[number]
        found = [batch.pop(node) for node in nodes]
        for key, _ in found:
            del self._under_way[key]
        if not batch:
            del self.flying[number]
        return found
