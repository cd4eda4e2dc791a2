"""Accuracy metrics by the package's own evals: 1.0 for a right answer, else 0.0."""

from collections.abc import Mapping, Sequence
from typing import Any

from swarm.errors import UserError
from swarm.metrics.metric import check_lengths
from swarm.text.answers import gives_answer
from swarm.text.picks import picked_key

LETTERS = tuple("ABCDE")


class Exact:
    """Does the answer give the reference, by the rule of the eval exact_match (its scorer strict)?"""

    name = "exact"
    lowest, highest = 0.0, 1.0

    def settings(self) -> dict[str, Any]:
        """See `Metric`."""
        return {"eval": "exact_match", "scorer": "strict"}

    def score(self, candidates: Sequence[str], references: Sequence[str]) -> list[float]:
        """See `Metric`."""
        check_lengths(self.name, candidates, references)
        pairs = zip(candidates, references, strict=True)
        return [float(gives_answer(own, reference, "", "")) for own, reference in pairs]


class ChoiceMetric:
    """Does the answer pick the reference's letter, by the rule of the eval multiple_choice (its scorer strict)?

    The letters are A to E unless others are given. Where the choices' texts are handed in with `score`, an answer that
    gives a text and no letter is read too.
    """

    name = "choice"
    lowest, highest = 0.0, 1.0

    def __init__(self, letters: Sequence[str] = LETTERS):
        self._letters = tuple(letters)

    def settings(self) -> dict[str, Any]:
        """See `Metric`."""
        return {"eval": "multiple_choice", "scorer": "strict", "letters": list(self._letters)}

    def score(
        self,
        candidates: Sequence[str],
        references: Sequence[str],
        choices: Sequence[Mapping[str, str]] | None = None,
    ) -> list[float]:
        """See `Metric`; `choices` are letter -> text per answer. Raises UserError if a reference is no such letter."""
        check_lengths(self.name, candidates, references)
        bare = dict.fromkeys(self._letters, "")
        asked = [bare] * len(candidates) if choices is None else choices
        check_lengths(self.name, candidates, [""] * len(asked))
        for index, (reference, own) in enumerate(zip(references, asked, strict=True)):
            if reference not in own:
                raise UserError(
                    f"metric {self.name}: reference {index} is {reference[:40]!r}, wanted one of "
                    f"{', '.join(own)}; give the letters that there are, or use metric exact"
                )
        rows = zip(candidates, references, asked, strict=True)
        return [float(picked_key(answer, own) == reference) for answer, reference, own in rows]
