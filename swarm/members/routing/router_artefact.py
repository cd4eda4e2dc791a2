"""Saved routers: a folder of JSON and safetensors files, whole or not there, checked when it is loaded."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from swarm.errors import UserError
from swarm.members.routing.classifiers import CLASSIFIERS, read_classifier
from swarm.members.routing.features import FEATURES, read_features
from swarm.members.routing.fitted_on import SeenQuestions, read_seen
from swarm.members.routing.interfaces import LanguageModel
from swarm.members.routing.router import Router
from swarm.storage.store import KeptFolder, digests_below, record_digest

FACTS, SEEN = "router.json", "fitted_on"
AGAIN = "fit the router again"
_DECISIVE = (
    "format", "names", "digests", "features", "classifier", "fallback", "temperature", "threshold", "costs",
    "cost_weight", "files",
)  # fmt: skip
_PARTS = ("classifier", "features")
ROUTERS = KeptFolder(FACTS, "router", AGAIN, 1, (*_DECISIVE, "facts", "digest"))


def save_router(folder: Path, router: Router) -> Router:
    """Writes the folder whole or not at all, and returns the router with its digest.

    Raises UserError for a folder that is there and holds no router, or if there is no room.
    """
    facts: dict[str, Any] = {
        "format": ROUTERS.format,
        "names": list(router.names),
        "digests": list(router.digests),
        "features": None if router.features is None else router.features.kind,
        "classifier": router.classifier.kind,
        "fallback": router.fallback,
        "temperature": router.temperature,
        "threshold": router.threshold,
        "costs": list(router.costs),
        "cost_weight": router.cost_weight,
        "facts": dict(router.facts),
        SEEN: None if router.seen is None else router.seen.record(),
    }
    with ROUTERS.writing(folder, facts) as new:
        if router.features is not None:
            router.features.write(new / "features")
        router.classifier.write(new / "classifier")
        facts["files"] = digests_below(new, _PARTS)
        facts["digest"] = record_digest(facts, _DECISIVE)
    return replace(router, digest=facts["digest"])


def load_router(
    folder: Path, members: Mapping[str, str] | None = None, language_model: LanguageModel | None = None
) -> Router:
    """The router in a folder.

    Args:
      members: name -> digest of the members that it is to choose among, in their order; compared with those that it
        was fitted for. None compares nothing.
      language_model: for features of kind hidden.

    Raises UserError if the folder is no router, is damaged or of another version, or was made for other members or
    another language model.
    """
    facts = read_router_facts(folder)
    features = facts["features"]
    router = Router(
        names=tuple(facts["names"]),
        features=None if features is None else read_features(features, folder / "features", language_model),
        classifier=read_classifier(facts["classifier"], folder / "classifier"),
        fallback=facts["fallback"],
        temperature=facts["temperature"],
        threshold=facts["threshold"],
        digests=tuple(facts["digests"]),
        costs=tuple(facts["costs"]),
        cost_weight=facts["cost_weight"],
        facts=facts["facts"],
        seen=seen_by(folder, facts),
        digest=facts["digest"],
    )
    if members is not None:
        router.check_members(list(members), list(members.values()))
    return router


def read_router_facts(folder: Path) -> dict[str, Any]:
    """The content of router.json, after every file was compared with it; nothing is loaded. UserError as `load_router`.

    `names` and `digests` are the members', `digest` is of all that decides a choice.
    """
    path = folder / FACTS
    facts = ROUTERS.read(folder)
    if facts["digest"] != record_digest(facts, _DECISIVE):
        raise UserError(f"{path} is damaged (its content is not what was written); {AGAIN}")
    ROUTERS.check_files(folder, digests_below(folder, _PARTS), facts["files"])
    if facts["classifier"] not in CLASSIFIERS or facts["features"] not in (None, *FEATURES):
        kinds = f"{facts['features']} and {facts['classifier']}"
        raise UserError(f"{path} holds {kinds}, which this version does not know; {AGAIN}")
    return facts


def seen_by(folder: Path, facts: Mapping[str, Any]) -> SeenQuestions | None:
    """The questions that a router was fitted on, by what `read_facts` gave of its folder; None where it does not say.

    Raises UserError for a record that is none.
    """
    try:
        return read_seen(facts.get(SEEN))
    except ValueError as error:
        raise UserError(f"{folder / FACTS} is damaged ({error}); {AGAIN}") from error
