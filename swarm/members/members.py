"""All members that a graph can place: the experts of the pool, and the composites over them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from swarm.engines.base import Member
from swarm.engines.local.side_models import speaking_of
from swarm.errors import UserError
from swarm.members.composite import NODE_FILE, Composite, json_digest
from swarm.members.member_kinds import node_reader
from swarm.members.relaying import with_members
from swarm.members.routing.router_node import routers_of
from swarm.members.routing.router_store import RouterStore
from swarm.plugins import faults_named
from swarm.storage.files import read_text
from swarm.weights.base_model import is_here
from swarm.weights.pool import Expert, Pool, composite_folders, read_pool


@dataclass(frozen=True)
class Members:
    """What a search places: n members, the experts first, then the composites; each group sorted by name.

    Attributes:
      pool: the experts.
      composites: over them and over each other, without circles.
    """

    pool: Pool
    composites: tuple[Composite, ...] = ()

    @property
    def names(self) -> list[str]:
        """Of the initial members."""
        return [*self.pool.names, *(composite.name for composite in self.composites)]

    @property
    def composites_digest(self) -> str:
        """Hash of the composites' names and settings; "" without any."""
        digests = {composite.name: composite.digest for composite in self.composites}
        return json_digest(digests) if digests else ""

    def at(self, names: Sequence[str], coefficients: np.ndarray) -> tuple[Member, ...]:
        """The members with experts of these names at these coefficients, a row each."""
        return self.around([self.pool.expert(name, row) for name, row in zip(names, coefficients, strict=True)])

    def initial(self) -> tuple[Member, ...]:
        """The members as they were read."""
        return self.around(self.pool.experts())

    def with_routers(self, routers: Mapping[str, str], router_store: RouterStore) -> "Members":
        """The same members with other routers, name -> digest, for those that have been fitted again."""
        router_store.check(routers)
        refitted: dict[str, Composite] = {
            node.name: node.refitted(router_store.folder_of(node.name, routers[node.name]), routers[node.name])
            for node in routers_of(self.composites)
            if node.name in routers
        }
        return replace(self, composites=tuple(refitted.get(one.name, one) for one in self.composites))

    def around(self, experts: Sequence[Expert]) -> tuple[Member, ...]:
        """The experts, then the composites as they answer with these."""
        found: dict[str, Member] = {expert.name: expert for expert in experts}
        for composite in in_order(self.composites):
            found[composite.name] = with_members(composite, found)
        return (*experts, *(found[composite.name] for composite in self.composites))

    @property
    def reads(self) -> tuple[Path, ...]:
        """The folders that whoever answers for them reads, models that are no members apart."""
        return (*(expert.folder for expert in self.pool.initial), *(f for one in self.composites for f in one.reads))

    def read_from(self, places: Mapping[Path, Path]) -> "Members":
        """The same members, where the folders that they `reads` lie in other places."""
        pool = self.pool
        adapters = tuple(replace(adapter, folder=places[adapter.folder]) for adapter in pool.adapters)
        models = tuple(replace(model, folder=places[model.folder]) for model in pool.models)
        bases = {str(model.folder.resolve()): str(places[model.folder]) for model in pool.models}
        pool = replace(pool, initial=models or adapters, base=bases.get(pool.base, pool.base))
        return Members(pool, tuple(composite.read_from(places) for composite in self.composites))


def read_members(
    directory: Path,
    base: str | None = None,
    combine: str = "linear",
    rank: int | None = None,
    beside: Path | None = None,
    preview: bool = False,
    moved: Mapping[str, str] = MappingProxyType({}),
) -> Members:
    """The members in a directory, and the composites in another one `beside` it.

    A `preview` is for looking only, as in `read_pool`: models that this machine does not have are not looked at.
    `moved` says of folders that members name where they lie now.

    Raises UserError if experts do not fit together (`read_pool`), or a composite cannot be.
    """
    pool = read_pool(directory, base, combine, rank, preview, moved)
    members = Members(pool, read_composites(pool.names, directory, beside, moved))
    for composite in members.composites:
        if not preview or not missing_models(composite):
            with speaking_of(str(composite.folder / NODE_FILE)):
                composite.check_models()
    if routers := routers_of(members.composites):
        known = pool.experts() if preview else members.initial()  # those of composites may have to be fetched
        digests = {member.name: member.digest for member in known if member.digest}
        for router in routers:
            router.check_weights(digests)
    return members


