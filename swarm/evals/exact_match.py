"""Exact match: does the reply give the gold answer? For gsm8k, nlgraph, gaia and whatever has one short right answer.

Two scorers: `compat`, the published program's substring test, under which scores can be compared with its own, and
`strict`, which picks the final answer out of the reply and so cannot be won by a reply that holds every answer.
"""

import logging
from collections.abc import Sequence

import numpy as np

from swarm.data.example import Dataset, Example
from swarm.engines.base import GenerationParams
from swarm.errors import UserError
from swarm.evals.eval import USUAL, Eval, Judging, query_of
from swarm.system.prompts import written
from swarm.text.answers import OPPOSITES, final_word, gives_answer, gold_of, is_read
from swarm.text.numbers import as_number, final_number
from swarm.text.replies import after_markers, own_part_first, own_text

log = logging.getLogger(__name__)

_PUBLISHED = {
    "gsm8k": GenerationParams(max_new_tokens=100, chat=True),
    "nlgraph": GenerationParams(max_new_tokens=80, chat=True),
    "gaia": GenerationParams(max_new_tokens=50, chat=True),
}
_GSM8K_REQUEST = " Please end your response with 'The answer is'."


class ExactMatch(Eval):
    """The share of examples whose gold answer the reply gives."""

    name = "exact_match"
    scorers = ("strict", "compat")

    def check(self, dataset: Dataset) -> None:
        """Raises UserError for a right answer that is empty; warns of those that only a reply word for word gives."""
        for split, own in (("dev", dataset.dev), ("test", dataset.test)):
            for index, example in enumerate(own):
                if not all(gold_of(gold).strip(".") for gold in example.golds):
                    raise UserError(
                        f"{dataset.name}: {split} record {index} has the answer {example.answer[-40:]!r}, in which "
                        "there is nothing to match; fill it in, or drop the record"
                    )
        examples = [*dataset.dev, *dataset.test]
        unlikely = [one for one in examples if not strict(f"The answer is {gold_of(one.answer)}.", one)]
        if unlikely:
            log.warning(
                "%s: %d of %d right answers are matched only word for word, such as %r: if they are free text, score "
                "them with -e metric:rougeL, or by a judge with -e gemini_match",
                dataset.name, len(unlikely), len(examples), unlikely[0].answer[:60],
            )  # fmt: skip

    def params(self, dataset: Dataset) -> GenerationParams:
        """The published program's generation parameters for this dataset; the dataset's own settings come first.

        A dataset that it does not know gets 100 new tokens and the chat template: the longest answers that it allows
        under this eval, and the template that it uses for all of them.
        """
        return dataset.settings(_PUBLISHED.get(dataset.name, USUAL))

    def judge(self, dataset: Dataset, examples: Sequence[Example]) -> Judging:
        """Asks every question once; each scorer gives 1.0 or 0.0 per example."""
        prompts = [exact_match_prompt(dataset, example) for example in examples]
        replies = yield [query_of(dataset, example, text) for text, example in zip(prompts, examples, strict=True)]
        rows = list(zip(replies, examples, prompts, strict=True))
        return {
            "strict": np.array([strict(reply, example, asked) for reply, example, asked in rows], dtype=float),
            "compat": np.array([compat(reply, example, dataset.name) for reply, example, _ in rows], dtype=float),
        }

    def ballot(self, reply: str, example: Example) -> str | None:
        """The final number where the gold answer is one, yes or no (true or false) where it is that, else the text."""
        text, gold = own_text(written(reply), example.question), gold_of(example.answer)
        if as_number(gold) is not None:
            number = final_number(text)
            return None if number is None else str(number.normalize())
        for words in OPPOSITES:
            if gold.casefold() in words:
                return final_word(text, words)
        return super().ballot((after_markers(own_part_first(text)[0]) or [text])[0], example)

    def readable(self, reply: str, example: Example) -> bool:
        """Whether there is a final number where the gold answer is one, yes or no where it is that, else any text."""
        said = written(reply)
        return is_read(said, gold_of(example.answer), example.question if example.question[:20] in said else "")


def exact_match_prompt(dataset: Dataset, example: Example) -> str:
    """The question's prompt; gsm8k's names the words to end with."""
    return dataset.headed(f"{example.question}{_GSM8K_REQUEST if dataset.name == 'gsm8k' else ''}")


def compat(reply: str, example: Example, dataset_name: str) -> bool:
    """Does a gold answer occur anywhere in the reply, or for gsm8k in its last five space-separated words?

    The published rule, with its effects: "Node" holds the gold answer "No", "17" holds "7".
    """
    if dataset_name == "gsm8k":
        reply = " ".join(reply.split(" ")[-5:])
    return any(gold in reply for gold in example.golds)


def strict(reply: str, example: Example, asked: str = "") -> bool:
    """Is the final answer that the reply gives a gold answer?

    A number is compared as a number; yes and no (true and false) by whole words that must not contradict each other;
    any other gold answer must stand in the reply, after its last answer marker if it has one, as a whole phrase.
    `asked` is the prompt: what a reply merely repeats of it, or of the question, does not count.
    """
    return any(gives_answer(written(reply), gold, example.question, asked) for gold in example.golds)
