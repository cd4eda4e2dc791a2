"""What is saved of a router: a folder of JSON and safetensors files, whole or not there, checked when it is read."""

import hashlib
import json
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
from swarm.storage.files import asked_folder, write_json
from swarm.weights.tensors import file_digest

FORMAT = 1
FACTS = "router.json"
SEEN = "fitted_on"
AGAIN = "fit the router again"
_DECISIVE = (
    "format", "names", "digests", "features", "classifier", "fallback", "temperature", "threshold", "costs",
    "cost_weight", "files",
)  # fmt: skip


def save_router(folder: Path, router: Router) -> Router:
    """Writes the folder whole or not at all, and returns the router with its digest.

    Raises UserError for a folder that is there and holds no router, or if there is no room.
    """
    check_place(folder)
    facts: dict[str, Any] = {
        "format": FORMAT,
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
    with asked_folder(folder) as new:
        if router.features is not None:
            router.features.write(new / "features")
        router.classifier.write(new / "classifier")
        facts["files"] = _files(new)
        facts["digest"] = _digest(facts)
        write_json(new / FACTS, facts)
    return replace(router, digest=facts["digest"])


def check_place(folder: Path) -> None:
    """Raises UserError for a folder that is there and holds no router."""
    if folder.exists() and not (folder / FACTS).is_file():
        raise UserError(f"{folder} is there and holds no {FACTS}; name a folder that is new, or a router to replace")


def load_router(
    folder: Path, members: Mapping[str, str] | None = None, language_model: LanguageModel | None = None
) -> Router:
    """Reads a router.

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
    try:
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf8"))
        version = facts["format"]
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{path} is not there: {folder} is no router; {AGAIN}, or name its folder") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged ({type(error).__name__}: {error}); {AGAIN}") from error
    if version != FORMAT:
        raise UserError(f"{path} has format {version!r}, wanted {FORMAT}; {AGAIN}, or use the version that wrote it")
    missing = [name for name in (*_DECISIVE, "facts", "digest") if name not in facts]
    if missing or facts["digest"] != _digest(facts):
        reason = f"{', '.join(missing)} missing" if missing else "its content is not what was written"
        raise UserError(f"{path} is damaged ({reason}); {AGAIN}")
    found, wanted = _files(folder), facts["files"]
    differing = sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
    if differing:
        raise UserError(f"{folder}: {', '.join(differing)} missing, added, or not what was written; {AGAIN}")
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


def _files(folder: Path) -> dict[str, str]:
    """Relative name -> SHA-256 of every file of the parts."""
    parts = (path for part in ("classifier", "features") for path in sorted((folder / part).rglob("*")))
    return {path.relative_to(folder).as_posix(): file_digest(path) for path in parts if path.is_file()}


def _digest(facts: Mapping[str, Any]) -> str:
    decisive = json.dumps({name: facts[name] for name in _DECISIVE}, sort_keys=True, allow_nan=False)
    return hashlib.sha256(decisive.encode()).hexdigest()
