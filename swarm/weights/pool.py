"""The pool of experts (contract; filled in below)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Expert:
    """A model whose weights are a combination of the pool's initial experts: x = sum_j coefficients[j] * x_j.

    Attributes:
      name: the folder name of the initial expert that it started from.
      coefficients: one float per initial expert of the pool, in the pool's order.
      digest: hash of the initial experts' content, the way of combining, and the coefficients.
    """

    name: str
    coefficients: tuple[float, ...]
    digest: str
