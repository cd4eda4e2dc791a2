"""Fitting of routers: labels from scores, features, a classifier, and calibration on held-out folds."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from swarm.errors import UserError
from swarm.maths.routing import at, calibration_error
from swarm.members.routing.calibration import temperature_of, threshold_of
from swarm.members.routing.fitted_on import seen_questions
from swarm.members.routing.interfaces import (
    Classifier,
    ClassifierSettings,
    FeatureSettings,
    Inputs,
    LanguageModel,
    check_prompts,
    folds_of,
    inputs_at,
    softmax,
)  # fmt: skip
from swarm.members.routing.knn import KnnSettings
from swarm.members.routing.prompt_features import Reading, read_prompts
from swarm.members.routing.router import Router, logits_of
from swarm.members.routing.soft_labels import check_classes, margin_weights, soft_labels, without_gaps
from swarm.members.routing.tfidf import TfidfSettings


@dataclass(frozen=True)
class RouterSettings:
    """Settings of fitting a router.

    Attributes:
      features: how prompts become numbers; not used by a classifier that reads texts.
      classifier: which one, with its options.
      label_temperature: of soft labels, in the scores' unit; None lets the best members share a prompt equally.
      tolerance: how far below the best score, in its unit, a member counts as tied with it.
      by_margin: whether narrow wins weigh less.
      folds: in how many parts the prompts are held out in turn, for calibration.
      costs: of asking each member once, in any unit; empty for none.
      cost_weight: lambda, what one unit of cost is worth in the scores' unit.
      fall_back: whether the best single member is asked below a confidence chosen on held-out prompts.
    """

    features: FeatureSettings = field(default_factory=TfidfSettings)
    classifier: ClassifierSettings = field(default_factory=KnnSettings)
    label_temperature: float | None = None
    tolerance: float = 0.0
    by_margin: bool = True
    folds: int = 5
    costs: tuple[float, ...] = ()
    cost_weight: float = 0.0
    fall_back: bool = True


_KEPT = ("label_temperature", "tolerance", "by_margin", "folds", "fall_back")  # of the settings, in a router's facts


@dataclass(frozen=True, eq=False)
class _Task:
    """The training data of P prompts and M members.

    Attributes:
      scores: (P, M), NaN where an answer is missing.
      utilities: scores less cost, without gaps.
      labels: (P, M), made from them.
      weights: (P,).
    """

    settings: RouterSettings
    scores: np.ndarray
    utilities: np.ndarray
    labels: np.ndarray
    weights: np.ndarray


def fit_router(
    prompts: Sequence[str],
    scores: np.ndarray,
    names: Sequence[str],
    settings: RouterSettings,
    generator: np.random.Generator,
    digests: Sequence[str] = (),
    language_model: LanguageModel | None = None,
    questions: Sequence[str] = (),
) -> Router:
    """A router fitted on validation prompts with scores (P, M), higher is better, NaN where an answer is missing.

    Temperature and threshold are chosen on out-of-fold predictions: of classifiers (and of TF-IDF vocabularies) that
    were fitted without the fold; equal prompts are in the same one. The best single member of a fold is likewise that
    of the others, and so are, for the router's `facts`, temperature and threshold. The same generator gives the same
    bits. `questions` are the texts behind the prompts, by which whoever scores the router knows what it has seen; the
    prompts themselves where none are given.

    Raises UserError for shapes that do not fit, an empty prompt, fewer prompts than folds, or labels of one class.
    """
    prompts = check_prompts(prompts)
    check_shapes(prompts, scores, names, settings, digests)
    reading = read_prompts(prompts, settings.features, settings.classifier, language_model)
    router = fit_read(reading, scores, names, settings, generator)
    return replace(router, digests=tuple(digests), seen=seen_questions(questions or prompts))


def fit_read(
    reading: Reading, scores: np.ndarray, names: Sequence[str], settings: RouterSettings, generator: np.random.Generator
) -> Router:
    """`fit_router` for prompts that are read already; the features are kept as they are."""
    task = _task(scores, names, settings)
    folds = folds_of(reading.prompts, settings.folds, generator)
    classifier = _fitted(settings.classifier, reading.inputs, task, np.arange(len(folds)), generator)
    logits, single = _out_of_fold(task, classifier.settings(), reading, folds, generator)
    temperature, threshold = _calibrated(task, logits, single, np.arange(len(folds)))
    facts = _held_out(task, logits, single, folds)
    return Router(
        names=tuple(names),
        features=reading.features,
        classifier=classifier,
        fallback=best_single(task.utilities),
        temperature=temperature,
        threshold=threshold,
        costs=settings.costs,
        cost_weight=settings.cost_weight,
        facts=facts | {"settings": {name: getattr(settings, name) for name in _KEPT}},
    )


def fitted_settings(router: Router) -> RouterSettings:
    """The settings that a router was fitted with; what cross-validation has chosen is fixed in them."""
    kept = {name: value for name, value in router.facts.get("settings", {}).items() if name in _KEPT}
    return RouterSettings(
        features=TfidfSettings() if router.features is None else router.features.settings,  # a reader of texts has none
        classifier=router.classifier.settings(),
        costs=router.costs,
        cost_weight=router.cost_weight,
        **kept,
    )


def less_cost(scores: np.ndarray, settings: RouterSettings) -> np.ndarray:
    """Scores (P, M) less lambda times what each member costs, float64; missing ones stay NaN."""
    scores = np.asarray(scores, dtype=np.float64)
    return scores - settings.cost_weight * np.asarray(settings.costs) if settings.costs else scores


def best_single(utilities: np.ndarray) -> int:
    """The member with the highest mean value over prompts (P, M), of equals the first."""
    return int(utilities.mean(axis=0).argmax())


def _task(scores: np.ndarray, names: Sequence[str], settings: RouterSettings) -> _Task:
    utilities = less_cost(scores, settings)
    check_classes(utilities, names, settings.tolerance)
    labels = soft_labels(utilities, settings.label_temperature, settings.tolerance)
    weights = margin_weights(utilities, settings.tolerance)
    if not settings.by_margin:
        weights = (weights > 0).astype(np.float64)  # prompts on which all members tie say nothing in any case
    return _Task(settings, np.asarray(scores, dtype=np.float64), without_gaps(utilities), labels, weights)


def _fitted(
    how: ClassifierSettings, inputs: Inputs, task: _Task, rows: np.ndarray, generator: np.random.Generator
) -> Classifier:
    """A classifier of these rows: of labels with their weights, or of scores, where all prompts count alike."""
    if how.learns == "labels":
        goal, weights = task.labels[rows], task.weights[rows]
    else:
        goal, weights = task.scores[rows], np.ones(len(rows))
    return how.fit(inputs_at(inputs, rows), goal, weights, generator)


def _out_of_fold(
    task: _Task,
    how: ClassifierSettings,
    reading: Reading,
    folds: np.ndarray,
    generator: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Logits (P, M) of classifiers that have not seen the prompt's fold, and the best single member (P,) without it."""
    settings = task.settings
    logits, single = np.zeros(task.labels.shape), np.zeros(len(folds), dtype=np.int64)
    for fold in range(settings.folds):
        own, held = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        single[held] = best_single(task.utilities[own])
        if how.learns == "labels" and not task.weights[own].any():
            continue  # nothing to learn from without the fold: all members alike
        seen = reading.fitted_on(own).inputs
        classifier = _fitted(how, seen, task, own, generator)
        logits[held] = logits_of(classifier, inputs_at(seen, held), settings.costs, settings.cost_weight)
    return logits, single


