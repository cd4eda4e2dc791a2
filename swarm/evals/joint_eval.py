"""Several datasets in one search, each with its own eval: one utility, with weights and floors."""

import hashlib
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from swarm.data.example import Dataset, Example
from swarm.engines.base import GenerationParams
from swarm.engines.overrides import NAMES
from swarm.errors import UserError
from swarm.evals.eval import Eval, Judgement, Judging, with_score
from swarm.evals.judges.judge import Judge
from swarm.maths.interval import Estimate
from swarm.system.prompts import Query

COLUMN = "dataset"  # of every example, by which scores are grouped


@dataclass(frozen=True)
class Part:
    """One of the datasets.

    Attributes:
      weight: of its mean score in the utility, above 0.
      at_least: the mean score on dev below which no system may win; None for no such floor.
    """

    dataset: Dataset
    evaluation: Eval
    weight: float = 1.0
    at_least: float | None = None

    @property
    def name(self) -> str:
        """The dataset's."""
        return self.dataset.name

    @property
    def bounded(self) -> bool:
        """Whether its scores have two ends."""
        return math.isfinite(self.evaluation.highest - self.evaluation.lowest)

    def share(self, score: float) -> float:
        """A score as its share of the range, 0 to 1, so that evals of different ranges can be added; as it is if there
        is no range.
        """
        lowest, highest = self.evaluation.range
        return (score - lowest) / (highest - lowest) if self.bounded else score


