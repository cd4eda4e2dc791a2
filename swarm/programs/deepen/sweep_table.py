"""The table of a sweep: a row of JSON for each of its points."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swarm.errors import UserError
from swarm.storage.files import read_text

AXES = ("models", "anchors", "anchor_seed", "normalise", "updates", "learning_rate")


def read_rows(table: Path, usual: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows that are there; UserError for a file that is no such table.

    `usual` are the values on axes that tables of earlier versions have not.
    """
    if not table.is_file():
        return []
    try:
        rows: list[dict[str, Any]] = [{**usual, **json.loads(line)} for line in read_text(table).splitlines()]
        if all({*AXES, "strict", "seconds_per_token"} <= row.keys() for row in rows):
            return rows
    except (OSError, ValueError, TypeError):
        pass
    raise UserError(f"{table} is not the table of a sweep; name another folder with --out, or delete it")


def is_at(row: Mapping[str, Any], place: Mapping[str, Any]) -> bool:
    """Whether a row is that of a point, given by its place on all axes."""
    return all(row[axis] == place[axis] for axis in AXES)


def line(row: Mapping[str, Any]) -> str:
    """A row in words; of its losses the first and the last."""
    place = ", ".join(f"{axis.replace('_', ' ')} {row[axis]}" for axis in AXES)
    interval = f"{row['strict']:.3f} [{row['low']:.3f}, {row['high']:.3f}] n={row['questions']}"
    return f"{place}: {interval}, {1000 * row['seconds_per_token']:.1f} ms per token" + (
        f", loss {row['losses'][0]:.3f} -> {row['losses'][-1]:.3f}" if row.get("losses") else ""
    )
