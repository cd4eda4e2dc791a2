"""Guards the file of generated texts: equal when they come back, shared, whole after a kill, bounded."""

import hashlib
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from damaged import damage_the_head, damage_the_middle
from hypothesis import given, settings
from hypothesis import strategies as st
from repository import ROOT

from swarm.engines.base import Completion
from swarm.engines.cache import disk_cache
from swarm.engines.cache.disk_cache import DiskCache, answers_path
from swarm.errors import UserError
from swarm.evals.judges.reply_cache import ReplyCache

PLENTY = 2**30
# two processes put batches under keys that begin with `prefixes`, and tell each batch once it is kept
WRITERS = """
import hashlib, os, sys
from pathlib import Path
from swarm.engines.base import Completion
from swarm.engines.cache.disk_cache import DiskCache
path, prefixes, batches, size, limit = sys.argv[1:]
for name, prefix in zip("ab", prefixes):
    if not os.fork():
        cache = DiskCache(Path(path), int(limit))
        for i in range(int(batches)):
            keys = [hashlib.sha256(f"{prefix} {i} {j}".encode()).digest() for j in range(int(size))]
            cache.put_many({key: Completion(f"{name} {i}".ljust(200), i, 0) for key in keys})
            os.write(1, f"{name} {i} {os.getpid()}\\n".encode())
        os._exit(0)
print(sorted(os.waitstatus_to_exitcode(os.wait()[1]) for _ in "ab"))
"""

counts = st.integers(0, 2**63 - 1)
completions = st.builds(
    Completion, st.text(st.characters(exclude_categories=())), counts, counts, st.sampled_from([None, True, False])
)


def key(*what):
    return hashlib.sha256(" ".join(map(str, what)).encode()).digest()


def batch(name, size=100, letters=800):
    """`size` entries whose texts have about `letters` letters."""
    return {key(name, i): Completion(f"{name} {i}".ljust(letters), i, 7) for i in range(size)}


def start_writers(path, prefixes, batches, size, limit=PLENTY):
    command = [sys.executable, "-c", WRITERS, *map(str, (path, prefixes, batches, size, limit))]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def is_sound(path):
    with closing(sqlite3.connect(path)) as database:
        return database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def kept(cache, completions):
    """How many of these are there; what is there is as it was put."""
    found = cache.get_many(list(completions))
    assert found.items() <= completions.items()
    return len(found)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "answers.sqlite"


@pytest.fixture
def days(monkeypatch):
    """Sets the day on which the following lines happen."""
    return lambda day: monkeypatch.setattr(disk_cache, "_today", lambda: day)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from([key(i) for i in range(8)]), completions), max_size=4))
def test_what_was_put_first_comes_back_equal(batches):
    first = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "answers.sqlite"
        with closing(DiskCache(path, PLENTY)) as cache:
            for some in batches:
                cache.put_many(some)
                first = some | first
                assert cache.get_many([key(i) for i in range(9)]) == first
        with closing(DiskCache(path, PLENTY)) as cache:
            assert cache.get_many([*first, *first]) == first


def test_many_keys_at_once_and_none(path):
    cache = DiskCache(path, PLENTY)
    many = batch("a", 2500, letters=10)
    cache.put_many(many)
    cache.put_many({})
    assert cache.get_many([*many, *batch("b", 2500), *many]) == many
    assert cache.get_many([]) == {}


def test_a_batch_that_fails_is_not_kept(path):
    cache = DiskCache(path, PLENTY)
    with pytest.raises(OverflowError):
        cache.put_many(batch("a") | {b"\xff" * 32: Completion("", 2**63, 0)})
    assert kept(cache, batch("a")) == 0
    cache.put_many(batch("a"))
    assert kept(cache, batch("a")) == 100


def test_processes_that_write_the_same_keys_agree_on_the_first_text(path):
    writers = start_writers(path, "ss", 40, 50)
    cache = DiskCache(path, PLENTY)
    keys = [key("s", i, j) for i in range(40) for j in range(50)]
    seen = {}
    for _ in writers.stdout:
        found = cache.get_many(keys)
        assert seen.items() <= found.items()
        seen = found
    assert writers.wait(60) == 0
    assert len(seen) == len(keys)
    for i in range(40):
        assert len({seen[key("s", i, j)].text for j in range(50)}) == 1
    assert is_sound(path)


