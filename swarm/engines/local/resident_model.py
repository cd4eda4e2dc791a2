"""The resident model: loaded once, with one expert's weights in effect at a time."""

from collections.abc import Iterable
from typing import Any, Protocol

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from torch import nn
from transformers.pytorch_utils import Conv1D

from swarm.engines.local.adapter_placement import check_layers, magnitude_of, targets_of, weight_of, why_not_folded
from swarm.errors import UserError
from swarm.weights.adapters import LoraWeights, factor_pairs, scaling
from swarm.weights.full_model import FullWeights


class ResidentModel(Protocol):
    """A model in memory whose expert can be exchanged."""

    kind: str
    model: Any

    def load(self, weights: Any) -> None:
        """Loads an expert's weights, as `materialise` makes them, over those of the last one."""
        ...

    def clear(self) -> None:
        """Restores the bare base model, to the bit, until the next `load`."""
        ...


class FoldedResident:
    """LoRA folded into the base weights, W + s · B A, so that an expert runs at the bare model's speed; DoRA too.

    The base weights are kept and every expert is added to that copy: nothing is ever subtracted, so no rounding piles
    up. Needs as much memory again as the adapted layers have. In half precision the sum is made in float32, one layer
    after the other, and rounded once to the model's number format.
    """

    kind = "folded"

    def __init__(self, model: nn.Module, modules: Iterable[str]):
        """`modules` are the adapted layers, all linear."""
        self.model = model
        self._layers = {module: model.get_submodule(module) for module in modules}
        self._kept = {module: weight_of(layer).detach().clone() for module, layer in self._layers.items()}

    @torch.inference_mode()
    def load(self, weights: LoraWeights) -> None:
        """Sets W = W_base + s · B A in every adapted layer, for DoRA each row of that scaled to its magnitude."""
        for module, (name_a, name_b) in factor_pairs(weights.tensors).items():
            weight, kept = weight_of(self._layers[module]), self._kept[module].float()
            total = weight if weight.dtype == torch.float32 else torch.empty_like(kept)
            down = weights.tensors[name_a].to(total)
            up = weights.tensors[name_b].to(total) * scaling(weights.config, module, len(down))
            by_inputs = isinstance(self._layers[module], Conv1D)  # GPT-2 keeps its weights as (in, out)
            if by_inputs:
                torch.addmm(kept, down.T, up.T, out=total)
            else:
                torch.addmm(kept, up, down, out=total)
            magnitude = weights.tensors.get(magnitude_of(name_a))
            if magnitude is not None:
                rows = total.T if by_inputs else total  # (out, in)
                rows.mul_((magnitude.to(total) / torch.linalg.vector_norm(rows, dim=1))[:, None])
            if total is not weight:
                weight.copy_(total)

    @torch.inference_mode()
    def clear(self) -> None:
        """Restores the kept base weights."""
        for module, layer in self._layers.items():
            weight_of(layer).copy_(self._kept[module])


