"""Composites of type fusion: models that write one text together, token by token (DeePEn, arXiv 2404.12715)."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from swarm.engines.base import Member
from swarm.errors import UserError
from swarm.members.composite import NODE_FILE, Composite, json_digest, located_model
from swarm.members.fusion.fused_member import FusionMember, OtherModel
from swarm.members.fusion.fusion_artefact import saved_digest, saved_rule
from swarm.members.fusion.fusion_settings import FusionSettings, read_settings, switched_off
from swarm.members.fusion.node_fields import settings_of_record, with_setting
from swarm.members.fusion.unused_settings import check_not_contradicting, listed, without_effect
from swarm.weights.base_model import base_model_digest, model_folder

log = logging.getLogger(__name__)

VERSION = 2  # to be raised with every change to fused decoding that can change a text
UNSET_ROW_MEMORY = 256  # megabytes by which answers are known that are kept without a `row_memory` in node.json
OF_ANCHORS = ("keys", "anchors", "anchor_count", "anchor_seed", "normalise", "centre")  # which an artefact brings


@dataclass(frozen=True)
class Named:
    """A further model of a node.json: its name there, folder or hub id, revision, and a translator's language."""

    name: str
    model: str
    revision: str | None
    language: str = ""


@dataclass(frozen=True)
class Fusion(Composite):
    """A composite of type fusion.

    Attributes:
      fusion_models: names of members and other models, the main one first.
      others: the models among them that are no members of the pool.
      settings: with weights in the order of `fusion_models`.
    """

    fusion_models: tuple[str, ...]
    others: tuple[Named, ...]
    settings: FusionSettings

    def with_members(self, members: Mapping[str, Member]) -> FusionMember:
        """One whose experts have their current weights."""
        others = {
            one.name: OtherModel(one.name, other_model_digest(one), one.model, one.revision, one.language)
            for one in self.others
        }
        found = tuple(others[name] if name in others else members[name] for name in self.fusion_models)
        digest = json_digest("fusion", VERSION, self._facts(), [member.digest for member in found])
        return FusionMember(self.name, digest, found, self.settings)

    def _facts(self) -> dict[str, Any]:
        """The settings in the cache key, an artefact by its content."""
        facts = asdict(self.settings)
        del facts["row_disk"]  # changes no text, nor does row_memory, but answers were always kept under that
        row_memory = self.settings.row_memory or UNSET_ROW_MEMORY
        return facts | {"artefact": self._anchors, "row_memory": row_memory}

    def check(self, experts: Sequence[str], names: Sequence[str]) -> None:
        """Raises UserError as its base does, for a member that is a composite, and for a model of a member's name."""
        super().check(experts, names)
        if composites := [member for member in self.members if member not in experts]:
            raise UserError(
                f"{self.folder / NODE_FILE} names {composites[0]}, a composite, which cannot be stepped token by "
                "token; wanted experts and other models"
            )
        for one in self.others:
            if one.name in names:
                raise UserError(
                    f"{self.folder / NODE_FILE} calls model {one.model} {one.name!r}, as the pool calls a member: "
                    'give it another "name"'
                )

    def generations(self, of_members: Mapping[str, float]) -> float:
        """The sum of its members' calls, and one for each other model."""
        return super().generations(of_members) + len(self.others)

    @property
    def reads(self) -> tuple[Path, ...]:
        """The artefact, if there is one."""
        return (Path(self.settings.artefact),) if self.settings.artefact else ()

    def read_from(self, places: Mapping[Path, Path]) -> "Fusion":
        """With the artefact in another folder."""
        artefact = "".join(str(places[folder]) for folder in self.reads)
        return replace(self, settings=replace(self.settings, artefact=artefact)) if artefact else self

    @property
    def models(self) -> tuple[tuple[str, str | None], ...]:
        """The other models."""
        return tuple((one.model, one.revision) for one in self.others)

    @property
    def digest(self) -> str:
        """The digest of its settings, its members' names and the content of the other models, wherever those lie."""
        others = {one.name: other_model_digest(one) for one in self.others}
        return json_digest("fusion", self._facts(), [others.get(name, name) for name in self.fusion_models])

    @property
    def outside(self) -> tuple[str, ...]:
        """The other models' folders, and the artefact."""
        return (*super().outside, *map(str, self.reads))

    def write(self, folder: Path) -> None:
        """Writes its folder; other models and the artefact stay where they are."""
        folder.mkdir(parents=True)
        models = {one.name: one for one in self.others}
        entries = [entry if isinstance(entry, str) else _entry(models[_name(entry)]) for entry in self._entries]
        record = dict(self.record) | {"members": entries}
        if self.settings.artefact:
            record = with_setting(record, "artefact", self.settings.artefact)
        (folder / NODE_FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf8")

    @property
    def _anchors(self) -> str:
        """The content of the artefact, if there is one."""
        return anchors(self.settings.artefact) if self.settings.artefact else ""

    @property
    def _entries(self) -> list[Any]:
        return list(self.record["members"])


def read_fusion(folder: Path, record: Mapping[str, Any], path: Path) -> Fusion:
    """A fusion. Raises UserError for a field that it cannot have; no model is loaded."""
    entries = record.get("members")
    if not isinstance(entries, list) or len(entries) < 2:
        raise UserError(
            f'{path}: members is {entries!r}; wanted a list of at least 2: names of experts, or {{"model": "folder or '
            'hub id"}'
        )
    others = tuple(_named(path, entry) for entry in entries if not isinstance(entry, str))
    names = [entry if isinstance(entry, str) else _name(entry) for entry in entries]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"{path} names member {twice[0]!r} twice; wanted every member once (give models a name)")
    main = record.get("main", names[0])
    if main not in names:
        raise UserError(f"{path}: main is {main!r}; wanted one of: {', '.join(names)}")
    given = settings_of_record(path, record)
    settings = read_settings(str(path), given, len(names))
    first = names.index(main)
    order = [first, *(index for index in range(len(names)) if index != first)]
    if isinstance(settings.weights, tuple):
        settings = replace(settings, weights=tuple(settings.weights[index] for index in order))
    if settings.artefact:
        settings = _with_artefact(path, settings, given)
    if off := switched_off(settings):
        log.warning("%s: %s", path, off)
    check_not_contradicting(str(path), settings)
    reasons = without_effect(settings)
    if unused := [name for name in given if name in reasons]:
        log.warning("%s: without effect here: %s", path, listed(reasons, unused))
    experts = tuple(entry for entry in entries if isinstance(entry, str))
    return Fusion(folder.name, folder, record, experts, tuple(names[index] for index in order), others, settings)


