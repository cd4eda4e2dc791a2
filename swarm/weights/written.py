"""Digests of experts by the files that this machine wrote, so that a saved adapter keeps its cached answers.

An evolved expert is known by the experts it was made from and its coefficients, its file by the file's content. That
both are the same is noted in the user's own cache, not beside the file: a folder can come from anybody, and could claim
to be an expert whose texts are kept here.
"""

from collections.abc import Iterable, Mapping
from contextlib import closing, suppress
from pathlib import Path

from swarm.errors import UserError
from swarm.storage.user_cache import own_cache
from swarm.storage.user_database import DatabaseLayout, OwnDatabase
from swarm.weights.adapters import adapter_digest, is_adapter

_LAYOUT = DatabaseLayout(
    version=1,
    table="written",
    create=("CREATE TABLE written (file TEXT PRIMARY KEY, expert TEXT NOT NULL)",),
    kept="what the saved experts are",
    them="saved experts",
    elsewhere="set XDG_CACHE_HOME to a folder on a local disk",
    loss="saved experts are asked again",
)
_MOST = 100_000  # of 200 bytes each


def remember_written(directory: Path, digests: Mapping[str, str]) -> None:
    """Notes that the adapters in the folders of this directory are these experts; by folder name, their digests.

    Where that cannot be noted nothing is lost but time. Full models, which may be rounded when written, are left out.
    """
    folders = {name: directory / name for name in digests}
    rows = [(adapter_digest(folder), digests[name]) for name, folder in folders.items() if is_adapter(folder)]
    with suppress(UserError), closing(_database()) as database, database.writing() as connection:
        connection.executemany("INSERT OR REPLACE INTO written VALUES (?, ?)", rows)
        connection.execute(
            "DELETE FROM written WHERE rowid <= (SELECT max(rowid) FROM written) - ?",
            (_MOST,),
        )


def written_as(digests: Iterable[str]) -> dict[str, str]:
    """The experts' digests by the digests of their adapters' files, where they are known."""
    found: dict[str, str] = {}
    with suppress(UserError), closing(_database()) as database:
        for digest in digests:
            found |= dict(database.rows("SELECT file, expert FROM written WHERE file = ?", (digest,)))
    return found


def _database() -> OwnDatabase:
    return OwnDatabase(own_cache() / "written.sqlite", _LAYOUT)
