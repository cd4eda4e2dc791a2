"""Guards the private file that caches share: what fails is undone, its log stays short, other files are left alone."""

import resource
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest

from swarm.errors import UserError
from swarm.storage import user_database
from swarm.storage.user_database import DatabaseLayout, OwnDatabase

LAYOUT = DatabaseLayout(
    version=3,
    table="things",
    create=("CREATE TABLE things (x)", "CREATE INDEX things_x ON things (x)"),
    kept="the things",
    them="things",
    elsewhere="or name another file",
    loss="they are made again",
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "things.sqlite"


def write(database, *values):
    with database.writing() as connection:
        connection.executemany("INSERT INTO things VALUES (?)", [(value,) for value in values])


def test_what_was_written_is_there_for_the_next_one(path):
    with closing(OwnDatabase(path, LAYOUT)) as database:
        write(database, 1, 2)
    database = OwnDatabase(path, LAYOUT)
    assert database.rows("SELECT x FROM things WHERE x > ? ORDER BY x", (0,)) == [(1,), (2,)]
    assert database.number("SELECT count(*) FROM things") == 2


def test_a_block_that_fails_leaves_nothing(path):
    database = OwnDatabase(path, LAYOUT)
    with pytest.raises(KeyboardInterrupt), database.writing() as connection:
        connection.execute("INSERT INTO things VALUES (1)")
        raise KeyboardInterrupt
    write(database, 2)
    assert database.rows("SELECT x FROM things") == [(2,)]


def test_the_log_becomes_short_again_once_no_reader_needs_it(path, monkeypatch):
    monkeypatch.setattr(user_database, "_LOG_BYTES", 50_000)
    monkeypatch.setattr(user_database, "_LOG_SECONDS", 0.01)
    log = path.with_name("things.sqlite-wal")
    database = OwnDatabase(path, LAYOUT)
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM things").fetchall()
        write(database, "x" * 100_000)
        assert log.stat().st_size > 50_000
    write(database, "y")
    assert log.stat().st_size <= 50_000
    assert database.number("PRAGMA busy_timeout") == 30_000


@contextmanager
def full_disk(size):
    """No file may become longer than this meanwhile, in bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_told_and_loses_nothing(path):
    database = OwnDatabase(path, LAYOUT)
    write(database, "before")
    with full_disk(300_000), pytest.raises(UserError, match="the things cannot be kept there .*; make room"):
        write(database, *["x" * 1000] * 1000)
    write(database, "after")
    assert database.rows("SELECT x FROM things ORDER BY x") == [("after",), ("before",)]


@pytest.mark.parametrize("theirs", ["CREATE TABLE theirs (x)", "PRAGMA user_version = 3", "CREATE TABLE things (x)"])
def test_another_programs_file_is_left_as_it_is(path, theirs):
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(theirs)
    before = path.read_bytes()
    with pytest.raises(UserError, match="holds no things that this version can read .*; move it away"):
        OwnDatabase(path, LAYOUT)
    assert path.read_bytes() == before


def test_a_file_of_another_layout_is_left_as_it_is(path):
    OwnDatabase(path, LAYOUT).close()
    before = path.read_bytes()
    later = replace(LAYOUT, version=4)
    with pytest.raises(UserError, match=r"holds no things that this version can read \(layout 3, wanted 4\); move it"):
        OwnDatabase(path, later)
    assert path.read_bytes() == before


def test_our_own_mistakes_do_not_ask_to_delete_the_file(path):
    database = OwnDatabase(path, LAYOUT)
    with pytest.raises(sqlite3.ProgrammingError):
        database.rows("SELECT ?", ())
    database.close()
    with pytest.raises(sqlite3.ProgrammingError):
        database.rows("SELECT 1")
