"""A Ray cluster: found or refused at once, and how many workers it has room for."""

import logging
import os
import signal
import socket
import time
from dataclasses import dataclass
from typing import Any

from swarm.errors import UserError

log = logging.getLogger(__name__)

CONNECT = 5.0  # seconds that a cluster may take to answer
TAKEN = 15.0  # seconds for what an ended job had taken to become free
START = "start one (`ray start --head`), and name its HOST:PORT with --ray_address"
# the greeting of HTTP/2, which Ray's head speaks: its preface and an empty settings frame, answered by another one
GREETING, SETTINGS = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]), 4


@dataclass(frozen=True)
class Room:
    """The resources of each worker (a GPU, or else so many `cores`), and the number of workers."""

    workers: int
    device: str
    cores: int

    @property
    def resources(self) -> dict[str, Any]:
        """The resources as Ray's options."""
        return {"num_gpus": 1, "num_cpus": 0} if self.device == "cuda" else {"num_cpus": self.cores}


def load_ray() -> Any:
    """The imported package, with its messages and statistics off unless the environment says otherwise."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray._private.worker
    except ImportError as error:
        raise UserError(f"--executor ray needs Ray ({error}): pip install 'h-swarm[ray]'") from None
    # what its daemons say about lost workers, and we say ourselves; log_to_driver does not reach that
    ray._private.worker._worker_logs_enabled = False
    return ray


def connect(address: str | None) -> None:
    """Connects this process to a cluster: at HOST:PORT, else where RAY_ADDRESS says, else the one on this machine.

    Raises UserError if there is none, which takes seconds, or one of another version.
    """
    ray = load_ray()
    if ray.is_initialized():
        return
    named = address or os.environ.get("RAY_ADDRESS") or "auto"
    if named != "auto":
        _check_answers(named)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(address=named, log_to_driver=False, logging_level="CRITICAL", configure_logging=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        where = "on this machine" if named == "auto" else f"at {named}"
        raise UserError(f"no Ray cluster {where} that this program can use ({reason}): {START}") from None
    finally:
        for number, handler in handlers.items():  # Ray's own would end the program without a word
            signal.signal(number, handler)


def room_for(workers: int | None, cores: int | None) -> Room:
    """The workers of this cluster: one per GPU, or without any (or where `cores` are given) one per so many cores.

    Without `workers` that is as many as there is room for now. Raises UserError if there is too little.
    """
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    on_gpus = cores is None and any(node.get("GPU", 0) >= 1 for node in nodes)
    kind, each = ("GPU", 1) if on_gpus else ("CPU", cores or 1)
    devices = sum(int(node.get(kind, 0) // each) for node in nodes)
    what = "GPU" if on_gpus else f"{each} cores" if each > 1 else "core"
    if not devices:
        raise UserError(f"no node of the Ray cluster has {what}, which a worker takes; give a smaller --ray_cores")
    if workers is not None and workers > devices:
        raise UserError(
            f"--workers {workers} are more workers than devices: the Ray cluster has room for {devices} ({len(nodes)} "
            f"nodes, one worker per {what}); give --workers {devices}, or add nodes (`ray start --address ...`)"
        )
    wanted = workers or devices
    end = time.monotonic() + TAKEN
    while (free := int(ray.available_resources().get(kind, 0) // each)) < wanted and time.monotonic() < end:
        time.sleep(0.1)
    if workers is None and 0 < free < devices:
        log.warning("the Ray cluster has room for %d of %d workers now: other jobs have the rest", free, devices)
    if free < (workers or 1):
        raise UserError(
            f"{wanted} workers are wanted, and the Ray cluster has room for {free} now: other jobs have the rest; end "
            f"them, or give a smaller --workers"
        )
    return Room(min(wanted, free), "cuda" if on_gpus else "cpu", each)


def _check_answers(address: str) -> None:
    """Raises UserError unless something like Ray's head answers at once; Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if "/" in address or not host or not port.isdecimal():
        raise UserError(f"--ray_address is {address!r}; wanted HOST:PORT of the head, such as 10.0.0.1:6379")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT) as connection:
            if os.environ.get("RAY_USE_TLS") == "1":
                return
            connection.settimeout(CONNECT)
            connection.sendall(GREETING)
            answer = connection.recv(9)
    except (OSError, OverflowError) as error:
        raise UserError(f"no Ray cluster answers at {address} ({error}): {START}") from None
    if len(answer) < 4 or answer[3] != SETTINGS:
        raise UserError(f"what answers at {address} is no Ray cluster: {START}")
