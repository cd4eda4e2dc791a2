"""A cache of judges' replies on disk, so that no question is paid for twice."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from swarm.evals.judges.client import Reply
from swarm.storage.row_marks import mark_of
from swarm.storage.user_cache import own_cache
from swarm.storage.user_database import DatabaseLayout, OwnDatabase

_LAYOUT = DatabaseLayout(
    version=1,
    table="replies",
    create=(
        "CREATE TABLE replies (key BLOB PRIMARY KEY, text TEXT NOT NULL, prompt_tokens INTEGER NOT NULL, "
        "new_tokens INTEGER NOT NULL, finish TEXT NOT NULL) WITHOUT ROWID",
    ),
    kept="the judge's replies",
    them="replies",
    elsewhere="or set XDG_CACHE_HOME to a folder on a local disk",
    added=("mark BLOB",),
    loss="its replies are asked for again",
)


def judge_cache_path() -> Path:
    """The default path of the reply cache, in the user's own cache folder."""
    return own_cache() / "judge.sqlite"


class ReplyCache:
    """Replies by the content that decides them; several processes can use one file at the same time.

    A reply that `put` has returned from outlives a kill of the process.
    """

    def __init__(self, path: Path):
        """Opens the file, which is made where it is not there, readable by the user alone.

        Raises UserError if it cannot be opened, is damaged, or is not a file of ours.
        """
        self.path = path
        self._database = OwnDatabase(path, _LAYOUT)

    def get(self, facts: Mapping[str, str], prompt: str) -> Reply | None:
        """The reply of the judge of these facts to the prompt; None if it is not cached, or has changed on the disk."""
        key = _key(facts, prompt)
        rows = self._database.rows(
            "SELECT text, prompt_tokens, new_tokens, finish, mark FROM replies WHERE key = ?", (key,)
        )
        for *reply, mark in rows:
            if mark is None or mark == mark_of(key, *reply):  # earlier versions wrote no mark
                return Reply(*reply)
        return None

    def put(self, facts: Mapping[str, str], prompt: str, reply: Reply) -> None:
        """Stores a reply; one that is there already is replaced."""
        row = (_key(facts, prompt), reply.text, reply.prompt_tokens, reply.new_tokens, reply.finish)
        with self._database.writing() as database:
            database.execute(
                "INSERT OR REPLACE INTO replies (key, text, prompt_tokens, new_tokens, finish, mark) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (*row, mark_of(*row)),
            )

    def close(self) -> None:
        """Closes the file; nothing is lost without."""
        self._database.close()


def _key(facts: Mapping[str, str], prompt: str) -> bytes:
    """SHA-256 over the facts and the prompt."""
    content = json.dumps([dict(facts), prompt], sort_keys=True)
    return hashlib.sha256(content.encode()).digest()
