"""Files that are whole or not there at all."""

import json
import os
from pathlib import Path
from typing import Any

from swarm.errors import UserError


def write_whole(path: Path, content: str) -> None:
    """Replaces a file at once: written under a temporary name, flushed to disk, renamed.

    Raises UserError if it cannot be written; the old file is then untouched.
    """
    waiting = path.with_name(f".{path.name}.tmp")
    try:
        with open(waiting, "w", encoding="utf8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        waiting.replace(path)
    except OSError as error:
        waiting.unlink(missing_ok=True)
        raise UserError(
            f"{path} cannot be written ({error.strerror}); what was there is untouched: make room, then --resume"
        ) from error
    # the rename itself reaches the disk with the folder
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_json(path: Path, value: Any, indent: int | None = 2) -> None:
    """`write_whole` of a value as JSON; refuses numbers that JSON does not have (NaN, infinity) with ValueError."""
    write_whole(path, json.dumps(value, indent=indent, allow_nan=False) + "\n")
