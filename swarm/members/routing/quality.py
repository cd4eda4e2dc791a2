"""Ridge regression of every member's score, from which the choice is argmax(quality - lambda * cost).

Where wins are narrow, expected scores say more than who won (Hybrid LLM, arXiv 2404.14618); and lambda can be chosen
after fitting.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from swarm.engines.local.threads import one_thread
from swarm.errors import UserError
from swarm.members.routing.interfaces import Inputs, folds_of_rows, product
from swarm.members.routing.parts import plain, read_part, write_part

_FOLDS = 3


@dataclass(frozen=True)
class QualitySettings:
    """Settings of ridge regression: the penalty per prompt, of several the best by cross-validation."""

    kind: ClassVar[str] = "quality"
    learns: ClassVar[str] = "scores"
    reads: ClassVar[str] = "features"
    penalties: tuple[float, ...] = (0.001, 0.01, 0.1, 1.0, 10.0)

    def __post_init__(self) -> None:
        if not self.penalties or min(self.penalties) <= 0:
            raise UserError(f"penalties is {list(self.penalties)}, wanted one number or several, each above 0")

    def fit(
        self, inputs: Inputs, targets: np.ndarray, weights: np.ndarray, generator: np.random.Generator
    ) -> "Quality":
        """Regressions of scores (P, M), each on the prompts that the member has answered.

        The penalty is the one with the least squared error on three folds of the prompts, equal ones together.
        """
        counts = weights > 0
        rows, scores, weights = np.asarray(inputs)[counts].astype(np.float64), targets[counts], weights[counts]
        penalties = sorted(set(self.penalties))
        if len(penalties) > 1 and len(rows) >= _FOLDS:
            losses = _held_out_losses(rows, scores, weights, folds_of_rows(rows, _FOLDS, generator), penalties)
            penalties = [penalties[int(np.argmin(losses))]]
        coefficients, intercepts = _fitted(rows, scores, weights, penalties)[0]
        return Quality(QualitySettings((penalties[0],)), coefficients, intercepts)


@dataclass(frozen=True, eq=False)
class Quality:
    """A fitted regression: features · coefficients + intercepts.

    Attributes:
      coefficients: (F, M) float64.
      intercepts: (M,) float64.
    """

    kind: ClassVar[str] = "quality"
    learns: ClassVar[str] = "scores"
    chosen: QualitySettings
    coefficients: np.ndarray
    intercepts: np.ndarray

    def scores(self, inputs: Inputs) -> np.ndarray:
        """Expected scores (B, M) float64, in the scores' own unit."""
        return product(np.asarray(inputs, dtype=np.float64), self.coefficients) + self.intercepts

    def settings(self) -> QualitySettings:
        """The settings with the penalty that was chosen."""
        return self.chosen

    def write(self, folder: Path) -> None:
        """Writes the coefficients."""
        tensors = {"coefficients": self.coefficients, "intercepts": self.intercepts}
        write_part(folder, {"settings": plain(self.chosen)}, tensors)


def read_quality(folder: Path) -> Quality:
    """The regression in a folder that `Quality.write` has written."""
    record, tensors = read_part(folder)
    chosen = QualitySettings(tuple(record["settings"]["penalties"]))
    return Quality(chosen, tensors["coefficients"], tensors["intercepts"])


def _held_out_losses(
    rows: np.ndarray, scores: np.ndarray, weights: np.ndarray, folds: np.ndarray, penalties: list[float]
) -> np.ndarray:
    losses = np.zeros(len(penalties))
    for fold in np.unique(folds):
        own, held = folds != fold, folds == fold
        for index, (coefficients, intercepts) in enumerate(_fitted(rows[own], scores[own], weights[own], penalties)):
            errors = rows[held] @ coefficients + intercepts - scores[held]
            losses[index] += float((weights[held, None] * np.where(np.isnan(errors), 0.0, errors) ** 2).sum())
    return losses


def _fitted(
    rows: np.ndarray, scores: np.ndarray, weights: np.ndarray, penalties: list[float]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Coefficients (F, M) and intercepts (M,) per penalty; members that have answered the same prompts in one go."""
    known = ~np.isnan(scores)
    found = [(np.zeros((rows.shape[1], scores.shape[1])), np.zeros(scores.shape[1])) for _ in penalties]
    for answered in np.unique(known, axis=1).T:
        members = np.flatnonzero((known == answered[:, None]).all(axis=0))
        if not answered.any():
            continue  # a fold in which they have answered nothing
        solved = _ridge(rows[answered], scores[np.ix_(answered, members)], weights[answered], penalties)
        for (coefficients, intercepts), (own, bias) in zip(found, solved, strict=True):
            coefficients[:, members], intercepts[members] = own, bias
    return found


def _ridge(
    rows: np.ndarray, scores: np.ndarray, weights: np.ndarray, penalties: list[float]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """argmin of the weighted mean squared error + penalty |coefficients|^2, the intercept free.

    Solved in the prompts or in the features, whichever are fewer; by torch, whose number of threads can be set: with
    numpy's the coefficients depend on how many there are.
    """
    with one_thread():
        found, values, shares = (torch.from_numpy(np.ascontiguousarray(each)) for each in (rows, scores, weights))
        shares = shares / shares.sum()
        centre, level = shares @ found, shares @ values
        roots = shares.sqrt()[:, None]
        left, right = roots * (found - centre), roots * (values - level)  # (P, F), (P, m)
        dual = len(left) < left.shape[1]
        gram = left @ left.T if dual else left.T @ left
        solved = []
        for penalty in penalties:
            held_down = gram + penalty * torch.eye(len(gram), dtype=gram.dtype)
            answer = torch.linalg.solve(held_down, right if dual else left.T @ right)
            coefficients = left.T @ answer if dual else answer
            solved.append((coefficients.numpy(), (level - centre @ coefficients).numpy()))
    return solved
