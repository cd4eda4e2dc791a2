"""Which tokens a token may attend to, as a model wants to be told: everything before it, or a window."""

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

FULL, SLIDING = "full_attention", "sliding_attention"  # as transformers calls them
TURNING = ("dynamic", "longrope")  # rotary positions whose frequencies depend on the longest row of a batch


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
        """What is added to the scores of attention, (rows, 1, tokens, columns), or a dict of these by kind.

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
    """How a model's layers attend, None where no mask of ours can say it."""
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
        or "chunked_attention" in (getattr(config, "layer_types", None) or ())
        or getattr(config, "attention_chunk_size", None)
        or getattr(config, "use_bidirectional_attention", None)
        or config._attn_implementation not in ("sdpa", "eager")
        or (mixed and not _takes_several_masks(model))
    ):
        return None
    return MaskKinds(windows, mixed)


def fixed_positions(config: Any) -> int | None:
    """The length up to which a token's keys do not depend on how long its row is; None where they never do.

    Learned positions are no matter of this (see `positions_of`).
    """
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = [rope, *(value for value in rope.values() if isinstance(value, dict))]
    turning = [kind for kind in kinds if kind.get("rope_type") in TURNING]
    if not turning:
        return None
    limits = [kind.get("original_max_position_embeddings") for kind in turning]
    return min([config.max_position_embeddings, *filter(None, limits)])


def positions_of(model: Any) -> int | None:
    """How many positions a model has learned or laid down in a table; None where they do not end for good."""
    tables = [
        module.num_embeddings - getattr(module, "offset", 0)
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding) and ("position" in name.rpartition(".")[2] or name.endswith("wpe"))
    ]
    return min([*tables, *filter(None, [getattr(model.config, "n_positions", None)])], default=None)


def _takes_several_masks(model: Any) -> bool:
    """Whether the inner model's forward pass looks for a dict of masks, as transformers' own do."""
    return "attention_mask, dict)" in inspect.getsource(type(model.base_model).forward)
