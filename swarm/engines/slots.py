"""Where an expert sits while it speaks: the resident model with one expert's weights in effect."""

from typing import Any, Protocol

import torch
from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
from torch import nn
from transformers.pytorch_utils import Conv1D

from swarm.errors import UserError
from swarm.weights.adapters import LoraWeights, factor_pairs, scaling
from swarm.weights.full_model import FullWeights


class Slot(Protocol):
    """One resident model whose expert can be exchanged in memory."""

    kind: str
    model: Any

    def place(self, weights: Any) -> None:
        """Puts this expert, as `materialise` makes those of the pool, in the place of the last one."""
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


class FullSlot:
    """The model's own parameters, overwritten one by one with a full model's.

    Beside the resident model there is at most one tensor in memory: as float32 sum, as the operand that is being added
    to it, and in the model's number format.
    """

    kind = "full"

    def __init__(self, model: nn.Module, weights: FullWeights, base: str):
        """Raises UserError if model and weights do not have the same tensors."""
        self.model = model
        self._targets = _targets(model, weights, base)

    @torch.inference_mode()
    def place(self, weights: FullWeights) -> None:
        """Overwrites every parameter."""
        for name, tensor in weights.tensors(self._targets):
            target = self._targets[name]
            target.copy_(tensor.to(target.dtype))
            del tensor  # before the next one is made


class LoneSlot:
    """The only model of its pool, which is in place since it was loaded."""

    kind = "full"

    def __init__(self, model: nn.Module):
        self.model = model

    def place(self, weights: FullWeights) -> None:
        """Raises ValueError for anything but the model itself."""
        if weights.coefficients != (1.0,):
            raise ValueError(f"the only model of a pool is at (1.0,), got {weights.coefficients}")


def make_slot(model: nn.Module, weights: LoraWeights | FullWeights, base: str) -> Slot:
    """The fitting slot: for adapters folded in float32 (exact), PEFT's layers in half precision, where folding would
    round ΔW away; for full models the parameters themselves.

    Raises UserError naming the first tensor that the base model has no fitting place for.
    """
    if isinstance(weights, FullWeights):
        if len(weights.models) == 1:
            return LoneSlot(model)
        return FullSlot(model, weights, base)
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


def _targets(model: nn.Module, weights: FullWeights, base: str) -> dict[str, torch.Tensor]:
    """Name of a tensor in the experts' files -> the tensor of the model that it belongs into, each of these once.

    The files may name tensors with or without the model's own prefix ("wte.weight" or "transformer.wte.weight"). What
    the model has no use for (masks in old files, say) is left out, as transformers does when it loads.
    """
    state = model.state_dict(keep_vars=True)
    prefix = f"{model.base_model_prefix}."
    targets: dict[str, torch.Tensor] = {}
    filled: dict[int, str] = {}
    for name, (lengths, _) in weights.shapes.items():
        tensor = next((state[key] for key in (name, prefix + name, name.removeprefix(prefix)) if key in state), None)
        if tensor is None:
            continue
        if tuple(tensor.shape) != lengths:
            raise UserError(
                f"the experts' tensor {name} has shape {list(lengths)}, but {list(tensor.shape)} in base model {base}: "
                "name another base with -b, or none"
            )
        if id(tensor) in filled:
            _check_equal(weights, filled[id(tensor)], name, base)
            continue
        filled[id(tensor)] = name
        targets[name] = tensor
    for key, tensor in state.items():
        if id(tensor) not in filled:
            raise UserError(
                f"model {base} needs tensor {key}, which the experts' files do not have under that name: save them "
                "again with save_pretrained, or name their architecture with -b (mixtures of experts whose tensors "
                "transformers stacks when it loads cannot be combined)"
            )
    return targets


def _check_equal(weights: FullWeights, one: str, other: str, base: str) -> None:
    """What the resident model ties must be tied in every expert too, or one of the two tensors would get lost."""
    for model in weights.models:
        opened = model.open()
        if not torch.equal(opened.get_tensor(one), opened.get_tensor(other)):
            raise UserError(
                f"{model.folder}: tensors {one} and {other} differ, but are one in base model {base}: set "
                "tie_word_embeddings to false in the experts' config.json, or name another base with -b"
            )


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
