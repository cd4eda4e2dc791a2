"""A plugin's metric, checked: its options, its scores, and faults that name it."""

import inspect
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from swarm.errors import UserError
from swarm.metrics.metric import check_lengths
from swarm.plugins import Plugin, faults_named


class PluginMetric:
    """A metric of a plugin: a class with `score` and perhaps `settings`, or a function (answer, reference) -> score.

    Options are keyword arguments, of the class or, after the two texts, of the function. Attributes `lowest` and
    `highest` of either say what a score can be.
    """

    def __init__(self, plugin: Plugin, options: Mapping[str, Any]):
        """Makes the metric. Raises UserError for an option that it does not have, or if it is no metric."""
        self.name, self._code, self._options = plugin.name, plugin.code, dict(options)
        self._what = f"metric {plugin.name!r} of {plugin.source}"
        self._target = plugin.load()
        is_class = inspect.isclass(self._target)
        if not callable(self._target):
            raise UserError(
                f"{self._what} is {type(self._target).__name__}; wanted a class with a method score, or a function "
                "(answer, reference) -> score (docs/extend.md)"
            )
        self._check_options(() if is_class else ("", ""))
        self._score: Callable[[Sequence[str], Sequence[str]], Any] = self._pairwise
        self._own_settings: Callable[[], Any] = dict
        if is_class:
            with faults_named(self._what, self._target):
                made = self._target(**options)
            if not callable(getattr(made, "score", None)):
                raise UserError(f"{self._what} has no method score(answers, references); add it (docs/extend.md)")
            self._score, self._own_settings = made.score, getattr(made, "settings", dict)
        self.lowest = float(getattr(self._target, "lowest", -math.inf))
        self.highest = float(getattr(self._target, "highest", math.inf))
        self._settings = self._checked_settings()

    def settings(self) -> dict[str, Any]:
        """The options, what the plugin itself says of its settings, and its code: package and version, or digest."""
        return dict(self._settings)

    def score(self, candidates: Sequence[str], references: Sequence[str]) -> list[float]:
        """One score per candidate. Raises UserError if the plugin fails, or gives anything else."""
        check_lengths(self.name, candidates, references)
        with faults_named(self._what, self._target):
            scores = [float(score) for score in self._score(candidates, references)]
        if len(scores) != len(candidates):
            raise UserError(f"{self._what} gave {len(scores)} scores for {len(candidates)} answers; wanted as many")
        for index, score in enumerate(scores):
            if not math.isfinite(score):
                raise UserError(f"{self._what} gave answer {index} the score {score}; wanted a finite number: mend it")
        return scores

    def _pairwise(self, candidates: Sequence[str], references: Sequence[str]) -> list[Any]:
        return [self._target(*texts, **self._options) for texts in zip(candidates, references, strict=True)]

    def _check_options(self, texts: tuple[str, ...]) -> None:
        try:
            inspect.signature(self._target).bind(*texts, **self._options)
        except (TypeError, ValueError) as error:  # the latter where a function of C says nothing of its own
            given = ", ".join(self._options) or "none"
            raise UserError(f"{self._what} does not take these options ({given}): {error}; correct them") from error

    def _checked_settings(self) -> dict[str, Any]:
        with faults_named(self._what, self._target):
            settings = {**self._options, **self._own_settings(), "code": self._code}
            json.dumps(settings)  # it is kept with the scores
        return settings
