"""What more labelled prompts would bring: routers fitted on ever more of them, judged on the same others."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from swarm.errors import UserError
from swarm.maths.interval import Estimate
from swarm.maths.routing import at, bootstrap_mean
from swarm.routing.base import LanguageModel, check_prompts, folds_of
from swarm.routing.fit import RouterSettings, best_single, fit_router
from swarm.routing.labels import filled


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
    prompts, utilities = check_prompts(prompts), filled(scores)
    if settings.costs:
        utilities = utilities - settings.cost_weight * np.asarray(settings.costs)
    if len(set(prompts)) < folds or folds < 2:
        raise UserError(
            f"{len(set(prompts))} different prompts for {folds} folds of a learning curve; rank more prompts"
        )
    places = folds_of(prompts, folds, generator)
    orders = [generator.permutation(np.flatnonzero(places != fold)) for fold in range(folds)]
    most = min(map(len, orders))
    if not sizes or min(sizes) < settings.folds or max(sizes) > most:
        raise UserError(
            f"sizes of the learning curve are {list(sizes)}, wanted each from {settings.folds} (the folds) to {most}, "
            f"what {len(prompts)} prompts leave beside a fold of {folds}"
        )
    points = []
    for size in sizes:
        picked, single = np.zeros(len(prompts), dtype=np.int64), np.zeros(len(prompts), dtype=np.int64)
        for fold, order in enumerate(orders):
            own, held = order[:size], np.flatnonzero(places == fold)
            single[held] = best_single(utilities[own])
            texts = [prompts[row] for row in own]
            try:
                router = fit_router(texts, scores[own], names, settings, generator, language_model=language_model)
            except UserError:
                picked[held] = single[held]
                continue
            picked[held] = [choice.member for choice in router.choose([prompts[row] for row in held])]
        chosen = at(utilities, picked)
        estimates = [
            bootstrap_mean(values, generator)
            for values in (chosen, chosen - at(utilities, single), utilities.max(axis=1) - chosen)
        ]
        points.append(CurvePoint(size, *estimates))
    return points
