"""What composite members are: members of the pool that answer with the help of other members (design, decision 7)."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swarm.engines.base import Completion, Member, Request
from swarm.errors import UserError
from swarm.weights.base_model import base_folder, names_a_folder

NODE_FILE = "node.json"


@dataclass(frozen=True)
class Composite(ABC):
    """A composite member as its folder describes it; it has no weights of its own.

    Attributes:
      name: its folder's.
      folder: where it was read from.
      record: what its node.json says.
      members: names of the pool's members that it uses; their current weights count.
    """

    name: str
    folder: Path
    record: Mapping[str, Any]
    members: tuple[str, ...]

    @abstractmethod
    def with_members(self, members: Mapping[str, Member]) -> Member:
        """This composite, with the members that it uses as they now are."""

    def check(self, experts: Sequence[str], names: Sequence[str]) -> None:
        """Raises UserError if a member that it uses is not among the pool's `names`, the `experts`' included."""
        for member in self.members:
            if member not in names:
                raise UserError(
                    f"{self.folder / NODE_FILE} names member {member!r}, which the pool lacks; wanted one of: "
                    f"{', '.join(name for name in names if name != self.name)}"
                )

    def generations(self, of_members: Mapping[str, float]) -> float:
        """How many answers of models its own answer takes, given how many its members' take."""
        return sum(of_members[name] for name in self.members)

    @property
    def reads(self) -> tuple[Path, ...]:
        """The folders that it reads beside its node.json, models apart."""
        return ()

    def read_from(self, places: Mapping[Path, Path]) -> "Composite":
        """The same composite, where the folders that it `reads` lie in other places."""
        return self

    @property
    def models(self) -> tuple[tuple[str, str | None], ...]:
        """The models that it uses beside the pool's members: folder or hub id, and revision."""
        return ()

    def check_models(self) -> None:
        """Raises UserError if one of these cannot be had, or is of the wrong kind; only configs are fetched."""
        for model, revision in self.models:
            base_folder(model, revision, "in node.json")

    @property
    def digest(self) -> str:
        """Hash of its settings and of what it reads beside them; its members' weights are not in it."""
        return json_digest(self.record)

    @property
    def outside(self) -> tuple[str, ...]:
        """The folders that what `write` writes names; they stay where they are."""
        return tuple(model for model, _ in self.models if Path(model).is_dir())

    def write(self, folder: Path) -> None:
        """Its folder again, for a system that uses it; the folders that it names are absolute."""
        folder.mkdir(parents=True)
        (folder / NODE_FILE).write_text(json.dumps(dict(self.record), indent=2) + "\n", encoding="utf8")


@dataclass(frozen=True)
class Relay(ABC):
    """A composite that answers out of other members' answers to prompts that it passes on, in one stage or several.

    They are asked like anybody else, so what they are asked is shared between all graphs and remembered.

    Attributes:
      name: its folder's.
      digest: hash of its settings and of its members' digests.
      members: as they now are.
    """

    name: str
    digest: str
    members: tuple[Member, ...]

    @property
    @abstractmethod
    def kind(self) -> str:
        """Its type in node.json."""

    @property
    def sides(self) -> tuple[Member, ...]:
        """Whom it asks beside its members: models of its own, which stay as they are."""
        return ()

    @abstractmethod
    def pass_on(self, requests: Sequence[Request]) -> list[list[Request]]:
        """For every request to this composite what it asks first, at least one request each."""

    @abstractmethod
    def go_on(self, request: Request, stages: Sequence[Sequence[Completion]]) -> Completion | list[Request]:
        """The answer to a request, or what it asks next.

        `stages` are the answers to what was passed on for it, stage after stage, each in the order of its requests.
        """


def label(member: Member) -> str:
    """A member's name, and for a composite its type."""
    kind = getattr(member, "kind", None)
    return f"{member.name} ({kind})" if kind else member.name


def json_digest(*parts: Any) -> str:
    """SHA-256 of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def used_members(member: Member) -> Iterator[Member]:
    """A member, and all that answer for it, whatever their kind; parts before the whole."""
    for part in getattr(member, "members", ()):
        yield from used_members(part)
    yield member


def check_keys(path: Path, record: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raises UserError for a field that node.json cannot have here."""
    if unknown := sorted(set(record) - set(known)):
        raise UserError(f"{path} has the field {unknown[0]!r}; wanted of: {', '.join(sorted(known))}")


def member_names(path: Path, record: Mapping[str, Any], least: int = 2) -> tuple[str, ...]:
    """The names in the field `members`. Raises UserError if it is no list of at least so many different names."""
    names = record.get("members")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(names) < least:
        raise UserError(f"{path}: members is {names!r}; wanted a list of at least {least} names of the pool's members")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"{path} names member {twice[0]!r} twice; wanted every member once")
    return tuple(names)


def one_of(path: Path, record: Mapping[str, Any], field: str, choices: Sequence[str]) -> str:
    """The value of a field that has few, the first of which is the default. Raises UserError for another one."""
    value = record.get(field, choices[0])
    if value not in choices:
        raise UserError(f"{path}: {field} is {value!r}; wanted one of: {', '.join(choices)}")
    return str(value)


def located_model(path: Path, model: str) -> str:
    """A model that a node.json names: a folder, seen from the composite's own first, or a hub id as it stands.

    Raises UserError for a folder that is not there; whether the hub has an id is not asked.
    """
    folder = path.parent
    if (folder / model).is_dir():
        return str((folder / model).resolve())
    if not Path(model).is_dir() and names_a_folder(model):
        raise UserError(f"{path}: model {model} is not there; wanted a model's folder, from {folder} on, or a hub id")
    # a folder is to be the same one from any working directory
    return str(Path(model).resolve()) if Path(model).is_dir() else model
