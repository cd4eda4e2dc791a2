"""Results that are kept: files, and a JSON record of what they are, with facts and digests that are compared."""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swarm.errors import UserError
from swarm.storage.files import asked_folder, file_digest, read_text, write_json


@dataclass(frozen=True)
class KeptFolder:
    """One kind of folder that is kept.

    Attributes:
      record: name of its JSON record, by which such a folder is known.
      noun: what messages call it, such as "router".
      cure: how one is made again.
      format: of the record; another one is refused. None for a kind whose records do not say it.
      wanted: the record's other keys, all of which it must have.
      elsewhere: the cure where something else is in its place.
    """

    record: str
    noun: str
    cure: str
    format: int | None
    wanted: tuple[str, ...] = ()
    elsewhere: str = "name a folder that is new, or one to replace"

    def check_place(self, folder: Path) -> None:
        """Raises UserError for a folder that is there and is none of this kind."""
        if folder.exists() and not (folder / self.record).is_file():
            raise UserError(f"{folder} is there and holds no {self.record}; {self.elsewhere}")

    @contextmanager
    def writing(self, folder: Path, record: dict[str, Any]) -> Iterator[Path]:
        """A new folder to fill, whole or not there at the end of the block; `record` is written last.

        The block may still add to the record. Raises UserError for a place that is taken, or where there is no room.
        """
        self.check_place(folder)
        with asked_folder(folder) as new:
            yield new
            write_json(new / self.record, ({} if self.format is None else {"format": self.format}) | record)

    def read(self, folder: Path) -> dict[str, Any]:
        """The record. Raises UserError where it is missing, damaged, or of another format."""
        path = folder / self.record
        record = read_record(path, self.cure)
        if record is None:
            raise UserError(f"{path} is not there: {folder} holds no {self.noun}; {self.cure}, or name its folder")
        if (found := record.get("format")) != self.format:
            raise UserError(
                f"{path} has format {found!r}, wanted {self.format}; {self.cure}, or use the version that wrote it"
            )
        if missing := [name for name in self.wanted if name not in record]:
            raise UserError(f"{path} is damaged ({', '.join(missing)} missing); {self.cure}")
        return record

    def check_files(self, folder: Path, found: Mapping[str, str], written: Mapping[str, str]) -> None:
        """Raises UserError unless the files' digests, by name, are those that were written."""
        differing = sorted(name for name in {*found, *written} if found.get(name) != written.get(name))
        if differing:
            raise UserError(f"{folder}: {', '.join(differing)} missing, added, or not what was written; {self.cure}")


def read_record(path: Path, cure: str) -> dict[str, Any] | None:
    """The JSON object in a file; None where nothing is there. Raises UserError, with the cure, where it is damaged."""
    try:
        record = json.loads(read_text(path))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({type(error).__name__}: {error}); {cure}") from error
    if not isinstance(record, dict):
        raise UserError(f"{path} is damaged ({type(record).__name__}, no object); {cure}")
    return record


def differences(
    before: Mapping[str, Any], now: Mapping[str, Any], passed_over: Collection[str] = ()
) -> dict[str, tuple[Any, Any]]:
    """Fields in which two records differ -> what each has; None for a field that is not there."""
    names = [name for name in dict.fromkeys([*now, *before]) if name not in passed_over]
    return {name: (before.get(name), now.get(name)) for name in names if before.get(name) != now.get(name)}


def digests_below(folder: Path, parts: Sequence[str] = ("",)) -> dict[str, str]:
    """Relative name -> SHA-256 of every file below these parts of a folder; "" for what is no file, such as a pipe."""
    paths = (path for part in parts for path in sorted((folder / part).rglob("*")))
    return {
        path.relative_to(folder).as_posix(): file_digest(path) if path.is_file() else ""
        for path in paths
        if not path.is_dir()
    }


def record_digest(record: Mapping[str, Any], decisive: Sequence[str]) -> str:
    """SHA-256 of the decisive fields of a record."""
    text = json.dumps({name: record[name] for name in decisive}, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
