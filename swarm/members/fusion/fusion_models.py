"""The models of a fusion: each with its tokenizer, its rows in a stepper, and its embeddings."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from swarm.engines.local.stepper import Stepper
from swarm.errors import UserError
from swarm.members.fusion.follower import Follower


@dataclass(frozen=True)
class Prompt:
    """A prompt as one model reads it: its text, and whether special tokens are put around it."""

    text: str
    special: bool


@dataclass(frozen=True)
class FusionModel:
    """One model of a fusion.

    Attributes:
      name: as messages say it.
      tokenizer: its own.
      stepper: what steps it; models of one base share theirs.
      adapter: its index among the stepper's LoRA adapters, -1 for the bare model.
      embeddings: its input embeddings, (V, D).
      ends: tokens that end its text.
    """

    name: str
    tokenizer: Any
    stepper: Stepper
    adapter: int
    embeddings: torch.Tensor
    ends: frozenset[int]

    def ids(self, prompt: Prompt) -> list[int]:
        """The prompt's tokens."""
        found: list[int] = self.tokenizer(prompt.text, add_special_tokens=prompt.special)["input_ids"]
        return found


def no_numbers(fusion_model: FusionModel) -> UserError:
    """The error for a model whose logits are not finite."""
    return UserError(
        f"{fusion_model.name} gives logits that are not numbers: use a wider number format (--dtype float32) or "
        "another model"
    )


class FollowingRow:
    """A row of one model's stepper that is kept in step with what another model writes."""

    def __init__(self, fusion_model: FusionModel, row: int, prompt: Prompt):
        """`row` is its index in the stepper."""
        self._stepper, self._row = fusion_model.stepper, row
        if fusion_model.stepper.separate_prompt:
            # the decoder's text begins after the prompt, which the encoder has read
            self._before = fusion_model.ids(prompt)
            self._follower = Follower(fusion_model.tokenizer, "", False)
        else:
            self._before = []
            self._follower = Follower(fusion_model.tokenizer, prompt.text, prompt.special)

    @property
    def ids(self) -> list[int]:
        """All tokens of the row, its prompt included."""
        return [*self._before, *self._follower.ids]

    def extend(self, text: str) -> None:
        """Appends what has been written."""
        self._stepper.replace(self._row, [*self._before, *self._follower.extend(text)])


class Ensemble:
    """The rows of a fusion's models in their steppers: models of one base share a stepper."""

    def __init__(self, fusion_models: Sequence[FusionModel]):
        self.fusion_models = fusion_models
        self._numbers: dict[tuple[int, int], int] = {}  # the stepper's number of row b of model k

    def groups(self) -> list[list[int]]:
        """Indices of the models, grouped by the stepper that they share."""
        shared: dict[int, list[int]] = {}
        for index, fusion_model in enumerate(self.fusion_models):
            shared.setdefault(id(fusion_model.stepper), []).append(index)
        return list(shared.values())

    def open(
        self, pairs: Sequence[tuple[int, int]], prompts: Sequence[Sequence[Prompt]], room: int
    ) -> dict[tuple[int, int], FollowingRow]:
        """Begins a batch of rows, (model, row) pairs of models that share a stepper; forgets any earlier batch of it.

        `prompts[k][b]` is prompt b for model k. Returns the rows that follow the main model's text.
        """
        if not pairs:
            return {}
        stepper = self.fusion_models[pairs[0][0]].stepper
        self._numbers = {
            pair: number for pair, number in self._numbers.items() if self.fusion_models[pair[0]].stepper is not stepper
        }
        following: dict[tuple[int, int], FollowingRow] = {}
        rows = []
        for number, (index, row) in enumerate(pairs):
            fusion_model, prompt = self.fusion_models[index], prompts[index][row]
            if index:
                following[index, row] = FollowingRow(fusion_model, number, prompt)
            rows.append(following[index, row].ids if index else fusion_model.ids(prompt))
        adapters = [self.fusion_models[index].adapter for index, _ in pairs]
        stepper.open(rows, room, adapters if any(one >= 0 for one in adapters) else None)
        self._numbers |= {pair: number for number, pair in enumerate(pairs)}
        return following

    def tokens(self, index: int, row: int) -> list[int]:
        """The tokens of a model's row."""
        return self.fusion_models[index].stepper.tokens(self._numbers[index, row])

    def append(self, row: int, token: int) -> None:
        """Appends a token to a row of the main model."""
        self.fusion_models[0].stepper.append(self._numbers[0, row], token)

    def logits(self, index: int, rows: Sequence[int]) -> torch.Tensor:
        """Next-token logits of one model's rows, (len(rows), V), float32.

        Raises UserError where a row's are no numbers.
        """
        found = self.fusion_models[index].stepper.logits([self._numbers[index, row] for row in rows])
        # a row may rule tokens out, but not all of them
        if rows and not found.amax(-1).isfinite().all():
            raise no_numbers(self.fusion_models[index])
        return found

    def drop(self, index: int, row: int) -> None:
        """Frees a model's row, if it was opened."""
        if (index, row) in self._numbers:
            self.fusion_models[index].stepper.drop(self._numbers.pop((index, row)))

    def close(self) -> None:
        """Closes the models' steppers, which frees their memory."""
        for fusion_model in self.fusion_models:
            fusion_model.stepper.close()
