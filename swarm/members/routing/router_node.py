"""Composites of type router: a classifier picks one member for a prompt, and only that one answers."""

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from swarm.engines.base import Completion, Member, Request
from swarm.errors import UserError
from swarm.members.composite import NODE_FILE, Composite, Relay, check_keys, json_digest, member_names
from swarm.members.routing.choice_request import PARAMS, RouterRequest, choice_of
from swarm.members.routing.fitted_on import SeenQuestions
from swarm.members.routing.router_artefact import read_router_facts, seen_by

COPIED = "classifier"  # what the router's folder is called beside the node.json of a saved system


@dataclass(frozen=True)
class RouterNode(Composite):
    """A composite of type router.

    Attributes:
      classifier: the folder of the fitted router.
      names: its members in the router's order.
      made_for: their digests when it was fitted, by name.
      fitted: the router's digest.
      threshold: confidence below which the best single member is asked; None for the one that was fitted.
      seen: the questions that it was fitted on; None where the router does not say.
    """

    classifier: Path
    names: tuple[str, ...]
    made_for: Mapping[str, str]
    fitted: str
    threshold: float | None
    seen: SeenQuestions | None = None

    def with_members(self, members: Mapping[str, Member]) -> "Routed":
        """One that asks the members as they now are."""
        asked = tuple(members[name] for name in self.names)
        chosen_by = json_digest("router", self.fitted, self.threshold)
        chooser = RouterRequest(self.name, chosen_by, self.classifier, self.threshold, self.fitted)
        digest = json_digest("router", chosen_by, [member.digest for member in asked])
        return Routed(self.name, digest, asked, chooser)

    def check_weights(self, digests: Mapping[str, str]) -> None:
        """Raises UserError if members, those whose digests are given, are not those that it was fitted for."""
        if self.record.get("any_weights"):
            return
        changed = [name for name, digest in self.made_for.items() if digests.get(name, digest) != digest]
        if changed:
            raise UserError(
                f"{self.folder / NODE_FILE}: the classifier was fitted for other weights of {', '.join(changed)}; fit "
                'it again on their answers, or say "any_weights": true'
            )

    def refitted(self, classifier: Path, digest: str) -> "RouterNode":
        """This composite with another router, of this digest, for the same members in the same order."""
        return replace(self, classifier=classifier, made_for={}, fitted=digest, seen=None)

    def generations(self, of_members: Mapping[str, float]) -> float:
        """Those of one member, whichever it is."""
        return super().generations(of_members) / len(self.members)

    @property
    def reads(self) -> tuple[Path, ...]:
        """The classifier."""
        return (self.classifier,)

    def read_from(self, places: Mapping[Path, Path]) -> "RouterNode":
        """With the classifier in another place."""
        return replace(self, classifier=places[self.classifier])

    @property
    def digest(self) -> str:
        """Of its members' names, the classifier's content and the threshold."""
        return json_digest("router", self.fitted, self.threshold, list(self.names))

    def write(self, folder: Path) -> None:
        """Its folder again, the classifier in it; members of a found system have other weights than at the start."""
        folder.mkdir(parents=True)
        shutil.copytree(self.classifier, folder / COPIED)
        record = dict(self.record) | {"classifier": COPIED, "any_weights": True}
        (folder / NODE_FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf8")


def routers_of(composites: Iterable[Composite]) -> list[RouterNode]:
    """Those composites that are routers."""
    return [composite for composite in composites if isinstance(composite, RouterNode)]


@dataclass(frozen=True)
class Routed(Relay):
    """A router with its members: asks who is to answer, then that one alone."""

    chooser: RouterRequest
    kind = "router"

    @property
    def sides(self) -> tuple[Member, ...]:
        """The router."""
        return (self.chooser,)

    def pass_on(self, requests: Sequence[Request]) -> list[list[Request]]:
        """Who is to answer each of them."""
        return [[Request(self.chooser, request.prompt, PARAMS)] for request in requests]

    def go_on(self, request: Request, stages: Sequence[Sequence[Completion]]) -> Completion | list[Request]:
        """The request to the member that was chosen, then its answer, which has cost nothing more."""
        if len(stages) == 1:
            [chosen] = stages[0]
            return [replace(request, member=self.members[choice_of(chosen).member])]
        [answer] = stages[1]
        return Completion(answer.text, 0, 0, answer.was_cut(request.params))


def read_router(folder: Path, record: Mapping[str, Any], path: Path) -> RouterNode:
    """A router. Raises UserError for a field that it cannot have, or a classifier that is none or of other members."""
    check_keys(path, record, ("type", "members", "classifier", "threshold", "any_weights"))
    members = member_names(path, record)
    given, threshold = record.get("classifier"), record.get("threshold")
    if not isinstance(given, str) or not given:
        raise UserError(f"{path}: classifier is {given!r}; wanted the folder of a fitted router (h-swarm route fit)")
    if threshold is not None and (
        isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 <= threshold <= 1
    ):
        raise UserError(f"{path}: threshold is {threshold!r}; wanted a confidence from 0 to 1, or none")
    if not isinstance(record.get("any_weights", False), bool):
        raise UserError(f"{path}: any_weights is {record['any_weights']!r}; wanted true or false")
    classifier = (folder / given).resolve()
    facts = read_router_facts(classifier)
    names = tuple(facts["names"])
    if set(names) != set(members):
        raise UserError(
            f"{path}: members are {', '.join(members)}, but the classifier was fitted for {', '.join(names)}; name "
            "those, or fit it again"
        )
    made_for = dict(zip(names, facts["digests"], strict=True)) if facts["digests"] else {}
    seen = seen_by(classifier, facts)
    return RouterNode(
        folder.name, folder, record, members, classifier, names, made_for, facts["digest"], threshold, seen
    )
