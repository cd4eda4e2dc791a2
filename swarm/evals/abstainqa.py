"""AbstainQA: a system that knows when it does not know (arXiv 2402.00367) gains by keeping silent.

The whole system is asked twice: for its choice, and whether that choice is right. An example is worth 1 where a right
choice is stood by, -1 where a wrong one is, and 0 where the system abstains ("effective reliability").
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from swarm.engines.base import GenerationParams
from swarm.evals.base import Dataset, Example, Judging
from swarm.evals.exact_match import final_word, without_echo
from swarm.evals.multiple_choice import MultipleChoice, compat_key, prompt, strict_key
from swarm.system.messages import Query

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
        own: dict[str, Any] = dict(dataset.generation)
        return replace(_PUBLISHED, **own)

    def judge(self, dataset: Dataset, examples: Sequence[Example]) -> Judging:
        """Asks every question, then whether the answer is right.

        The scorers may read different choices in one reply. Each proposes its own; where they agree, both second
        questions are one. The strict scorer proposes nothing where it reads no choice: that is to abstain.
        """
        prompts = [prompt(dataset, example) for example in examples]
        replies = yield [Query(text, example.chunks) for text, example in zip(prompts, examples, strict=True)]
        picks: dict[str, list[str | None]] = {"strict": [], "compat": []}
        for reply, example, asked in zip(replies, examples, prompts, strict=True):
            picks["strict"].append(strict_key(reply, example.choices, (asked, dataset.prefix, example.question)))
            picks["compat"].append(compat_key(reply, example.choices))
        places = [(name, index) for name, keys in picks.items() for index, key in enumerate(keys) if key is not None]
        proposals = [(index, str(picks[name][index])) for name, index in places]
        asked_again = [proposal_prompt(prompts[index], key) for index, key in proposals]
        verdicts = yield [
            Query(text, examples[index].chunks, _TOKENS_TO_CONFIRM)
            for (index, _), text in zip(proposals, asked_again, strict=True)
        ]
        scores = {name: np.zeros(len(examples)) for name in picks}
        for (name, index), verdict, asked in zip(places, verdicts, asked_again, strict=True):
            if STANDS_BY[name](verdict, asked):
                scores[name][index] = 1.0 if picks[name][index] == examples[index].answer else -1.0
        return scores

    def later_queries(self, dataset: Dataset, examples: Sequence[Example]) -> list[list[Query]]:
        """The second questions, as if each scorer had proposed the same choice."""
        texts = [proposal_prompt(prompt(dataset, example), _LONGEST) for example in examples]
        return [[Query(t, e.chunks, _TOKENS_TO_CONFIRM) for t, e in zip(texts, examples, strict=True)]]

    def ballot(self, reply: str, example: Example) -> str | None:
        """The choice, or in the second pass true or false."""
        return super().ballot(reply, example) or final_word(reply, (_STANDS, _FALLS))


def proposal_prompt(asked: str, key: str) -> str:
    """The second question about a prompt and the choice that was read in the reply to it."""
    return f"{asked}\nProposed answer: {key}\nIs the proposed answer true or false? Directly answer with true or false."


def _strict_stands_by(verdict: str, asked: str) -> bool:
    """Does the verdict settle on true, in whatever case?"""
    return final_word(without_echo(verdict, asked), (_STANDS, _FALLS)) == _STANDS


def _compat_stands_by(verdict: str, asked: str) -> bool:
    """The published rule: "True" with a capital letter anywhere, although the question asks for "true"."""
    return "True" in verdict


STANDS_BY: Mapping[str, Any] = {"strict": _strict_stands_by, "compat": _compat_stands_by}
