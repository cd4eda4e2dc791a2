"""Where an expert sits while it speaks: the resident base model with one expert's LoRA weights in effect."""

from typing import Any, Protocol

import torch
from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
from torch import nn
from transformers.pytorch_utils import Conv1D

from swarm.errors import UserError
from swarm.weights.adapters import LoraWeights, factor_pairs, scaling


class Slot(Protocol):
    """One resident model whose expert can be exchanged in memory."""

    kind: str
    model: Any

    def place(self, weights: LoraWeights) -> None:
        """Puts this expert in the place of the last one."""
        ...


class FoldedSlot:
    """Adds s · B A to the base weights themselves, so that an expert runs at the bare model's speed.

    The base weights are kept and every expert is added to that copy: nothing is ever subtracted, so no rounding piles
    up. Needs as much memory again as the adapted layers have.
    """

    kind = "folded"

    def __init__(self, model: nn.Module, modules: list[str]):
        self.model = model
        self._layers = {module: model.get_submodule(module) for module in modules}
        self._kept = {module: _weight(layer).detach().clone() for module, layer in self._layers.items()}

    @torch.inference_mode()
    def place(self, weights: LoraWeights) -> None:
        """W = W_base + s · B A in every adapted layer."""
        for module, (name_a, name_b) in factor_pairs(weights.tensors).items():
            weight = _weight(self._layers[module])
            down = weights.tensors[name_a].to(weight)
            up = weights.tensors[name_b].to(weight) * scaling(weights.config, module, len(down))
            if isinstance(self._layers[module], Conv1D):  # GPT-2 keeps its weights as (in, out)
                torch.addmm(self._kept[module], down.T, up.T, out=weight)
            else:
                torch.addmm(self._kept[module], up, down, out=weight)


class PeftSlot:
    """PEFT's own LoRA layers, whose factors are overwritten: any kind of layer, any number format, DoRA."""

    kind = "peft"

    def __init__(self, model: nn.Module, config: dict[str, Any]):
        known = LoraConfig.__dataclass_fields__
        settings = {key: value for key, value in config.items() if key in known and value is not None}
        settings |= {"inference_mode": True, "peft_type": None}
        self.model = get_peft_model(model, LoraConfig(**settings))
        self.model.eval()

    def place(self, weights: LoraWeights) -> None:
        """Overwrites every LoRA factor; raises UserError if PEFT does not know one of them."""
        result = set_peft_model_state_dict(self.model, weights.tensors)
        if result.unexpected_keys:
            raise UserError(
                f"the experts' tensor {result.unexpected_keys[0]} belongs to no layer of the base model: name their "
                "own base with -b, or export them again with PEFT"
            )


def make_slot(model: nn.Module, weights: LoraWeights, base: str) -> Slot:
    """The fitting slot: folded in float32 (exact), PEFT's layers in half precision, where folding would round ΔW away.

    Raises UserError naming the first tensor that the base model has no fitting layer for.
    """
    pairs = factor_pairs(weights.tensors)
    for module, (name_a, name_b) in pairs.items():
        _check_layer(model, module, (weights.tensors[name_a], weights.tensors[name_b]), base)
    modules = dict(model.named_modules())
    simple = len(pairs) * 2 == len(weights.tensors) and all(
        isinstance(modules[module], nn.Linear | Conv1D) for module in pairs
    )
    tied = {id(_weight(modules[module])) for module in pairs} & {id(p) for p in _shared_parameters(model)}
    folds = simple and not tied and next(model.parameters()).dtype == torch.float32
    slot: Slot = FoldedSlot(model, list(pairs)) if folds else PeftSlot(model, weights.config)
    slot.place(weights)
    return slot


def _check_layer(model: nn.Module, module: str, factors: tuple[torch.Tensor, torch.Tensor], base: str) -> None:
    down, up = factors
    try:
        layer = model.get_submodule(module)
    except AttributeError:
        raise UserError(
            f"the experts adapt layer {module}, which base model {base} does not have: name their own base with -b"
        ) from None
    weight = _weight(layer)
    shape = tuple(weight.shape) if not isinstance(layer, Conv1D) else tuple(weight.shape[::-1])
    if isinstance(layer, nn.Linear | Conv1D) and shape != (up.shape[0], down.shape[1]):
        raise UserError(
            f"the experts' layer {module} is {up.shape[0]} x {down.shape[1]}, but {shape[0]} x {shape[1]} in base "
            f"model {base}: name their own base with -b"
        )


def _weight(layer: nn.Module) -> torch.Tensor:
    weight = layer.weight
    assert isinstance(weight, torch.Tensor)
    return weight


def _shared_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Parameters that several modules use (tied embeddings): folding into them would change the others too."""
    seen: dict[int, int] = {}
    parameters = [p for module in model.modules() for p in module._parameters.values() if p is not None]
    for parameter in parameters:
        seen[id(parameter)] = seen.get(id(parameter), 0) + 1
    return [parameter for parameter in parameters if seen[id(parameter)] > 1]
