"""Folders that every machine needs: found where they are, or sent once and kept in the user's own cache."""

import hashlib
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from math import ceil
from pathlib import Path

import numpy as np

from swarm.errors import UserError
from swarm.storage.files import one_at_a_time, whole_folder
from swarm.storage.user_cache import own_cache
from swarm.weights.tensors import content_digest

PIECE = 1 << 28  # bytes that are sent at a time, so that none fills a machine's store
KEPT = "experts"  # below the user's cache folder


@dataclass(frozen=True)
class SentFile:
    """A file of a folder: its name from there on, its size in bytes, which file it is on its disk, and its SHA-256."""

    name: str
    size: int
    inode: int
    changed: int
    digest: str

    @property
    def pieces(self) -> int:
        """In how many it is sent."""
        return ceil(self.size / PIECE)


@dataclass(frozen=True)
class SentFolder:
    """A folder by its content, and where it lies for whoever describes it."""

    path: Path
    files: tuple[SentFile, ...]

    @property
    def digest(self) -> str:
        """Hash of its files' names and content."""
        return hashlib.sha256("".join(f"{file.name} {file.digest}\n" for file in self.files).encode()).hexdigest()


def describe_folder(folder: Path, files: Iterable[Path] | None = None) -> SentFolder:
    """These files of a folder, or all of them."""
    found = files if files is not None else (path for path in folder.rglob("*") if path.is_file())
    described = []
    for path in sorted(found):
        facts = path.stat()
        name = path.relative_to(folder).as_posix()
        described.append(SentFile(name, facts.st_size, facts.st_ino, facts.st_mtime_ns, content_digest(path)))
    return SentFolder(folder.absolute(), tuple(described))


def differing(folder: SentFolder, there: Path) -> list[str]:
    """Names of the files that are missing there, or have another content."""
    return [file.name for file in folder.files if not _is_same(there / file.name, file)]


def folder_here(folder: SentFolder) -> Path | None:
    """Where the folder lies on this machine with that content: in its own place, or kept; None if it does not."""
    if not differing(folder, folder.path):
        return folder.path
    kept = _kept(folder)
    return kept if kept.is_dir() else None  # whole, if it is there, and named by its content


def pieces_of(folder: SentFolder) -> Iterator[np.ndarray]:
    """The content of its files, one after the other, in mapped pieces of bytes."""
    for file in folder.files:
        if file.size:
            content = np.memmap(folder.path / file.name, dtype=np.uint8, mode="r", shape=(file.size,))
            yield from (np.asarray(content[start : start + PIECE]) for start in range(0, file.size, PIECE))


def keep(folder: SentFolder, pieces: Callable[[int], np.ndarray]) -> Path:
    """Writes a folder into the user's cache, whole or not at all, unless it is there already.

    `pieces(n)` is asked for one piece after the other. Of several workers of a machine one writes, the others wait.
    Raises UserError if it cannot be written.
    """
    kept = _kept(folder)
    try:
        kept.parent.mkdir(mode=0o700, exist_ok=True)
        with one_at_a_time(kept.with_name(f".{kept.name}.lock")):
            if not kept.is_dir():
                with whole_folder(kept) as waiting:
                    _write(folder, pieces, waiting)
    except OSError as error:
        raise UserError(
            f"{kept} cannot be written ({error.strerror}): make room, or set XDG_CACHE_HOME to a folder that has some, "
            "and start Ray anew there"
        ) from error
    return kept


def _kept(folder: SentFolder) -> Path:
    return own_cache() / KEPT / folder.digest


def _write(folder: SentFolder, pieces: Callable[[int], np.ndarray], place: Path) -> None:
    numbers = count()
    for file in folder.files:
        path = place / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with open(path, "xb") as out:
            for _ in range(file.pieces):
                piece = pieces(next(numbers)).data
                out.write(piece)
                digest.update(piece)
        if digest.hexdigest() != file.digest:
            raise RuntimeError(f"{folder.path / file.name} did not arrive as it was: it has changed since the start")


def _is_same(path: Path, file: SentFile) -> bool:
    """The very same file (also from another machine, on a disk that both have), or one of that content."""
    try:
        found = path.stat()
    except OSError:
        return False
    if not stat.S_ISREG(found.st_mode) or found.st_size != file.size:
        return False
    return (found.st_ino, found.st_mtime_ns) == (file.inode, file.changed) or content_digest(path) == file.digest