def missing_models(composite: Composite) -> list[str]:
    """Hub ids of models that a composite uses beside members and that this machine does not have."""
    return [model for model, revision in composite.models if not is_here(model, revision)]


def read_composites(
    experts: Sequence[str],
    directory: Path,
    beside: Path | None = None,
    moved: Mapping[str, str] = MappingProxyType({}),
) -> tuple[Composite, ...]:
    """The composites in a directory and in another one `beside` it, by name; no model is read.

    `moved` says of folders that they name where they lie now.

    Raises UserError if there are none `beside`, or one cannot be, alone or among the others and these `experts`.
    """
    folders = [*composite_folders(directory), *(composite_folders(beside) if beside else ())]
    if beside is not None and not composite_folders(beside):
        raise UserError(f"{beside} holds no composites; wanted one sub-folder with a {NODE_FILE} for each")
    composites = tuple(sorted((read_composite(folder, moved) for folder in folders), key=lambda one: one.name))
    names = [*experts, *(composite.name for composite in composites)]
    for composite in composites:
        if names.count(composite.name) > 1:
            raise UserError(f"{composite.folder}: another member is named {composite.name}, too; rename the folder")
    for composite in composites:
        with faults_named(f"composite {composite.name}", composite):
            composite.check(experts, names)
    in_order(composites)
    return composites


def generations_of(names: Sequence[str], composites: Sequence[Composite]) -> list[float]:
    """For every composite how many answers of models its own takes; `names` are the experts'."""
    found = dict.fromkeys(names, 1.0)
    for composite in in_order(composites):
        found[composite.name] = composite.generations(found)
    return [found[composite.name] for composite in composites]


def read_composite(folder: Path, moved: Mapping[str, str] = MappingProxyType({})) -> Composite:
    """The composite in a folder. Raises UserError if its node.json cannot be read, or is of no type that there is.

    `moved` says of folders that it names where they lie now.
    """
    path = folder / NODE_FILE
    try:
        record = json.loads(read_text(path, "utf-8-sig"))  # editors put a byte order mark there
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{path} cannot be read ({error}); wanted a JSON object with the fields type, members"
        ) from None
    kind = record.get("type") if isinstance(record, dict) else None
    return node_reader(kind, path)(folder, _with_moved(record, moved), path)


def _with_moved(record: Mapping[str, Any], moved: Mapping[str, str]) -> dict[str, Any]:
    """What a node.json says, with the folders that have moved, its own or its members', where they lie now."""

    def fields(of: Mapping[str, Any]) -> dict[str, Any]:
        return {name: moved.get(value, value) if isinstance(value, str) else value for name, value in of.items()}

    def inner(value: Any) -> Any:
        if isinstance(value, list):
            return [fields(entry) if isinstance(entry, dict) else entry for entry in value]
        return fields(value) if isinstance(value, dict) else value

    return {name: inner(value) for name, value in fields(record).items()}


def in_order(composites: Sequence[Composite]) -> list[Composite]:
    """The composites so that each comes after those that it uses. Raises UserError for a circle."""
    waiting, ordered = {composite.name: composite for composite in composites}, []
    while waiting:
        ready = [one for one in waiting.values() if not any(name in waiting for name in one.members)]
        if not ready:
            circle = ", ".join(sorted(waiting))
            raise UserError(f"composites use each other in a circle ({circle}): take one of them out of another")
        for one in ready:
            ordered.append(waiting.pop(one.name))
    return ordered
