"""Position embeddings: their limit, and the length beyond which they depend on the other rows of a batch."""

from typing import Any

import torch
from torch import nn

_STATE = ("inv_freq", "max_seq_len_cached", "attention_scaling")  # endings of what positions scaled by length change
LEARNED = ("wpe", "embed_positions", "position_embeddings", "position_embedding", "positions_embed")


def learned_positions(model: nn.Module) -> int | None:
    """The context length of a model with learned positions; None where positions have no hard limit.

    Of a model that sees or hears, too, what its text is read by counts: not the positions of patches of an image.
    """
    text: Any = model.config.get_text_config()  # type: ignore[operator, union-attr]
    model = next((part for part in model.modules() if getattr(part, "config", None) is text), model)
    sizes = [
        module.num_embeddings - getattr(module, "offset", 0)  # OPT's kind leaves the first ones to padding
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding) and name.rpartition(".")[2] in LEARNED
    ]
    named = getattr(text, "n_positions", None)
    return min([*sizes, *([named] if named else [])], default=None)


def scaled_by_length(model: Any) -> int | None:
    """The most tokens, prompt and answer, for which a model's positions are the same in any batch; None: no limit.

    0 where it is not known.
    """
    ropes = [rope for rope in _ropes(model.config.get_text_config()) if _looks_at_length(rope)]
    if not ropes:
        return None
    config = model.config.get_text_config()
    named = [rope.get("original_max_position_embeddings") for rope in ropes]
    built = [getattr(module, "original_max_seq_len", None) for module in rotary_modules(model)]
    own = [getattr(config, f"{which}max_position_embeddings", None) for which in ("original_", "")]
    limits = [*named, *built, *own]
    return min((int(limit) for limit in limits if limit), default=0)


def _ropes(config: Any) -> list[dict[str, Any]]:
    """The settings of rotary positions, of which there may be one per kind of layer."""
    settings = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    nested = [value for value in settings.values() if isinstance(value, dict)]
    return nested or [settings]


def _looks_at_length(rope: dict[str, Any]) -> bool:
    kind = str(rope.get("rope_type", rope.get("type", "")))
    return "dynamic" in kind or kind in ("longrope", "su")


def rotary_modules(model: Any) -> list[nn.Module]:
    """The rotary embedding modules of a model."""
    return [module for module in model.modules() if hasattr(module, "original_inv_freq") or hasattr(module, "inv_freq")]


class FreshPositions:
    """A snapshot of a model's rotary frequencies, to be restored after it has read long rows."""

    def __init__(self, model: Any):
        """`model` has read nothing yet."""
        self._modules = rotary_modules(model)
        self._fresh = [_state_of(module) for module in self._modules]

    def restore(self) -> None:
        """Restores the frequencies."""
        for module, state in zip(self._modules, self._fresh, strict=True):
            for name, value in state.items():
                setattr(module, name, value.clone() if isinstance(value, torch.Tensor) else value)


def _state_of(module: nn.Module) -> dict[str, Any]:
    found = {name: value for name, value in vars(module).items() if name.endswith(_STATE)}
    found |= {name: value for name, value in module.named_buffers(recurse=False) if name.endswith(_STATE)}
    return {name: value.clone() if isinstance(value, torch.Tensor) else value for name, value in found.items()}
