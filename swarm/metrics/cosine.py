"""Cosine similarity of an answer and its reference: of their words' TF-IDF vectors, or of embeddings handed in."""

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from swarm.errors import UserError
from swarm.metrics.metric import check_lengths

Embedder = Callable[[Sequence[str]], np.ndarray]
"""Texts -> vectors (n, d), one per text, which do not depend on the other texts."""

_WORD = re.compile(r"\w+")


class TfidfCosine:
    """Cosine of TF-IDF vectors over words in lower case, from 0 to 1; nothing has to be fetched.

    idf(w) = ln((1 + n) / (1 + df(w))) + 1 over n texts, so that a word that none of them has weighs most. These texts
    are `corpus`, or else the distinct references of the first call, which are then kept: scores of one object can be
    compared with each other, those of two only where the settings are the same.
    """

    name = "cosine"
    lowest, highest = 0.0, 1.0

    def __init__(self, corpus: Sequence[str] | None = None):
        self._corpus: list[str] | None = None
        self._idf: dict[str, float] = {}
        self._rarest = 1.0
        if corpus is not None:
            self._fit(corpus)

    def settings(self) -> dict[str, Any]:
        """The digest and size of the texts that word frequencies come from; see `Metric`."""
        if self._corpus is None:
            return {"vectors": "tf-idf", "corpus": None}
        digest = hashlib.sha256(json.dumps(self._corpus).encode()).hexdigest()
        return {"vectors": "tf-idf", "corpus": digest, "texts": len(self._corpus)}

    def score(self, candidates: Sequence[str], references: Sequence[str]) -> list[float]:
        """See `Metric`."""
        check_lengths(self.name, candidates, references)
        if self._corpus is None:
            self._fit(references)
        known = {text: self._vector(text) for text in dict.fromkeys(references)}
        return [_cosine(self._vector(own), known[other]) for own, other in zip(candidates, references, strict=True)]

    def _fit(self, corpus: Sequence[str]) -> None:
        self._corpus = sorted(set(corpus))
        count = len(self._corpus)
        having = Counter(word for text in self._corpus for word in set(_words(text)))
        self._idf = {word: math.log((1 + count) / (1 + texts)) + 1 for word, texts in having.items()}
        self._rarest = math.log(1 + count) + 1

    def _vector(self, text: str) -> dict[str, float]:
        """Word -> weight, of length 1; empty for a text without words."""
        weights = {word: n * self._idf.get(word, self._rarest) for word, n in Counter(_words(text)).items()}
        length = math.sqrt(sum(weight * weight for weight in weights.values()))
        return {word: weight / length for word, weight in weights.items()}


class EmbeddingCosine:
    """Cosine of the embeddings of answer and reference, from -1 to 1; 0 where one of them is the zero vector."""

    name = "cosine"
    lowest, highest = -1.0, 1.0

    def __init__(self, embed: Embedder, settings: Mapping[str, Any]):
        """`settings` say which embedder it is: model and digest."""
        self._embed = embed
        self._settings = dict(settings)

    def settings(self) -> dict[str, Any]:
        """See `Metric`."""
        return {"vectors": "embeddings"} | self._settings

    def score(self, candidates: Sequence[str], references: Sequence[str]) -> list[float]:
        """See `Metric`; every distinct text is embedded once. Raises UserError for vectors of the wrong number."""
        check_lengths(self.name, candidates, references)
        texts = list(dict.fromkeys([*references, *candidates]))
        if not texts:
            return []
        vectors = np.asarray(self._embed(texts), dtype=np.float64)
        if vectors.ndim != 2 or len(vectors) != len(texts):
            raise UserError(
                f"metric {self.name}: the embedder gives shape {vectors.shape} for {len(texts)} texts; wanted one "
                "vector each: correct it"
            )
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        units = dict(zip(texts, vectors / np.where(lengths > 0, lengths, 1.0), strict=True))
        return [float(units[own] @ units[other]) for own, other in zip(candidates, references, strict=True)]


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _cosine(first: Mapping[str, float], second: Mapping[str, float]) -> float:
    return min(1.0, sum(weight * second.get(word, 0.0) for word, weight in first.items()))
