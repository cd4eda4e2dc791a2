"""A private SQLite file that several processes of the user share, with errors that name the cure."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swarm.errors import UserError

_BUSY_SECONDS = 30.0  # that one process waits for another one's writing
_LOG_BYTES = 16 * 2**20  # that the log may have before its content is moved into the file, whoever is waiting
_LOG_SECONDS = 1.0  # that a writer waits for readers in order to do so


@dataclass(frozen=True)
class DatabaseLayout:
    """The table of a file, and its name in errors.

    Attributes:
      version: of the tables; a file with another one is not touched.
      table: name of the only table.
      create: the statements that make the table and its indices.
      added: columns that came later, each with its type; they are null in rows of earlier versions, which can go on
        using the file.
      kept, them: what is kept there, as in "the judge's replies cannot be kept", and as in "holds no replies".
      elsewhere: what else the user can do about a file that cannot be written, as in "or name another file".
      loss: what becomes of it where the file is deleted, as in "its replies are asked for again".
      shrinks: whether `PRAGMA incremental_vacuum` gives free pages back to the disk.
    """

    version: int
    table: str
    create: tuple[str, ...]
    kept: str
    them: str
    elsewhere: str
    loss: str
    shrinks: bool = False
    added: tuple[str, ...] = ()


class OwnDatabase:
    """An open file of one layout. What a block of `writing` wrote outlives a kill of the process, whole or not at all.

    It is for the thread that opened it.
    """

    def __init__(self, path: Path, layout: DatabaseLayout):
        """Opens the file, which is made where it is not there, readable by the user alone.

        Raises UserError if it cannot be opened, is damaged, or is not a file of this layout.
        """
        self.path = path
        self._layout = layout
        with self.guarded():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with suppress(FileExistsError):  # sqlite would make it readable by all
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
            self._database = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
            try:
                # sqlite does not wait for another process that is changing the journal's mode too, but gives up
                with open(path.with_suffix(".lock"), "a", opener=_for_the_user_alone) as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX)
                    self._prepare()
            except BaseException:
                self._database.close()
                raise

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """All rows that a statement gives; raises UserError where the file fails."""
        with self.guarded():
            # all at once: an open cursor would keep the log from being emptied
            return self._database.execute(statement, values).fetchall()

    def number(self, statement: str) -> int:
        """The one number that a statement gives, such as a pragma's value."""
        return int(self.rows(statement)[0][0])

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction; after an error in the block nothing of it is kept. Raises UserError where the file fails."""
        with self.guarded():
            try:
                self._database.execute("BEGIN IMMEDIATE")
                yield self._database
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:  # sqlite has ended it itself where the disk is full
                    self._database.execute("ROLLBACK")
                raise
            self._shorten_log()

    @contextmanager
    def waiting_at_most(self, seconds: float) -> Iterator[None]:
        """A context manager that limits the wait for another process's writing."""
        self.rows(f"PRAGMA busy_timeout = {seconds * 1000:.0f}")
        try:
            yield
        finally:
            self.rows(f"PRAGMA busy_timeout = {_BUSY_SECONDS * 1000:.0f}")

    def close(self) -> None:
        """Closes the file; nothing is lost without."""
        self._database.close()

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """A context manager in which SQLite's errors become UserErrors with the cure."""
        try:
            yield
        except (sqlite3.OperationalError, OSError) as error:
            raise UserError(
                f"{self.path}: {self._layout.kept} cannot be kept there ({error}); make room, see that you may "
                f"write there, {self._layout.elsewhere}"
            ) from error
        except (sqlite3.ProgrammingError, sqlite3.IntegrityError, sqlite3.DataError):
            raise  # ours, such as a use after close: no reason to delete anything
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            raise UserError(f"{self.path} is damaged ({error}); delete it: {self._layout.loss}") from error

    def _shorten_log(self) -> None:
        """Truncates a write-ahead log that has become long.

        sqlite does it by itself only in a moment without any reader or writer: busy processes would leave it none.
        """
        try:
            long = os.path.getsize(f"{self.path}-wal") > _LOG_BYTES
        except FileNotFoundError:  # on a file system that cannot have one
            return
        if long:
            with self.waiting_at_most(_LOG_SECONDS):
                self.rows("PRAGMA wal_checkpoint(TRUNCATE)")  # no error where readers go on: a later writer will do it

    def _prepare(self) -> None:
        """Makes the table in a new file; raises UserError for another program's file or layout, left as it is."""
        version = self.number("PRAGMA user_version")
        tables = [name for (name,) in self.rows("SELECT name FROM sqlite_master WHERE type = 'table'")]
        ours = version == self._layout.version and self._layout.table in tables
        if not ours and (version or tables):
            raise UserError(
                f"{self.path} holds no {self._layout.them} that this version can read (layout {version}, wanted "
                f"{self._layout.version}); move it away"
            )
        if not ours and self._layout.shrinks:
            self.rows("PRAGMA auto_vacuum = INCREMENTAL")  # heeded before the first page is written only
        self.rows("PRAGMA journal_mode = WAL")
        self.rows("PRAGMA synchronous = NORMAL")
        self.rows(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
        if not ours:
            with self.writing() as database:
                for statement in (*self._layout.create, f"PRAGMA user_version = {self._layout.version}"):
                    database.execute(statement)
        there = {column for _, column, *_ in self.rows(f"PRAGMA table_info({self._layout.table})")}
        for column in self._layout.added:
            if column.split()[0] not in there:
                with self.writing() as database:
                    database.execute(f"ALTER TABLE {self._layout.table} ADD COLUMN {column}")


def _for_the_user_alone(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
