"""A wrapper around plugin evals: checks what they declare, and names the plugin in its errors."""

import inspect
import math
import sys
from collections.abc import Callable, Generator, Sequence
from typing import Any, NoReturn

import numpy as np

from swarm.data.example import Dataset, Example
from swarm.engines.base import GenerationParams
from swarm.errors import BudgetReached, UserError
from swarm.evals.eval import Eval, Judgement, Judging, query_of
from swarm.evals.judges.judge import Judge, JudgeMaker, no_judge
from swarm.plugins import fault
from swarm.system.prompts import Query

SHOWN = 80  # characters of a reply that a message shows


class PluginEval(Eval):
    """A plugin's eval, whose errors name the plugin.

    Whatever it raises becomes a UserError that says where: a fault of an eval is never a score, and the run that it
    stops can go on when it is mended.
    """

    def __init__(self, name: str, target: Any, code: str, judge: JudgeMaker = no_judge):
        """`target` is an Eval class, an Eval, or a function. Raises UserError if it is neither or declares nonsense."""
        self.name, self.code = name, code
        self._file = getattr(sys.modules.get(getattr(target, "__module__", "")), "__file__", None)
        self.rater = judge() if _asks_a_judge(target) else None
        self._inner = _eval_of(name, target, self.rater)
        inner = self._inner
        self.lowest, self.highest = inner.lowest, inner.highest
        self.scorers, self.passes, self.judge_calls = inner.scorers, inner.passes, inner.judge_calls
        if self.rater is not None and not self.judge_calls:
            raise UserError(f"eval {name} takes a judge: say how often it asks about an example with judge_calls = 1")
        if not inner.higher_is_better:
            raise UserError(f"eval {name} says that lower is better: return the negative, and declare its range so")
        if not (_is_number(self.lowest) and _is_number(self.highest) and self.lowest < self.highest):
            raise UserError(f"eval {name} has the range {self.lowest} to {self.highest}; wanted two rising numbers")
        scorers: Any = inner.scorers
        if not isinstance(scorers, tuple | list) or not all(isinstance(scorer, str) for scorer in scorers):
            raise UserError(f'eval {name} has the scorers {self.scorers!r}; wanted names such as ("strict",)')

    def check(self, dataset: Dataset) -> None:
        """The plugin's own check."""
        self._call(self._inner.check, dataset)

    def prepare(self) -> None:
        """Checks the judge if the plugin was given one, then the plugin's own preparation."""
        super().prepare()
        self._call(self._inner.prepare)

    def params(self, dataset: Dataset) -> GenerationParams:
        """The plugin's own settings."""
        params = self._call(self._inner.params, dataset)
        if not isinstance(params, GenerationParams):
            raise UserError(f"eval {self.name} gave params {params!r}; wanted swarm.engines.base.GenerationParams")
        return params

    def judge(self, dataset: Dataset, examples: Sequence[Example]) -> Judging:
        """The plugin's scores, with errors that name the plugin."""
        judging = self._call(self._inner.judge, dataset, examples)
        if not isinstance(judging, Generator):
            raise UserError(f"eval {self.name}: judge is no generator; it has to yield queries (docs/add_an_eval.md)")
        texts: list[str] | None = None
        try:
            while True:
                asked = next(judging) if texts is None else judging.send(texts)
                texts = yield [_query(query) for query in asked]
        except StopIteration as finished:
            if texts is None:
                raise UserError(f"eval {self.name}: judge has asked nothing; it has to yield queries") from None
            return self._judgement(finished.value)
        except (Exception, SystemExit) as error:
            self._blame(error)

    def later_queries(self, dataset: Dataset, examples: Sequence[Example]) -> list[list[Query]]:
        """The plugin's own stand-ins for later passes."""
        later = self._call(self._inner.later_queries, dataset, examples)
        return [[_query(asked) for asked in queries] for queries in later]

    def ballot(self, reply: str, example: Example) -> str | None:
        """The plugin's own ballot."""
        ballot: str | None = self._call(self._inner.ballot, reply, example)
        return ballot

    def readable(self, reply: str, example: Example) -> bool:
        """The plugin's own verdict where it has one; its ballot says how to vote, which is another question."""
        if type(self._inner).readable is Eval.readable:
            return bool(reply.strip())
        return bool(self._call(self._inner.readable, reply, example))

    def _judgement(self, value: Any) -> Judgement:
        if not isinstance(value, dict):
            raise UserError(f"eval {self.name} returned {type(value).__name__}; wanted scorer name -> scores")
        if {*value} != {*self.scorers}:
            given, wanted = (", ".join(sorted(names)) or "none" for names in (value, self.scorers))
            raise UserError(f"eval {self.name} returned the scores {given}, but declares {wanted}: make them agree")
        try:
            return {name: np.asarray(scores, dtype=float) for name, scores in value.items()}
        except (TypeError, ValueError) as error:
            raise UserError(f"eval {self.name} returned scores that are no numbers ({error}); mend it") from error

    def _call(self, method: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return method(*arguments)
        except (Exception, SystemExit) as error:
            self._blame(error)

    def _blame(self, error: BaseException) -> NoReturn:
        if isinstance(error, UserError | BudgetReached):
            raise error
        raise fault(f"eval {self.name}", error, self._file) from error


class FunctionEval(Eval):
    """A function `(reply, example) -> score` as an eval: the dataset's question is asked, the reply is scored.

    The range is 0 to 1 unless the function has attributes `lowest` and `highest`.
    """

    def __init__(self, name: str, function: Callable[[str, Example], float]):
        self.name, self._function = name, function
        self.lowest = getattr(function, "lowest", 0.0)
        self.highest = getattr(function, "highest", 1.0)
        self.higher_is_better = getattr(function, "higher_is_better", True)

    def judge(self, dataset: Dataset, examples: Sequence[Example]) -> Judging:
        """Asks every question once."""
        replies = yield [query_of(dataset, example) for example in examples]
        scores = []
        for index, (reply, example) in enumerate(zip(replies, examples, strict=True)):
            score = self._function(reply, example)
            if not isinstance(score, bool | np.bool_ | np.number | int | float):
                raise UserError(f"eval {self.name} gave {_which(index, reply)} the score {score!r}; wanted a number: "
                                "mend it")  # fmt: skip
            if not self.lowest <= score <= self.highest:
                raise UserError(
                    f"eval {self.name} gave {_which(index, reply)} the score {score!r}; wanted a number from "
                    f"{self.lowest:g} to {self.highest:g}, or another range: its `lowest` and `highest`"
                )
            scores.append(score)
        return {"strict": np.array(scores, dtype=float)}


def _which(index: int, reply: str) -> str:
    return f"example {index}, with the reply {reply[:SHOWN]!r},"


def _query(asked: Query | str) -> Query:
    """The query that a plugin has returned, perhaps as a text alone."""
    return asked if isinstance(asked, Query) else Query(asked)


def _asks_a_judge(target: Any) -> bool:
    return inspect.isclass(target) and issubclass(target, Eval) and "judge" in inspect.signature(target).parameters


def _eval_of(name: str, target: Any, judge: Judge | None) -> Eval:
    if inspect.isclass(target) and issubclass(target, Eval):
        try:
            made: Eval = target(**({} if judge is None else {"judge": judge}))
            return made
        except Exception as error:
            raise UserError(
                f"eval {name} cannot be made ({type(error).__name__}: {error}); its __init__ "
                "takes nothing, or a parameter `judge`"
            ) from error
    if isinstance(target, Eval):
        return target
    if callable(target) and not inspect.isclass(target):
        try:
            inspect.signature(target).bind("reply", "example")
        except TypeError as error:
            raise UserError(f"eval {name} cannot be called ({error}); wanted a function (reply, example)") from error
        return FunctionEval(name, target)
    raise UserError(
        f"eval {name} is {type(target).__name__}; wanted a subclass of swarm.evals.eval.Eval, an instance of one, or a "
        "function (reply, example) -> score"
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
