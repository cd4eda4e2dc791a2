"""Every kind of member, in one place: what reads its node.json, which engine answers for it, how it is sent."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swarm.engines.base import Engine, Member
from swarm.errors import UserError
from swarm.members.blending.blend_node import read_blend
from swarm.members.blending.blend_request import Fuses, Ranks
from swarm.members.composite import Composite, Relay
from swarm.members.fusion.fused_member import FusionMember
from swarm.members.fusion.fusion_node import read_fusion
from swarm.members.routing.choice_request import RouterRequest
from swarm.members.routing.router_node import read_router
from swarm.members.vote import read_ballot
from swarm.plugins import HINT, Plugin, faults_named, find_plugin, names_in
from swarm.weights.pool import Expert

if TYPE_CHECKING:
    from swarm.engines.local.transformers_engine import InProcessEngine

NodeReader = Callable[[Path, Mapping[str, Any], Path], Composite]

NODE_TYPES: dict[str, NodeReader] = {
    "vote": read_ballot,
    "mbr": read_ballot,
    "fusion": read_fusion,
    "router": read_router,
    "blend": read_blend,
}
"""Type of a composite -> what reads its node.json: (folder, record, path of the file)."""


def node_reader(kind: object, path: Path) -> NodeReader:
    """What reads a node.json of a type, one of ours or a plugin's. Raises UserError for a type that nobody reads."""
    if isinstance(kind, str) and (plugin := find_plugin("members", kind, NODE_TYPES)):
        return partial(_read_by, plugin)
    if not isinstance(kind, str) or kind not in NODE_TYPES:
        known = ", ".join(names_in("members", NODE_TYPES))
        raise UserError(f"{path}: type is {kind!r}; wanted one of: {known}; {HINT}")
    return NODE_TYPES[kind]


def _read_by(plugin: Plugin, folder: Path, record: Mapping[str, Any], path: Path) -> Composite:
    reader = plugin.load()
    who = f"{path}: member {plugin.name!r} of {plugin.source}"
    with faults_named(who, reader):
        composite = reader(folder, record, path)
    if not isinstance(composite, Composite):
        raise UserError(
            f"{who} gave {type(composite).__name__}; wanted a swarm.members.composite.Composite (docs/extend.md)"
        )
    with faults_named(who, composite):  # whatever a search will ask of it, before anything is loaded
        _ = composite.digest, composite.reads, composite.models, composite.outside
        composite.generations(dict.fromkeys(composite.members, 1.0))
    return composite


class Sending(Enum):
    """How a member is sent to a worker on another machine, which has the pool and the composites already."""

    WHOLE = "as it is"
    BY_NAME = "by its composite's name, with the experts that it uses as they now are"
    WITH_FOLDER = "by its composite's name; with its folder's files, if it was made after the start"
    NOT = "not at all: the scheduler answers for it, out of what its members answer"


@dataclass(frozen=True)
class MemberKind:
    """One kind of member that requests are addressed to.

    Attributes:
      types: its classes.
      sending: how it travels.
      engine: makes the engine that answers for it around another one: (inner, the experts' engine, these members,
        whether code of theirs may run); None for the experts' own engine, and where no engine is asked.
    """

    types: tuple[type, ...]
    sending: Sending
    engine: "Callable[[Engine, InProcessEngine, Sequence[Any], bool], Engine] | None" = None


def _fusion_engine(inner: Engine, host: "InProcessEngine", fusions: Sequence[Any], trust_remote_code: bool) -> Engine:
    from swarm.members.fusion.fusion_engine import FusionEngine

    return FusionEngine(host, fusions, trust_remote_code)  # the innermost one: it shares the resident model


def _routing_engine(inner: Engine, host: "InProcessEngine", routers: Sequence[Any], trust_remote_code: bool) -> Engine:
    from swarm.members.routing.routing_engine import RoutingEngine

    return RoutingEngine(inner, host, routers)


def _blending_engine(inner: Engine, host: "InProcessEngine", models: Sequence[Any], trust_remote_code: bool) -> Engine:
    from swarm.members.blending.blending_engine import BlendingEngine

    return BlendingEngine(inner, host, models)


MEMBER_KINDS = (
    MemberKind((Expert,), Sending.WHOLE),
    MemberKind((FusionMember,), Sending.BY_NAME, _fusion_engine),
    MemberKind((RouterRequest,), Sending.WITH_FOLDER, _routing_engine),
    MemberKind((Ranks, Fuses), Sending.BY_NAME, _blending_engine),
    MemberKind((Relay,), Sending.NOT),  # votes, routers, blends, and those of plugins
)
"""In the order in which their engines are put around each other."""


def kind_of(member: Member) -> MemberKind:
    """The kind of a member. Raises TypeError for one that is not listed."""
    for kind in MEMBER_KINDS:
        if isinstance(member, kind.types):
            return kind
    raise TypeError(f"{type(member).__name__} {member.name} is no kind of member; list it in {__name__}")


def requested(members: Sequence[Member]) -> Iterator[Member]:
    """The members, and whom they ask beside the pool's members: all that an engine can be asked for."""
    for member in members:
        yield member
        yield from getattr(member, "sides", ())


def engine_around(host: "InProcessEngine", members: Sequence[Member], trust_remote_code: bool) -> Engine:
    """An engine that answers for all of these members: the experts' own, and those of other kinds around it.

    Raises UserError if a model of theirs cannot be had or cannot work together with others.
    """
    engine: Engine = host
    of_kind: dict[MemberKind, list[Member]] = {kind: [] for kind in MEMBER_KINDS}
    for member in requested(members):
        of_kind[kind_of(member)].append(member)
    for kind, own in of_kind.items():
        if kind.engine and own:
            engine = kind.engine(engine, host, own, trust_remote_code)
    return engine