class PeftResident:
    """PEFT's own LoRA layers, whose factors are overwritten: any kind of layer, any number format, DoRA."""

    kind = "peft"

    def __init__(self, model: nn.Module, weights: LoraWeights):
        """Raises UserError naming the first tensor like those of `weights` that PEFT has no fitting tensor for."""
        known = LoraConfig.__dataclass_fields__
        settings = {key: value for key, value in weights.config.items() if key in known and value is not None}
        settings |= {"inference_mode": True, "peft_type": None}
        self.model = get_peft_model(model, LoraConfig(**settings))
        self.model.eval()
        self._on = True
        # the model's own memory, under the names that the experts' files have; embeddings are there under its own
        tensors = self.model.state_dict() | get_peft_model_state_dict(self.model, save_embedding_layers=False)
        for name, tensor in weights.tensors.items():
            if name not in tensors:
                raise UserError(
                    f"the experts' tensor {name} belongs to no layer of the base model: name their own base with -b, "
                    "or export them again with PEFT"
                )
            if tensors[name].shape != tensor.shape:
                cure = "name their own base with -b, or export them again with PEFT"
                if len(tensor) != len(tensors[name]) and tensor.shape[1:] == tensors[name].shape[1:]:
                    cure = (f"their vocabulary was resized: resize the base's to {len(tensor)} likewise "
                            "(resize_token_embeddings), save it with their tokenizer, and name it with -b")  # fmt: skip
                raise UserError(
                    f"the experts' tensor {name} has shape {list(tensor.shape)}, but {list(tensors[name].shape)} in "
                    f"the base model: {cure}"
                )
        self._parameters = {name: tensors[name] for name in weights.tensors}
        # what experts bring whole, such as embeddings, lies where the base's own was
        self._kept = {name: own.detach().clone() for name, own in self._parameters.items() if "lora_" not in name}

    @torch.inference_mode()
    def load(self, weights: LoraWeights) -> None:
        """Overwrites every LoRA factor."""
        for name, parameter in self._parameters.items():
            parameter.copy_(weights.tensors[name])
        self._switch(True)

    @torch.inference_mode()
    def clear(self) -> None:
        """Switches PEFT's layers off: zeros in B would not do, since DoRA scales the base weights too."""
        for name, own in self._kept.items():
            self._parameters[name].copy_(own)
        self._switch(False)

    def _switch(self, on: bool) -> None:
        if on != self._on:
            (self.model.base_model.enable_adapter_layers if on else self.model.base_model.disable_adapter_layers)()
            self.model.requires_grad_(False)
            self._on = on


class FullResident:
    """The model's own parameters, overwritten one by one with a full model's.

    Beside the resident model there is at most one tensor in memory: as float32 sum, as the operand that is being added
    to it, and in the model's number format.
    """

    kind = "full"

    def __init__(self, model: nn.Module, weights: FullWeights, base: str):
        """Raises UserError if model and weights do not have the same tensors."""
        self.model = model
        self._targets = targets_of(model, weights, base)

    @torch.inference_mode()
    def load(self, weights: FullWeights) -> None:
        """Overwrites every parameter."""
        for name, tensor in weights.tensors(self._targets):
            target = self._targets[name]
            target.copy_(tensor.to(target.dtype))
            del tensor  # before the next one is made

    def clear(self) -> None:
        """Raises ValueError: a full model is its own base."""
        raise ValueError("full models have no bare base")


class LoneResident:
    """The only model of its pool, whose own weights are in effect from the start."""

    kind = "full"

    def __init__(self, model: nn.Module):
        self.model = model

    def load(self, weights: FullWeights) -> None:
        """Raises ValueError for anything but the model itself."""
        if weights.coefficients != (1.0,):
            raise ValueError(f"the only model of a pool is at (1.0,), got {weights.coefficients}")

    def clear(self) -> None:
        """Raises ValueError: a full model is its own base."""
        raise ValueError("full models have no bare base")


def make_resident(
    model: nn.Module, weights: LoraWeights | FullWeights, base: str, fold: bool | None = None
) -> ResidentModel:
    """A resident model with its first expert loaded: folded LoRA, PEFT's layers, or a full model's own parameters.

    `fold` is whether adapters are added to the base weights. By default they are in float32, where that is exact, and
    not in half precision, where it would round ΔW away; nor where layers are not linear or share their weights.
    Raises UserError naming the first tensor that the base model has no fitting tensor for, or why experts that are to
    be folded cannot be.
    """
    if isinstance(weights, FullWeights):
        if len(weights.models) == 1:
            return LoneResident(model)
        return FullResident(model, weights, base)
    check_layers(model, weights, base)
    obstacle = why_not_folded(model, weights)
    if fold and obstacle:
        raise UserError(f"the experts cannot be folded into base model {base}: {obstacle}: leave --fold out")
    if fold is None:
        fold = obstacle is None and next(model.parameters()).dtype == torch.float32
    resident: ResidentModel = (
        FoldedResident(model, factor_pairs(weights.tensors)) if fold else PeftResident(model, weights)
    )
    resident.load(weights)
    return resident
