"""Texts of known length: what simulated engines answer, the same whoever answers."""

import hashlib
import math
import re
from dataclasses import dataclass
from statistics import NormalDist

from benchmarks.simulation.pace import Tokens
from swarm.data.example import Dataset, Example
from swarm.engines.base import Completion, Request

HEADER = 25  # tokens of the words around questions and answers
_LENGTH = re.compile(r"\w+#(\d+)")


@dataclass(frozen=True)
class Lengths:
    """Tokens of questions and answers: means, and standard deviations as shares of them.

    Both are drawn from log-normal distributions; an answer is cut at `most`, as generation is. The defaults are
    ASSUMED, after nlgraph: prompts of 400 to 500 tokens, answers of at most 80.
    """

    question: float = 400.0
    question_spread: float = 0.3
    answer: float = 50.0
    answer_spread: float = 0.5
    most: int = 80

    def questions(self, count: int, seed: int) -> Dataset:
        """Questions that name their lengths."""
        lengths = [_drawn(self.question, self.question_spread, f"{seed} {index}") for index in range(count)]
        split = tuple(Example(f"question{index}#{length}", "") for index, length in enumerate(lengths))
        return Dataset("simulated", split, split)

    def completion(self, request: Request, seed: int) -> Completion:
        """The answer, which depends on the seed and on all of the request's content, and names its length."""
        content = f"{seed} {request.member.digest} {request.prompt}"
        written = min(_drawn(self.answer, self.answer_spread, content), self.most)
        text = hashlib.blake2b(content.encode(), digest_size=8).hexdigest()
        return Completion(f"{text}#{written}", HEADER + sum(map(int, _LENGTH.findall(request.prompt))), written)


def told(prompt: str) -> list[str]:
    """The question and the answers in a prompt."""
    return [found.group() for found in _LENGTH.finditer(prompt)]


def tokens_of(completion: Completion) -> Tokens:
    """What it has cost."""
    return completion.prompt_tokens, completion.new_tokens


def uniform(content: str) -> float:
    """A number between 0 and 1, without either, that follows from a text: drawn, but in no order."""
    number = int.from_bytes(hashlib.blake2b(content.encode(), digest_size=7).digest(), "big")
    return (number + 0.5) / 256**7


def _drawn(mean: float, spread: float, content: str) -> int:
    sigma = math.sqrt(math.log(1 + spread**2))
    deviation = NormalDist().inv_cdf(uniform(f"length {content}"))
    return max(round(mean * math.exp(sigma * deviation - sigma**2 / 2)), 1)