def test_a_kill_leaves_whole_batches_and_a_file_that_works(path):
    writers = start_writers(path, "ab", 1000, 1000)
    told = {"a": [], "b": []}
    for line in writers.stdout:
        if line[0] in told:
            name, i, process = line.split()
            told[name].append(int(i))
            if len(told[name]) == {"a": 3, "b": 6}[name]:
                os.kill(int(process), signal.SIGKILL)
    assert line == "[-9, -9]\n"
    cache = DiskCache(path, PLENTY)
    for name, batches in told.items():
        sizes = [len(cache.get_many([key(name, i, j) for j in range(1000)])) for i in range(len(batches) + 3)]
        assert sizes[: len(batches)] == [1000] * len(batches)
        assert set(sizes) <= {0, 1000}
    cache.put_many(batch("after"))
    assert kept(cache, batch("after")) == 100
    assert is_sound(path)


def test_what_was_not_used_for_longest_goes_first(path, days):
    cache = DiskCache(path, 500_000)
    days(1)
    for name in "abcd":
        cache.put_many(batch(name))
    days(2)
    assert kept(cache, batch("a")) == 100
    days(3)
    cache.put_many(batch("e"))
    assert [kept(cache, batch(name)) for name in "ade"] == [100] * 3
    assert kept(cache, batch("b")) == 0
    assert kept(cache, batch("c")) > 0
    cache.close()
    assert 400_000 < path.stat().st_size <= 500_000


def test_putting_another_text_is_a_use_of_the_first_one(path, days):
    cache = DiskCache(path, 500_000)
    days(1)
    for name in "abcd":
        cache.put_many(batch(name))
    days(2)
    cache.put_many({key: Completion("another", 0, 0) for key in batch("a")})
    cache.put_many(batch("e"))
    assert kept(cache, batch("a")) == 100
    assert kept(cache, batch("b")) < 50


def test_a_clock_that_was_set_back_does_not_throw_out_what_is_new(path, days):
    cache = DiskCache(path, 500_000)
    days(9)
    for name in "abcd":
        cache.put_many(batch(name))
    days(2)
    cache.put_many(batch("e"))
    assert kept(cache, batch("e")) == 100
    assert kept(cache, batch("a")) < 50


def test_a_lower_limit_makes_the_file_smaller(path):
    with closing(DiskCache(path, PLENTY)) as cache:
        cache.put_many(batch("a", 3000))
    assert path.stat().st_size > 3_000_000
    with closing(DiskCache(path, 1_000_000)) as cache:
        cache.put_many(batch("b"))
        assert kept(cache, batch("b")) == 100
    assert path.stat().st_size <= 1_000_000


def test_a_limit_below_the_smallest_file_keeps_nothing_and_ends(path):
    cache = DiskCache(path, 1)
    cache.put_many(batch("a"))
    assert kept(cache, batch("a")) == 0


def test_the_limit_holds_for_processes_that_write_at_once(path):
    writers = start_writers(path, "ab", 80, 50, 1_000_000)
    assert writers.communicate(timeout=60)[0].endswith("[0, 0]\n")
    cache = DiskCache(path, 1_000_000)
    sizes = {name: [len(cache.get_many([key(name, i, j) for j in range(50)])) for i in range(80)] for name in "ab"}
    assert 2000 < sum(map(sum, sizes.values())) < 8000
    assert any(some[-1] == 50 for some in sizes.values())
    for some in sizes.values():
        cut = [size > 0 for size in some]
        assert cut == sorted(cut)  # of each process, the oldest went
    cache.close()  # which moves the log into the file
    assert 800_000 < path.stat().st_size <= 1_000_000
    assert is_sound(path)


