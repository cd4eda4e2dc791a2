"""Requests of a blend beside those to its members: to rank answers, and to fuse the best of them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from swarm.engines.base import Completion, GenerationParams
from swarm.members.blending.fuser_settings import FuserSettings

PARAMS = GenerationParams(max_new_tokens=0)  # of all requests for a ranking: nothing is generated


@dataclass(frozen=True)
class Ranks:
    """The member that ranks answers: a pair model.

    Attributes:
      name: of the composite whose ranker it is.
      digest: hash of all that decides an order, the model's content included.
      model: its folder or hub id.
      content: hash of what lies there.
      mode: "all" or "bubble", see `pairwise_scores`.
      top: how many of the best are ranked.
    """

    name: str
    digest: str
    model: str
    content: str
    mode: str
    top: int


@dataclass(frozen=True)
class Fuses:
    """The member that fuses answers: an encoder-decoder.

    Attributes:
      name: of the composite whose fuser it is.
      digest: hash of all that decides a text, the model's content included.
      model: its folder or hub id.
      content: hash of what lies there.
      settings: how it reads and writes.
    """

    name: str
    digest: str
    model: str
    content: str
    settings: FuserSettings


def asked(prompt: str, answers: Sequence[str]) -> str:
    """The prompt of one request for a prompt and answers to it."""
    return json.dumps([prompt, *answers])


def read_asked(request: str) -> tuple[str, list[str]]:
    """The prompt and the answers in a request's prompt that `asked` has made."""
    prompt, *answers = json.loads(request)
    return prompt, answers


def order_as_completion(order: Sequence[int]) -> Completion:
    """A ranking, the best first, as a completion, which a cache can keep; it has cost no tokens of an expert."""
    return Completion(json.dumps(list(order)), 0, 0)


def order_of(completion: Completion) -> list[int]:
    """The ranking in a completion that `order_as_completion` has made."""
    order: list[int] = json.loads(completion.text)
    return order
