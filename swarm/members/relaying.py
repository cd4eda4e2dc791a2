"""What composites do when they are asked, watched: a fault of a plugin's is named, and a nonsensical result refused."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from swarm.engines.base import Completion, Member, Request
from swarm.errors import UserError
from swarm.members.composite import Composite, Relay, json_digest, label
from swarm.plugins import faults_named, is_ours


def with_members(composite: Composite, members: Mapping[str, Member]) -> Member:
    """A composite as the member that answers, with the members that it uses as they now are.

    A plugin's has to be a `Relay`. Its digest is made here, so that two of different members, or of different settings,
    are never taken for the same. Raises UserError if the plugin fails.
    """
    if is_ours(composite):
        return composite.with_members(members)
    with faults_named(f"composite {composite.name}", composite):
        member = composite.with_members(members)
        if isinstance(member, Relay):
            digests = [each.digest for each in (*member.members, *member.sides)]
            digest = json_digest(composite.name, composite.digest, member.digest, digests)
            return replace(member, name=composite.name, digest=digest)
    raise UserError(
        f"composite {composite.name}: with_members of {type(composite).__name__} gave {type(member).__name__}; wanted "
        "a swarm.members.composite.Relay (docs/extend.md)"
    )


def first_requests(relay: Relay, requests: Sequence[Request]) -> list[list[Request]]:
    """What a relay asks first for each request. Raises UserError if it fails or asks nothing."""
    with faults_named(f"composite {label(relay)}", relay):
        asked: Any = relay.pass_on(requests)
    if not isinstance(asked, list) or len(asked) != len(requests) or not all(map(_is_stage, asked)):
        raise UserError(
            f"composite {label(relay)}: pass_on gave {_shape(asked)} for {len(requests)} requests; wanted a list of "
            "requests, one or more, for each"
        )
    found: list[list[Request]] = asked
    return found


def answer_or_more(
    relay: Relay, request: Request, stages: Sequence[Sequence[Completion]]
) -> Completion | list[Request]:
    """A relay's answer to a request after these stages, or what it asks next. Raises UserError if it fails."""
    with faults_named(f"composite {label(relay)}", relay):
        following = relay.go_on(request, stages)
    if not isinstance(following, Completion) and not _is_stage(following):
        raise UserError(
            f"composite {label(relay)}: go_on gave {_shape(following)}; wanted a Completion, or a list of requests"
        )
    return following


def _is_stage(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, Request) for each in value)


def _shape(value: Any) -> str:
    return f"a list of {len(value)}" if isinstance(value, list) else type(value).__name__
