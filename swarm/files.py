"""Files and folders that are whole or not there at all."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from swarm.errors import UserError


def write_whole(path: Path, content: str, flush: bool = True) -> None:
    """Replaces a file at once: written under a temporary name, flushed to disk, renamed.

    What can be made again need not be flushed: it outlives a kill all the same, though not a power cut.
    Raises UserError if it cannot be written; the old file is then untouched.
    """
    waiting = path.with_name(f".{path.name}.tmp")
    try:
        with open(waiting, "w", encoding="utf8") as file:
            file.write(content)
            if flush:
                file.flush()
                os.fsync(file.fileno())
        waiting.replace(path)
    except OSError as error:
        waiting.unlink(missing_ok=True)
        raise UserError(
            f"{path} cannot be written ({error.strerror}); what was there is untouched: make room, then --resume"
        ) from error
    if flush:
        flush_to_disk(path.parent)  # with which the rename reaches the disk


def flush_to_disk(path: Path) -> None:
    """Has a file, or a folder's list of names, outlive a power cut."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def take_lock(file: IO[Any], taken: str) -> None:
    """Locks an open file for this process until it is closed; UserError `taken` where another process holds it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise UserError(taken) from None


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Only one process of this machine is in this block at a time, others wait; `path` is a file that is locked."""
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A new folder to fill, which takes the place of `folder` at the end of the block; after an error it is gone.

    Its hidden temporary name ends in .tmp, so that what a killed process leaves can be told and removed.
    """
    waiting = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    waiting.mkdir(parents=True)
    try:
        yield waiting
        if folder.exists():
            shutil.rmtree(folder)
        waiting.rename(folder)
    finally:
        shutil.rmtree(waiting, ignore_errors=True)


@contextmanager
def asked_folder(folder: Path) -> Iterator[Path]:
    """`whole_folder` where the user wants it. Raises UserError if it cannot be written there, or there is no room."""
    try:
        with whole_folder(folder) as new:
            yield new
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}); make room, or name another folder") from error


def write_json(path: Path, value: Any, indent: int | None = 2) -> None:
    """`write_whole` of a value as JSON; refuses numbers that JSON does not have (NaN, infinity) with ValueError."""
    write_whole(path, json.dumps(value, indent=indent, allow_nan=False) + "\n")
