"""The interface of engines: requests in, completions out."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from swarm.engines.overrides import NAMES, OF_THE_TEMPLATE, Argument, Overrides, overrides_of
from swarm.engines.sampling import Sampling

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
      stop_strings: texts behind which an answer is over.
      system_message: what the chat template is told before the first question; None leaves it to the template.
      chat_template_kwargs: what else the chat template is given, sorted by name.
    """

    max_new_tokens: int
    chat: bool = False
    second_bos: bool = False
    sampling: Sampling | None = None
    stop_strings: tuple[str, ...] = ()
    system_message: str | None = None
    chat_template_kwargs: tuple[tuple[str, Argument], ...] = ()

    def facts(self) -> list[Any]:
        """All of them as JSON has it; what was added in later versions is there only where it is given."""
        further = self._further()
        sampled = [further.pop("sampling")] if "sampling" in further else []
        return [self.max_new_tokens, self.chat, self.second_bos, *sampled, *([further] if further else [])]

    def record(self) -> dict[str, Any]:
        """All of them by name, as JSON has it; of later ones those that are given."""
        first = {"max_new_tokens": self.max_new_tokens, "chat": self.chat, "second_bos": self.second_bos}
        return first | self._further()

    @property
    def idle(self) -> list[str]:
        """The names of settings that only a chat template takes, where there is to be none."""
        return [] if self.chat else [name for name in OF_THE_TEMPLATE if getattr(self, name) not in (None, ())]

    def _further(self) -> dict[str, Any]:
        stops, arguments = self.stop_strings or None, self.chat_template_kwargs or None
        return Overrides(self.sampling, stops, self.system_message, arguments).record()


def params_of(record: Mapping[str, Any]) -> GenerationParams:
    """The parameters in a `GenerationParams.record`. Raises UserError or TypeError for what is none."""
    given = overrides_of("generation: ", {name: record[name] for name in NAMES if name in record})
    return GenerationParams(**{**record, **given.given()})


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


More = Callable[[], Sequence[Request]]
"""What gives the requests that have come since it was called last."""


class Engine(Protocol):
    """The interface of an engine.

    One with a true attribute `mixes` answers for several members in one batch, and takes further requests while it
    answers: its `generate` has a second parameter `more`, a `More`, whose requests are numbered on.
    """

    def facts(self) -> dict[str, str]:
        """The facts that can change a text: base model, way of combining, number format, device."""
        ...

    def expect(self, members: Sequence[Member]) -> None:
        """Announces the members of the next requests, so that they can be prepared together."""
        ...

    def generate(self, requests: Sequence[Request]) -> Iterator[Finished]:
        """Answers every request once, in batches and in whatever order they finish."""
        ...
