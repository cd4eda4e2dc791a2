"""Figures of a router beyond its line in the table: calibration, APGR, and quality over costs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from swarm.maths.interval import Estimate
from swarm.maths.routing import at, bootstrap, bootstrap_mean, calibration_error
from swarm.maths.routing_curves import aiq, apgr, calls_for_gap
from swarm.members.routing.fit import fitted_settings, less_cost
from swarm.members.routing.router import Router, RouterChoice
from swarm.members.routing.soft_labels import soft_labels
from swarm.programs.route.quality_table import shown

SHARE = 0.5  # of the gap, for which calls are counted
_STEPS = 9  # of the knob
_RESAMPLES = 500  # of statistics that are no means, each of which sorts all prompts


@dataclass(frozen=True)
class Tried:
    """A router on P prompts that it was not fitted on.

    Attributes:
      probabilities: (P, M), that each member is the one to ask.
      choices: of every prompt.
      scores: (P, M).
      turned: (P,) each, what it picks as lambda rises; none for a router without that knob.
      weak: the cheapest member; where all cost the same, the worst single one of the prompts it was fitted on.
    """

    router: Router
    probabilities: np.ndarray
    choices: Sequence[RouterChoice]
    scores: np.ndarray
    turned: Sequence[np.ndarray]
    weak: int
    seed: int

    @property
    def picked(self) -> np.ndarray:
        """The members that are picked (P,)."""
        return np.array([choice.member for choice in self.choices])

    @property
    def best(self) -> int:
        """The best single member of the prompts it was fitted on."""
        return self.router.fallback

    def knob_points(self) -> list[tuple[float, float]]:
        """Mean cost and quality as lambda rises."""
        costs = np.asarray(self.router.costs, dtype=np.float64)
        return [(float(costs[picked].mean()), float(at(self.scores, picked).mean())) for picked in self.turned]

    def estimate(self, statistic: Callable[[np.ndarray], float]) -> Estimate | None:
        """A statistic of the prompts with its interval; None where it is not defined for them."""
        try:
            return bootstrap(statistic, len(self.scores), np.random.default_rng(self.seed), _RESAMPLES)
        except ValueError:
            return None


def tried(router: Router, prompts: Sequence[str], scores: np.ndarray, learnt: np.ndarray, seed: int) -> Tried:
    """The router on prompts with scores (P, M); `learnt` (P', M), without gaps, are those that it was fitted on."""
    means = learnt.mean(axis=0)
    costs = np.asarray(router.costs, dtype=np.float64) if router.costs else np.zeros(len(means))
    weak = int(np.lexsort((means, costs))[0])  # the last key decides first
    probabilities = router.probabilities(prompts)
    choices = router.choices(probabilities)
    return Tried(router, probabilities, choices, scores, _turned(router, prompts), weak, seed)


def figures_of(result: Tried) -> dict[str, Any]:
    """The figures, as JSON can hold them; None stands where the prompts have no such figure.

    `calibration_error` is of the classifier's picks, with labels as for fitting: costs count, and near ties share.
    `apgr` and `calls_for_half` are between two members, `weak` and `strong` (RouteLLM): how much of the stronger one's
    lead is kept where the prompts for it are chosen by the router's preference. `aiq` is that of all members with the
    router, `aiq_of_members_alone` what it has to beat, over the same costs (RouterBench).
    """
    picked, confidence = result.probabilities.argmax(axis=1), result.probabilities.max(axis=1)
    share = at(_labels(result), picked)
    right = at(result.scores, result.picked) == result.scores.max(axis=1)
    fell_back = np.array([each.fell_back for each in result.choices], dtype=np.float64)
    rng = np.random.default_rng(result.seed)
    figures: dict[str, Estimate | None] = {
        "accuracy": bootstrap_mean(right, rng),
        "fell_back": bootstrap_mean(fell_back, rng),
        "calibration_error": result.estimate(lambda rows: calibration_error(confidence[rows], share[rows])),
    }
    figures |= _gap(result) | _over_costs(result)
    names = {"weak": result.router.names[result.weak], "strong": result.router.names[result.best]}
    return names | {name: each and vars(each) for name, each in figures.items()}


def _labels(result: Tried) -> np.ndarray:
    """The labels (P, M) by the rule that the router was fitted with."""
    settings = fitted_settings(result.router)
    return soft_labels(less_cost(result.scores, settings), settings.label_temperature, settings.tolerance)


def _gap(result: Tried) -> dict[str, Estimate | None]:
    chances = result.probabilities[:, [result.weak, result.best]]
    preference = chances[:, 1] / np.maximum(chances.sum(axis=1), np.finfo(float).tiny)
    weak, strong = result.scores[:, result.weak], result.scores[:, result.best]
    return {
        "apgr": result.estimate(lambda rows: apgr(preference[rows], weak[rows], strong[rows])),
        "calls_for_half": result.estimate(
            lambda rows: calls_for_gap(preference[rows], weak[rows], strong[rows], SHARE)
        ),
    }


def _over_costs(result: Tried) -> dict[str, Estimate | None]:
    """AIQ of the router and of the members alone; {} where all members cost the same."""
    costs = np.asarray(result.router.costs, dtype=np.float64)
    if len(set(costs.tolist())) < 2:
        return {}
    ways = [result.picked, *result.turned]
    spent, values = [costs[picked] for picked in ways], [at(result.scores, picked) for picked in ways]

    def with_router(rows: np.ndarray) -> float:
        across = np.array([*costs, *(each[rows].mean() for each in spent)])
        return aiq(across, np.array([*result.scores[rows].mean(axis=0), *(each[rows].mean() for each in values)]))

    alone = result.estimate(lambda rows: aiq(costs, result.scores[rows].mean(axis=0)))
    return {"aiq": result.estimate(with_router), "aiq_of_members_alone": alone}


def _turned(router: Router, prompts: Sequence[str]) -> list[np.ndarray]:
    """The picks (P,) as lambda rises from 0 until the cheapest is picked; [] for a router without costs."""
    costs = np.asarray(router.costs, dtype=np.float64)
    if router.classifier.learns == "labels" or router.features is None or len(set(costs.tolist())) < 2:
        return []
    quality = router.classifier.scores(router.features.encode(prompts).values)
    enough = float(np.ptp(quality, axis=1).max()) / float(np.diff(np.unique(costs)).min())
    return [(quality - weight * costs).argmax(axis=1) for weight in (0.0, *np.geomspace(enough / 1000, enough, _STEPS))]


def figures_text(figures: dict[str, Any]) -> list[str]:
    """The figures as lines."""
    found = {name: Estimate(**each) for name, each in figures.items() if isinstance(each, dict)}
    accuracy, back, error = found["accuracy"], found["fell_back"], found["calibration_error"]
    lines = [
        f"the router picks one of the best members for {_percent(accuracy)} of the prompts and falls back for "
        f"{_percent(back)}; calibration error {shown(error)}"
    ]
    if "apgr" not in found:
        lines.append(f"no APGR: on these prompts {figures['strong']} has no lead over {figures['weak']}")
    else:
        lines.append(
            f"between {figures['weak']} and {figures['strong']}: APGR {shown(found['apgr'])} (0.5 is chance), half of "
            f"the gap with {_percent(found['calls_for_half'])} of the prompts for {figures['strong']}"
        )
    if "aiq" in found:
        alone = shown(found["aiq_of_members_alone"])
        lines.append(f"AIQ {shown(found['aiq'])}, of the members without a router {alone}")
    return lines


def _percent(share: Estimate) -> str:
    return f"{100 * share.mean:.1f} % [{100 * share.low:.1f}, {100 * share.high:.1f}]"
