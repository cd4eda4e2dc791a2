"""Standardisation of features to mean 0 and standard deviation 1."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Standard:
    """A standard scaler: mean and standard deviation (F,) of each feature over the fitted prompts, float32."""

    mean: np.ndarray
    spread: np.ndarray

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """The standardised rows, (B, F) float32."""
        return np.asarray((rows - self.mean) / self.spread, dtype=np.float32)

    def tensors(self) -> dict[str, np.ndarray]:
        """The arguments of `Standard`, as tensors of a part."""
        return {"mean": self.mean, "spread": self.spread}


def standard_of(rows: np.ndarray) -> Standard:
    """The scaler fitted on rows (P, F); a constant feature becomes 0."""
    spread = rows.std(axis=0, dtype=np.float64)
    flat = spread <= 1e-6 * max(float(spread.max(initial=0.0)), 1e-12)
    return Standard(
        rows.mean(axis=0, dtype=np.float64).astype(np.float32), np.where(flat, 1.0, spread).astype(np.float32)
    )


def standard_from(tensors: Mapping[str, np.ndarray]) -> Standard:
    """The scaler of a part's tensors."""
    return Standard(tensors["mean"], tensors["spread"])
