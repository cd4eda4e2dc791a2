"""Multi-LoRA batches: every row of a forward pass has its own adapter of the same base model."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
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
# multiply-adds that take as long as the two calls that a further run needs: a pass's runs are one product where that
# computes no more than this beside what is needed
CALL = {"cpu": 400_000, "cuda": 400_000_000}


class RowAdapters:
    """LoRA factors of several experts beside the linear layers of the model that they share.

    The model itself must be bare (see `ResidentModel.clear`). Only while attached does it cost anything, and nothing
    else may use the model then. An adapter's number stays its own until it is removed; ranks and layers may differ.

    Attributes:
      count: numbers that have been given away, those of removed adapters included.
      attached: whether the hooks are there.
      plan: how the next forward pass adds its rows' adapters.
    """

    def __init__(self, model: Any, experts: Sequence[LoraWeights] = (), dtype: torch.dtype | None = None):
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
        self.count = 0
        self._model, self._dtype = model, dtype
        self._layers: dict[str, _Layer] = {}
        self._free: list[int] = []
        self._spoken: tuple[tuple[int, ...], int] | None = None
        self.attached = False
        self.plan = _Plan([], 0)
        for weights in experts:
            self.put(weights)

    def put(self, weights: LoraWeights) -> int:
        """Adds an adapter, which `why_not_batched` has nothing against; its number, the lowest that is free."""
        number = heappop(self._free) if self._free else self.count
        self.count = max(self.count, number + 1)
        self._spoken = None
        for module, (name_a, name_b) in factor_pairs(weights.tensors).items():
            own = self._layers.get(module)
            if own is None:
                layer = linear_layer(self._model, module)
                assert layer is not None
                own = self._layers[module] = _Layer(layer, self._dtype or weight_of(layer).dtype)
                if self.attached:
                    own.attach(self)
            down, up = weights.tensors[name_a], weights.tensors[name_b]  # (rank, in), (out, rank)
            own.put(number, down, up.float() * scaling(weights.config, module, len(down)))
        return number

    def remove(self, number: int) -> None:
        """Frees an adapter's number and memory for another."""
        for own in self._layers.values():
            own.remove(number)
        heappush(self._free, number)
        self._spoken = None

    def attach(self) -> None:
        """Registers the forward hooks that add each row's adapter (see `speak`)."""
        if not self.attached:
            self.attached = True
            for own in self._layers.values():
                own.attach(self)

    def detach(self) -> None:
        """Removes the forward hooks: the model is the bare one again."""
        self.attached = False
        for own in self._layers.values():
            own.detach()

    def speak(self, adapters: Sequence[int], tokens: int) -> None:
        """Sets the adapter of each row of the next forward pass, which has so many tokens of each row.

        Neighbours with the same one are one product. Where there are many such runs of few tokens each, all adapters
        are one product for all rows, of which each keeps its own adapter's part: which of both computes less is known
        beforehand, so that equal passes are computed alike.
        """
        spoken = (tuple(adapters), tokens)
        if spoken == self._spoken:
            return
        self._spoken = spoken
        starts = [row for row, one in enumerate(adapters) if row == 0 or one != adapters[row - 1]]
        runs = [
            (start, stop, adapters[start])
            for start, stop in zip(starts, [*starts[1:], len(adapters)], strict=True)
            if adapters[start] != BARE
        ]
        further = sum(own.further(len(adapters) * tokens, runs) for own in self._layers.values())
        together = torch.tensor(adapters)[:, None] if further < 0 else None
        self.plan = _Plan(runs, len(adapters), together)

    def bytes(self) -> int:
        """Memory that the factors take."""
        return sum(part.nbytes for own in self._layers.values() for part in (own.downs, own.ups))

    def bytes_of_one(self) -> int:
        """Memory that one adapter's factors take."""
        return sum(own.bytes_of_one() for own in self._layers.values())


