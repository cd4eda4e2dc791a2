"""BERTScore: greedy matching of contextual token embeddings (Zhang et al. 2020, arXiv 1904.09675)."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from swarm.engines.local.side_models import SideModel, in_batches, load_side_model
from swarm.errors import UserError
from swarm.metrics.metric import check_lengths, version_of

MODEL, LAYER = "bert-base-multilingual-cased", 9
_BLOCK = 256  # answers whose embeddings are held at a time


class BertScore:
    """F1 of greedy matching (section 3, without importance weighting and without baseline rescaling), at most 1.

    As the reference implementation does, tokens may be matched to the special ones at a text's ends ([CLS], [SEP]),
    but these themselves do not count in the mean; blanks around a text are dropped; a text without tokens scores 0.
    Unlike there, filling is never matched, and F1 is 0 where precision and recall sum to less: either tells only where
    best matches have cosines below 0, which trained encoders hardly give.
    """

    name = "bertscore"
    lowest, highest = -math.inf, 1.0

    def __init__(self, model: str = MODEL, layer: int | None = None, batch: int = 32, device: str = "cpu"):
        """`layer` counts from 1, 0 being the embeddings; None is the published model's 9, and the last of any other.

        Raises UserError if the model cannot be had or has no such layer.
        """
        self._loaded: SideModel = load_side_model(f"metric {self.name}", model, "AutoModel", device)
        layers = int(self._loaded.model.config.num_hidden_layers)
        known = LAYER if model.rpartition("/")[2] == MODEL else layers
        self._layer = known if layer is None else layer
        if not 0 <= self._layer <= layers:
            raise UserError(f"metric {self.name}: layer is {self._layer}; wanted one of {model}'s, from 0 to {layers}")
        self._batch = batch

    def settings(self) -> dict[str, Any]:
        """See `Metric`."""
        about = {"layer": self._layer, "idf": False, "rescale_with_baseline": False, "measure": "F1"}
        return self._loaded.settings() | about | {"transformers": version_of("transformers")}

    def score(self, candidates: Sequence[str], references: Sequence[str]) -> list[float]:
        """See `Metric`; an answer's neighbours change its score by rounding only (float32)."""
        check_lengths(self.name, candidates, references)
        pairs = [(own.strip(), other.strip()) for own, other in zip(candidates, references, strict=True)]
        scores: list[float] = []
        for start in range(0, len(pairs), _BLOCK):
            part = pairs[start : start + _BLOCK]
            # a prompt's answers stand together, so that many references of a block are the same text
            texts = list(dict.fromkeys(text for pair in part for text in pair))
            embedded = dict(zip(texts, self._embed(texts), strict=True))
            scores += [_f1(*embedded[own], *embedded[other]) for own, other in part]
        return scores

    def _embed(self, texts: Sequence[str]) -> list[tuple[Tensor, Tensor]]:
        """Per text unit vectors (tokens, d), and a mask (tokens,) that is False for special tokens."""
        rows = self._loaded.ids(texts)
        special = ends_of(self._loaded.tokenizer)
        found: dict[int, tuple[Tensor, Tensor]] = {}
        for indices in in_batches(rows, self._batch):
            ids, mask = self._loaded.padded([rows[index] for index in indices])
            with torch.inference_mode():
                output = self._loaded.model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
            states = torch.nn.functional.normalize(output.hidden_states[self._layer], dim=-1)
            for row, index in enumerate(indices):
                count = len(rows[index])
                counts = torch.tensor([token not in special for token in rows[index]], device=states.device)
                found[index] = (states[row, :count], counts)
        return [found[index] for index in range(len(texts))]


def ends_of(tokenizer: Any) -> set[int]:
    """The special ids that a tokenizer adds at a text's ends."""
    return {tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id} - {None}


def _f1(own: Tensor, own_counts: Tensor, other: Tensor, other_counts: Tensor) -> float:
    """F1 of the two means of each token's best match; 0 where a text has no token that counts."""
    if not own_counts.any() or not other_counts.any():
        return 0.0
    similarity = own @ other.T  # (tokens of the candidate, tokens of the reference)
    precision = float(similarity.amax(1)[own_counts].double().mean())
    recall = float(similarity.amax(0)[other_counts].double().mean())
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0
