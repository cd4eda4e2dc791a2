"""The memory limit of relative rows: as given, or what the machine can spare."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

MEGABYTE = 1_000_000
LEAST = 256 * MEGABYTE  # of each model, whatever else is known: too little to matter beside the models themselves
KEPT_FREE = 1 / 4  # of the machine: batches grow, too, and so do other programs and the rows of other workers
# of what a device has free, for all models: half of the tenth that batches leave (SHARE of the token budget)
SHARE_OF_A_DEVICE = 1 / 20
GROUPS, OWN_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def never(size: int) -> bool:
    """No more memory than there is."""
    return False


@dataclass(frozen=True)
class RowMemory:
    """The memory limit of one model's relative rows.

    Attributes:
      capacity: bytes that they may take in any case.
      may_grow: whether there is room for so many bytes more, as things stand; asked before they are taken.
    """

    capacity: int
    may_grow: Callable[[int], bool] = never


def row_memory(asked: int | None, device: torch.device, models: int) -> RowMemory:
    """The limit of each of so many models on a device; `asked` is in megabytes, None for what can be spared.

    Beside a processor rows grow while a quarter of the machine's memory stays free, whoever has taken the rest: so the
    models of a fusion share what there is, and so do several fusions and several workers. On a device, where rows are
    worked out quickly, each model has its share of a twentieth of what is free now.
    """
    if asked is not None:
        return RowMemory(asked * MEGABYTE)
    if device.type == "cuda":
        return RowMemory(max(int(SHARE_OF_A_DEVICE * torch.cuda.mem_get_info(device)[0]) // models, LEAST))
    return RowMemory(LEAST, leaves_enough_free)


def leaves_enough_free(size: int) -> bool:
    """Whether a quarter of this machine's memory, or of what this process may use of it, is free beside that."""
    machine = psutil.virtual_memory()
    limits = [(machine.available, machine.total), *group_limits()]
    return all(free - size >= KEPT_FREE * whole for free, whole in limits)


def group_limits(groups: Path = GROUPS, own: Path = OWN_GROUPS) -> list[tuple[int, int]]:
    """(free, whole) of every control group that bounds this process's memory: a container's, a batch system's job.

    Files that the kernel keeps in memory but can do without count as free. Empty where there are no such groups.
    """
    try:
        lines = [line.split(":", 2) for line in own.read_text().splitlines()]
    except OSError:
        return []
    found = []
    for _, controllers, path in lines:
        if controllers and "memory" not in controllers.split(","):
            continue
        names = ("max", "current", "inactive_file") if not controllers else _FIRST_VERSION
        top = groups / "memory" if controllers else groups
        group = top / path.lstrip("/")
        while True:
            if limit := _limit_of(group, *names):
                found.append(limit)
            if group == top or top not in group.parents:
                break
            group = group.parent
    return found


_FIRST_VERSION = ("limit_in_bytes", "usage_in_bytes", "total_inactive_file")


def _limit_of(group: Path, limit: str, usage: str, reclaimable: str) -> tuple[int, int] | None:
    """(free, whole) of one group; None where it has no limit, or is seen from inside a container that hides it."""
    try:
        whole = (group / f"memory.{limit}").read_text().strip()
        if whole == "max":
            return None
        taken = int((group / f"memory.{usage}").read_text())
        facts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except OSError:
        return None
    return int(whole) - taken + int(facts.get(reclaimable, 0)), int(whole)
