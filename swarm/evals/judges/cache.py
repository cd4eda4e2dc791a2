"""A judge's replies on disk, so that a question is paid for once: over runs, resumed runs and kills."""

import fcntl
import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from swarm.errors import UserError
from swarm.evals.judges.base import Reply
from swarm.own_cache import own_cache

_LAYOUT = 1  # of the table; a file with another one is not touched
_BUSY_SECONDS = 30.0  # that one process waits for another one's writing


def judge_cache_path() -> Path:
    """Where replies are kept unless the user says otherwise: in the user's own cache folder."""
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
        with self._guarded():
            if not path.parent.is_dir():
                path.parent.mkdir(parents=True, mode=0o700)
            with suppress(FileExistsError):  # sqlite would make it readable by all
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
            self._database = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
            # sqlite does not wait for another process that is changing the journal's mode too, but gives up
            with open(path.with_suffix(".lock"), "a", opener=_for_the_user_alone) as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._database.execute("PRAGMA journal_mode = WAL")
                self._database.execute("PRAGMA synchronous = NORMAL")
                self._prepare()

    def get(self, facts: Mapping[str, str], prompt: str) -> Reply | None:
        """What the judge of these facts replied to the prompt; None if it was not asked yet."""
        with self._guarded():
            row = self._database.execute(
                "SELECT text, prompt_tokens, new_tokens, finish FROM replies WHERE key = ?", (_key(facts, prompt),)
            ).fetchone()
        return Reply(*row) if row else None

    def put(self, facts: Mapping[str, str], prompt: str, reply: Reply) -> None:
        """Keeps a reply; one that is there already is replaced."""
        row = (_key(facts, prompt), reply.text, reply.prompt_tokens, reply.new_tokens, reply.finish)
        with self._guarded():
            self._database.execute("INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?, ?)", row)

    def close(self) -> None:
        """Closes the file; nothing is lost without."""
        self._database.close()

    def _prepare(self) -> None:
        """Makes the table in a new file; raises UserError for another program's file or layout."""
        self._database.execute("BEGIN IMMEDIATE")  # or two processes would both make it
        layout = self._database.execute("PRAGMA user_version").fetchone()[0]
        tables = self._database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if layout == 0 and tables == 0:
            self._database.execute(
                "CREATE TABLE replies (key BLOB PRIMARY KEY, text TEXT NOT NULL, prompt_tokens INTEGER NOT NULL, "
                "new_tokens INTEGER NOT NULL, finish TEXT NOT NULL) WITHOUT ROWID"
            )
            self._database.execute(f"PRAGMA user_version = {_LAYOUT}")
        self._database.execute("COMMIT")
        if tables and layout != _LAYOUT:
            raise UserError(
                f"{self.path} holds no replies that this version can read (layout {layout}, wanted {_LAYOUT}); move it "
                "away, or name another file"
            )

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Says what the user can do about a file that fails."""
        try:
            yield
        except (sqlite3.OperationalError, OSError) as error:
            raise UserError(
                f"{self.path}: the judge's replies cannot be kept there ({error}); make room and see that you may "
                "write there, or name a file on a local disk"
            ) from error
        except sqlite3.DatabaseError as error:
            raise UserError(f"{self.path} is damaged ({error}); delete it: its replies are asked for again") from error


def _for_the_user_alone(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _key(facts: Mapping[str, str], prompt: str) -> bytes:
    """SHA-256 over what decides a reply."""
    content = json.dumps([dict(facts), prompt], sort_keys=True)
    return hashlib.sha256(content.encode()).digest()
