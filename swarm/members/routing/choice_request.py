"""Requests of a router to its classifier: which member is to answer a prompt."""

import json
from dataclasses import dataclass
from pathlib import Path

from swarm.engines.base import Completion, GenerationParams
from swarm.members.routing.router import RouterChoice

PARAMS = GenerationParams(max_new_tokens=0)  # of all requests for a choice: nothing is generated


@dataclass(frozen=True)
class RouterRequest:
    """The member that picks: a fitted router, whose completions `choice_as_completion` makes.

    Attributes:
      name: of the composite whose router it is.
      digest: hash of all that decides a choice.
      folder: where the router is saved.
      threshold: confidence below which the best single member is asked; None for the one that was fitted.
      router: the digest of what is saved there; "" where that is not compared.
    """

    name: str
    digest: str
    folder: Path
    threshold: float | None = None
    router: str = ""


def choice_as_completion(choice: RouterChoice) -> Completion:
    """A choice as a completion, which a cache can keep; it has cost no tokens of a language model."""
    return Completion(json.dumps([choice.member, choice.confidence, choice.fell_back]), 0, 0)


def choice_of(completion: Completion) -> RouterChoice:
    """The choice in a completion that `choice_as_completion` has made."""
    member, confidence, fell_back = json.loads(completion.text)
    return RouterChoice(member, confidence, fell_back)
