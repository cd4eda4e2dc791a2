"""Guards the file of replies: found again by content, shared by processes, whole after a kill."""

import os
import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from damaged import damage_the_head, damage_the_middle
from repository import ROOT

from swarm.errors import UserError
from swarm.evals.judges.client import Reply
from swarm.evals.judges.reply_cache import ReplyCache, judge_cache_path

FACTS = {"provider": "openai", "model": "m"}
REPLY = Reply("Rating: 5/10\n“so”", 12, 5, "stop")
WRITER = """
import os, signal, sys
from pathlib import Path
from swarm.evals.judges.client import Reply
from swarm.evals.judges.reply_cache import ReplyCache
path, name, count, end = sys.argv[1:]
cache = ReplyCache(Path(path))
for i in range(int(count)):
    cache.put({"model": "m"}, f"{name} {i}", Reply(f"{name} {i}", i, 1))
if end == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
"""


def start_writer(path, name, count, end="whole"):
    return subprocess.Popen([sys.executable, "-c", WRITER, str(path), name, str(count), end], cwd=ROOT)


def test_a_reply_is_found_again_by_facts_and_prompt_alone(tmp_path):
    path = tmp_path / "deep" / "er" / "judge.sqlite"
    ReplyCache(path).put(FACTS, "q", REPLY)
    cache = ReplyCache(path)
    assert cache.get(dict(reversed(FACTS.items())), "q") == REPLY
    assert cache.get(FACTS, "Q") is None
    assert cache.get(FACTS | {"model": "n"}, "q") is None
    cache.put(FACTS, "q", Reply("other", 0, 0))
    assert ReplyCache(path).get(FACTS, "q") == Reply("other", 0, 0)


def test_a_reply_that_has_changed_on_the_disk_is_asked_for_again(tmp_path):
    path = tmp_path / "judge.sqlite"
    ReplyCache(path).put(FACTS, "q", REPLY)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE replies SET text = 'Rating: 9/10'")
    cache = ReplyCache(path)
    assert cache.get(FACTS, "q") is None
    cache.put(FACTS, "q", REPLY)
    assert cache.get(FACTS, "q") == REPLY
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE replies SET mark = NULL")  # as an earlier version has written it
    assert cache.get(FACTS, "q") == REPLY


def test_folder_and_file_are_the_users_alone(tmp_path):
    path = tmp_path / "h_swarm" / "judge.sqlite"
    ReplyCache(path).put(FACTS, "q", REPLY)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}


def test_several_processes_fill_one_new_file_and_a_kill_loses_nothing(tmp_path):
    path = tmp_path / "judge.sqlite"
    writers = [start_writer(path, "a", 100), start_writer(path, "b", 50, "killed")]
    assert [writer.wait(60) for writer in writers] == [0, -signal.SIGKILL]
    cache = ReplyCache(path)
    for name, count in (("a", 100), ("b", 50)):
        for i in range(count):
            assert cache.get({"model": "m"}, f"{name} {i}") == Reply(f"{name} {i}", i, 1)


@pytest.mark.parametrize("damage", [damage_the_head, damage_the_middle])
def test_a_damaged_file_is_told_with_the_cure(tmp_path, damage):
    path = tmp_path / "judge.sqlite"
    cache = ReplyCache(path)
    for i in range(50):
        cache.put(FACTS, f"q{i}", REPLY)
    cache.close()
    damage(path)
    with pytest.raises(UserError, match="judge.sqlite is damaged .*; delete it"):
        ReplyCache(path).get(FACTS, "q1")


def test_another_programs_file_is_left_alone(tmp_path):
    path = tmp_path / "judge.sqlite"
    with sqlite3.connect(path) as theirs:
        theirs.execute("CREATE TABLE theirs (x)")
    before = sqlite3.connect(path).execute("SELECT sql FROM sqlite_master").fetchall()
    with pytest.raises(UserError, match="holds no replies that this version can read"):
        ReplyCache(path)
    assert sqlite3.connect(path).execute("SELECT sql FROM sqlite_master").fetchall() == before


@pytest.mark.parametrize("where", ["a_file/judge.sqlite", "a_folder"])
def test_a_place_that_cannot_be_written_is_told(tmp_path, where):
    (tmp_path / "a_file").touch()
    (tmp_path / "a_folder").mkdir()
    with pytest.raises(UserError, match="replies cannot be kept there"):
        ReplyCache(tmp_path / where)


def test_the_usual_place_follows_the_xdg_specification(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", os.path.abspath("/c"))
    assert judge_cache_path() == Path("/c/h_swarm/judge.sqlite")
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert judge_cache_path() == Path.home() / ".cache/h_swarm/judge.sqlite"
