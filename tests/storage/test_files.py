"""What is written is whole, and goes to ordinary files of the user's own and nowhere else."""

import os
import socket
import stat

import pytest

from swarm.errors import UserError
from swarm.storage import files

KINDS = ("link", "dangling link", "pipe", "socket", "folder")


def put(kind, path, target):
    """Something that is no ordinary file, at `path`; links lead to `target`."""
    if kind == "link":
        target.write_text("mine")
        path.symlink_to(target)
    elif kind == "dangling link":
        path.symlink_to(target)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            before = os.getcwd()
            os.chdir(path.parent)  # a socket's path may have 108 bytes only
            made.bind(path.name)
            os.chdir(before)
    else:
        path.mkdir()


def appended(path):
    with files.open_own(path, "a") as file:
        file.write("more")


def opened_anew(path):
    with files.open_own(path, "w") as file:
        file.write("more")


WRITERS = {
    "write_whole": lambda path: files.write_whole(path, "more"),
    "write_json": lambda path: files.write_json(path, {}),
    "append": appended,
    "open anew": opened_anew,
    "lock": lambda path: files.open_lock(path).close(),
    "one at a time": lambda path: files.one_at_a_time(path).__enter__(),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("writer", WRITERS)
def test_every_writer_refuses_what_is_no_file(tmp_path, writer, kind):
    path, target = tmp_path / "out.txt", tmp_path / "target"
    put(kind, path, target)
    with pytest.raises(UserError, match=r"out.txt is a.*; wanted an ordinary file or nothing there"):
        WRITERS[writer](path)
    assert (target.read_text() if target.exists() else "") == ("mine" if kind == "link" else "")
    assert path.is_symlink() or not path.is_file(), "what was there is there"


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_folder_takes_the_place_of_a_folder_only(tmp_path, kind):
    path, target = tmp_path / "best", tmp_path / "target"
    put(kind, path, target)
    if kind == "folder":
        (path / "old").touch()
        with files.whole_folder(path) as new:
            (new / "new").touch()
        assert [inside.name for inside in path.iterdir()] == ["new"]
    else:
        with pytest.raises(UserError, match="best is a.*; wanted a folder"), files.whole_folder(path):
            raise AssertionError("there was something to fill")
    assert not list(tmp_path.glob(".*.tmp"))


def test_what_is_written_whole_has_the_usual_rights_and_leaves_nothing_beside(tmp_path):
    files.write_whole(tmp_path / "text", "whole")
    with files.whole_folder(tmp_path / "folder") as new:
        (new / "file").touch()
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((tmp_path / "text").stat().st_mode) == 0o666 & ~mask
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o777 & ~mask
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "text"]


def test_an_error_in_a_whole_folder_leaves_the_old_one(tmp_path):
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "old").touch()
    with pytest.raises(ZeroDivisionError), files.whole_folder(tmp_path / "best") as new:
        (new / "half").touch()
        _ = 1 / 0
    assert [path.name for path in (tmp_path / "best").iterdir()] == ["old"]
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


def test_other_names_of_a_file_keep_what_they_have(tmp_path):
    """A backup by hard links, or a stranger's archive that has brought one."""
    (tmp_path / "log.txt").write_text("first\n")
    (tmp_path / "backup.txt").hardlink_to(tmp_path / "log.txt")
    appended(tmp_path / "log.txt")
    assert (tmp_path / "log.txt").read_text() == "first\nmore"
    assert (tmp_path / "backup.txt").read_text() == "first\n"


def test_leftovers_go_and_all_else_but_files_and_folders_is_refused(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").write_text("mine")
    run = tmp_path / "run"
    (run / "best" / ".system.json.x1.tmp").mkdir(parents=True)
    (run / "best" / ".system.json.x1.tmp" / "half").touch()
    (run / ".state.json.tmp").touch()
    (run / ".x2.tmp").symlink_to(tmp_path / "mine")
    (run / "best" / "system.json").touch()
    files.tidy(run)
    assert sorted(path.name for path in run.rglob("*")) == ["best", "system.json"]
    assert (tmp_path / "mine" / "notes").read_text() == "mine", "the leftover was a link, of which only the link went"
    for kind in ("link", "dangling link", "pipe", "socket"):
        put(kind, run / "best" / "odd", tmp_path / "mine" / "notes")
        with pytest.raises(UserError, match="best/odd is a"):
            files.tidy(run)
        (run / "best" / "odd").unlink()
        (tmp_path / "mine" / "notes").unlink(missing_ok=True)
    (run / "graphs").symlink_to(tmp_path / "mine")
    with pytest.raises(UserError, match="graphs is a symbolic link"):
        files.tidy(run)


def test_links_that_a_tracker_makes_beside_its_own_files_may_stay(tmp_path):
    (tmp_path / "wandb" / "run-1").mkdir(parents=True)
    (tmp_path / "wandb" / "latest-run").symlink_to("run-1")
    files.tidy(tmp_path, foreign=("wandb",))
    (tmp_path / "wandb" / "debug.log").symlink_to(tmp_path / "mine")
    with pytest.raises(UserError, match=r"wandb/debug.log is a symbolic link"):
        files.tidy(tmp_path, foreign=("wandb",))
    (tmp_path / "wandb" / "debug.log").unlink()
    (tmp_path / "wandb").rename(tmp_path / "elsewhere")
    (tmp_path / "wandb").symlink_to("elsewhere")
    with pytest.raises(UserError, match="wandb is a symbolic link"):
        files.tidy(tmp_path, foreign=("wandb",))


def test_a_pipe_is_not_waited_for_when_it_is_read(tmp_path):
    os.mkfifo(tmp_path / "data.json")
    with pytest.raises(OSError, match="a named pipe, no file"):
        files.read_text(tmp_path / "data.json")
    with pytest.raises(IsADirectoryError):
        files.read_bytes(tmp_path)
    with pytest.raises(UserError, match=r"data.json is a named pipe; wanted an ordinary file"):
        files.check_readable(tmp_path)
    (tmp_path / "data.json").unlink()
    (tmp_path / "real").write_text("text", encoding="utf-8-sig")
    (tmp_path / "link").symlink_to("real")
    assert files.read_text(tmp_path / "link", "utf-8-sig") == "text", "every file of a hub's cache is a link"
    files.check_readable(tmp_path)
