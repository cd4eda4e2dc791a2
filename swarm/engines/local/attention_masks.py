"""Attention masks in the form that a model takes: causal, or causal within a sliding window."""

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

FULL, SLIDING = "full_attention", "sliding_attention"  # as transformers calls them


@dataclass(frozen=True)
class MaskKinds:
    """The kinds of attention that a model's layers have.

    Attributes:
      windows: kind -> the tokens that it sees, itself included; None for all.
      mixed: the model has layers of several kinds and takes a mask for each.
    """

    windows: dict[str, int | None]
    mixed: bool

    def masks(self, positions: torch.Tensor, columns: int, dtype: torch.dtype) -> Any:
        """Additive attention masks, (rows, 1, tokens, columns), or a dict of these by kind.

        `positions` is (rows, tokens); column c holds the token at position c. A token attends to itself and what is
        before it.
        """
        column = torch.arange(columns, device=positions.device)
        own = positions[:, None, :, None]  # (rows, 1, tokens, 1)
        masks = {}
        for kind, window in self.windows.items():
            hidden = column > own
            if window is not None:
                hidden = hidden | (column <= own - window)
            masks[kind] = torch.zeros(hidden.shape, dtype=dtype, device=own.device).masked_fill_(hidden, float("-inf"))
        return masks if self.mixed else masks.popitem()[1]


def mask_kinds(model: Any) -> MaskKinds | None:
    """The kinds of masks that a model's layers need; None where it needs another kind."""
    config = model.config
    layers = DynamicCache(config=config).layers
    windows = {
        SLIDING if type(layer) is DynamicSlidingWindowLayer else FULL: getattr(layer, "sliding_window", None)
        for layer in layers
    }
    sizes = {getattr(layer, "sliding_window", None) for layer in layers}
    mixed = len(windows) > 1
    if (
        not all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers)
        or len(sizes) != len(windows)
        or "local" in (getattr(config, "attention_layers", None) or ())  # GPT-Neo's windows, which no cache tells of
        or "chunked_attention" in (getattr(config, "layer_types", None) or ())
        or getattr(config, "attention_chunk_size", None)
        or getattr(config, "use_bidirectional_attention", None)
        or config._attn_implementation not in ("sdpa", "eager")
        or (mixed and not _takes_several_masks(model))
    ):
        return None
    return MaskKinds(windows, mixed)


def _takes_several_masks(model: Any) -> bool:
    """Whether the inner model's forward pass accepts a dict of masks, as transformers' own do."""
    return "attention_mask, dict)" in inspect.getsource(type(model.base_model).forward)