def test_a_hit_writes_once_a_day(path, days):
    cache = DiskCache(path, PLENTY)
    days(1)
    cache.put_many(batch("a"))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        versions = []
        for day in (1, 2, 2):
            days(day)
            assert kept(cache, batch("a")) == 100
            versions.append(other.execute("PRAGMA data_version").fetchone()[0])
        assert versions[0] != versions[1] == versions[2]
        other.execute("BEGIN IMMEDIATE")
        assert kept(cache, batch("a")) == 100  # without waiting for the other one


def test_folder_and_files_are_the_users_alone(tmp_path):
    path = tmp_path / "h_swarm" / "answers.sqlite"
    cache = DiskCache(path, PLENTY)
    cache.put_many(batch("a"))
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    files = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert {"answers.sqlite", "answers.sqlite-wal"} <= set(files)
    assert set(files.values()) == {0o600}


def damage_a_text(path):
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE answers SET text = x'ff', mark = NULL")  # an earlier version's row has no mark


def test_a_text_that_has_changed_on_the_disk_is_made_again(path):
    entries = batch("a", size=3)
    first, second, third = sorted(entries)
    with closing(DiskCache(path, PLENTY)) as cache:
        cache.put_many(entries)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE answers SET text = x'41' WHERE key = ?", (first,))
        database.execute("UPDATE answers SET mark = NULL WHERE key = ?", (second,))
    with closing(DiskCache(path, PLENTY)) as cache:
        assert cache.get_many([first, second, third]) == {key: entries[key] for key in (second, third)}
        assert cache.put_many({first: entries[first]}) == {}
        assert cache.get_many([first]) == {first: entries[first]}


@pytest.mark.parametrize("damage", [damage_the_head, damage_the_middle, damage_a_text])
def test_a_damaged_file_is_told_with_the_cure(path, damage):
    with closing(DiskCache(path, PLENTY)) as cache:
        cache.put_many(batch("a"))
    damage(path)
    with pytest.raises(
        UserError, match=r"answers.sqlite is damaged \(.*\); delete it: its answers are generated again"
    ):
        DiskCache(path, PLENTY).get_many(list(batch("a")))


def test_a_file_of_judges_replies_is_no_file_of_answers(path):
    ReplyCache(path).close()
    with pytest.raises(UserError, match="holds no answers that this version can read"):
        DiskCache(path, PLENTY)


@pytest.mark.parametrize("where", ["a_file/answers.sqlite", "a_folder"])
def test_a_place_that_cannot_be_written_is_told(tmp_path, where):
    (tmp_path / "a_file").touch()
    (tmp_path / "a_folder").mkdir()
    with pytest.raises(UserError, match="the generated answers cannot be kept there .*; make room"):
        DiskCache(tmp_path / where, PLENTY)


def test_the_usual_place_is_in_the_users_own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", os.path.abspath(tmp_path))
    assert answers_path() == tmp_path / "h_swarm" / "answers.sqlite"


def test_a_file_of_an_earlier_version_is_read_and_written_on(path):
    """Whether an answer was cut came later: of what was there it is not known, and an earlier version goes on, too."""
    with closing(sqlite3.connect(path)) as old:
        for statement in (*disk_cache._LAYOUT.create, "PRAGMA user_version = 1"):
            old.execute(statement)
        old.execute("INSERT INTO answers VALUES (1, 20000, 3, 4, ?, ?)", (key("old"), b"text"))
        old.commit()
    with closing(DiskCache(path, PLENTY)) as cache:
        cache.put_many({key("new"): Completion("new", 1, 4, True), key("whole"): Completion("whole", 1, 4, False)})
        found = cache.get_many([key("old"), key("new"), key("whole")])
        assert [found[key(name)].cut for name in ("old", "new", "whole")] == [None, True, False]
        assert found[key("old")].text == "text"
    with closing(sqlite3.connect(path)) as old:
        old.execute("INSERT INTO answers (key, text, prompt_tokens, new_tokens, used) VALUES (?, ?, 1, 1, 1)",
                    (key("later"), b"later"))  # fmt: skip
        old.commit()
    with closing(DiskCache(path, PLENTY)) as cache:
        assert cache.get_many([key("later")])[key("later")] == Completion("later", 1, 1)