class JointEval(Eval):
    """Scores every example by the eval of its dataset.

    The utility of a system is the weighted mean of its datasets' mean scores, each as a share of its range. A system
    below a floor has a utility below 0 instead, by as much as it falls short, so that it loses against every system
    that is above all floors, and the nearest one wins where there is none.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        max_new_tokens: int | None = None,
        chat: bool | None = None,
        overridden: Collection[str] = (),
    ):
        """`max_new_tokens` and `chat` are the user's, which go before those of the evals, as do the `overridden` ones.

        Raises UserError for datasets of one name, or scores that cannot be put together.
        """
        self.parts = tuple(parts)
        self._own = (max_new_tokens, chat)
        names = [part.name for part in self.parts]
        if twice := [name for name in names if names.count(name) > 1]:
            raise UserError(f"-d names two datasets {twice[0]}; wanted a name for each: rename a file, or drop one")
        evals = [part.evaluation for part in self.parts]
        common = [name for name in evals[0].scorers if all(name in other.scorers for other in evals)]
        if not common:
            raise UserError(f"the evals {', '.join(each.name for each in evals)} have no scorer in common, by which a "
                            "search could go: give others with -e")  # fmt: skip
        unbounded = [part.name for part in self.parts if not part.bounded]
        if unbounded and any(part.at_least is not None for part in self.parts):
            raise UserError(f"--at_least beside {unbounded[0]}, whose scores have no bounds, so that nothing tells how "
                            "much a floor counts: drop it, or score that dataset by another eval")  # fmt: skip
        for name in NAMES:
            wanted = [part.dataset.generation.get(name) for part in self.parts]
            if name not in overridden and any(each != wanted[0] for each in wanted):
                raise UserError(
                    f"the datasets ask for {name} in different ways (generation in their files); say one way for all "
                    f"with --{name}"
                )
        self.in_order = all(part.evaluation.passes == 1 for part in self.parts)
        self.name = ",".join(f"{part.name}={part.evaluation.name}" for part in self.parts)
        self.scorers = tuple(common)
        self.lowest, self.highest = min(each.lowest for each in evals), max(each.highest for each in evals)
        self.passes = max(each.passes for each in evals)
        self.judge_calls = max(each.judge_calls for each in evals)
        self.rater: Judge | None = next((each.rater for each in evals if each.rater is not None), None)

    @property
    def dataset(self) -> Dataset:
        """All datasets as one, whose examples say where they are from in the column `COLUMN`."""
        dev, test = (
            tuple(
                replace(example, columns={**example.columns, COLUMN: part.name})
                for part in self.parts
                for example in getattr(part.dataset, split)
            )
            for split in ("dev", "test")
        )
        facts = "".join(f"{part.name}\0{part.dataset.digest}\0" for part in self.parts)
        digest = hashlib.sha256(facts.encode()).hexdigest()
        return Dataset(",".join(part.name for part in self.parts), dev, test, digest=digest)

    @property
    def range(self) -> tuple[float, float]:
        """That of the weighted mean: shares, unless an eval has no bounds."""
        return (0.0, 1.0) if all(part.bounded for part in self.parts) else (-math.inf, math.inf)

    def check(self, dataset: Dataset) -> None:
        """Raises UserError if a dataset lacks what its eval needs."""
        for part in self.parts:
            part.evaluation.check(part.dataset)

    def prepare(self) -> None:
        """Prepares every eval, after which their code is known."""
        for part in self.parts:
            part.evaluation.prepare()
        self.code = " ".join(part.evaluation.code for part in self.parts if part.evaluation.code)

    def params(self, dataset: Dataset) -> GenerationParams:
        """Those of the first dataset; questions of others say where theirs differ."""
        return self.parts[0].evaluation.params(self.parts[0].dataset)

    def judge(self, dataset: Dataset, examples: Sequence[Example]) -> Judging:
        """Asks all examples in the first pass, in their order, and in later ones what the evals go on to ask."""
        places = self._places(examples)
        judgings = {
            name: part.evaluation.judge(part.dataset, [examples[place] for place in places[name]])
            for name, part in self._by_name().items()
            if places[name]
        }
        asked = {name: [self._as_own(name, query) for query in next(judging)] for name, judging in judgings.items()}
        judgement: Judgement = {scorer: np.full(len(examples), np.nan) for scorer in self.scorers}
        while asked:
            order = self._order(asked, places)
            replies = yield [asked[name][number] for name, number in order]
            answered: dict[str, dict[int, str]] = {name: {} for name in asked}
            for (name, number), reply in zip(order, replies, strict=True):
                answered[name][number] = reply
            for name, own in answered.items():
                try:
                    following = judgings[name].send([own[number] for number in range(len(own))])
                    asked[name] = [self._as_own(name, query) for query in following]
                except StopIteration as finished:
                    for scorer in self.scorers:
                        judgement[scorer][places[name]] = finished.value[scorer]
                    del asked[name]
        return judgement

    def later_queries(self, dataset: Dataset, examples: Sequence[Example]) -> list[list[Query]]:
        """Those of all evals, side by side."""
        places, found = self._places(examples), [list[Query]() for _ in range(self.passes - 1)]
        for name, part in self._by_name().items():
            own = [examples[place] for place in places[name]]
            for number, queries in enumerate(part.evaluation.later_queries(part.dataset, own)):
                found[number] += [self._as_own(name, query) for query in queries]
        return found

    def utility(self, scores: np.ndarray, examples: Sequence[Example]) -> float:
        """See the class; scores of skipped examples (NaN) are left out."""
        means = {name: float(with_score(own).mean()) for name, own in self.by_dataset(scores, examples).items()}
        short = sum(
            part.share(part.at_least) - part.share(means[part.name])
            for part in self.parts
            if part.at_least is not None and means[part.name] < part.at_least
        )
        if short > 0:
            return -short
        return sum(part.weight * part.share(means[part.name]) for part in self.parts) / self._weights

    def estimate(self, scores: np.ndarray, examples: Sequence[Example]) -> Estimate:
        """The weighted mean, floors aside; its interval is put together of the datasets' own (Zou and Donner 2008)."""
        total, below, above, size = 0.0, 0.0, 0.0, 0
        by_dataset = self.by_dataset(scores, examples)
        for part in self.parts:
            own, weight = part.evaluation.estimate(by_dataset[part.name], ()), part.weight / self._weights
            mean, low, high = map(part.share, (own.mean, own.low, own.high))
            total, size = total + weight * mean, size + own.size
            below, above = below + (weight * (mean - low)) ** 2, above + (weight * (high - mean)) ** 2
        return Estimate(total, total - math.sqrt(below), total + math.sqrt(above), size)

    def solved(self, scores: np.ndarray, examples: Sequence[Example]) -> np.ndarray:
        """Which examples have the highest score of their own eval."""
        highest = np.array([self._part(example).evaluation.highest for example in examples])
        return np.asarray(scores >= highest)

    def estimates(self, judgement: Judgement, examples: Sequence[Example]) -> dict[str, dict[str, dict[str, float]]]:
        """Dataset -> scorer -> the estimate of its mean score, in its own eval's range, as JSON has it."""
        found: dict[str, dict[str, dict[str, float]]] = {part.name: {} for part in self.parts}
        for scorer, scores in judgement.items():
            own = self.by_dataset(scores, examples)
            for part in self.parts:
                found[part.name][scorer] = vars(part.evaluation.estimate(own[part.name], ()))
        return found

    def by_dataset(self, scores: np.ndarray, examples: Sequence[Example]) -> dict[str, np.ndarray]:
        """Dataset -> the scores of its examples, in their order."""
        return {name: scores[places] for name, places in self._places(examples).items()}

    def ballot(self, reply: str, example: Example) -> str | None:
        """As the eval of the example's dataset reads it."""
        return self._part(example).evaluation.ballot(reply, example)

    def readable(self, reply: str, example: Example) -> bool:
        """As the eval of the example's dataset reads it."""
        return self._part(example).evaluation.readable(reply, example)

    @property
    def _weights(self) -> float:
        return sum(part.weight for part in self.parts)

    def _by_name(self) -> dict[str, Part]:
        return {part.name: part for part in self.parts}

    def _part(self, example: Example) -> Part:
        return self._by_name()[example.columns[COLUMN]]

    def _places(self, examples: Sequence[Example]) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {part.name: [] for part in self.parts}
        for place, example in enumerate(examples):
            found[example.columns[COLUMN]].append(place)
        return found

    def _order(self, asked: dict[str, list[Query]], places: dict[str, list[int]]) -> list[tuple[str, int]]:
        """(dataset, number) of the queries of a pass: in the examples' order where each is asked about once."""
        every = [(name, number) for name, queries in asked.items() for number in range(len(queries))]
        if all(len(queries) == len(places[name]) for name, queries in asked.items()):
            every.sort(key=lambda one: places[one[0]][one[1]])
        return every

    def _as_own(self, name: str, query: Query) -> Query:
        """The query with what its dataset's eval wants otherwise than the first one's, unless the user has said it."""
        part, (tokens, chat) = self._by_name()[name], self._own
        own, usual = part.evaluation.params(part.dataset), self.params(part.dataset)
        most = query.max_new_tokens
        if most is None and tokens is None and own.max_new_tokens != usual.max_new_tokens:
            most = own.max_new_tokens
        differs = query.chat is None and chat is None and own.chat != usual.chat
        return replace(query, max_new_tokens=most, chat=own.chat if differs else query.chat)
