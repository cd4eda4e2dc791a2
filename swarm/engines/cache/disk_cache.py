"""A cache of completions on disk, shared by all runs on this machine; evicts the least recently used."""

import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from swarm.engines.base import Completion
from swarm.errors import UserError
from swarm.storage.row_marks import mark_of
from swarm.storage.user_cache import own_cache
from swarm.storage.user_database import DatabaseLayout, OwnDatabase

# A text is appended where the last one ended, and only its key goes to a random page: two and a half times as
# quick to write as one tree by key. `age` is sqlite's row number, so that the lowest is the oldest.
_LAYOUT = DatabaseLayout(
    version=1,
    table="answers",
    create=(
        "CREATE TABLE answers (age INTEGER PRIMARY KEY, used INTEGER NOT NULL, prompt_tokens INTEGER NOT NULL, "
        "new_tokens INTEGER NOT NULL, key BLOB NOT NULL UNIQUE, text BLOB NOT NULL)",
        "CREATE INDEX answers_used ON answers (used)",
    ),
    added=("cut INTEGER", "mark BLOB"),
    kept="the generated answers",
    them="answers",
    elsewhere="set XDG_CACHE_HOME to a folder on a local disk, or do without (--no-cache)",
    loss="its answers are generated again",
    shrinks=True,
)
_KEYS_AT_ONCE = 900  # some builds of sqlite take 999 values
_ENTRIES_AT_ONCE = 50  # that go before the size is looked at again
_TURNS = 200  # of these in one transaction, so that another process waits for a fraction of a second
_PAGES_AT_ONCE = 1000  # given back to the disk in one transaction
_FILLED_AFTERWARDS = 0.9  # of the limit


def answers_path() -> Path:
    """The default path of the cache, in the user's own cache folder."""
    return own_cache() / "answers.sqlite"


