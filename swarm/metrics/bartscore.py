"""BARTScore: the log-likelihood of the reference given the answer (Yuan et al. 2021, arXiv 2106.11520)."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from swarm.engines.local.pretrained import loading
from swarm.engines.local.side_models import SideModel, check_weights, in_batches, load_side_model
from swarm.errors import UserError
from swarm.metrics.metric import check_lengths, version_of
from swarm.storage.files import file_digest

MODEL = "facebook/bart-large-cnn"
_BLOCK = 2048  # answers whose tokens are held at a time


class BartScore:
    """Mean natural log-likelihood of the reference's tokens given the answer (equation 2, weights 1/m); at most 0.

    The tokens are those that the tokenizer makes, with the special ones at both ends, as in the published program.
    """

    name = "bartscore"
    lowest, highest = -math.inf, 0.0

    def __init__(self, model: str = MODEL, weights: str | None = None, batch: int = 16, device: str = "cpu"):
        """`weights` is a safetensors file with other weights for the model, such as those trained on ParaBank.

        Raises UserError if the model or the weights cannot be had or do not fit each other.
        """
        path = None if weights is None else Path(weights)
        if path is not None:
            check_weights(path, f"metric {self.name}")
        self._loaded: SideModel = load_side_model(f"metric {self.name}", model, "AutoModelForSeq2SeqLM", device)
        self._weights = None if path is None else file_digest(path)
        self._batch = batch
        if path is not None:
            _exchange(self._loaded.model, path)

    def settings(self) -> dict[str, Any]:
        """See `Metric`."""
        about = {"direction": "reference given answer", "weights_digest": self._weights}
        return self._loaded.settings() | about | {"transformers": version_of("transformers")}

    def score(self, candidates: Sequence[str], references: Sequence[str]) -> list[float]:
        """See `Metric`; an answer's neighbours change its score by rounding only (float32)."""
        check_lengths(self.name, candidates, references)
        starts = range(0, len(candidates), _BLOCK)
        blocks = [(candidates[start : start + _BLOCK], references[start : start + _BLOCK]) for start in starts]
        return [score for block in blocks for score in self._score(*block)]

    def _score(self, candidates: Sequence[str], references: Sequence[str]) -> list[float]:
        # the published program does so, lest a text's own "<mask>" be taken for the model's
        sources, targets = (
            self._loaded.ids([text.replace("<mask>", "[mask]") for text in texts]) for texts in (candidates, references)
        )
        scores = [0.0] * len(sources)
        for indices in in_batches([[*a, *b] for a, b in zip(sources, targets, strict=True)], self._batch):
            values = self._likelihoods([sources[i] for i in indices], [targets[i] for i in indices])
            for index, value in zip(indices, values, strict=True):
                scores[index] = value
        return scores

    def _likelihoods(self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> list[float]:
        ids, mask = self._loaded.padded(sources)
        labels, counts = self._loaded.padded(targets)
        with torch.inference_mode():
            # a decoder sees nothing behind a position, so that filling at the end needs no mask
            logits = self._loaded.model(input_ids=ids, attention_mask=mask, labels=labels).logits
            likely = logits.float().log_softmax(-1).gather(-1, labels[..., None])[..., 0]  # (rows, tokens)
        total = (likely.double() * counts).sum(1) / counts.sum(1)
        return [float(value) for value in total]


def _exchange(model: Any, path: Path) -> None:
    """Loads a file's weights into the model, which must be all of them; tied ones may be there once."""
    from safetensors.torch import load_file

    with loading(f"metric bartscore: {path}", "file of weights"):
        found = load_file(path)
    tied = set(model.all_tied_weights_keys or ())
    own = model.state_dict()
    lacking = sorted(own.keys() - found.keys() - tied)
    strange = sorted(found.keys() - own.keys())
    shapes = sorted(name for name in found.keys() & own.keys() if found[name].shape != own[name].shape)
    for what, names in (("lacks", lacking), ("has the strange", strange), ("has other shapes of", shapes)):
        if names:
            raise UserError(f"metric bartscore: {path} {what} {', '.join(names[:3])}; name weights of the same "
                            "architecture, or the model that they belong to")  # fmt: skip
    model.load_state_dict(found, strict=False)
    model.tie_weights()
