"""Workers as actors of a Ray cluster, one per GPU or per so many cores."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from swarm.engines.base import Request
from swarm.errors import UserError
from swarm.workers.ray_cluster import Room
from swarm.workers.ray_worker import RayWorker, WorkerSetup
from swarm.workers.sent_folders import SentFolder, pieces_of
from swarm.workers.transport import Answered, Event, Failed, Lost, Ready
from swarm.workers.wire_format import WireFormat

log = logging.getLogger(__name__)


@dataclass
class _Call:
    """A remote call of an actor (look, load or answers); `waits` is Ray's reference to its result."""

    kind: str
    waits: Any


class RayActors:
    """A transport of Ray actors, in the cluster that this process is connected to.

    Ray schedules them, on different machines if it can, and reports when one is lost; it restarts none and asks nothing
    twice, which is the executor's to decide. One for which there is no room waits, without keeping others waiting.
    """

    def __init__(self, room: Room, setup: WorkerSetup):
        """Puts the workers' setup into the cluster's object store; folders follow when a machine lacks them."""
        import ray

        self.workers = room.workers
        self._setup, self._wire_format = ray.put(setup), WireFormat(setup.members)
        options = room.resources | {"max_restarts": 0, "max_task_retries": 0, "scheduling_strategy": "SPREAD"}
        self._actor_class = ray.remote(RayWorker).options(**options)
        self._actors: dict[int, Any] = {}
        self._calls: dict[int, _Call] = {}
        self._sent: dict[str, list[Any]] = {}  # by a folder's digest, references to its pieces

    def start(self, worker: int) -> None:
        """Asks Ray for an actor; an earlier one of this number is ended."""
        self.stop(worker)
        self._actors[worker] = self._actor_class.remote(worker)
        self._calls[worker] = _Call("look", self._actors[worker].look.remote(self._setup))

    def send(self, worker: int, batch: int, requests: Sequence[Request]) -> None:
        """Sends a batch in the wire format."""
        answers = self._actors[worker].answers.options(num_returns="streaming")
        self._calls[worker] = _Call("answers", answers.remote(batch, self._wire_format.pack(requests)))

    def events(self, seconds: float) -> list[Event]:
        """The events since the last call; waits at most so long for the first one."""
        import ray

        end = self.now() + seconds
        while self._calls:
            promises = [call.waits for call in self._calls.values()]
            if not ray.wait(promises, num_returns=1, timeout=max(end - self.now(), 0))[0]:
                return []
            kept, _ = ray.wait(promises, num_returns=len(promises), timeout=0)
            workers = [worker for worker, call in self._calls.items() if any(call.waits is one for one in kept)]
            if found := [event for event in map(self._event_of, workers) if event is not None]:
                return found
        time.sleep(seconds)
        return []

    def stop(self, worker: int) -> None:
        """Kills an actor."""
        import ray

        self._calls.pop(worker, None)
        if actor := self._actors.pop(worker, None):
            ray.kill(actor)

    def now(self) -> float:
        """Seconds of the monotonic clock."""
        return time.monotonic()

    def close(self) -> None:
        """Ends all actors and leaves the cluster."""
        import ray

        for worker in list(self._actors):
            self.stop(worker)
        ray.shutdown()

    def _event_of(self, worker: int) -> Event | None:
        """The event that an actor's result means; None if it needs another call before it is ready."""
        import ray

        call = self._calls[worker]
        try:
            said = ray.get(next(call.waits) if call.kind == "answers" else call.waits)
        except ray.exceptions.RayTaskError as error:
            del self._calls[worker]
            return Failed(worker, str(error))
        except ray.exceptions.RayError as error:
            self.stop(worker)
            return lost(worker, error)
        if isinstance(said, list):
            self._calls[worker] = _Call("load", self._actors[worker].load.remote(self._put(said)))
            return None
        if not (isinstance(said, Answered) and not said.done):
            del self._calls[worker]
        if not any(each.kind in ("look", "load") for each in self._calls.values()):
            self._sent.clear()  # every machine has them; the store need not
        assert isinstance(said, Ready | Answered | Failed)
        if isinstance(said, Failed) and call.kind != "answers":
            self.stop(worker)
        return said

    def _put(self, folders: Sequence[SentFolder]) -> list[tuple[SentFolder, list[Any]]]:
        """Puts folders into the cluster's object store, once for all machines."""
        import ray

        for folder in folders:
            if folder.digest in self._sent:
                continue
            log.info("sending %s to machines that lack it", folder.path)
            try:
                self._sent[folder.digest] = [ray.put(piece) for piece in pieces_of(folder)]
            except (ray.exceptions.ObjectStoreFullError, ray.exceptions.OutOfDiskError) as error:
                raise UserError(
                    f"{folder.path} does not fit into Ray's object store ({type(error).__name__}): start the head with "
                    "a larger --object-store-memory, or put the experts into the same folder on every node"
                ) from error
        return [(folder, self._sent[folder.digest]) for folder in folders]


def lost(worker: int, error: Exception) -> Lost | Failed:
    """The reason why an actor was lost, from the exception that Ray raised; Failed if it could never start."""
    import ray

    text = " ".join(str(error).split())
    if "failed to import on the worker" in text:
        last = str(error).strip().splitlines()[-1]
        return Failed(
            worker, f"a node of the Ray cluster cannot load h-swarm ({last}): install it in Ray's environment on every "
            "node, then start Ray anew there (`ray stop`, `ray start`)", cure=True,
        )  # fmt: skip
    if isinstance(error, ray.exceptions.OutOfMemoryError) or "running low on memory" in text:
        return Lost(worker, "was ended by Ray, since its machine ran out of memory")
    if isinstance(error, ray.exceptions.NodeDiedError) or "node has died" in text or "node was terminated" in text:
        return Lost(worker, "was on a machine that has left the cluster", blameless=True)
    if isinstance(error, ray.exceptions.ActorUnavailableError):
        return Lost(worker, "could not be reached any more")
    log.debug("%s", error)
    return Lost(worker, "was killed or has crashed")
