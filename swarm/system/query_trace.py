"""What every node of a system was asked and answered for one query."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from swarm.engines.base import Completion, GenerationParams, Member
from swarm.system.prompts import Query, tidy_answer
from swarm.system.system import System


@dataclass(frozen=True, slots=True)
class MemberAnswer:
    """What a member answered.

    Attributes:
      member: its name.
      text: its answer as it is passed on and scored.
      new_tokens: tokens that it wrote; 0 for a composite, whose members wrote them.
      most: tokens that it might have written.
      cut: whether it stopped for want of tokens.
      prompt: what it was asked; None for a node, whose prompt the trace makes again, and where it is the node's own.
      asked: whom a composite asked for its answer, in that order.
    """

    member: str
    text: str
    new_tokens: int
    most: int
    cut: bool
    prompt: str | None = None
    asked: tuple["MemberAnswer", ...] = ()


def member_answer(
    member: Member,
    params: GenerationParams,
    completion: Completion,
    asked: tuple[MemberAnswer, ...] = (),
    prompt: str | None = None,
    tidy: Callable[[str], str] = tidy_answer,
) -> MemberAnswer:
    """A member's completion as a `MemberAnswer`, its text as `tidy` has it."""
    cut = completion.was_cut(params)
    return MemberAnswer(
        member.name, tidy(completion.text), completion.new_tokens, params.max_new_tokens, cut, prompt, asked
    )


@dataclass(frozen=True, slots=True)
class QueryTrace:
    """What a system's nodes were asked and answered for one query.

    Attributes:
      system: the system, with the graph of the pass in which it was asked.
      query: what it was asked.
      answers: node -> its answer.
      end: the node whose answer is the system's.
    """

    system: System
    query: Query
    answers: Mapping[int, MemberAnswer]
    end: int

    @property
    def text(self) -> str:
        """The system's answer."""
        return self.answers[self.end].text

    def prompt(self, node: int) -> str:
        """The prompt of a node, predecessors' answers included."""
        told = [self.answers[source].text for source in self.system.predecessors(node)]
        return self.system.prompt(self.query, node, told)