@dataclass
class _Plan:
    """How a forward pass adds its rows' adapters.

    Attributes:
      runs: of rows with the same adapter.
      rows: of the pass.
      together: the number of each row's adapter, (rows, 1), where all adapters are one product; else None.
    """

    runs: list[Run]
    rows: int
    together: torch.Tensor | None = None
    _others: dict[tuple[int, int, torch.device], torch.Tensor] = field(default_factory=dict)

    def others(self, slots: int, rank: int, device: torch.device) -> torch.Tensor:
        """Whether a part of the stacked ranks is of another adapter than the row's, (rows, 1, slots · rank) bool."""
        found = self._others.get((slots, rank, device))
        if found is None:
            assert self.together is not None
            found = (torch.arange(slots * rank) // rank != self.together)[:, None].to(device)
            self._others[slots, rank, device] = found
        return found


class _Layer:
    """The factors of all adapters of one linear layer, stacked: adapter n has the n-th stretch of `rank` parts.

    Attributes:
      downs: (slots · rank, in); `ups`: (out, slots · rank). What is of no adapter is 0.
      rank: the largest of any adapter.
    """

    def __init__(self, layer: nn.Module, dtype: torch.dtype):
        self.layer = layer
        weight = weight_of(layer)
        self.device, self._dtype = weight.device, dtype
        self.rank = 0
        self.downs = torch.empty(0, 0, device=self.device, dtype=dtype)
        self.ups = torch.empty(0, 0, device=self.device, dtype=dtype)
        self._ranks: dict[int, int] = {}  # by adapter
        self._slots = 0
        self._used = 0  # stretches up to the last one that an adapter has
        self._handle: Any = None

    def put(self, number: int, down: torch.Tensor, up: torch.Tensor) -> None:
        rank = len(down)
        if number >= self._slots or rank > self.rank:
            self._grow(max(number + 1, self._slots + self._slots // 2), max(rank, self.rank), down.shape[1], len(up))
        begin = number * self.rank
        self.downs[begin : begin + rank].copy_(down)
        self.ups[:, begin : begin + rank].copy_(up)
        self._ranks[number] = rank
        self._used = max(self._ranks) + 1

    def remove(self, number: int) -> None:
        if self._ranks.pop(number, None) is not None:
            part = slice(number * self.rank, (number + 1) * self.rank)
            self.downs[part], self.ups[:, part] = 0, 0
            self._used = max(self._ranks, default=-1) + 1

    def attach(self, adapters: RowAdapters) -> None:
        def add(layer: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
            return self.add(adapters.plan, inputs[0], output)

        self._handle = self.layer.register_forward_hook(add)

    def detach(self) -> None:
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def further(self, tokens: int, runs: Sequence[Run]) -> float:
        """What one product for all rows computes beyond products run by run, in multiply-adds; calls are counted."""
        size = self.downs.shape[1] + self.ups.shape[0]
        together = tokens * self._used * self.rank * size
        of_runs = [one for *_, one in runs if one in self._ranks]
        return together - tokens * self.rank * size - CALL[self.device.type] * (len(of_runs) - 1)

    def bytes_of_one(self) -> int:
        return self.rank * (self.downs.shape[1] + len(self.ups)) * self.downs.element_size()

    def add(self, plan: _Plan, given: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        """W x + s · B A x; rows are the first dimension, also where a model has flattened rows and tokens."""
        given = given.reshape(plan.rows, -1, given.shape[-1])
        total = output.view(plan.rows, -1, output.shape[-1])
        if plan.together is not None:
            end = self._used * self.rank
            inner = linear(given.to(self._dtype), self.downs[:end])
            # what is another adapter's is 0 whatever it was, a number or none
            inner = inner.masked_fill_(plan.others(self._used, self.rank, self.device), 0)
            total += linear(inner, self.ups[:, :end]).to(total.dtype)
            return output
        for start, stop, number in plan.runs:
            if rank := self._ranks.get(number):
                part = slice(number * self.rank, number * self.rank + rank)
                inner = linear(given[start:stop].to(self._dtype), self.downs[part])
                total[start:stop] += linear(inner, self.ups[:, part]).to(total.dtype)
        return output

    def _grow(self, slots: int, rank: int, inputs: int, outputs: int) -> None:
        downs = torch.zeros(slots, rank, inputs, device=self.device, dtype=self._dtype)
        ups = torch.zeros(outputs, slots, rank, device=self.device, dtype=self._dtype)
        if self._slots:
            downs[: self._slots, : self.rank] = self.downs.view(self._slots, self.rank, -1)
            ups[:, : self._slots, : self.rank] = self.ups.view(len(self.ups), self._slots, self.rank)
        self._slots, self.rank = slots, rank
        self.downs, self.ups = downs.view(slots * rank, inputs), ups.view(outputs, slots * rank)


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