class DiskCache:
    """Completions by key; several processes can use one file at the same time, each object in one thread.

    The text that is there first is the truth. What `put_many` has returned from outlives a kill of the process.
    """

    def __init__(self, path: Path, limit_bytes: int):
        """Opens the file, which is made where it is not there, readable by the user alone.

        Args:
          limit_bytes: what the file may grow to; while a batch is written it is larger by that batch, and the log
            beside it (16 MiB, or the largest batch) is not counted.

        Raises UserError if it cannot be opened, is damaged, or is not a file of ours.
        """
        self.path = path
        self._limit = limit_bytes
        self._changed: set[bytes] = set()  # keys whose text has changed on the disk
        self._database = OwnDatabase(path, _LAYOUT)
        self._database.rows("PRAGMA secure_delete = OFF")  # else every freed page is written once more
        self._page_bytes = self._database.number("PRAGMA page_size")

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, Completion]:
        """The cached completions by key; keys that are not cached, or whose text has changed on the disk, are left out.

        Writes nothing unless an entry is used for the first time on a day, and not even then where another process
        is writing or the disk is full. Raises UserError where the file cannot be read.
        """
        day = self._day()
        found, used = self._found(keys)
        used_before = [age for age, last in used.items() if last < day]
        if used_before:
            # what is found is found, whether or not that can be noted
            with suppress(UserError), self._database.waiting_at_most(0), self._database.writing() as database:
                _note_use(database, "age", used_before, day)
        return found

    def put_many(self, completions: Mapping[bytes, Completion]) -> dict[bytes, Completion]:
        """Stores a batch, whole or not at all; a key that is there already keeps its text, and counts as used.

        Returns what was there already and is another text than the one given. Afterwards the entries that were not
        used for longest go, where the limit is exceeded. Raises UserError where the file fails.
        """
        if not completions:
            return {}
        rows = [
            (key, text, one.prompt_tokens, one.new_tokens, one.cut, mark_of(key, text))
            for key, one in sorted(completions.items(), key=lambda item: item[0])
            for text in (one.text.encode("utf8", "surrogatepass"),)
        ]
        there: dict[bytes, Completion] = {}
        with self._database.writing() as database:
            day = self._day()
            database.executemany(
                "DELETE FROM answers WHERE key = ?", ((key,) for key in sorted(self._changed & completions.keys()))
            )
            before = database.total_changes
            database.executemany(
                "INSERT INTO answers (key, text, prompt_tokens, new_tokens, cut, mark, used) "
                f"VALUES (?, ?, ?, ?, ?, ?, {day}) ON CONFLICT (key) DO NOTHING",
                rows,
            )
            if database.total_changes - before < len(rows):
                _note_use(database, "key", completions, day)
                there = {key: kept for key, kept in self._found(completions)[0].items() if kept != completions[key]}
        if self._filled_bytes() > self._limit:
            while self._forget_oldest():
                pass
        while self._give_back():
            pass
        return there

    def close(self) -> None:
        """Closes the file; nothing is lost without."""
        self._database.close()

    def _found(self, keys: Iterable[bytes]) -> tuple[dict[bytes, Completion], dict[int, int]]:
        """The completions that are there, and by their age the day on which each was last used."""
        wanted = sorted(set(keys))  # neighbours in the tree of keys are read together
        found: dict[bytes, Completion] = {}
        used: dict[int, int] = {}
        for start in range(0, len(wanted), _KEYS_AT_ONCE):
            some = wanted[start : start + _KEYS_AT_ONCE]
            rows = self._database.rows(
                "SELECT key, text, prompt_tokens, new_tokens, cut, used, age, mark FROM answers "
                f"WHERE key IN ({','.join('?' * len(some))})",
                some,
            )
            with self._database.guarded():
                for key, text, prompt_tokens, new_tokens, cut, last, age, mark in rows:
                    if mark is not None and mark != mark_of(key, text):  # earlier versions wrote no mark
                        self._changed.add(key)
                        continue
                    ended = None if cut is None else bool(cut)
                    found[key] = Completion(text.decode("utf8", "surrogatepass"), prompt_tokens, new_tokens, ended)
                    used[age] = last
        return found, used

    def _day(self) -> int:
        """Today as days since 1970, and never before the last day on which an entry was used.

        A clock that was set back would otherwise make what is put now the first to go.
        """
        newest = self._database.rows("SELECT max(used) FROM answers")[0][0]
        return max(_today(), newest or 0)

    def _filled_bytes(self) -> int:
        """Bytes of the file that entries take; the rest is reused by the next ones."""
        pages = self._database.number("PRAGMA page_count") - self._database.number("PRAGMA freelist_count")
        return pages * self._page_bytes

    def _forget_oldest(self) -> bool:
        """Evicts some of the least recently used entries; returns whether there is more to do."""
        with self._database.writing() as database:
            for _ in range(_TURNS):
                if self._filled_bytes() <= self._limit * _FILLED_AFTERWARDS:
                    return False
                gone = database.execute(
                    "DELETE FROM answers WHERE age IN (SELECT age FROM answers ORDER BY used, age LIMIT ?)",
                    (_ENTRIES_AT_ONCE,),
                )
                if gone.rowcount == 0:
                    return False
        return True

    def _give_back(self) -> bool:
        """Vacuums free pages beyond the limit; returns whether there may be more to do."""
        pages = self._database.number("PRAGMA page_count")
        beyond = pages - self._limit // self._page_bytes
        if beyond <= 0:
            return False
        self._database.rows(f"PRAGMA incremental_vacuum({min(beyond, _PAGES_AT_ONCE)})")
        return self._database.number("PRAGMA page_count") < pages


def _note_use(database: sqlite3.Connection, column: str, values: Iterable[bytes | int], day: int) -> None:
    """Updates the day of last use of these entries, unless they were used since."""
    days = ((day, value, day) for value in sorted(values))  # type: ignore[type-var] # all of one kind
    database.executemany(f"UPDATE answers SET used = ? WHERE {column} = ? AND used < ?", days)


def _today() -> int:
    return int(time.time() // 86_400)
