"""Evals that are not part of this package: a file of the user's, or an installed package with an entry point.

What such a name stands for is an `Eval` (the class or an instance), or a function `(reply, example) -> score`.
"""

import hashlib
import importlib.util
import inspect
import math
import sys
import traceback
from collections.abc import Callable, Generator, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import numpy as np

from swarm.engines.base import GenerationParams
from swarm.errors import BudgetReached, UserError
from swarm.evals.base import Dataset, Eval, Example, Judgement, Judging
from swarm.evals.judges.asking import Judge, JudgeMaker, no_judge
from swarm.evals.judges.budget import NO_WORK, JudgeUsage
from swarm.system.messages import Query

GROUP = "h_swarm.evals"


def is_file_name(name: str) -> bool:
    """Whether an eval's name means a file: `path/to/file.py:name`."""
    return name.partition(":")[0].endswith(".py")


def file_of(name: str) -> Path:
    """The file that an eval's name means. Raises UserError if it is not there."""
    path = Path(name.partition(":")[0])
    if not path.is_file():
        raise UserError(f"no eval file {path}: wanted path/to/file.py:name, the file and what it calls the eval")
    return path


def file_digest(name: str) -> str:
    """SHA-256 of the file that an eval's name means; nothing in it is run."""
    return hashlib.sha256(file_of(name).read_bytes()).hexdigest()


def eval_from_file(name: str, judge: JudgeMaker = no_judge) -> Eval:
    """The eval that a file calls so. The file is run. `judge` is for a class whose `__init__` takes one.

    Raises UserError if there is no such file or name, or if it is no eval.
    """
    path, wanted = file_of(name), name.partition(":")[2]
    digest = file_digest(name)
    module = _run(path, digest)
    there = [key for key in vars(module) if not key.startswith("_") and _is_offer(getattr(module, key), module)]
    if not wanted or not hasattr(module, wanted):
        given = f"has no {wanted!r}" if wanted else "was named without an eval in it"
        shown = ", ".join(f"-e {path}:{key}" for key in there) or "none: define one (docs/add_an_eval.md)"
        raise UserError(f"eval file {path} {given}; it offers {shown}")
    return PluginEval(f"{path.name}:{wanted}", getattr(module, wanted), digest, judge)


def installed_evals() -> dict[str, EntryPoint]:
    """Name -> entry point, of every installed package that brings evals."""
    return {point.name: point for point in entry_points(group=GROUP)}


def eval_from_package(point: EntryPoint, judge: JudgeMaker = no_judge) -> Eval:
    """The eval behind an entry point. Raises UserError if it cannot be imported or is no eval."""
    package = f"{point.dist.name} {point.dist.version}" if point.dist else "unknown package"
    try:
        target = point.load()
    except (Exception, SystemExit) as error:
        raise UserError(
            f"eval {point.name!r} of {package} cannot be imported ({type(error).__name__}: {error}); reinstall it"
        ) from error
    return PluginEval(point.name, target, package, judge)


