"""The interface of engines: requests in, completions out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

from swarm.engines.sampling import Sampling, sampling_of, sampling_record

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
    """Generation parameters; decoding is greedy unless they say how to sample.

    Attributes:
      max_new_tokens: tokens that one answer may have at most.
      chat: put the prompt into the tokenizer's chat template, where it has one.
      second_bos: tokenise the rendered chat template with special tokens again, so that it begins with two of them,
        as the published program does (`--compat paper-code`).
      sampling: how answers are drawn; None takes the likeliest token each time.
    """

    max_new_tokens: int
    chat: bool = False
    second_bos: bool = False
    sampling: Sampling | None = None

    def facts(self) -> list[Any]:
        """All of them as JSON has it; those of greedy parameters are as they were before there was sampling."""
        greedy = [self.max_new_tokens, self.chat, self.second_bos]
        return greedy if self.sampling is None else [*greedy, sampling_record(self.sampling)]

    def record(self) -> dict[str, Any]:
        """All of them by name, as JSON has it."""
        own = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "sampling"}
        return own if self.sampling is None else own | {"sampling": sampling_record(self.sampling)}


def params_of(record: Mapping[str, Any]) -> GenerationParams:
    """The parameters in a `GenerationParams.record`. Raises UserError or TypeError for what is none."""
    sampling = record.get("sampling")
    drawn = None if sampling is None else sampling_of("sampling", sampling)
    return GenerationParams(**{**record, "sampling": drawn})


@dataclass(frozen=True)
class Request:
    """One prompt for one member. Equal requests have equal answers, so they need to be asked only once.

    Attributes:
      history: earlier turns of a conversation, for a chat template.
      draw: which of several samples is asked for, from 0; of no effect where decoding is greedy.
    """

    member: Member
    prompt: str
    params: GenerationParams
    history: tuple[Turn, ...] = ()
    draw: int = 0

    @property
    def drawn(self) -> int:
        """The draw number, where it has an effect."""
        return 0 if self.params.sampling is None else self.draw

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