@cache
def other_model_digest(model: Named) -> str:
    """Hash of another model's content, weights and code included, with the language that it is to write in, if any.

    From the hub it is fetched if need be.
    """
    content = base_model_digest(model_folder(model.model, model.revision, "in node.json"), with_code=True)
    return json_digest(content, model.language) if model.language else content


@cache
def anchors(artefact: str) -> str:
    """Hash of an artefact's content, which is read once, as the artefact is."""
    return saved_digest(Path(artefact))


def _with_artefact(path: Path, settings: FusionSettings, given: Mapping[str, Any]) -> FusionSettings:
    """The settings with the artefact's folder from anywhere; UserError where it is none, or has no say."""
    artefact = (path.parent / settings.artefact).resolve()
    if settings.space != "relative":
        raise UserError(f"{path}: space {settings.space!r} has no anchors; leave out artefact, or take space relative")
    if beside := [name for name in OF_ANCHORS if name in given]:
        raise UserError(f"{path}: an artefact brings its own anchors; leave out either it or {', '.join(beside)}")
    saved_rule(artefact)  # sees that it is one
    return replace(settings, artefact=str(artefact))


def _named(path: Path, entry: Any) -> Named:
    fields = entry if isinstance(entry, dict) else {}
    texts = [value for key, value in fields.items() if (key, value) != ("revision", None)]
    if not {"model"} <= set(fields) <= {"model", "name", "revision", "language"} or not all(
        isinstance(text, str) and text for text in texts
    ):
        raise UserError(
            f'{path}: a member is {entry!r}; wanted a name of the pool, or {{"model": "folder or hub id", "name": ..., '
            '"revision": ..., "language": ...}'
        )
    return Named(_name(entry), located_model(path, entry["model"]), entry.get("revision"), entry.get("language", ""))


def _name(entry: Mapping[str, Any]) -> str:
    return str(entry.get("name") or Path(entry["model"]).name)


def _entry(model: Named) -> dict[str, Any]:
    revision = {} if model.revision is None else {"revision": model.revision}
    language = {"language": model.language} if model.language else {}
    return {"name": model.name, "model": model.model} | revision | language
