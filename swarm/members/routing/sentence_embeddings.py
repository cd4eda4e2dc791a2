"""Features by a sentence-transformers model, from a folder or from the hub."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from swarm.engines.local.pretrained import loading
from swarm.errors import UserError
from swarm.members.routing.interfaces import Encoded, LanguageModel
from swarm.members.routing.parts import plain, read_part, write_part
from swarm.members.routing.standardise import Standard, standard_from, standard_of
from swarm.weights.tensors import content_digest

log = logging.getLogger(__name__)

_WANTED = ["*.json", "*.txt", "*.safetensors", "*.model", "*.jinja"]


@dataclass(frozen=True)
class SentenceSettings:
    """Settings of sentence embeddings.

    Attributes:
      model: a folder as sentence-transformers saves it, or a hub id.
      revision: of the hub id; None for its newest.
      batch_size: prompts in one pass.
    """

    kind: ClassVar[str] = "sentence"
    model: str = "sentence-transformers/all-MiniLM-L6-v2"
    revision: str | None = None
    batch_size: int = 64

    def fit(self, prompts: Sequence[str], language_model: LanguageModel | None = None) -> tuple["Sentence", Encoded]:
        """Fits mean and standard deviation; returns the features and the encoded prompts. UserError without a model."""
        model, digest = _loaded(self)
        found = _embedded(self, model, prompts)
        standard = standard_of(found.values)
        return Sentence(self, model, digest, standard), Encoded(standard(found.values), found.cut)


@dataclass(frozen=True, eq=False)
class Sentence:
    """A sentence encoder's embeddings, standardised.

    Attributes:
      model: sentence-transformers' model.
      digest: of its files, by content.
    """

    kind: ClassVar[str] = "sentence"
    settings: SentenceSettings
    model: Any
    digest: str
    standard: Standard

    def encode(self, prompts: Sequence[str]) -> Encoded:
        """Features (B, F) float32; the number of prompts that were truncated at their end is logged."""
        embedded = _embedded(self.settings, self.model, prompts)
        return Encoded(self.standard(embedded.values), embedded.cut)

    def refit(self, prompts: Sequence[str]) -> "Sentence":
        """Returns itself: only mean and standard deviation depend on the prompts."""
        return self

    def write(self, folder: Path) -> None:
        """Writes mean, standard deviation, and the model's name and digest, not the model."""
        write_part(folder, {"settings": plain(self.settings), "model": self.digest}, self.standard.tensors())


def read_sentence(folder: Path, language_model: LanguageModel | None = None) -> Sentence:
    """The features that `Sentence.write` has written. Raises UserError if the model is missing, or has changed."""
    record, tensors = read_part(folder)
    settings = SentenceSettings(**record["settings"])
    model, digest = _loaded(settings)
    if digest != record["model"]:
        raise UserError(
            f"{settings.model} is not the model that the router was fitted with (now {digest[:12]}, then "
            f"{record['model'][:12]}); bring that one back, or fit the router again"
        )
    return Sentence(settings, model, digest, standard_from(tensors))


def _loaded(settings: SentenceSettings) -> tuple[Any, str]:
    """The model and its digest."""
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise UserError(
            "features of kind sentence need sentence-transformers, which is not installed: pip install -e "
            '".[embeddings]", or use tfidf'
        ) from None
    with loading(f"the sentence model {settings.model!r}", "folder or hub id"):
        folder = _folder(settings)
        model = SentenceTransformer(str(folder), trust_remote_code=False, model_kwargs={"use_safetensors": True})
    digest = hashlib.sha256()
    for path in sorted({path for pattern in _WANTED for path in folder.rglob(pattern)}):
        digest.update(f"{path.relative_to(folder).as_posix()} {content_digest(path)}\n".encode())
    return model.eval(), digest.hexdigest()


def _folder(settings: SentenceSettings) -> Path:
    if Path(settings.model).is_dir():
        return Path(settings.model)
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(settings.model, revision=settings.revision, allow_patterns=_WANTED))


def _embedded(settings: SentenceSettings, model: Any, prompts: Sequence[str]) -> Encoded:
    window = model.get_max_seq_length()
    whole = model.tokenizer(list(prompts), truncation=False)["input_ids"] if prompts and window else []
    cut = sum(len(row) > window for row in whole)
    if cut:
        log.warning(
            "%d of %d prompts are longer than the %d tokens that %s reads: their end is not seen",
            cut, len(prompts), window, settings.model,
        )  # fmt: skip
    values = model.encode(list(prompts), batch_size=settings.batch_size, show_progress_bar=False)
    return Encoded(np.asarray(values, dtype=np.float32), cut)
