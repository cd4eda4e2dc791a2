"""The interfaces of features and classifiers, checks of prompts, and functions that they share."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from swarm.errors import UserError


@dataclass(frozen=True)
class Encoded:
    """Encoded prompts: one row of features per prompt.

    Attributes:
      values: float32 (B, F), one row per prompt.
      cut: how many of the prompts were longer than the window, and lost their beginning.
    """

    values: np.ndarray
    cut: int = 0


@dataclass(frozen=True)
class LanguageModel:
    """A causal language model that features are computed with.

    Attributes:
      model: transformers' model, as it is to be used: with no adapter on for the base's own states.
      tokenizer: its tokenizer.
      digest: of its weights and tokenizer, by content; kept with what was fitted, and compared.
      name: as messages say it.
    """

    model: Any
    tokenizer: Any
    digest: str
    name: str = "the base model"


class Features(Protocol):
    """Fitted features of prompts."""

    kind: ClassVar[str]

    @property
    def settings(self) -> "FeatureSettings":
        """The settings that would fit features like these."""

    def encode(self, prompts: Sequence[str]) -> Encoded:
        """Features (B, F) float32 of checked prompts; a row does not depend on its neighbours."""

    def refit(self, prompts: Sequence[str]) -> "Features":
        """As fitted on these prompts only; itself where nothing, or next to nothing, depends on them."""

    def write(self, folder: Path) -> None:
        """Writes what is needed to encode in the same way again: JSON and safetensors."""


class FeatureSettings(Protocol):
    """Settings of features: a frozen dataclass of plain values."""

    kind: ClassVar[str]

    def fit(self, prompts: Sequence[str], language_model: LanguageModel | None) -> tuple[Features, Encoded]:
        """Features of these prompts, and the prompts in them; the language model is for kinds that read with one."""


class Classifier(Protocol):
    """A fitted classifier or regression of members' worth; see `ClassifierSettings`."""

    kind: ClassVar[str]
    learns: ClassVar[str]

    def scores(self, inputs: "Inputs") -> np.ndarray:
        """Probabilities or expected qualities of every member, (B, M) float64."""

    def settings(self) -> "ClassifierSettings":
        """The settings that would fit one like it; what cross-validation has chosen is fixed in them."""

    def write(self, folder: Path) -> None:
        """Writes all that decides its scores: JSON and safetensors."""


class ClassifierSettings(Protocol):
    """Settings of a classifier: a frozen dataclass of plain values.

    Attributes:
      kind: its name in the table.
      learns: "labels", from which come probabilities, or "scores", from which comes the quality to be expected.
      reads: "features", float32 (B, F), or "texts".
    """

    kind: ClassVar[str]
    learns: ClassVar[str]
    reads: ClassVar[str]

    def fit(
        self, inputs: "Inputs", targets: np.ndarray, weights: np.ndarray, generator: np.random.Generator
    ) -> Classifier:
        """A classifier of inputs with targets (P, M), soft labels or scores, and weights (P,).

        All randomness comes from the generator: the same one gives the same bits.
        """


_BLOCK = 64  # rows of every product, so that how it adds up does not depend on how many are asked for
LEAST = 1e-12  # a probability that is taken for none
Inputs = np.ndarray | Sequence[str]


def inputs_at(inputs: Inputs, rows: np.ndarray) -> Inputs:
    """The inputs at these indices: rows of features, or texts."""
    return inputs[rows] if isinstance(inputs, np.ndarray) else [inputs[row] for row in rows]


def check_prompts(prompts: Sequence[str]) -> list[str]:
    """The prompts as a list; raises UserError for one that is no text or has none."""
    texts: list[Any] = list(prompts)
    for index, prompt in enumerate(texts):
        if not isinstance(prompt, str) or not prompt.strip():
            given = "empty" if isinstance(prompt, str) else f"of type {type(prompt).__name__}"
            raise UserError(f"prompt {index} is {given}, wanted a text to route by; remove it, or name the member")
    return texts


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities along the last axis, in float64."""
    exponents = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(exponents / exponents.sum(axis=-1, keepdims=True), dtype=np.float64)


def product(rows: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """The product of rows (B, F) and matrix (F, N), each row bitwise the same as alone, unlike a plain product.

    Rows of mostly zeros are multiplied one by one without these, the others in blocks of always the same size.
    """
    found = np.empty((len(rows), matrix.shape[1]), dtype=np.result_type(rows, matrix))
    sparse = 8 * np.count_nonzero(rows, axis=1) < rows.shape[1]
    for index in np.flatnonzero(sparse):
        known = np.flatnonzero(rows[index])
        found[index] = rows[index, known] @ matrix[known]
    others = np.flatnonzero(~sparse)
    for start in range(0, len(others), _BLOCK):
        indices = others[start : start + _BLOCK]
        block = np.zeros((_BLOCK, rows.shape[1]), dtype=rows.dtype)
        block[: len(indices)] = rows[indices]
        found[indices] = (block @ matrix)[: len(indices)]
    return found


def folds_of(keys: Sequence[str], count: int, generator: np.random.Generator) -> np.ndarray:
    """The fold (P,) of every row, 0 to count - 1, about equally large; equal keys share one, so that none leaks."""
    index_of = {key: index for index, key in enumerate(dict.fromkeys(keys))}
    drawn = generator.permutation(len(index_of)) % count
    return np.array([drawn[index_of[key]] for key in keys], dtype=np.int64)


def folds_of_rows(rows: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """`folds_of` for features (P, F): rows with the same bits share a fold."""
    return folds_of([hashlib.blake2b(row.tobytes(), digest_size=16).hexdigest() for row in rows], count, generator)


def cross_entropy(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> float:
    """Weighted mean of -sum label log probability, in nats; all (P, M) but the weights (P,)."""
    losses = -(labels * np.log(np.maximum(probabilities, LEAST))).sum(axis=1)
    return float((weights * losses).sum() / weights.sum())
