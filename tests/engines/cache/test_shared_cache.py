"""The cache on disk between processes: all go on with one text, and what the disk does wrong ends no search."""

import resource
import sqlite3
from contextlib import closing, contextmanager

import pytest
from damaged import damage_the_middle
from worlds import PARAMS, chaotic, paper_pool

from swarm.engines.base import Completion
from swarm.engines.cache import disk_cache
from swarm.engines.cache.completion_cache import CompletionCache
from swarm.engines.cache.disk_cache import DiskCache
from swarm.engines.scripted import ScriptedEngine
from swarm.storage import user_database
from swarm.system.prompts import Query
from swarm.system.scheduler import Scheduler
from swarm.system.system import single

PLENTY = 2**30
KEY, OTHER = b"1" * 32, b"2" * 32


@pytest.fixture
def path(tmp_path):
    return tmp_path / "answers.sqlite"


@pytest.fixture
def impatient(monkeypatch):
    """Nobody waits half a minute for a lock."""
    monkeypatch.setattr(user_database, "_BUSY_SECONDS", 0.05)


@contextmanager
def locked_by_another(path):
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def test_the_text_that_was_kept_first_is_everybody_s(path):
    """In half precision a text depends on its batch, and another process's may be kept before ours."""
    caches = [CompletionCache({"engine": "one"}, DiskCache(path, PLENTY)) for _ in "ab"]
    assert not any(cache.get_many([KEY, OTHER]) for cache in caches)
    first, second, own = Completion("first", 3, 1), Completion("second", 3, 2), Completion("own", 1, 1)
    assert caches[0].put_many({KEY: first}) == {KEY: first}
    assert caches[1].put_many({KEY: second, OTHER: own}) == {KEY: first, OTHER: own}
    assert caches[1].get_many([KEY]) == {KEY: first}
    for cache in caches:
        cache.next_step()
        cache.next_step()
        assert cache.get_many([KEY, OTHER]) == {KEY: first, OTHER: own}


def test_the_scheduler_delivers_what_was_kept(path):
    engine, expert = ScriptedEngine(lambda request: "mine"), paper_pool(1).experts()[0]
    scheduler = Scheduler(engine, CompletionCache(engine.facts(), DiskCache(path, PLENTY)))
    other = CompletionCache(engine.facts(), DiskCache(path, PLENTY))
    generate = engine.generate

    def beside_another_process(requests):
        other.put_many({other.key(requests[0]): Completion("theirs", 1, 1)})
        yield from generate(requests)

    engine.generate = beside_another_process
    assert scheduler.answer_all([(single(expert), [Query("a"), Query("b")])], PARAMS) == [["theirs", "mine"]]


def test_a_use_that_cannot_be_noted_hides_no_text(path, monkeypatch):
    kept = {KEY: Completion("text", 1, 1)}
    cache = DiskCache(path, PLENTY)
    cache.put_many(kept)
    monkeypatch.setattr(disk_cache, "_today", lambda: 10**6)
    with locked_by_another(path):
        assert cache.get_many([KEY]) == kept  # at once: the usual half minute would be noticed here
    assert cache.get_many([KEY]) == kept
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT used FROM answers").fetchall() == [(10**6,)]


def answers(scheduler, count=4):
    expert = paper_pool(1).experts()[0]
    return scheduler.answer_all([(single(expert), [Query(f"q{i}") for i in range(count)])], PARAMS)


@contextmanager
def full_disk():
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def locked(path):
    return locked_by_another(path)


def full(path):
    return full_disk()


@contextmanager
def damaged(path):
    damage_the_middle(path)
    yield


@pytest.mark.parametrize("trouble", [locked, full, damaged])
def test_trouble_with_the_disk_is_one_warning_and_the_search_goes_on(path, trouble, impatient, caplog):
    with closing(DiskCache(path, PLENTY)) as before:
        before.put_many({bytes([i]) * 32: Completion("x" * 5000, 1, 1) for i in range(50)})
    engine = ScriptedEngine(chaotic, rows=2)
    scheduler = Scheduler(engine, CompletionCache(engine.facts(), DiskCache(path, PLENTY)))
    with trouble(path):
        assert answers(scheduler) == answers(Scheduler(ScriptedEngine(chaotic)))
        scheduler.cache.next_step()
        answers(scheduler, 8)
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1 and "\n" not in warnings[0]
    assert "answers.sqlite" in warnings[0] and "the search goes on without the cache on disk" in warnings[0]
