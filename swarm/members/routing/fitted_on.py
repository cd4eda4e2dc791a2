"""Digests of the questions that a router was fitted on, so that a score on them can be marked as optimistic."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

MOST = 20_000  # digests that are kept: those of the smallest value, which are as good as drawn
_LETTERS = 16  # of a digest, 64 bits


@dataclass(frozen=True)
class SeenQuestions:
    """A set of questions by digest.

    Attributes:
      count: how many different ones there were.
      digests: of these, sorted; the first `MOST` where there were more.
    """

    count: int
    digests: tuple[str, ...]

    def among(self, questions: Sequence[str]) -> int:
        """The number of these questions that were seen, duplicates counted.

        Where not all digests were kept, it is reckoned from those that are so small that they would have been.
        """
        digests = [digest_of_question(question) for question in questions]
        if self.count > len(self.digests):
            could_be_known = [digest for digest in digests if digest <= self.digests[-1]]
            known = len(set(self.digests) & set(could_be_known)) / max(len(set(could_be_known)), 1)
            return round(known * len(digests))
        known_digests = set(self.digests)
        return sum(digest in known_digests for digest in digests)

    def record(self) -> dict[str, Any]:
        """The set as JSON can hold it."""
        return {"count": self.count, "digests": list(self.digests)}


def seen_questions(questions: Sequence[str]) -> SeenQuestions:
    """The `SeenQuestions` of these questions."""
    digests = sorted({digest_of_question(question) for question in questions})
    return SeenQuestions(len(digests), tuple(digests[:MOST]))


def read_seen(record: Any) -> SeenQuestions | None:
    """The set in a JSON value that `record` has made, None for None; raises ValueError for anything else."""
    if record is None:
        return None
    count, digests = (record.get(name) if isinstance(record, dict) else None for name in ("count", "digests"))
    if not isinstance(digests, list) or not all(isinstance(one, str) for one in digests):
        raise ValueError("the questions that it was fitted on are no list of digests")
    if not isinstance(count, int) or count < len(digests) or not digests:
        raise ValueError(f"it was fitted on {count} questions, and has the digests of {len(digests)}")
    return SeenQuestions(count, tuple(digests))


def digest_of_question(question: str) -> str:
    """The digest of a question's words; white space does not matter."""
    return hashlib.sha256(" ".join(question.split()).encode()).hexdigest()[:_LETTERS]
