"""Folders that travel: found where they are, else written once for all workers of a machine, whole or not at all."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from swarm.errors import UserError
from swarm.storage.user_cache import own_cache
from swarm.workers import sent_folders
from swarm.workers.sent_folders import describe_folder, differing, folder_here, keep, pieces_of


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(sent_folders, "PIECE", 1000)
    own = tmp_path / "expert"
    (own / "part").mkdir(parents=True)
    (own / "weights").write_bytes(os.urandom(2500))
    (own / "part" / "empty").touch()
    (own / "part" / "two").write_bytes(bytes(2000))
    return own


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_that_is_there_stays_there(folder, tmp_path):
    described = describe_folder(folder)
    assert folder_here(described) == folder
    # the same content in a file of its own, as on another machine
    shutil.copytree(folder, tmp_path / "copy")
    shutil.rmtree(folder)
    assert folder_here(described) is None
    (tmp_path / "copy").rename(folder)
    assert folder_here(described) == folder
    (folder / "weights").write_bytes(os.urandom(2500))
    assert folder_here(described) is None, "another content"


def test_a_pipe_in_the_place_of_a_file_is_not_that_file(folder):
    described = describe_folder(folder)
    (folder / "part" / "empty").unlink()
    os.mkfifo(folder / "part" / "empty")
    assert differing(described, folder) == ["part/empty"]


def test_what_arrives_is_written_over_no_file(folder):
    """Two names may be one to a disk that knows no case."""
    described = describe_folder(folder)
    twice = replace(described, files=(*described.files, described.files[-1]))
    pieces = list(pieces_of(twice))
    with pytest.raises(UserError, match="cannot be written .File exists."):
        keep(twice, lambda number: pieces[number])


def test_workers_that_start_together_write_it_once(folder):
    described, pieces = describe_folder(folder), list(pieces_of(describe_folder(folder)))
    before, asked = content(folder), []

    def piece(number):
        asked.append(number)
        return pieces[number]

    with ThreadPoolExecutor(4) as workers:
        [kept] = set(workers.map(lambda _: keep(described, piece), range(4)))
    assert asked == list(range(3 + 2)) and content(kept) == before
    shutil.rmtree(folder)
    assert folder_here(described) == kept
    assert own_cache() in kept.parents and own_cache().stat().st_mode & 0o777 == kept.parent.stat().st_mode & 0o777


def test_what_does_not_arrive_whole_is_not_there(folder):
    described, pieces = describe_folder(folder), list(pieces_of(describe_folder(folder)))

    def breaks(number):
        if number == 3:
            raise RuntimeError("the sender is gone")
        return pieces[number]

    with pytest.raises(RuntimeError, match="gone"):
        keep(described, breaks)
    shutil.rmtree(folder)
    assert folder_here(described) is None
    with pytest.raises(RuntimeError, match="two did not arrive as it was"):
        keep(described, lambda number: pieces[2])
    assert folder_here(described) is None
    kept = keep(described, lambda number: pieces[number])
    assert folder_here(described) == kept
