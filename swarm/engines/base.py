"""The interface of engines: requests in, completions out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

Turn = tuple[str, str]
"""One turn of a conversation: what was asked, what was answered."""


class Member(Protocol):
    """A member that can be assigned to a node: an expert, or a composite of other members.

    Attributes:
      name: its folder's.
      digest: hash of all that decides its answers, weights included.
    """

    @property
    def name(self) -> str: ...

    @property
    def digest(self) -> str: ...


@dataclass(frozen=True)
class GenerationParams:
    """Generation parameters; decoding is greedy.

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
    """One prompt for one member. Equal requests have equal answers, so they need to be asked only once.

    Attributes:
      history: earlier turns of a conversation, for a chat template.
    """

    member: Member
    prompt: str
    params: GenerationParams
    history: tuple[Turn, ...] = ()

    @property
    def group(self) -> tuple[str, GenerationParams]:
        """The batching key: requests of one member with the same parameters can share a batch."""
        return (self.member.digest, self.params)


@dataclass(frozen=True)
class Completion:
    """The answer to one request.

    Attributes:
      text: without special tokens.
      prompt_tokens, new_tokens: its cost, the end token included.
      cut: whether it stopped for want of tokens; None where that is not known.
    """

    text: str
    prompt_tokens: int
    new_tokens: int
    cut: bool | None = None

    def was_cut(self, params: GenerationParams) -> bool:
        """Whether it stopped for want of tokens; where that is not known, whether it has all that it might have."""
        return self.new_tokens >= params.max_new_tokens if self.cut is None else self.cut


Finished = list[tuple[int, Completion]]  # a batch: indices into the requests, and their completions


class Engine(Protocol):
    """The interface of an engine."""

    def facts(self) -> dict[str, str]:
        """The facts that can change a text: base model, way of combining, number format, device."""
        ...

    def expect(self, members: Sequence[Member]) -> None:
        """Announces the members of the next requests, so that they can be prepared together."""
        ...

    def generate(self, requests: Sequence[Request]) -> Iterator[Finished]:
        """Answers every request once, in batches and in whatever order they finish."""
        ...
