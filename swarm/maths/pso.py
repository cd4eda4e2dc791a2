"""Particle swarm optimization of graphs and of experts (arXiv 2502.04510, section 3)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

Array = np.ndarray
Scores = Sequence[float] | np.ndarray


@dataclass(frozen=True)
class MoveCoefficients:
    """The weights of the four terms of a move; only their ratio matters, since they are normalised to sum 1.

    Attributes:
      inertia: of the particle's velocity (phi_v).
      cognitive: of the way to its personal best (phi_p).
      social: of the way to the global best (phi_g).
      repel: of the way from the global worst (phi_w); 0 turns the term off.
      randomness: multiply each by its own draw from U(0, 1), one draw per particle and move.
    """

    inertia: float
    cognitive: float
    social: float
    repel: float
    randomness: bool = True


def draw_term_weights(coefficients: MoveCoefficients, rng: np.random.Generator) -> Array:
    """The four term weights of one move, shape (4,), sum 1.

    Raises ValueError if all of them are 0.
    """
    weights = np.array([coefficients.inertia, coefficients.cognitive, coefficients.social, coefficients.repel])
    if coefficients.randomness:
        weights = weights * rng.uniform(size=4)
    total = weights.sum()
    if not total > 0:
        raise ValueError(f"the move's coefficients must have a positive sum, got {coefficients}")
    return weights / total


def move(
    position: Array, velocity: Array, bests: tuple[Array, Array, Array], term_weights: Array, step_length: float
) -> tuple[Array, Array]:
    """One particle's new position and velocity, each of `position`'s shape.

    `bests` is (personal best, global best, global worst); `term_weights` is what `draw_term_weights` gives.
    """
    personal_best, global_best, global_worst = bests
    inertia, cognitive, social, repel = term_weights
    velocity = (
        inertia * velocity
        + cognitive * (personal_best - position)
        + social * (global_best - position)
        + repel * (position - global_worst)
    )
    return position + step_length * velocity, velocity


@dataclass(frozen=True)
class Swarm:
    """The state of a particle swarm, as a value: k particles of any one shape.

    Attributes:
      positions, velocities, personal_bests: shape (k, *particle).
      global_best, global_worst: shape (*particle,), the best and worst position ever scored.
      global_best_score, global_worst_score: their scores, as scored then.
      histories: one list of scores per particle, the initial one first.
      best_history, worst_history: the global scores after each scoring.
      cooldowns: iterations for which a particle may not be restarted again, shape (k,).
      step_length: of the next move.
    """

    positions: Array
    velocities: Array
    personal_bests: Array
    global_best: Array
    global_worst: Array
    global_best_score: float
    global_worst_score: float
    histories: tuple[tuple[float, ...], ...]
    best_history: tuple[float, ...]
    worst_history: tuple[float, ...]
    cooldowns: tuple[int, ...]
    step_length: float


@dataclass(frozen=True)
class RestartRule:
    """When a particle that has found nothing better for long goes back to its personal best with velocity 0.

    Attributes:
      patience: iterations; the search's patience.
      fraction: a particle restarts at an age of at least fraction * patience, and then rests int(fraction * patience).
      enabled: whether particles restart at all.
    """

    patience: int
    fraction: float
    enabled: bool = True


def start_swarm(positions: Array, scores: Scores, velocities: Array, step_length: float) -> Swarm:
    """A swarm whose particles have been scored once; first best and first worst win ties."""
    scores = np.asarray(scores, dtype=float).tolist()
    best, worst = int(np.argmax(scores)), int(np.argmin(scores))
    return Swarm(
        positions=positions,
        velocities=velocities,
        personal_bests=positions.copy(),
        global_best=positions[best].copy(),
        global_worst=positions[worst].copy(),
        global_best_score=scores[best],
        global_worst_score=scores[worst],
        histories=tuple((score,) for score in scores),
        best_history=(scores[best],),
        worst_history=(scores[worst],),
        cooldowns=(0,) * len(scores),
        step_length=step_length,
    )


def starting_velocities(mode: str, positions: Array, scores: Scores, rng: np.random.Generator) -> Array:
    """Velocities before the first move, shape of `positions`.

    random: towards another particle, drawn uniformly (the published program's); zero; best: towards the best particle.
    Raises ValueError for another mode, or for random with a single particle.
    """
    count = len(positions)
    if mode == "zero":
        return np.zeros_like(positions)
    if mode == "best":
        return positions[int(np.argmax(scores))] - positions
    if mode != "random":
        raise ValueError(f"starting velocity mode must be random, zero or best, got {mode!r}")
    if count < 2:
        raise ValueError("a random starting velocity needs at least 2 particles, got 1")
    others = [(i + int(rng.integers(1, count))) % count for i in range(count)]
    return positions[others] - positions


def age_of_best(history: Sequence[float]) -> int:
    """Scorings since a particle first reached its personal best, counted as the published program does (>= 1)."""
    return len(history) - history.index(max(history))


def restarts(ages: Sequence[int], cooldowns: Sequence[int], rule: RestartRule) -> tuple[list[bool], tuple[int, ...]]:
    """The particles that restart at this move, and all cool-downs after it."""
    if not rule.enabled:
        return [False] * len(ages), tuple(cooldowns)
    limit = rule.fraction * rule.patience
    again = [age >= limit and rest == 0 for age, rest in zip(ages, cooldowns, strict=True)]
    after = tuple(int(limit) if go else max(rest - 1, 0) for go, rest in zip(again, cooldowns, strict=True))
    return again, after


def move_all(
    swarm: Swarm,
    coefficients: MoveCoefficients,
    rule: RestartRule,
    rng: np.random.Generator,
    ages: Sequence[int] | None = None,
) -> Swarm:
    """Every particle moved once; scores follow by `record`.

    `ages` replaces each particle's own age in the restart rule (the published program's fault, spec row 2).
    """
    if ages is None:
        ages = [age_of_best(history) for history in swarm.histories]
    again, cooldowns = restarts(ages, swarm.cooldowns, rule)
    moved = []
    for i, restart in enumerate(again):
        position, velocity = swarm.positions[i], swarm.velocities[i]
        if restart:
            position, velocity = swarm.personal_bests[i], np.zeros_like(velocity)
        bests = (swarm.personal_bests[i], swarm.global_best, swarm.global_worst)
        moved.append(move(position, velocity, bests, draw_term_weights(coefficients, rng), swarm.step_length))
    positions, velocities = (np.stack(parts) for parts in zip(*moved, strict=True))
    return replace(swarm, positions=positions, velocities=velocities, cooldowns=cooldowns)


def remember_scores(swarm: Swarm, scores: Scores) -> Swarm:
    """The swarm after its positions have been scored; a best is replaced only by a strictly better score."""
    scores = np.asarray(scores, dtype=float).tolist()
    personal_bests = swarm.personal_bests.copy()
    for i, (score, history) in enumerate(zip(scores, swarm.histories, strict=True)):
        if score > max(history):
            personal_bests[i] = swarm.positions[i]
    best, worst = int(np.argmax(scores)), int(np.argmin(scores))
    better, worse = scores[best] > swarm.global_best_score, scores[worst] < swarm.global_worst_score
    best_score = scores[best] if better else swarm.global_best_score
    worst_score = scores[worst] if worse else swarm.global_worst_score
    return replace(
        swarm,
        personal_bests=personal_bests,
        global_best=swarm.positions[best].copy() if better else swarm.global_best,
        global_worst=swarm.positions[worst].copy() if worse else swarm.global_worst,
        global_best_score=best_score,
        global_worst_score=worst_score,
        histories=tuple((*history, score) for history, score in zip(swarm.histories, scores, strict=True)),
        best_history=(*swarm.best_history, best_score),
        worst_history=(*swarm.worst_history, worst_score),
    )


def shorten_step(swarm: Swarm, factor: float, minimum: float) -> Swarm:
    """The swarm with its step length multiplied by `factor`, never below `minimum`."""
    return replace(swarm, step_length=max(swarm.step_length * factor, min(minimum, swarm.step_length)))


def stagnated(history: Sequence[float], patience: int) -> bool:
    """Whether the last `patience` values are equal; the history must be longer than `patience`."""
    return len(history) > patience and len(set(history[-patience:])) == 1
