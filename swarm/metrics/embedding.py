"""Embedders for the metric cosine: a sentence-transformers model, or the mean hidden states of a language model."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from swarm.engines.local.pretrained import loading
from swarm.engines.local.side_models import SideModel, in_batches, load_side_model, quieten, speaking_of
from swarm.metrics.cosine import EmbeddingCosine
from swarm.metrics.metric import needs, version_of
from swarm.weights.base_model import base_model_digest, model_folder

_WHAT = "metric cosine"


def sentence_cosine(model: str, batch: int = 32, device: str = "cpu") -> EmbeddingCosine:
    """Cosine by a sentence-transformers model, by folder or hub id. Raises UserError if it cannot be had."""
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise needs("cosine", "sentence-transformers", "embeddings", error) from error
    quieten()
    with speaking_of(_WHAT), loading(f"model {model!r}", "model"):
        folder = model_folder(model, named_in=f"for {_WHAT}")
        # the library reads parts of a model by its id, which lie outside the folder of the weights
        source = str(folder) if model == str(folder) else model
        embedder = SentenceTransformer(
            source, device=device, trust_remote_code=False, model_kwargs={"use_safetensors": True}
        )

    def embed(texts: Sequence[str]) -> np.ndarray:
        vectors = embedder.encode(list(texts), batch_size=batch, show_progress_bar=False, convert_to_numpy=True)
        return np.asarray(vectors, dtype=np.float64)

    about = {"model": model, "digest": base_model_digest(folder), "pooling": "the model's own"}
    return EmbeddingCosine(embed, about | {"sentence_transformers": version_of("sentence-transformers")})


def hidden_state_cosine(model: str, layer: int = -1, batch: int = 32, device: str = "cpu") -> EmbeddingCosine:
    """Cosine by the mean over a text's tokens of a model's hidden states at `layer`, in float32; by folder or hub id.

    Any encoder or causal model will do. Raises UserError if it cannot be had.
    """
    loaded: SideModel = load_side_model(_WHAT, model, "AutoModel", device)

    def embed(texts: Sequence[str]) -> np.ndarray:
        return mean_states(loaded, texts, layer, batch)

    about: dict[str, Any] = {"pooling": "mean of hidden states", "layer": layer}
    return EmbeddingCosine(embed, loaded.settings() | about | {"transformers": version_of("transformers")})


def mean_states(loaded: SideModel, texts: Sequence[str], layer: int, batch: int) -> np.ndarray:
    """(texts, d) float64: the mean of each text's hidden states over its own tokens; zeros for a text without any."""
    rows = loaded.ids([text or " " for text in texts])
    means: dict[int, np.ndarray] = {}
    for indices in in_batches(rows, batch):
        ids, mask = loaded.padded([rows[index] for index in indices])
        with torch.inference_mode():
            states = loaded.model(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states[layer]
        kept = mask[..., None].to(torch.float64)
        mean = (states.double() * kept).sum(1) / kept.sum(1)
        means |= dict(zip(indices, mean.cpu().numpy(), strict=True))
    return np.stack([means[index] for index in range(len(rows))])
