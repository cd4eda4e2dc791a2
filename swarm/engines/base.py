"""What an engine is: prompts in, texts out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from swarm.weights.pool import Expert


@dataclass(frozen=True)
class GenerationParams:
    """How a prompt is put to a model; decoding is greedy.

    Attributes:
      max_new_tokens: tokens that one answer may have at most.
      chat: put the prompt into the tokenizer's chat template, where it has one.
      second_bos: tokenise the rendered chat template with special tokens again, so that it begins with two of them,
        as the published program does (`--compat paper-code`).
    """

    max_new_tokens: int
    chat: bool = False
    second_bos: bool = False


@dataclass(frozen=True)
class Request:
    """One prompt for one expert. Equal requests have equal answers, so they need to be asked only once."""

    expert: Expert
    prompt: str
    params: GenerationParams

    @property
    def key(self) -> tuple[str, str, GenerationParams]:
        """The content that decides the answer: never a name, a path or an index."""
        return (self.expert.digest, self.prompt, self.params)


@dataclass(frozen=True)
class Completion:
    """The answer to one request: its text without special tokens, and its cost in tokens."""

    text: str
    prompt_tokens: int
    new_tokens: int


class Engine(Protocol):
    """Whatever answers requests."""

    def facts(self) -> dict[str, str]:
        """What of this engine can change a text: base model, way of combining, number format, device."""
        ...

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        """Answers every request once, as pairs (index into `requests`, completion), in whatever order they finish."""
        ...
