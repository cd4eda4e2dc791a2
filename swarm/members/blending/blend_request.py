"""What a blend asks the engine beside its members: which answers are best, and one text made of them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from swarm.engines.base import Completion, GenerationParams
from swarm.members.blending.fuser_settings import FuserSettings

PARAMS = GenerationParams(max_new_tokens=0)  # of all requests for a ranking: nothing is generated


@dataclass(frozen=True)
class Ranks:
    """A pair model as the engine is asked for the order of answers.

    Attributes:
      name: of the composite whose ranker it is.
      digest: hash of all that decides an order, the model's content included.
      model: its folder or hub id.
      content: hash of what lies there.
      mode: "all" or "bubble", see `pairwise_scores`.
      top: how many places are found.
    """

    name: str
    digest: str
    model: str
    content: str
    mode: str
    top: int


@dataclass(frozen=True)
class Fuses:
    """An encoder-decoder as the engine is asked for one text made of several.

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
    """A prompt and answers to it as the prompt of one request."""
    return json.dumps([prompt, *answers])


def read_asked(request: str) -> tuple[str, list[str]]:
    """The prompt and the answers that `asked` has put together."""
    prompt, *answers = json.loads(request)
    return prompt, answers


def order_as_completion(order: Sequence[int]) -> Completion:
    """An order, the best first, as an answer, which a cache can keep; it has cost no tokens of an expert."""
    return Completion(json.dumps(list(order)), 0, 0)


def order_of(completion: Completion) -> list[int]:
    """The order that `as_completion` has written."""
    order: list[int] = json.loads(completion.text)
    return order
