"""Where a search writes: whether there is room, whether it may, and whether locks work, as on some NFS they do not."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from swarm.errors import UserError
from swarm.programs.finding import FAIL, OK, WARN, Finding
from swarm.programs.parsers import RUNS
from swarm.storage.files import open_lock, take_lock
from swarm.storage.user_cache import own_cache

GIB = 2**30


@dataclass(frozen=True)
class Place:
    """A folder that a search writes to.

    Attributes:
      name, folder: what for, and which; it need not be there yet.
      elsewhere: how the user names another one.
      room: bytes that should be free, with what takes them.
      grave: the mark where it cannot be written to or locked in.
    """

    name: str
    folder: Path
    elsewhere: str
    room: tuple[float, str]
    grave: str = FAIL


def folders() -> Iterator[Finding]:
    """Runs, our own cache and the hub's."""
    room = (5 * GIB, "pictures, answers and found weights")
    yield look_at(Place("runs", RUNS, "start from a folder on a local disk", room))
    elsewhere = "set XDG_CACHE_HOME to a folder on a local disk"
    yield look_at(Place("own cache", own_cache(), elsewhere, (2 * GIB, "answers that runs share, up to --cache_size")))
    from huggingface_hub.constants import HF_HUB_CACHE

    room = (20 * GIB, "google/gemma-7b takes 17 GB")
    yield look_at(Place("hub cache", Path(HF_HUB_CACHE), "set HF_HOME to a folder on a local disk", room, WARN))


def look_at(place: Place) -> Finding:
    """What is to be said of a folder."""
    there = nearest(place.folder)
    shown = os.path.abspath(place.folder)
    fault = fault_of(there)
    if fault:
        return Finding(place.name, place.grave, f"{shown} {fault}", place.elsewhere)
    free, (wanted, what) = shutil.disk_usage(there).free, place.room
    state = f"{shown}, {free / GIB:.1f} GiB free, can be written, locks work"
    if free < wanted:
        return Finding(place.name, WARN, f"{state}; {wanted / GIB:.0f} GiB would be good ({what})", place.elsewhere)
    return Finding(place.name, OK, state)


def nearest(folder: Path) -> Path:
    """The folder, or what is there of the way to it: a search makes the rest."""
    folder = Path(os.path.abspath(folder))
    return next(part for part in (folder, *folder.parents) if part.exists())


def fault_of(folder: Path) -> str:
    """What keeps a search from writing or locking files in a folder that is there; "" if nothing does."""
    if not folder.is_dir():
        return f"cannot be made: {folder} is no folder"
    try:
        made, path = tempfile.mkstemp(prefix=".h_swarm_doctor_", dir=folder)
    except OSError as error:
        return f"cannot be written to ({error.strerror})"
    try:
        os.close(made)
        return lock_fault(Path(path))
    finally:
        os.unlink(path)


def lock_fault(path: Path) -> str:
    """What is wrong with locks on a file, each of the two kinds that we and SQLite take; "" if nothing is."""
    try:
        with open_lock(path) as first, open_lock(path) as second:
            take_lock(first, "a lock of nobody's is held there")
            if _is_given_twice(second):
                return "gives the same lock twice, so that two processes could write to one run"
        with open_lock(path) as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except UserError as error:
        return f"has locks that do not work ({error})"
    except OSError as error:
        return f"has no working file locks ({error.strerror}), as network file systems without lockd do"
    return ""


def _is_given_twice(file: IO[Any]) -> bool:
    try:
        take_lock(file, "held")
    except UserError:
        return False
    return True
