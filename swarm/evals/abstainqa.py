"""AbstainQA: question answering with abstention (arXiv 2402.00367).

The whole system is asked twice: for its choice, and whether that choice is right. An example is worth 1 where a right
choice is stood by, -1 where a wrong one is, and 0 where the system abstains ("effective reliability").
"""

from collections.abc import Sequence

import numpy as np

from swarm.data.example import Dataset, Example
from swarm.engines.base import GenerationParams
from swarm.evals.eval import Judging, query_of
from swarm.evals.multiple_choice import MultipleChoice, compat_key, multiple_choice_prompt, strict_key
from swarm.system.prompts import Query, written
from swarm.text.answers import final_word
from swarm.text.replies import own_text

_PUBLISHED = GenerationParams(max_new_tokens=100)
_TOKENS_TO_CONFIRM = 10
_STANDS, _FALLS = "true", "false"
_LONGEST = "A"  # what a forecast of cost supposes to be proposed


class AbstainQA(MultipleChoice):
    """The mean of 1 for right, -1 for wrong and 0 for no answer."""

    name = "abstainqa"
    lowest = -1.0
    passes = 2

    def params(self, dataset: Dataset) -> GenerationParams:
        """The published program's 100 new tokens without chat template; the dataset's own settings come first.

        They hold for the first question. The second one is answered in 10 tokens.
        """
        return dataset.settings(_PUBLISHED)

    def judge(self, dataset: Dataset, examples: Sequence[Example]) -> Judging:
        """Asks every question, then whether the answer is right.

        The scorers may read different choices in one reply. Each proposes its own, so the second pass asks about all
        examples once for each scorer; where they agree, both questions are one. Where the strict scorer reads no
        choice, that is to abstain, whatever is said of the other's.
        """
        prompts = [multiple_choice_prompt(dataset, example) for example in examples]
        replies = yield [query_of(dataset, example, text) for text, example in zip(prompts, examples, strict=True)]
        compat = [compat_key(reply, example.choices) for reply, example in zip(replies, examples, strict=True)]
        strict = [
            strict_key(reply, example.choices, (asked, dataset.prefix, example.question))
            for reply, example, asked in zip(replies, examples, prompts, strict=True)
        ]
        proposed = [mine or other for mine, other in zip(strict, compat, strict=True)] + compat
        asked_again = [proposal_prompt(text, key) for text, key in zip(prompts * 2, proposed, strict=True)]
        verdicts = yield [
            Query(text, example.chunks, _TOKENS_TO_CONFIRM)
            for text, example in zip(asked_again, [*examples, *examples], strict=True)
        ]
        count = len(examples)
        stands = {
            "strict": [_strict_stands_by(*pair) for pair in zip(verdicts[:count], asked_again[:count], strict=True)],
            "compat": [_compat_stands_by(verdict) for verdict in verdicts[count:]],
        }
        gold = [example.answer for example in examples]
        return {
            name: np.array([_worth(*row) for row in zip(keys, gold, stands[name], strict=True)])
            for name, keys in (("strict", strict), ("compat", compat))
        }

    def later_queries(self, dataset: Dataset, examples: Sequence[Example]) -> list[list[Query]]:
        """The second questions, as if no two scorers proposed the same choice."""
        twice = [*examples, *examples]
        texts = [proposal_prompt(multiple_choice_prompt(dataset, example), _LONGEST) for example in twice]
        return [[Query(t, e.chunks, _TOKENS_TO_CONFIRM) for t, e in zip(texts, twice, strict=True)]]

    def ballot(self, reply: str, example: Example) -> str | None:
        """The choice, or in the second pass true or false."""
        return super().ballot(reply, example) or final_word(reply, (_STANDS, _FALLS))


def proposal_prompt(asked: str, key: str) -> str:
    """The second question about a prompt and the choice that was read in the reply to it."""
    return f"{asked}\nProposed answer: {key}\nIs the proposed answer true or false? Directly answer with true or false."


def _strict_stands_by(verdict: str, asked: str) -> bool:
    """Does the verdict settle on true, in whatever case?"""
    return final_word(own_text(written(verdict), asked), (_STANDS, _FALLS)) == _STANDS


def _compat_stands_by(verdict: str) -> bool:
    """The published rule: "True" with a capital letter anywhere, although the question asks for "true"."""
    return "True" in verdict


def _worth(picked: str | None, gold: str, stands: bool) -> float:
    """The score: 1 for a right choice that is stood by, -1 for a wrong one, 0 for abstention."""
    if picked is None or not stands:
        return 0.0
    return 1.0 if picked == gold else -1.0
