"""Multinomial logistic regression on features, with soft labels."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from swarm.errors import UserError
from swarm.members.routing.interfaces import Inputs, cross_entropy, folds_of_rows, product, softmax
from swarm.members.routing.parts import plain, read_part, write_part

_FOLDS = 3
_NO_SHARE = 1e-6  # of a label, below which a member is not trained on


@dataclass(frozen=True)
class LogisticSettings:
    """Settings of logistic regression: scikit-learn's C, of several the best by cross-validation."""

    kind: ClassVar[str] = "logistic"
    learns: ClassVar[str] = "labels"
    reads: ClassVar[str] = "features"
    strengths: tuple[float, ...] = (0.1, 1.0, 10.0, 100.0)

    def __post_init__(self) -> None:
        if not self.strengths or min(self.strengths) <= 0:
            raise UserError(f"strengths is {list(self.strengths)}, wanted one number or several, each above 0")

    def check_library(self) -> None:
        """Raises UserError where scikit-learn is missing, before anybody is asked for what would be fitted."""
        _regression(self.strengths[0])

    def fit(
        self, inputs: Inputs, targets: np.ndarray, weights: np.ndarray, generator: np.random.Generator
    ) -> "Logistic":
        """A model per C on three folds of the prompts (equal ones together), then one on all; prompts of weight 0 out.

        Raises UserError where scikit-learn is missing.
        """
        counts = weights > 0
        rows, labels, weights = np.asarray(inputs)[counts], targets[counts], weights[counts]
        strengths = sorted(set(self.strengths))
        if len(strengths) > 1 and len(rows) >= _FOLDS:
            folds = folds_of_rows(rows, _FOLDS, generator)
            losses = [_held_out_loss(rows, labels, weights, folds, strength) for strength in strengths]
            strengths = [strengths[int(np.argmin(losses))]]
        return _fitted(rows, labels, weights, strengths[0])


@dataclass(frozen=True, eq=False)
class Logistic:
    """A fitted logistic regression: softmax(features · coefficients + intercepts).

    Attributes:
      coefficients: (F, M) float64.
      intercepts: (M,) float64; -inf would be a member never best, for which a very small number stands.
    """

    kind: ClassVar[str] = "logistic"
    learns: ClassVar[str] = "labels"
    chosen: LogisticSettings
    coefficients: np.ndarray
    intercepts: np.ndarray

    def scores(self, inputs: Inputs) -> np.ndarray:
        """Probabilities (B, M) float64."""
        return softmax(product(np.asarray(inputs, dtype=np.float64), self.coefficients) + self.intercepts)

    def settings(self) -> LogisticSettings:
        """The settings with the C that was chosen."""
        return self.chosen

    def write(self, folder: Path) -> None:
        """Writes the coefficients."""
        tensors = {"coefficients": self.coefficients, "intercepts": self.intercepts}
        write_part(folder, {"settings": plain(self.chosen)}, tensors)


def read_logistic(folder: Path) -> Logistic:
    """The classifier in a folder that `Logistic.write` has written."""
    record, tensors = read_part(folder)
    chosen = LogisticSettings(tuple(record["settings"]["strengths"]))
    return Logistic(chosen, tensors["coefficients"], tensors["intercepts"])


def _held_out_loss(
    rows: np.ndarray, labels: np.ndarray, weights: np.ndarray, folds: np.ndarray, strength: float
) -> float:
    probabilities = np.full(labels.shape, 1 / labels.shape[1])
    for fold in np.unique(folds):
        own, held = folds != fold, folds == fold
        if own.any():
            probabilities[held] = _fitted(rows[own], labels[own], weights[own], strength).scores(rows[held])
    return cross_entropy(probabilities, labels, weights)


def _fitted(rows: np.ndarray, labels: np.ndarray, weights: np.ndarray, strength: float) -> Logistic:
    """Every row once per member that has a share of its label, and that share of its weight."""
    chosen = LogisticSettings((strength,))
    members, width = labels.shape[1], rows.shape[1]
    kept, classes = np.nonzero(labels > _NO_SHARE)
    found = np.unique(classes)
    coefficients, intercepts = np.zeros((width, members)), np.full(members, -30.0)
    if len(found) < 2:  # a fold may hold one class only
        intercepts[found] = 0.0
        return Logistic(chosen, coefficients, intercepts)
    model = _regression(strength).fit(_sparse(rows)[kept], classes, labels[kept, classes] * weights[kept])
    own, bias = np.asarray(model.coef_, dtype=np.float64), np.asarray(model.intercept_, dtype=np.float64)
    if len(found) == 2:  # scikit-learn gives the log odds of the second
        own, bias = np.concatenate([0 * own, own]), np.concatenate([0 * bias, bias])
    coefficients[:, found], intercepts[found] = own.T, bias
    return Logistic(chosen, coefficients, intercepts)


def _regression(strength: float) -> Any:
    try:
        from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]
    except ImportError:
        raise UserError(
            'the classifier logistic needs scikit-learn, which is not installed: pip install -e ".[routing]", or knn'
        ) from None
    return LogisticRegression(C=strength, max_iter=1000)


def _sparse(rows: np.ndarray) -> Any:
    """The rows as a sparse matrix where most entries are zeros, which is many times faster."""
    from scipy.sparse import csr_matrix  # type: ignore[import-untyped]

    return csr_matrix(rows) if 5 * np.count_nonzero(rows) < rows.size else rows
