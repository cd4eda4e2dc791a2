"""A batch as it travels: every member once, and of it only what moves."""

from collections.abc import Sequence
from dataclasses import dataclass

from swarm.engines.base import GenerationParams, Member, Request
from swarm.fusion.member import FusionMember
from swarm.nodes.members import Members
from swarm.nodes.router import Routed
from swarm.routers.member import Chooser
from swarm.weights.pool import Expert


@dataclass(frozen=True)
class Composed:
    """A composite by name, with the experts that it uses as they now are; all else of it is known there."""

    name: str
    digest: str
    experts: tuple[Expert, ...]


@dataclass(frozen=True)
class Packed:
    """Requests: their members and parameters, each once, and for every request its place in both, and its prompt."""

    members: tuple[Expert | Composed, ...]
    params: tuple[GenerationParams, ...]
    rows: tuple[tuple[int, int, str], ...]


def pack(requests: Sequence[Request]) -> Packed:
    """Requests, to be sent to whoever has the same `Members`."""
    members: dict[str, tuple[int, Expert | Composed]] = {}
    params: dict[GenerationParams, int] = {}
    rows = []
    for request in requests:
        digest = request.member.digest
        if digest not in members:
            members[digest] = (len(members), _moving_part(request.member))
        place = params.setdefault(request.params, len(params))
        rows.append((members[digest][0], place, request.prompt))
    return Packed(tuple(member for _, member in members.values()), tuple(params), tuple(rows))


def unpack(packed: Packed, members: Members) -> list[Request]:
    """The requests, with composites as they are here. Raises RuntimeError if one of them is another one here."""
    named = {composite.name: composite for composite in members.composites}
    initial = {member.name: member for member in members.initial()} if named else {}
    found: list[Member] = []
    for part in packed.members:
        member: Member = part
        if isinstance(part, Composed):
            here = initial[part.name]
            if isinstance(here, Routed):
                member = here.chooser  # has no weights that move
            else:
                member = named[part.name].with_members({expert.name: expert for expert in part.experts})
            if member.digest != part.digest:
                raise RuntimeError(f"composite {part.name} is another one here: digest {member.digest}, {part.digest}")
        found.append(member)
    return [Request(found[member], prompt, packed.params[params]) for member, params, prompt in packed.rows]


def _moving_part(member: Member) -> Expert | Composed:
    if isinstance(member, Expert):
        return member
    if isinstance(member, FusionMember):
        return Composed(member.name, member.digest, tuple(member.experts))
    if isinstance(member, Chooser):
        return Composed(member.name, member.digest, ())
    raise TypeError(f"no engine answers for {type(member).__name__} {member.name}")
