"""The nearest labelled prompts vote: a tuned kNN is as good as most learned routers (arXiv 2505.12601)."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from swarm.errors import UserError
from swarm.routers.base import Inputs, cross_entropy, product
from swarm.routers.parts import plain, read_part, write_part

_BLOCK = 512  # prompts whose similarities are held at a time
_SAME = 1 - 1e-6  # similarity above which two prompts are taken for one
_PRIOR = 0.1  # what all prompts' mean label counts, as the similarity of one more neighbour


@dataclass(frozen=True)
class KnnSettings:
    """How many neighbours vote; of several numbers the best is taken, by leaving each prompt out once."""

    kind: ClassVar[str] = "knn"
    learns: ClassVar[str] = "labels"
    reads: ClassVar[str] = "features"
    neighbours: tuple[int, ...] = (5, 10, 20, 40, 80)

    def __post_init__(self) -> None:
        if not self.neighbours or min(self.neighbours) < 1:
            raise UserError(f"neighbours is {list(self.neighbours)}, wanted one number or several, each at least 1")

    def fit(self, inputs: Inputs, targets: np.ndarray, weights: np.ndarray, generator: np.random.Generator) -> "Knn":
        """Keeps the prompts that count, and chooses the number of neighbours; draws nothing."""
        counts = weights > 0
        rows = _unit(np.asarray(inputs)[counts])
        labels, weights = np.asarray(targets[counts], dtype=np.float32), np.asarray(weights[counts], dtype=np.float32)
        candidates = sorted({min(number, len(rows)) for number in self.neighbours})
        tried = [Knn(KnnSettings((number,)), rows, labels, weights) for number in candidates]
        if len(tried) == 1:
            return tried[0]
        losses = [cross_entropy(knn.votes(rows, leave_out=True), labels, weights) for knn in tried]
        return tried[int(np.argmin(losses))]


@dataclass(frozen=True, eq=False)
class Knn:
    """Labels of the nearest prompts by cosine similarity, each in proportion to similarity and weight.

    Attributes:
      rows: features (P, F) of length 1, float32.
      labels: (P, M) float32, rows sum to 1.
      weights: (P,) float32, above 0.
    """

    kind: ClassVar[str] = "knn"
    learns: ClassVar[str] = "labels"
    chosen: KnnSettings
    rows: np.ndarray
    labels: np.ndarray
    weights: np.ndarray

    def scores(self, inputs: Inputs) -> np.ndarray:
        """Probabilities (B, M) float64; a prompt like no other gets all prompts' mean label."""
        return self.votes(_unit(np.asarray(inputs)))

    def votes(self, rows: np.ndarray, leave_out: bool = False) -> np.ndarray:
        """`scores` of features of length 1; `leave_out` gives the same prompts no vote."""
        number = self.chosen.neighbours[0]
        prior = np.average(self.labels, axis=0, weights=self.weights).astype(np.float64)
        found = []
        for start in range(0, len(rows), _BLOCK):
            similarity = product(rows[start : start + _BLOCK], self.rows.T)  # (block, P)
            if leave_out:
                similarity[similarity > _SAME] = 0
            nearest = np.argpartition(-similarity, number - 1, axis=1)[:, :number]
            near = np.maximum(np.take_along_axis(similarity, nearest, axis=1), 0).astype(np.float64)
            votes = near * self.weights[nearest]
            total = np.einsum("bk,bkm->bm", votes, self.labels[nearest]) + _PRIOR * prior
            found.append(total / (votes.sum(axis=1, keepdims=True) + _PRIOR))
        return np.concatenate(found) if found else np.zeros((0, self.labels.shape[1]))

    def settings(self) -> KnnSettings:
        """With the number of neighbours that was chosen."""
        return self.chosen

    def write(self, folder: Path) -> None:
        """Writes the labelled prompts' features, without the zeros where most are zeros."""
        tensors = {"labels": self.labels, "weights": self.weights} | _packed(self.rows)
        write_part(folder, {"settings": plain(self.chosen), "width": self.rows.shape[1]}, tensors)


def read_knn(folder: Path) -> Knn:
    """What `Knn.write` has written."""
    record, tensors = read_part(folder)
    rows = _unpacked(tensors, record["width"])
    return Knn(KnnSettings(tuple(record["settings"]["neighbours"])), rows, tensors["labels"], tensors["weights"])


def _unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1 in float32; one of zeros stays."""
    rows = np.asarray(rows, dtype=np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1)


def _packed(rows: np.ndarray) -> dict[str, np.ndarray]:
    places = np.flatnonzero(rows)
    if 3 * len(places) > rows.size:  # a number that is not zero costs its place too
        return {"rows": rows}
    return {"places": places.astype(np.int64), "values": rows.ravel()[places], "count": np.array([len(rows)])}


def _unpacked(tensors: dict[str, np.ndarray], width: int) -> np.ndarray:
    if "rows" in tensors:
        return tensors["rows"]
    rows = np.zeros(int(tensors["count"][0]) * width, dtype=np.float32)
    rows[tensors["places"]] = tensors["values"]
    return rows.reshape(-1, width)
