"""Files and folders that are whole or not there at all, and nothing but files and folders."""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from swarm.errors import UserError

_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def write_whole(path: Path, content: str | bytes, flush: bool = True) -> None:
    """Replaces a file at once: written in a new hidden folder beside it, flushed to disk, moved into place.

    What can be made again need not be flushed: it outlives a kill all the same, though not a power cut.
    Raises UserError if it cannot be written, or if there is something in its place that is no ordinary file; what was
    there is then untouched.
    """
    check_own_file(path)
    raw = content.encode("utf8") if isinstance(content, str) else content
    try:
        with _room_beside(path) as room:
            try:
                with open(room / path.name, "xb") as file:
                    file.write(raw)
                    if flush:
                        file.flush()
                        os.fsync(file.fileno())
                os.replace(room / path.name, path)
            finally:
                (room / path.name).unlink(missing_ok=True)
        if flush:
            flush_to_disk(path.parent)  # with which the rename reaches the disk
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror}); what was there is untouched: make room, then --resume"
        ) from error


def write_json(path: Path, value: Any, indent: int | None = 2) -> None:
    """`write_whole` of a value as JSON; refuses numbers that JSON does not have (NaN, infinity) with ValueError."""
    write_whole(path, json.dumps(value, indent=indent, allow_nan=False) + "\n")


def open_own(path: Path, mode: str) -> IO[Any]:
    """An ordinary file opened to be written ("w", "wb") or gone on with ("a", "ab"); made where nothing is there.

    A file that has further names (hard links) is parted from them first, so that they keep what they have.
    Raises UserError where a link, a pipe, a folder or the like is in its place, OSError where it cannot be written.
    """
    check_own_file(path)
    if path.exists() and path.stat().st_nlink > 1:
        write_whole(path, path.read_bytes())
    return open(path, mode, encoding=None if "b" in mode else "utf8", opener=_ordinary_only)


def open_lock(path: Path) -> IO[Any]:
    """The open file that a lock is taken on (`take_lock`), to which nothing is ever written. Raises as `open_own`."""
    check_own_file(path)
    return open(path, "a", opener=_ordinary_only)


def check_own_file(path: Path) -> None:
    """Raises UserError unless an ordinary file is at `path`, or nothing."""
    _refuse(path, stat.S_IFREG, "an ordinary file")


def check_own_folder(folder: Path) -> None:
    """Raises UserError unless a folder is at `path` that is no link, or nothing."""
    _refuse(folder, stat.S_IFDIR, "a folder")


def check_own_tree(root: Path, foreign: tuple[str, ...] = ()) -> None:
    """Raises UserError for anything below `root` that is neither an ordinary file nor a folder.

    What is written there must not reach a link's target. Below the folders `foreign` of root, which other programs
    write, links may stay that lead to what lies beside them.
    """
    for folder, names, files in os.walk(root):
        for name in [*names, *files]:
            path = Path(folder) / name
            if not (path.is_symlink() and path.parent.parent == root and path.parent.name in foreign
                    and path.resolve().is_relative_to(path.parent.resolve())):  # fmt: skip
                _refuse(path, stat.S_IFDIR if name in names else stat.S_IFREG, "an ordinary file or folder")


def tidy(root: Path, foreign: tuple[str, ...] = ()) -> None:
    """Removes what processes that were killed while they wrote have left anywhere below `root` (hidden, *.tmp).

    Raises UserError as `check_own_tree` for what else is there.
    """
    for folder, names, files in os.walk(root):
        for name in [*names, *files]:
            path = Path(folder) / name
            if name.startswith(".") and name.endswith(".tmp"):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
                if name in names:
                    names.remove(name)
    check_own_tree(root, foreign)


def open_bytes(path: Path) -> IO[bytes]:
    """An ordinary file opened to be read. Raises OSError where it cannot be; a pipe or a device is not waited for."""
    return open(path, "rb", opener=_ordinary_only)


def read_bytes(path: Path) -> bytes:
    """A file's content. Raises as `open_bytes`."""
    with open_bytes(path) as file:
        return file.read()


def read_text(path: Path, encoding: str = "utf8") -> str:
    """A file's text. Raises as `read_bytes`, and UnicodeDecodeError."""
    return read_bytes(path).decode(encoding)


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with open_bytes(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def check_readable(folder: Path) -> None:
    """Raises UserError if a folder's files, which libraries are about to open, have a pipe or the like among them."""
    for path in folder.iterdir() if folder.is_dir() else ():
        kind = stat.S_IFMT(path.stat().st_mode) if path.exists() else stat.S_IFREG
        if kind not in (stat.S_IFREG, stat.S_IFDIR):
            raise UserError(f"{path} is {_KINDS[kind]}; wanted an ordinary file in its place, or none")


def flush_to_disk(path: Path) -> None:
    """Has a file, or a folder's list of names, outlive a power cut."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def take_lock(file: IO[Any], taken: str) -> None:
    """Locks an open file for this process until it is closed; UserError `taken` where another process holds it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise UserError(taken) from None


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Only one process of this machine is in this block at a time, others wait; `path` is a file that is locked."""
    with open_lock(path) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A new folder to fill, which takes the place of `folder` at the end of the block; after an error it is gone.

    It lies in a hidden folder beside, whose name ends in .tmp, so that what a killed process leaves can be told.
    Raises UserError where a link or a file is in its place.
    """
    check_own_folder(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:  # which says it of a file that a folder's name leads through
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder.parent)) from error
    with _room_beside(folder) as room:
        waiting = room / folder.name
        waiting.mkdir()
        yield waiting
        if folder.exists():
            folder.rename(room / f"{folder.name}.old")
        waiting.rename(folder)


@contextmanager
def asked_folder(folder: Path) -> Iterator[Path]:
    """`whole_folder` where the user wants it. Raises UserError if it cannot be written there, or there is no room."""
    try:
        with whole_folder(folder) as new:
            yield new
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}); make room, or name another folder") from error


@contextmanager
def _room_beside(path: Path) -> Iterator[Path]:
    """A new folder of this process's own beside `path`, under a name that nobody can have foreseen.

    An empty one is removed by its name: `rmtree`, if interrupted, closes a descriptor twice, which may be another
    thread's file by then.
    """
    room = Path(tempfile.mkdtemp(".tmp", ".", path.parent))
    try:
        yield room
    finally:
        try:
            room.rmdir()
        except OSError:
            shutil.rmtree(room, ignore_errors=True)


def _refuse(path: Path, wanted: int, in_words: str) -> None:
    """Raises UserError if there is something at `path`, a link not followed, that is of another kind than `wanted`."""
    try:
        kind = stat.S_IFMT(path.lstat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return
    if kind != wanted:
        found = _KINDS.get(kind, "an ordinary file")
        raise UserError(f"{path} is {found}; wanted {in_words} or nothing there: move it away")


def _ordinary_only(path: str, flags: int) -> int:
    """Opens as `os.open` does, but for writing never through a link, and neither way what is no file.

    A pipe is not waited for, and a file is emptied only once it is known to be one.
    """
    writes = flags & (os.O_WRONLY | os.O_RDWR)
    flags |= os.O_NONBLOCK | (os.O_NOFOLLOW if writes else 0)
    opened = os.open(path, flags & ~os.O_TRUNC, 0o666)
    if not stat.S_ISREG(kind := os.fstat(opened).st_mode):
        os.close(opened)
        if stat.S_ISDIR(kind):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        raise OSError(errno.EINVAL, f"{_KINDS[stat.S_IFMT(kind)]}, no file", path)
    if flags & os.O_TRUNC:
        os.ftruncate(opened, 0)
    return opened
