"""TF-IDF features of words and pairs of words, which need no model and no download."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from swarm.errors import UserError
from swarm.members.routing.interfaces import Encoded, LanguageModel
from swarm.members.routing.parts import plain, read_part, write_part

NEEDS_SKLEARN = 'needs scikit-learn, which is not installed: pip install -e ".[routing]"'
_TOKENS = r"(?u)\w+|[^\w\s]"  # signs too: "+" and "?" tell tasks apart


@dataclass(frozen=True)
class TfidfSettings:
    """Settings of TF-IDF features.

    Attributes:
      analyzer: "word", or "char_wb" for stretches of letters inside words.
      shortest: fewest words (or letters) of a piece.
      longest: most words (or letters) of a piece.
      most: at most so many features, the most frequent ones.
    """

    kind: ClassVar[str] = "tfidf"
    analyzer: str = "word"
    shortest: int = 1
    longest: int = 2
    most: int = 4096

    def __post_init__(self) -> None:
        if self.analyzer not in ("word", "char_wb"):
            raise UserError(f"analyzer is {self.analyzer!r}, wanted word or char_wb")
        if not 1 <= self.shortest <= self.longest or self.most < 1:
            raise UserError(
                f"features of {self.shortest} to {self.longest} pieces, at most {self.most}; wanted 1 <= shortest <= "
                "longest and most of at least 1"
            )

    def check_library(self) -> None:
        """Raises UserError where scikit-learn is missing, before anybody is asked for what would be fitted."""
        _vectorizer(self)

    def fit(self, prompts: Sequence[str], language_model: LanguageModel | None = None) -> tuple["Tfidf", Encoded]:
        """Fits the vocabulary; returns the features and the encoded prompts.

        Raises UserError where scikit-learn is missing, or no prompt holds a piece.
        """
        vectorizer = _vectorizer(self)
        try:
            vectorizer.fit(prompts)
        except ValueError as error:
            raise UserError(f"tfidf finds nothing in {len(prompts)} prompts ({error}); use other features") from error
        pieces = sorted(vectorizer.vocabulary_, key=vectorizer.vocabulary_.__getitem__)
        features = Tfidf(self, pieces, np.asarray(vectorizer.idf_, dtype=np.float32))
        return features, features.encode(prompts)


class Tfidf:
    """A fitted TfidfVectorizer of scikit-learn (sublinear counts, rows of length 1).

    Attributes:
      vocabulary: V pieces, in the order of the features.
      idf: inverse document frequencies (V,), float32.
    """

    kind: ClassVar[str] = "tfidf"

    def __init__(self, settings: TfidfSettings, vocabulary: Sequence[str], idf: np.ndarray):
        self.settings = settings
        self.vocabulary = tuple(vocabulary)
        self.idf = idf
        self._vectorizer = _vectorizer(settings, {piece: column for column, piece in enumerate(self.vocabulary)})
        self._vectorizer.idf_ = idf

    def encode(self, prompts: Sequence[str]) -> Encoded:
        """Features (B, V) float32; a prompt without a known term is all zeros."""
        rows = self._vectorizer.transform(prompts)
        return Encoded(np.asarray(rows.toarray(), dtype=np.float32))

    def refit(self, prompts: Sequence[str]) -> "Tfidf":
        """Features fitted on these prompts: vocabulary and document frequencies."""
        return self.settings.fit(prompts)[0]

    def write(self, folder: Path) -> None:
        """Writes vocabulary and frequencies."""
        record = {"settings": plain(self.settings), "vocabulary": list(self.vocabulary)}
        write_part(folder, record, {"idf": self.idf})


def read_tfidf(folder: Path, language_model: LanguageModel | None = None) -> Tfidf:
    """The features in a folder that `Tfidf.write` has written."""
    record, tensors = read_part(folder)
    return Tfidf(TfidfSettings(**record["settings"]), record["vocabulary"], tensors["idf"])


def _vectorizer(settings: TfidfSettings, vocabulary: dict[str, int] | None = None) -> Any:
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer  # type: ignore[import-untyped]
    except ImportError:
        raise UserError(f"features of kind tfidf {NEEDS_SKLEARN}") from None
    return TfidfVectorizer(
        analyzer=settings.analyzer,
        token_pattern=_TOKENS if settings.analyzer == "word" else None,
        ngram_range=(settings.shortest, settings.longest),
        max_features=settings.most if vocabulary is None else None,
        vocabulary=vocabulary,
        sublinear_tf=True,
        dtype=np.float32,
    )
