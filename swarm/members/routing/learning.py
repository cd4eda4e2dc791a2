"""Learning curves of routers: the score as a function of the number of labelled prompts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from swarm.errors import UserError
from swarm.maths.interval import Estimate
from swarm.maths.routing import at, bootstrap_mean
from swarm.members.routing.fit import RouterSettings, best_single, check_shapes, fit_read, less_cost
from swarm.members.routing.interfaces import LanguageModel, check_prompts, folds_of
from swarm.members.routing.prompt_features import Reading, read_prompts
from swarm.members.routing.soft_labels import one_class, without_gaps


@dataclass(frozen=True)
class CurvePoint:
    """One point of a learning curve: held-out scores of routers fitted on `size` prompts, less cost.

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

    Equal prompts are in one fold. The prompts of a smaller size are among those of a larger one. Sizes that the other
    folds do not have become the largest that they all have. Where a size holds one class only, the best single member
    answers all. Raises UserError as `fit_router`, and for sizes or prompts that are too few for the folds.
    """
    prompts = check_prompts(prompts)
    check_shapes(prompts, scores, names, settings)
    if len(set(prompts)) < folds or folds < 2:
        raise UserError(f"{len(set(prompts))} different prompts for {folds} folds of a curve; rank more prompts")
    fold_of = folds_of(prompts, folds, generator)
    orders = [generator.permutation(np.flatnonzero(fold_of != fold)) for fold in range(folds)]
    most = min(map(len, orders))
    if not sizes or min(*sizes, most) < settings.folds:
        raise UserError(
            f"sizes of the learning curve are {list(sizes)}, of {most} prompts that are left beside a fold of {folds}; "
            f"wanted each at least {settings.folds}, to be parted in calibration: rank more prompts"
        )
    sizes = sorted({min(size, most) for size in sizes})
    reading = read_prompts(prompts, settings.features, settings.classifier, language_model)
    values = without_gaps(less_cost(scores, settings))
    points = []
    for size in sizes:
        routed, alone = np.zeros(len(prompts)), np.zeros(len(prompts))
        for fold, order in enumerate(orders):
            held = np.flatnonzero(fold_of == fold)
            single = best_single(values[order[:size]])
            alone[held] = values[held, single]
            choices = _choices(reading, np.asarray(scores), names, settings, order[:size], held, generator)
            routed[held] = alone[held] if choices is None else at(values[held], choices)
        kinds = (routed, routed - alone, values.max(axis=1) - routed)
        points.append(CurvePoint(size, *(bootstrap_mean(each, generator) for each in kinds)))
    return points


def _choices(
    reading: Reading,
    scores: np.ndarray,
    names: Sequence[str],
    settings: RouterSettings,
    own: np.ndarray,
    held: np.ndarray,
    generator: np.random.Generator,
) -> np.ndarray | None:
    """The members that a router fitted on the rows `own` picks for the rows `held`; None where it cannot be fitted."""
    seen = reading.fitted_on(own)
    too_few = len(set(seen.rows(own).prompts)) < settings.folds
    if too_few or one_class(less_cost(scores[own], settings), settings.tolerance):
        return None
    router = fit_read(seen.rows(own), scores[own], names, settings, generator)
    return np.array([choice.member for choice in router.choose_read(seen.rows(held).inputs)])
