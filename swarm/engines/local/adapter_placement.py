"""The mapping of experts' tensors to the resident model's tensors and layers, with checks that they fit."""

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from swarm.errors import UserError
from swarm.weights.adapters import LoraWeights, factor_pairs
from swarm.weights.full_model import FullWeights

MAGNITUDE = "lora_magnitude_vector"


def targets_of(model: nn.Module, weights: FullWeights, base: str) -> dict[str, torch.Tensor]:
    """Name of a tensor in the experts' files -> the model's tensor that it overwrites, each of these once.

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
    """Raises UserError unless tensors that the model ties are equal in the expert, as one of them would get lost."""
    for model in weights.models:
        opened = model.open()
        if not torch.equal(opened.get_tensor(one), opened.get_tensor(other)):
            raise UserError(
                f"{model.folder}: tensors {one} and {other} differ, but are one in base model {base}: set "
                "tie_word_embeddings to false in the experts' config.json, or name another base with -b"
            )


def check_layers(model: nn.Module, weights: LoraWeights, base: str) -> None:
    """Raises UserError naming the first adapted layer that the model does not have, or has in another shape."""
    for module, (name_a, name_b) in factor_pairs(weights.tensors).items():
        _check_layer(model, module, (weights.tensors[name_a], weights.tensors[name_b]), base)


def magnitude_of(name_a: str) -> str:
    """The name of a layer's DoRA magnitude tensor, given the name of its A."""
    return f"{name_a.removesuffix('lora_A.weight')}{MAGNITUDE}"


def why_not_folded(model: nn.Module, weights: LoraWeights) -> str | None:
    """The reason why experts cannot be folded into the base weights; None if they can."""
    pairs = factor_pairs(weights.tensors)
    known = {name for name_a, name_b in pairs.values() for name in (name_a, name_b, magnitude_of(name_a))}
    for name in weights.tensors:
        if name not in known:
            return f"tensor {name} belongs to no linear layer"
    shared = {id(parameter) for parameter in _shared_parameters(model)}
    for module in pairs:
        layer = model.get_submodule(module)
        if not isinstance(layer, nn.Linear | Conv1D):
            return f"layer {module} is no linear one"
        if id(weight_of(layer)) in shared:
            return f"layer {module} shares its weights with another"
    return None


def _check_layer(model: nn.Module, module: str, factors: tuple[torch.Tensor, torch.Tensor], base: str) -> None:
    down, up = factors
    try:
        layer = model.get_submodule(module)
    except AttributeError:
        raise UserError(
            f"the experts adapt layer {module}, which base model {base} does not have: name their own base with -b"
        ) from None
    weight = weight_of(layer)
    shape = tuple(weight.shape) if not isinstance(layer, Conv1D) else tuple(weight.shape[::-1])
    if isinstance(layer, nn.Linear | Conv1D) and shape != (up.shape[0], down.shape[1]):
        raise UserError(
            f"the experts' layer {module} is {up.shape[0]} x {down.shape[1]}, but {shape[0]} x {shape[1]} in base "
            f"model {base}: name their own base with -b"
        )


def weight_of(layer: nn.Module) -> torch.Tensor:
    """A layer's weight."""
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
