"""What more labelled prompts would bring: routers fitted on ever more of them, judged on the same others."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from swarm.errors import UserError
from swarm.maths.interval import Estimate
from swarm.maths.routing import at, bootstrap_mean
from swarm.routing.base import LanguageModel, check_prompts, folds_of
from swarm.routing.fit import RouterSettings, best_single, fit_read, less_cost
from swarm.routing.labels import filled, one_class
from swarm.routing.reading import read_prompts


@dataclass(frozen=True)
class CurvePoint:
    """What routers fitted on `size` prompts are worth on others; all in the scores' unit, less cost.

    Attributes:
      size: labelled prompts of each router.
      quality: of the chosen members.
      gain: over the member that was the best single one on the router's own prompts.
      regret: to the best member of each prompt.
    """

    size: int
    quality: Estimate
    gain: Estimate
    regret: Estimate


def learning_curve(
    prompts: Sequence[str],
    scores: np.ndarray,
    names: Sequence[str],
    settings: RouterSettings,
    generator: np.random.Generator,
    sizes: Sequence[int],
    folds: int = 4,
    language_model: LanguageModel | None = None,
) -> list[CurvePoint]:
    """One point per size: each fold of the prompts is routed by a router that was fitted on `size` of the others.

    Equal prompts are in one fold. The prompts of a smaller size are among those of a larger one. Where a size holds
    one class only, the best single member answers all. Raises UserError as `fit_router`, and for sizes that the other
    folds do not have.
    """
    prompts = check_prompts(prompts)
    utilities = less_cost(scores, settings)
    if len(set(prompts)) < folds or folds < 2:
        raise UserError(f"{len(set(prompts))} different prompts for {folds} folds of a curve; rank more prompts")
    places = folds_of(prompts, folds, generator)
    orders = [generator.permutation(np.flatnonzero(places != fold)) for fold in range(folds)]
    most = min(map(len, orders))
    if not sizes or min(sizes) < settings.folds or max(sizes) > most:
        raise UserError(
            f"sizes of the learning curve are {list(sizes)}, wanted each from {settings.folds} (the folds) to {most}, "
            f"what {len(prompts)} prompts leave beside a fold of {folds}"
        )
    reading = read_prompts(prompts, settings.features, settings.classifier, language_model)
    known = filled(utilities)
    points = []
    for size in sizes:
        picked, single = np.zeros(len(prompts), dtype=np.int64), np.zeros(len(prompts), dtype=np.int64)
        for fold, order in enumerate(orders):
            own, held = order[:size], np.flatnonzero(places == fold)
            single[held] = best_single(known[own])
            if one_class(utilities[own], settings.tolerance) or len({prompts[row] for row in own}) < settings.folds:
                picked[held] = single[held]
                continue
            seen = reading.fitted_on(own)
            router = fit_read(seen.rows(own), np.asarray(scores)[own], names, settings, generator)
            picked[held] = [choice.member for choice in router.choose_read(seen.rows(held).inputs)]
        chosen = at(known, picked)
        gains, regrets = chosen - at(known, single), known.max(axis=1) - chosen
        points.append(CurvePoint(size, *(bootstrap_mean(each, generator) for each in (chosen, gains, regrets))))
    return points
