"""Reference metrics as evals: `metric:NAME` or `metric:NAME:OPTION=VALUE,...`, such as metric:chrf."""

from collections.abc import Sequence

import numpy as np

from swarm.data.example import Dataset, Example
from swarm.engines.base import GenerationParams
from swarm.errors import UserError
from swarm.evals.eval import USUAL, Eval, Judging, query_of
from swarm.evals.score_store import ScoreStore, scores_path
from swarm.metrics.metric import Metric
from swarm.metrics.table import check_metric, get_metric
from swarm.storage.row_marks import mark_of
from swarm.system.prompts import written
from swarm.text.thoughts import without_answer_tags, without_thoughts
from swarm.values import kind_and_options

METRIC = "metric"


class MetricEval(Eval):
    """The mean score of a metric that compares an answer with its reference, thoughts aside, in the metric's own range.

    Scores of a metric with a model are kept on this machine: an answer is scored once.
    """

    def __init__(self, name: str):
        """`name` is the metric's, perhaps with options. Raises UserError if there is no such metric."""
        self.name = f"{METRIC}:{name}"
        self._kind, self._options = kind_and_options(f"-e {METRIC}", name)
        check_metric(self._kind)
        self._made: Metric | None = None
        self._store: ScoreStore | None = None

    def check(self, dataset: Dataset) -> None:
        """Makes the metric. Raises UserError if it cannot be had, or if an example has no reference."""
        for split, examples in (("dev", dataset.dev), ("test", dataset.test)):
            for index, example in enumerate(examples):
                if not all(map(str.strip, references(example))):
                    raise UserError(
                        f"{dataset.name}: {split} record {index} has no reference, which {self.name} compares answers "
                        "with; fill its answer in, or drop the record"
                    )
        options = dict(self._options)
        if self._kind == "cosine" and not {"corpus", "model", "sentence_model"} & options.keys():
            # word frequencies of these data, whichever answers come first
            options["corpus"] = tuple(
                sorted({text for example in (*dataset.dev, *dataset.test) for text in references(example)})
            )
        self._made = get_metric(self._kind, **options)
        self.lowest, self.highest = self._made.lowest, self._made.highest
        settings = self._made.settings()
        self.code = f"{self.name} {mark_of(repr(sorted(settings.items()))).hex()}"
        if "digest" in settings:
            self._store = ScoreStore(scores_path())

    def params(self, dataset: Dataset) -> GenerationParams:
        """The usual generation parameters; the dataset's own settings come first."""
        return dataset.settings(USUAL)

    def judge(self, dataset: Dataset, examples: Sequence[Example]) -> Judging:
        """Asks every question once; an example with several right answers gets the best of its scores."""
        replies = yield [query_of(dataset, example) for example in examples]
        pairs = list(zip(replies, examples, strict=True))
        rows = [(said(reply), reference) for reply, example in pairs for reference in references(example)]
        scores = iter(self._scores(rows))
        return {"strict": np.array([max(next(scores) for _ in references(example)) for example in examples])}

    def _scores(self, rows: Sequence[tuple[str, ...]]) -> Sequence[float]:
        metric = self._made
        assert metric is not None, "check comes first"

        def score(some: Sequence[tuple[str, ...]]) -> Sequence[float]:
            return metric.score([own for own, _ in some], [reference for _, reference in some])

        return self._store.of(metric.settings(), rows, score) if self._store else score(rows)

    def ballot(self, reply: str, example: Example) -> str | None:
        """None: free texts are never equal, so there is nothing to vote on."""
        return None

    def readable(self, reply: str, example: Example) -> bool:
        """Whether there is a text, which can be compared."""
        return bool(said(reply))


def said(reply: str) -> str:
    """What a reply says, with its line ends: without what its model thought, and tags around its answer."""
    return without_answer_tags(without_thoughts(written(reply))).strip()


def references(example: Example) -> list[str]:
    """The right answers as texts: of lettered choices their own."""
    return [example.choices.get(gold, gold) for gold in example.golds]
