"""k-nearest-neighbours classifier on labelled prompts, as good as most learned routers (arXiv 2505.12601)."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from swarm.errors import UserError
from swarm.members.routing.interfaces import Inputs, cross_entropy, product
from swarm.members.routing.parts import plain, read_part, write_part

_BLOCK = 512  # prompts whose similarities are held at a time
_SAME = 1 - 1e-6  # similarity above which two prompts are taken for one
_PRIOR = 0.1  # what all prompts' mean label counts, as the similarity of one more neighbour


@dataclass(frozen=True)
class KnnSettings:
    """Settings of kNN: the number of neighbours, of several the best by leave-one-out."""

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
        numbers = sorted({min(number, len(rows)) for number in self.neighbours})
        knn = Knn(self, np.ascontiguousarray(rows.T), labels, weights)
        losses = np.zeros(len(numbers))
        for start in range(0, len(rows) if len(numbers) > 1 else 0, _BLOCK):
            block = slice(start, start + _BLOCK)
            similarity = product(rows[block], knn.columns)
            similarity[similarity > _SAME] = 0  # a prompt has no vote on itself
            for index, number in enumerate(numbers):
                loss = cross_entropy(knn.vote(similarity, number), labels[block], weights[block])
                losses[index] += loss * weights[block].sum()
        return replace(knn, chosen=KnnSettings((numbers[int(np.argmin(losses))],)))


@dataclass(frozen=True, eq=False)
class Knn:
    """kNN by cosine similarity: labels of the nearest prompts, weighted by similarity and sample weight.

    Attributes:
      columns: features (F, P) of the labelled prompts, each prompt's of length 1, float32.
      labels: (P, M) float32, rows sum to 1.
      weights: (P,) float32, above 0.
    """

    kind: ClassVar[str] = "knn"
    learns: ClassVar[str] = "labels"
    chosen: KnnSettings
    columns: np.ndarray
    labels: np.ndarray
    weights: np.ndarray

    def scores(self, inputs: Inputs) -> np.ndarray:
        """Probabilities (B, M) float64; a prompt like no other gets all prompts' mean label."""
        rows = _unit(np.asarray(inputs))
        found = [np.zeros((0, self.labels.shape[1]))]
        for start in range(0, len(rows), _BLOCK):
            similarity = product(rows[start : start + _BLOCK], self.columns)
            found.append(self.vote(similarity, self.chosen.neighbours[0]))
        return np.concatenate(found)

    def vote(self, similarity: np.ndarray, number: int) -> np.ndarray:
        """The vote of the `number` most similar prompts, from similarities (B, P): (B, M) float64."""
        prior = np.average(self.labels, axis=0, weights=self.weights).astype(np.float64)
        nearest = np.argpartition(-similarity, number - 1, axis=1)[:, :number]
        near = np.maximum(np.take_along_axis(similarity, nearest, axis=1), 0).astype(np.float64)
        votes = near * self.weights[nearest]
        total = np.einsum("bk,bkm->bm", votes, self.labels[nearest]) + _PRIOR * prior
        return np.asarray(total / (votes.sum(axis=1, keepdims=True) + _PRIOR))

    def settings(self) -> KnnSettings:
        """The settings with the number of neighbours that was chosen."""
        return self.chosen

    def write(self, folder: Path) -> None:
        """Writes the labelled prompts' features, without the zeros where most are zeros."""
        tensors = {"labels": self.labels, "weights": self.weights} | _packed(self.columns)
        write_part(folder, {"settings": plain(self.chosen), "prompts": len(self.labels)}, tensors)


def read_knn(folder: Path) -> Knn:
    """The classifier in a folder that `Knn.write` has written."""
    record, tensors = read_part(folder)
    columns = _unpacked(tensors, record["prompts"])
    return Knn(KnnSettings(tuple(record["settings"]["neighbours"])), columns, tensors["labels"], tensors["weights"])


def _unit(rows: np.ndarray) -> np.ndarray:
    """Rows normalised to length 1, float32; a row of zeros stays."""
    rows = np.asarray(rows, dtype=np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1)


def _packed(columns: np.ndarray) -> dict[str, np.ndarray]:
    indices = np.flatnonzero(columns)
    if 3 * len(indices) > columns.size:  # a number that is not zero costs its index too
        return {"columns": columns}
    width = np.array([len(columns)])
    return {"places": indices.astype(np.int64), "values": columns.ravel()[indices], "width": width}


def _unpacked(tensors: dict[str, np.ndarray], prompts: int) -> np.ndarray:
    if "columns" in tensors:
        return tensors["columns"]
    columns = np.zeros(int(tensors["width"][0]) * prompts, dtype=np.float32)
    columns[tensors["places"]] = tensors["values"]
    return columns.reshape(-1, prompts)
