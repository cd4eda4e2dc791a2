"""A multilayer perceptron on features, trained on soft labels."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from swarm.engines.local.threads import Threads
from swarm.errors import UserError
from swarm.members.routing.interfaces import Inputs, product, softmax
from swarm.members.routing.parts import plain, read_part, write_part


@dataclass(frozen=True)
class MlpSettings:
    """Settings of the perceptron: its hidden layer and its training.

    Attributes:
      width: of the hidden layer.
      epochs: how often each prompt is seen.
      batch_size: prompts per step.
      learning_rate: AdamW's.
      weight_decay: AdamW's.
      dropout: share of the features that a step does not see.
    """

    kind: ClassVar[str] = "mlp"
    learns: ClassVar[str] = "labels"
    reads: ClassVar[str] = "features"
    width: int = 64
    epochs: int = 60
    batch_size: int = 64
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    dropout: float = 0.5

    def __post_init__(self) -> None:
        if min(self.width, self.epochs, self.batch_size) < 1 or not 0 <= self.dropout < 1:
            raise UserError(
                f"mlp has width {self.width}, epochs {self.epochs}, batch_size {self.batch_size} and dropout "
                f"{self.dropout:g}; wanted each at least 1, and dropout from 0 to below 1"
            )
        if not self.learning_rate > 0 or self.weight_decay < 0:
            raise UserError(
                f"learning_rate is {self.learning_rate:g} and weight_decay {self.weight_decay:g}; wanted more than 0, "
                "and 0 or more"
            )

    def fit(self, inputs: Inputs, targets: np.ndarray, weights: np.ndarray, generator: np.random.Generator) -> "Mlp":
        """Trains on prompts that have weight, in float32 on the CPU; their order and all draws are the generator's."""
        counts = np.flatnonzero(weights > 0)
        rows = torch.from_numpy(np.asarray(inputs)[counts].astype(np.float32))
        labels = torch.from_numpy(targets[counts].astype(np.float32))
        shares = torch.from_numpy((weights[counts] / weights[counts].mean()).astype(np.float32))
        draws = torch.Generator().manual_seed(int(generator.integers(2**63)))
        layers = [_drawn(rows.shape[1], self.width, draws), _drawn(self.width, labels.shape[1], draws)]
        parameters = [tensor.requires_grad_() for layer in layers for tensor in layer]
        optimizer = torch.optim.AdamW(parameters, lr=self.learning_rate, weight_decay=self.weight_decay)
        with torch.enable_grad(), Threads(torch.nn.ParameterList(parameters)).of_a_pass():
            for _ in range(self.epochs):
                for batch in torch.randperm(len(rows), generator=draws).split(self.batch_size):
                    kept = torch.rand(batch.shape[0], rows.shape[1], generator=draws) >= self.dropout
                    seen = rows[batch] * kept / (1 - self.dropout)
                    (first, bias), (second, last) = layers
                    logits = torch.relu(seen @ first + bias) @ second + last
                    losses = -(labels[batch] * torch.log_softmax(logits, dim=1)).sum(dim=1)
                    optimizer.zero_grad()
                    (shares[batch] * losses).mean().backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
        return Mlp(self, *(tensor.detach().numpy().astype(np.float64) for tensor in parameters))


@dataclass(frozen=True, eq=False)
class Mlp:
    """A fitted perceptron, softmax(relu(features · first + bias) · second + last), in float64.

    Attributes:
      first: (F, width).
      bias: (width,).
      second: (width, M).
      last: (M,).
    """

    kind: ClassVar[str] = "mlp"
    learns: ClassVar[str] = "labels"
    chosen: MlpSettings
    first: np.ndarray
    bias: np.ndarray
    second: np.ndarray
    last: np.ndarray

    def scores(self, inputs: Inputs) -> np.ndarray:
        """Probabilities (B, M) float64."""
        hidden = np.maximum(product(np.asarray(inputs, dtype=np.float64), self.first) + self.bias, 0)
        return softmax(product(hidden, self.second) + self.last)

    def settings(self) -> MlpSettings:
        """The settings that it was fitted with: none is chosen by cross-validation."""
        return self.chosen

    def write(self, folder: Path) -> None:
        """Writes the layers."""
        tensors = {"first": self.first, "bias": self.bias, "second": self.second, "last": self.last}
        write_part(folder, {"settings": plain(self.chosen)}, tensors)


def read_mlp(folder: Path) -> Mlp:
    """The classifier in a folder that `Mlp.write` has written."""
    record, tensors = read_part(folder)
    return Mlp(MlpSettings(**record["settings"]), **tensors)


def _drawn(width: int, height: int, draws: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Initial weights (width, height) of a layer (He et al. 2015), and a bias of zeros."""
    weights = torch.randn(width, height, generator=draws) * (2 / width) ** 0.5
    return weights, torch.zeros(height)