def _calibrated(task: _Task, logits: np.ndarray, single: np.ndarray, rows: np.ndarray) -> tuple[float, float]:
    """Temperature and threshold fitted on these rows of held-out predictions."""
    temperature = temperature_of(logits[rows], task.labels[rows], task.weights[rows])
    if not task.settings.fall_back:
        return temperature, 0.0
    probabilities, values = softmax(logits[rows] / temperature), task.utilities[rows]
    routed, alone = at(values, probabilities.argmax(axis=1)), at(values, single[rows])
    return temperature, threshold_of(probabilities.max(axis=1), routed, alone)


def _held_out(task: _Task, logits: np.ndarray, single: np.ndarray, folds: np.ndarray) -> dict[str, float]:
    """Cross-validated figures, each fold with temperature and threshold of the other folds: values less cost.

    With those of all folds, of which the threshold is the best afterwards, no router would be below the best single
    member.
    """
    picked, confidence, unsure = logits.argmax(axis=1), np.zeros(len(folds)), np.zeros(len(folds), dtype=bool)
    for fold in range(task.settings.folds):
        held = np.flatnonzero(folds == fold)
        temperature, threshold = _calibrated(task, logits, single, np.flatnonzero(folds != fold))
        confidence[held] = softmax(logits[held] / temperature).max(axis=1)
        unsure[held] = confidence[held] < threshold
    routed, alone, right = at(task.utilities, picked), at(task.utilities, single), at(task.labels, picked)
    return {
        "prompts": len(picked),
        "value": float(np.where(unsure, alone, routed).mean()),
        "value_without_fallback": float(routed.mean()),
        "value_of_best_single": float(alone.mean()),
        "fell_back": float(unsure.mean()),
        "calibration_error": calibration_error(confidence, right),
        "calibration_error_uncalibrated": calibration_error(softmax(logits).max(axis=1), right),
    }


def check_shapes(
    prompts: list[str], scores: np.ndarray, names: Sequence[str], settings: RouterSettings, digests: Sequence[str] = ()
) -> None:
    """Raises UserError where prompts, scores, names, costs or digests do not fit each other."""
    wanted = (len(prompts), len(names))
    if np.shape(scores) != wanted:
        raise UserError(f"scores have the shape {np.shape(scores)}, wanted {wanted}: every prompt times every member")
    if len(names) < 2 or len(set(names)) < len(names):
        raise UserError(f"members are {', '.join(names) or 'none'}, wanted two or more, each named once; mend the list")
    if settings.folds < 2 or len(set(prompts)) < settings.folds:
        raise UserError(
            f"{len(set(prompts))} different prompts for {settings.folds} folds, wanted at least two folds and a prompt "
            "for each; rank more prompts"
        )
    for what, given in (("costs", settings.costs), ("digests", digests)):
        if given and len(given) != len(names):
            raise UserError(f"{len(given)} {what} for {len(names)} members; give one for each, or none")
    if settings.cost_weight and not settings.costs:
        raise UserError(f"cost_weight is {settings.cost_weight:g} but no costs are given; give each member's cost")
