"""Embeddings brought to mean 0 and spread 1 per feature, without which all of them point the same way."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Standard:
    """Mean and spread (F,) of each feature over the prompts that features were fitted on, float32."""

    mean: np.ndarray
    spread: np.ndarray

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """float32 (B, F)."""
        return np.asarray((rows - self.mean) / self.spread, dtype=np.float32)

    def tensors(self) -> dict[str, np.ndarray]:
        """What `Standard(**...)` takes again."""
        return {"mean": self.mean, "spread": self.spread}


def standard_of(rows: np.ndarray) -> Standard:
    """That of rows (P, F); a feature that never changes is left at 0."""
    spread = rows.std(axis=0, dtype=np.float64)
    flat = spread <= 1e-6 * max(float(spread.max(initial=0.0)), 1e-12)
    return Standard(
        rows.mean(axis=0, dtype=np.float64).astype(np.float32), np.where(flat, 1.0, spread).astype(np.float32)
    )


def standard_from(tensors: Mapping[str, np.ndarray]) -> Standard:
    """From a part's tensors."""
    return Standard(tensors["mean"], tensors["spread"])
