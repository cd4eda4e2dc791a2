"""Multiple choice: which of the lettered choices does the reply pick?

Two scorers: `compat`, the published program's search for a letter in the reply's first and last five characters, under
which scores can be compared with its own, and `strict`, which reads the reply as a person would and takes no side
where it names several choices or none.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from swarm.data.example import Dataset, Example
from swarm.engines.base import GenerationParams
from swarm.errors import UserError
from swarm.evals.eval import Eval, Judging, query_of
from swarm.system.prompts import written
from swarm.text.picks import picked_key

_PUBLISHED = GenerationParams(max_new_tokens=50)
_USUAL_OPENING = "Please choose an option that best answers the question.\n"
_OPENINGS = {
    "knowledge_crosswords": "",
    "hellaswag": "Please choose an option that best completes the sentence.\n",
}


class MultipleChoice(Eval):
    """The share of examples whose right choice the reply picks."""

    name = "multiple_choice"
    scorers = ("strict", "compat")

    def check(self, dataset: Dataset) -> None:
        """Raises UserError if an example of either split has no choices."""
        for split, examples in (("dev", dataset.dev), ("test", dataset.test)):
            for index, example in enumerate(examples):
                if not example.choices:
                    raise UserError(
                        f"{dataset.name}: {split} record {index} has no choices, which {self.name} asks for; "
                        "add them to the file or score it with exact_match"
                    )

    def params(self, dataset: Dataset) -> GenerationParams:
        """The published program's generation parameters for this dataset; the dataset's own settings come first.

        It is the same for all the datasets that it knows, and so for any other: 50 new tokens, no chat template.
        """
        return dataset.settings(_PUBLISHED)

    def judge(self, dataset: Dataset, examples: Sequence[Example]) -> Judging:
        """Asks every question once; each scorer gives 1.0 or 0.0 per example."""
        prompts = [multiple_choice_prompt(dataset, example) for example in examples]
        replies = yield [query_of(dataset, example, text) for text, example in zip(prompts, examples, strict=True)]
        strict, compat = [], []
        for reply, example, asked in zip(replies, examples, prompts, strict=True):
            picked = strict_key(reply, example.choices, (asked, dataset.prefix, example.question))
            strict.append(picked in example.golds)
            compat.append(compat_key(reply, example.choices) in example.golds)
        return {"strict": np.array(strict, dtype=float), "compat": np.array(compat, dtype=float)}

    def ballot(self, reply: str, example: Example) -> str | None:
        """The letter of the choice that the reply picks."""
        return strict_key(reply, example.choices, (example.question,))


def multiple_choice_prompt(dataset: Dataset, example: Example) -> str:
    """The question with its choices as it is put to the system: an opening line, if any, and one line per choice."""
    opening = _OPENINGS.get(dataset.name, _USUAL_OPENING)
    choices = "".join(f"{key}: {text}\n" for key, text in example.choices.items())
    return dataset.headed(f"{opening}Question: {example.question}\n{choices}The answer is")


def compat_key(reply: str, choices: Mapping[str, str]) -> str:
    """The choice that the published program reads in a reply; "Z" for none.

    The first hit counts: a key anywhere in the first five characters, a key anywhere in the last five, a choice's text
    anywhere in any case. Its effects belong to it: "Answer: B" is read as A, "Because" as B, "none" as the text "no".
    """
    for window in (reply[:5], reply[-5:]):
        for key in choices:
            if key in window:
                return key
    for key, text in choices.items():
        if text.lower() in reply.lower():
            return key
    return "Z"


def strict_key(reply: str, choices: Mapping[str, str], asked: Sequence[str] = ()) -> str | None:
    """The one choice that a reply picks, thoughts aside (see `picked_key`)."""
    return picked_key(written(reply), choices, asked)
