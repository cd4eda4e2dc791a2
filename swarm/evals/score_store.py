"""Scores of models kept on disk, so that no answer is scored twice, and a resumed run has the very same numbers."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from swarm.storage.row_marks import mark_of
from swarm.storage.user_cache import own_cache
from swarm.storage.user_database import DatabaseLayout, OwnDatabase

Texts = tuple[str, ...]

_LAYOUT = DatabaseLayout(
    version=1,
    table="scores",
    create=("CREATE TABLE scores (key BLOB PRIMARY KEY, score REAL NOT NULL, mark BLOB NOT NULL) WITHOUT ROWID",),
    kept="the scores of models",
    them="scores",
    elsewhere="or set XDG_CACHE_HOME to a folder on a local disk",
    loss="the answers are scored again",
)
_KEYS_AT_ONCE = 900  # some builds of sqlite take 999 values


def scores_path() -> Path:
    """The default path of the kept scores, in the user's own cache folder."""
    return own_cache() / "scores.sqlite"


class ScoreStore:
    """Scores by the content that decides them. What `of` has returned outlives a kill of the process."""

    def __init__(self, path: Path):
        """Opens the file, which is made where it is not there. Raises UserError if it cannot be, or is damaged."""
        self._database = OwnDatabase(path, _LAYOUT)

    def of(
        self, settings: Mapping[str, Any], rows: Sequence[Texts], score: Callable[[list[Texts]], Sequence[float]]
    ) -> list[float]:
        """The score of every row of texts, by what `score` gives under these `settings`; it is asked for new ones."""
        beginning = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        keys = {row: _key(beginning, row) for row in dict.fromkeys(rows)}
        kept = self._found(list(keys.values()))
        new = [row for row, key in keys.items() if key not in kept]
        if new:
            scored = {keys[row]: float(value) for row, value in zip(new, score(new), strict=True)}
            finite = [(key, value, mark_of(key, value)) for key, value in scored.items() if math.isfinite(value)]
            with self._database.writing() as database:
                database.executemany("INSERT OR REPLACE INTO scores (key, score, mark) VALUES (?, ?, ?)", finite)
            kept |= scored
        return [kept[keys[row]] for row in rows]

    def _found(self, keys: Sequence[bytes]) -> dict[bytes, float]:
        """The kept scores; one that has changed on the disk is none."""
        found: dict[bytes, float] = {}
        for start in range(0, len(keys), _KEYS_AT_ONCE):
            some = sorted(keys[start : start + _KEYS_AT_ONCE])
            rows = self._database.rows(
                f"SELECT key, score, mark FROM scores WHERE key IN ({','.join('?' * len(some))})", some
            )
            found |= {key: value for key, value, mark in rows if mark == mark_of(key, value)}
        return found

    def close(self) -> None:
        """Closes the file; nothing is lost without."""
        self._database.close()


def _key(beginning: Any, row: Texts) -> bytes:
    digest = beginning.copy()
    digest.update(json.dumps(row).encode())
    return bytes(digest.digest())