class PluginEval(Eval):
    """An eval of somebody else's, whose faults are reported by name.

    Whatever it raises becomes a UserError that says where: a fault of an eval is never a score, and the run that it
    stops can go on when it is mended.
    """

    def __init__(self, name: str, target: Any, code: str, judge: JudgeMaker = no_judge):
        """`target` is an Eval class, an Eval, or a function. Raises UserError if it is neither or declares nonsense."""
        self.name, self.code = name, code
        self._judge = judge() if _asks_a_judge(target) else None
        self._inner = _eval_of(name, target, self._judge)
        inner = self._inner
        self.lowest, self.highest = inner.lowest, inner.highest
        self.scorers, self.passes, self.judge_calls = tuple(inner.scorers), inner.passes, inner.judge_calls
        if self._judge is not None and not self.judge_calls:
            raise UserError(f"eval {name} takes a judge: say how often it asks about an example with judge_calls = 1")
        if not inner.higher_is_better:
            raise UserError(f"eval {name} says that lower is better: return the negative, and declare its range so")
        if not (math.isfinite(self.lowest) and math.isfinite(self.highest) and self.lowest < self.highest):
            raise UserError(f"eval {name} has the range {self.lowest} to {self.highest}; wanted two rising numbers")

    def check(self, dataset: Dataset) -> None:
        """The plugin's own check."""
        self._call(self._inner.check, dataset)

    def prepare(self) -> None:
        """Checks the judge if it has one, then the plugin's own preparation."""
        if self._judge is not None:
            self._judge.client.check()
        self._call(self._inner.prepare)

    @property
    def judge_usage(self) -> JudgeUsage:
        """That of the judge that the plugin was given."""
        return NO_WORK if self._judge is None else self._judge.usage

    def watch_judge(self, on_change: Callable[[JudgeUsage], None]) -> None:
        """Of the judge that the plugin was given."""
        if self._judge is not None:
            self._judge.watch(on_change)

    def hold_back(self, questions: int) -> None:
        """Of the limits of the judge that the plugin was given."""
        if self._judge is not None:
            self._judge.hold_back(questions)

    def params(self, dataset: Dataset) -> GenerationParams:
        """The plugin's own settings."""
        params = self._call(self._inner.params, dataset)
        if not isinstance(params, GenerationParams):
            raise UserError(f"eval {self.name} gave params {params!r}; wanted swarm.engines.base.GenerationParams")
        return params

    def judge(self, dataset: Dataset, examples: Sequence[Example]) -> Judging:
        """The plugin's own judging, with its faults named."""
        judging = self._call(self._inner.judge, dataset, examples)
        if not isinstance(judging, Generator):
            raise UserError(f"eval {self.name}: judge is no generator; it has to yield queries (docs/add_an_eval.md)")
        try:
            asked = next(judging)
            while True:
                texts = yield [_query(query) for query in asked]
                asked = judging.send(texts)
        except StopIteration as finished:
            return self._judgement(finished.value)
        except (Exception, SystemExit) as error:
            self._blame(error)

    def later_queries(self, dataset: Dataset, examples: Sequence[Example]) -> list[list[Query]]:
        """The plugin's own forecast."""
        later = self._call(self._inner.later_queries, dataset, examples)
        return [[_query(asked) for asked in queries] for queries in later]

    def ballot(self, reply: str, example: Example) -> str | None:
        """The plugin's own ballot."""
        ballot: str | None = self._call(self._inner.ballot, reply, example)
        return ballot

    def _judgement(self, value: Any) -> Judgement:
        if not isinstance(value, dict):
            raise UserError(f"eval {self.name} returned {type(value).__name__}; wanted scorer name -> scores")
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
        last = traceback.extract_tb(error.__traceback__)[-1]
        said = " ".join(str(error).split())
        raise UserError(
            f"eval {self.name} raised {type(error).__name__}: {said} ({last.filename}, line {last.lineno}); mend it, "
            "then go on"
        ) from error


class FunctionEval(Eval):
    """A function `(reply, example) -> score` as an eval: the dataset's question is asked, the reply is scored.

    The range is 0 to 1 unless the function has attributes `lowest` and `highest`.
    """

    def __init__(self, name: str, function: Callable[[str, Example], float]):
        self.name, self._function = name, function
        self.lowest = float(getattr(function, "lowest", 0.0))
        self.highest = float(getattr(function, "highest", 1.0))
        self.higher_is_better = getattr(function, "higher_is_better", True)

    def judge(self, dataset: Dataset, examples: Sequence[Example]) -> Judging:
        """Asks every question once."""
        prefix = f"{dataset.prefix}\n" if dataset.prefix else ""
        replies = yield [Query(f"{prefix}{example.question}", example.chunks) for example in examples]
        scores = [self._function(reply, example) for reply, example in zip(replies, examples, strict=True)]
        return {"strict": np.array(scores, dtype=float)}


def _run(path: Path, digest: str) -> ModuleType:
    """The module that a file defines, under a name that no other file has."""
    spec = importlib.util.spec_from_file_location(f"h_swarm_eval_{digest[:16]}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[spec.name]
        line = error.lineno if isinstance(error, SyntaxError) else traceback.extract_tb(error.__traceback__)[-1].lineno
        said = " ".join(str(error).split())
        raise UserError(f"eval file {path} cannot be run, line {line}: {type(error).__name__}: {said}") from error
    return module


def _is_offer(value: Any, module: ModuleType) -> bool:
    """Whether a file's name is something that it offers as an eval: not what it has imported."""
    if isinstance(value, Eval):
        return True
    own = getattr(value, "__module__", None) == module.__name__
    return own and ((inspect.isclass(value) and issubclass(value, Eval)) or inspect.isfunction(value))


def _query(asked: Query | str) -> Query:
    """A query; a plugin may give its text alone."""
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
        return FunctionEval(name, target)
    raise UserError(
        f"eval {name} is {type(target).__name__}; wanted a subclass of swarm.evals.base.Eval, an instance of one, or a "
        "function (reply, example) -> score"
    )
