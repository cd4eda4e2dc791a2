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
from swarm.evals.eval import Eval, Judging
from swarm.system.prompts import Query, written
from swarm.text.choices import letters
from swarm.text.picks import PickReader, without_list
from swarm.text.replies import one_line, own_part_first, own_text

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
        replies = yield [Query(text, example.chunks) for text, example in zip(prompts, examples, strict=True)]
        strict, compat = [], []
        for reply, example, asked in zip(replies, examples, prompts, strict=True):
            picked = strict_key(reply, example.choices, (asked, dataset.prefix, example.question))
            strict.append(picked == example.answer)
            compat.append(compat_key(reply, example.choices) == example.answer)
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
    """The one choice that a reply picks, or None where it picks none or several.

    In this order: the only one that is called right where several are judged ("A: no, B: yes"), a plain statement ("the
    answer is B", "B is correct", "therefore B."; the last one counts), a key alone in the first line, a key at the
    start ("B. Because"), any other statement ("I think B"; last what would be if), the only "option B", the
    only choice text in the reply, the only key in the reply. `asked` holds texts, such as the prompt, that the reply
    may repeat without saying anything. A model may go on with a question of its own; so what stands before the next
    "Question:" is read first, and all of it only where that says nothing.
    """
    own_keys = {one_line(key) or key: key for key in choices}
    choices = {key: one_line(choices[own]) for key, own in own_keys.items()}
    names = {key.lower() for key in choices}
    texts = {key: text for key, raw in choices.items() if (text := raw.rstrip(".;, ")).lower() not in names}
    any_case = len(names) == len(choices) == len(texts)
    reader = PickReader(letters(tuple(choices), any_case), {key: text for key, text in texts.items() if text})
    for lines in own_part_first(own_text(written(reply), *asked)):
        part = lines.replace("\n", " ")
        rest = without_list(part, choices)
        picked = (
            reader.judged(part)
            or reader.stated(part, plainly=True)
            or reader.alone_in_line(lines)
            or reader.opening(rest)
            or reader.stated(part)
            or reader.only_option(part)
            or reader.only_text(rest)
            or reader.only_key(rest)
        )
        if picked is not None:
            return own_keys[picked]
    return None
