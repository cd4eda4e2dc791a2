"""`-e lm_eval:TASK`: answers to a task of lm-evaluation-harness, scored by that library's filters and metrics."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from swarm.data.example import Dataset, Example
from swarm.data.lm_eval_data import CHOOSES, PLACE, PREFIX, docs, task_of
from swarm.engines.base import GenerationParams
from swarm.errors import UserError
from swarm.evals.eval import USUAL, Eval, Judging, query_of
from swarm.system.prompts import written

_SHARES = {"exact_match", "acc", "acc_norm", "f1", "em", "contains", "prompt_level_strict_acc", "inst_level_strict_acc"}


class LmEval(Eval):
    """The library's metrics of each answer: "strict" is the first one by the first filter, the others have their names.

    As there, an answer ends where the task says (`until`), is read by the task's filters, and compared by its metrics.
    """

    def __init__(self, task: str):
        self.name = PREFIX + task
        self._task = task_of(self.name)
        config = self._task.config
        if config.output_type == CHOOSES:
            raise UserError(
                f"-e {self.name}: the task compares how likely its choices are, and a system answers in texts: "
                f"-e multiple_choice -d {self.name} asks it for a letter"
            )
        ways = self._task.aggregation()
        self._metrics = [name for name, way in ways.items() if getattr(way, "__name__", "") == "mean"]
        if not self._metrics:
            raise UserError(
                f"-e {self.name}: none of its metrics ({', '.join(ways)}) is a mean over questions, as a search needs: "
                "give -e metric:NAME"
            )
        self._signs = {name: 1.0 if self._task.higher_is_better().get(name, True) else -1.0 for name in self._metrics}
        bounded = all(name in _SHARES for name in self._metrics) and min(self._signs.values()) > 0
        self.lowest, self.highest = (0.0, 1.0) if bounded else (-math.inf, math.inf)
        filters = [each.name for each in self._task._filters]
        self._keys = [(filter_name, metric) for filter_name in filters for metric in self._metrics]
        self.scorers = ("strict", *(f"{metric},{filter_name}" for filter_name, metric in self._keys[1:]))

    def check(self, dataset: Dataset) -> None:
        """Raises UserError for data of another source than the task."""
        own = f"{self._task.config.task}:"
        if not all(one.columns.get(PLACE, "").startswith(own) for one in (*dataset.dev, *dataset.test)):
            raise UserError(
                f"-e {self.name} scores its own task's questions, and {dataset.name} has others: give -d {self.name}"
            )

    def params(self, dataset: Dataset) -> GenerationParams:
        """As the task says, which the dataset has from it."""
        return dataset.settings(USUAL)

    def judge(self, dataset: Dataset, examples: Sequence[Example]) -> Judging:
        """Asks every question once, in the library's own words."""
        replies = yield [query_of(dataset, example) for example in examples]
        rows = [self._scores(written(reply), example) for reply, example in zip(replies, examples, strict=True)]
        return {scorer: np.array([row[k] for row in rows]) for k, scorer in enumerate(self.scorers)}

    def _scores(self, reply: str, example: Example) -> list[float]:
        from lm_eval.api.instance import Instance

        _, split, number = example.columns[PLACE].rsplit(":", 2)
        doc: Any = docs(self._task, split)[int(number)]
        name = self._task.config.task
        asked = Instance("generate_until", doc, (example.question, {}), 0, metadata=(name, int(number), 1))
        asked.resps = [_ended(reply, (self._task.config.generation_kwargs or {}).get("until") or [])]
        self._task._instances = [asked]
        self._task.apply_filters()
        return [
            self._signs[metric] * float(self._task.process_results(doc, [asked.filtered_resps[filter_name]])[metric])
            for filter_name, metric in self._keys
        ]


def _ended(reply: str, until: str | Sequence[str]) -> str:
    """The reply up to the first of the texts that end it."""
    for end in [until] if isinstance(until, str) else until:
        if end:
            reply = reply.partition(end)[0]
    return reply
