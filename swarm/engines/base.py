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
    def group(self) -> tuple[str, GenerationParams]:
        """What requests have in common that can be answered in one batch: the expert's weights and the parameters."""
        return (self.expert.digest, self.params)


@dataclass(frozen=True)
class Completion:
    """The answer to one request: its text without special tokens, and its cost in tokens."""

    text: str
    prompt_tokens: int
    new_tokens: int


Finished = list[tuple[int, Completion]]  # a batch: indices into the requests, and their completions


class Engine(Protocol):
    """Whatever answers requests."""

    def facts(self) -> dict[str, str]:
        """What of this engine can change a text: base model, way of combining, number format, device."""
        ...

    def expect(self, experts: Sequence[Expert]) -> None:
        """Says which experts the next requests will name, so that what is common to preparing them is done once."""
        ...

    def generate(self, requests: Sequence[Request]) -> Iterator[Finished]:
        """Answers every request once, in batches and in whatever order they finish."""
        ...
