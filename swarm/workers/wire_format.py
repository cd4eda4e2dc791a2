"""A batch as it travels: every member once, and of it only what moves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from swarm.engines.base import GenerationParams, Member, Request, Turn
from swarm.members.composite import Composite, Relay
from swarm.members.member_kinds import Sending, kind_of
from swarm.members.members import Members
from swarm.members.routing.choice_request import RouterRequest
from swarm.weights.pool import Expert
from swarm.workers.sent_folders import SentFolder, describe_folder, keep, pieces_of


@dataclass(frozen=True)
class Composed:
    """A composite by name, with the experts that it uses as they now are; all else of it is known there."""

    name: str
    digest: str
    experts: tuple[Expert, ...]


@dataclass(frozen=True)
class Fitted:
    """A router that was fitted after the start, so that nobody else has it: its folder, and what is in that."""

    name: str
    digest: str
    threshold: float | None
    router: str
    folder: SentFolder
    content: tuple[np.ndarray, ...]


Part = Expert | Composed | Fitted


@dataclass(frozen=True)
class WireBatch:
    """Requests: members and parameters, each once; for each request its place in both, its prompt, history, draw."""

    members: tuple[Part, ...]
    params: tuple[GenerationParams, ...]
    rows: tuple[tuple[int, int, str, tuple[Turn, ...], int], ...]


class WireFormat:
    """How requests travel between two who have the same members."""

    def __init__(self, members: Members):
        """Looks once at what every batch needs to know."""
        self._named = {composite.name: composite for composite in members.composites}
        asking = (member for member in members.initial() if isinstance(member, Relay)) if self._named else ()
        # what composites ask beside their members, as it was at the start, by digest
        self._sides: dict[str, Member] = {side.digest: side for relay in asking for side in relay.sides}

    def pack(self, requests: Sequence[Request]) -> WireBatch:
        """Requests, to be sent."""
        parts: dict[str, tuple[int, Part]] = {}
        params: dict[GenerationParams, int] = {}
        rows = []
        for request in requests:
            digest = request.member.digest
            if digest not in parts:
                parts[digest] = (len(parts), _moving_part(request.member, self._sides))
            place = params.setdefault(request.params, len(params))
            rows.append((parts[digest][0], place, request.prompt, request.history, request.draw))
        return WireBatch(tuple(part for _, part in parts.values()), tuple(params), tuple(rows))

    def unpack(self, wire: WireBatch) -> list[Request]:
        """The requests, with composites as they are here. Raises RuntimeError if one of them is another one here."""
        found = [_whole(part, self._named, self._sides) for part in wire.members]
        return [
            Request(found[member], text, wire.params[place], turns, draw)
            for member, place, text, turns, draw in wire.rows
        ]


def _moving_part(member: Any, known: Mapping[str, Member]) -> Part:
    sending = kind_of(member).sending
    if sending is Sending.WHOLE:
        return member
    if member.digest in known or sending is Sending.BY_NAME:
        return Composed(member.name, member.digest, tuple(getattr(member, "experts", ())))
    if sending is Sending.WITH_FOLDER:
        folder = describe_folder(member.folder)
        return Fitted(member.name, member.digest, member.threshold, member.router, folder, tuple(pieces_of(folder)))
    raise TypeError(f"no engine answers for {type(member).__name__} {member.name}")


def _whole(part: Part, named: Mapping[str, Composite], sides: Mapping[str, Member]) -> Member:
    if isinstance(part, Expert):
        return part
    if isinstance(part, Fitted):
        place = keep(part.folder, part.content.__getitem__)
        return RouterRequest(part.name, part.digest, place, part.threshold, part.router)
    if part.digest in sides:
        return sides[part.digest]
    member = named[part.name].with_members({expert.name: expert for expert in part.experts})
    if member.digest != part.digest:
        raise RuntimeError(f"composite {part.name} is another one here: digest {member.digest}, {part.digest}")
    return member
