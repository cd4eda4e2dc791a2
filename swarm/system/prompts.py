"""Prompts of the graph's nodes: the question, the context, and predecessors' answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from swarm.engines.base import GenerationParams, Turn

FIRST_HEADER = "Please answer the following question.\n"
LATER_HEADER = (
    "Please answer the following question with the help of previous responses, "
    "feel free to ignore wrong or unhelpful responses.\n"
)


@dataclass(frozen=True)
class Query:
    """One question put to a whole system.

    Attributes:
      text: the question.
      chunks: parts of a context too long for one node; each node reads its own in front of the question.
      max_new_tokens, chat: for a question whose answer is short, or that is asked with or without the chat template;
        None leaves them to the parameters of the generation.
      history: earlier turns of a conversation with the whole system, which every node is told.
      question, choices: the record's own question and its choices, for instructions that put them in their own words;
        "" where there is nothing but the text.
    """

    text: str
    chunks: tuple[str, ...] = ()
    max_new_tokens: int | None = None
    history: tuple[Turn, ...] = ()
    question: str = ""
    choices: Mapping[str, str] = field(default_factory=dict, hash=False)
    chat: bool | None = None

    def params(self, usual: GenerationParams) -> GenerationParams:
        """How its answers are generated, where others are as `usual`."""
        if self.max_new_tokens is None and self.chat is None:
            return usual
        most = usual.max_new_tokens if self.max_new_tokens is None else self.max_new_tokens
        return replace(usual, max_new_tokens=most, chat=usual.chat if self.chat is None else self.chat)


def node_prompt(query: Query, previous: Sequence[str], position: int = 0, nodes: int = 1) -> str:
    """The published prompt of one node: the question, preceded by its direct predecessors' answers (2502.04510, A).

    `previous` holds the answers in ascending order of the predecessors' node ids; it is empty for a source node.
    `position` of `nodes` is the node's rank in topological order, which decides what it reads of a context.
    """
    context = f"Context: {context_at(query.chunks, position, nodes)}\n" if query.chunks else ""
    if not previous:
        return f"{FIRST_HEADER}Question: {context}{query.text}"
    responses = "".join(f"Previous response {k}: {text}\n" for k, text in enumerate(previous, start=1))
    return f"{LATER_HEADER}{responses}Question: {context}{query.text}"


def context_at(chunks: Sequence[str], position: int, nodes: int) -> str:
    """The chunk of a context that the node at a topological position reads.

    With as many chunks as nodes it is the chunk at that position, the published rule. More chunks are folded onto the
    nodes in order, so that all are read; fewer are read by several nodes each.
    """
    start = position * len(chunks) // nodes
    stop = max((position + 1) * len(chunks) // nodes, start + 1)
    return "\n".join(chunk for chunk in chunks[start:stop] if chunk or stop == start + 1)


class Answer(str):
    """An answer on one line, as it is passed on to other nodes, that still has its lines for who reads it.

    Attributes:
      written: the answer with its line ends.
    """

    __slots__ = ("written",)
    written: str

    def __new__(cls, line: str, written: str) -> "Answer":
        """The line, and what it was made of."""
        answer = super().__new__(cls, line)
        answer.written = written
        return answer


def tidy_answer(text: str) -> str:
    """A model's raw text as it is passed on and scored: stripped, on one line; an `Answer` where it had several."""
    stripped = text.strip()
    line = stripped.replace("\n", " ")
    return Answer(line, stripped) if line != stripped else line


def written(reply: str) -> str:
    """A reply with its line ends, as plain text."""
    return reply.written if isinstance(reply, Answer) else str(reply)
