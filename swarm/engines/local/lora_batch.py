"""Multi-LoRA batches: every row of a forward pass has its own adapter of the same base model."""

from collections.abc import Sequence
from typing import Any

import torch
from peft import PeftModel
from torch import nn
from torch.nn.functional import linear
from transformers.pytorch_utils import Conv1D

from swarm.engines.local.adapter_placement import MAGNITUDE, weight_of
from swarm.errors import UserError
from swarm.weights.adapters import LoraWeights, factor_pairs, scaling

BARE = -1  # the adapter of a row that the base model alone speaks for
Run = tuple[int, int, int]  # rows from .. to (not included) of a pass, and their adapter


class RowAdapters:
    """LoRA factors of several experts beside the linear layers of the model that they share.

    The model itself must be bare (see `ResidentModel.clear`). Only while attached does it cost anything, and nothing
    else may use the model then.
    """

    def __init__(self, model: Any, experts: Sequence[LoraWeights], dtype: torch.dtype | None = None):
        """Copies the experts' factors to the model's device, by default in its own number format.

        `model` may be a PeftModel whose own adapter is switched off. Raises UserError naming the expert that cannot be
        one row's adapter.
        """
        for number, weights in enumerate(experts):
            obstacle = why_not_batched(model, weights)
            if obstacle:
                raise UserError(
                    f"expert {number} of a fusion cannot share its base model with the others: {obstacle}; give it a "
                    "model of its own"
                )
        self.count = len(experts)
        self._runs: list[Run] = []
        self._rows = 0
        self._handles: list[Any] = []
        self._factors: dict[nn.Module, dict[int, tuple[torch.Tensor, torch.Tensor]]] = {}
        for number, weights in enumerate(experts):
            for module, (name_a, name_b) in factor_pairs(weights.tensors).items():
                layer = linear_layer(model, module)
                assert layer is not None
                device, kind = weight_of(layer).device, dtype or weight_of(layer).dtype
                down, up = weights.tensors[name_a], weights.tensors[name_b]  # (rank, in), (out, rank)
                up = up.float() * scaling(weights.config, module, len(down))
                # copies: a store's tensors hold only until it is asked for the next expert
                self._factors.setdefault(layer, {})[number] = (down.to(device, kind, copy=True), up.to(device, kind))

    def attach(self) -> None:
        """Registers the forward hooks that add each row's adapter (see `speak`)."""
        if not self._handles:
            self._handles = [layer.register_forward_hook(self._add) for layer in self._factors]

    def detach(self) -> None:
        """Removes the forward hooks: the model is the bare one again."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def speak(self, adapters: Sequence[int]) -> None:
        """Sets the adapter of each row of the next forward pass; neighbours with the same one are one product."""
        starts = [row for row, one in enumerate(adapters) if row == 0 or one != adapters[row - 1]]
        self._rows = len(adapters)
        self._runs = [
            (start, stop, adapters[start])
            for start, stop in zip(starts, [*starts[1:], self._rows], strict=True)
            if adapters[start] != BARE
        ]

    def bytes(self) -> int:
        """Memory that the factors take."""
        return sum(part.nbytes for own in self._factors.values() for pair in own.values() for part in pair)

    def _add(self, layer: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
        """W x + s · B A x; rows are the first dimension, also where a model has flattened rows and tokens."""
        own = self._factors[layer]
        given = inputs[0].reshape(self._rows, -1, inputs[0].shape[-1])
        total = output.view(self._rows, -1, output.shape[-1])
        for start, stop, adapter in self._runs:
            if adapter in own:
                down, up = own[adapter]
                total[start:stop] += linear(linear(given[start:stop].to(down.dtype), down), up).to(total.dtype)
        return output


def linear_layer(model: Any, module: str) -> nn.Module | None:
    """The linear layer at a path of the base model, inside PEFT's own where it has been wrapped; None if it is none."""
    model = model.get_base_model() if isinstance(model, PeftModel) else model
    try:
        layer = model.get_submodule(module)
    except AttributeError:
        return None
    layer = layer.get_base_layer() if hasattr(layer, "get_base_layer") else layer
    return layer if isinstance(layer, nn.Linear | Conv1D) else None


def why_not_batched(model: Any, weights: LoraWeights) -> str | None:
    """Why an expert cannot be one row's adapter beside others' on this base model; None if it can."""
    pairs = factor_pairs(weights.tensors)
    known = {name for pair in pairs.values() for name in pair}
    for name in weights.tensors:
        if MAGNITUDE in name:
            return f"tensor {name} scales whole rows of the base weights (DoRA)"
        if name not in known:
            return f"tensor {name} belongs to no linear layer"
    for module, (name_a, name_b) in pairs.items():
        layer = linear_layer(model, module)
        if layer is None:
            return f"layer {module} is no linear one of the base model"
        if ".experts." in f".{module}.":
            return f"layer {module} sees the tokens of all rows mixed"
        shape = tuple(weight_of(layer).shape)
        shape = shape[::-1] if isinstance(layer, Conv1D) else shape
        given = (weights.tensors[name_b].shape[0], weights.tensors[name_a].shape[1])
        if shape != given:
            return f"layer {module} is {given[0]} x {given[1]}, but {shape[0]} x {shape[1]} in the base model"
    return None
