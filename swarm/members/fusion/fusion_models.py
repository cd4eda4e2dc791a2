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
      adapter: which of the stepper's hosted experts it is, -1 for the bare model.
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
    """The error for a model whose logits are none."""
    return UserError(
        f"{fusion_model.name} gives logits that are not numbers: use a wider number format (--dtype float32) or "
        "another model"
    )


class FollowingRow:
    """Keeps one model's row in step with what another model writes."""

    def __init__(self, fusion_model: FusionModel, row: int, prompt: Prompt):
        """`row` is the stepper's number of it."""
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

    def hear(self, text: str) -> None:
        """More text has been written."""
        self._stepper.replace(self._row, [*self._before, *self._follower.extend(text)])


class Ensemble:
    """The models' rows: row b of model k is one of its stepper's, which may hold those of other models, too."""

    def __init__(self, fusion_models: Sequence[FusionModel]):
        self.fusion_models = fusion_models
        self._numbers: dict[tuple[int, int], int] = {}  # the stepper's number of row b of model k

    def groups(self) -> list[list[int]]:
        """The models, by the stepper that they share."""
        shared: dict[int, list[int]] = {}
        for index, fusion_model in enumerate(self.fusion_models):
            shared.setdefault(id(fusion_model.stepper), []).append(index)
        return list(shared.values())

    def open(
        self, places: Sequence[tuple[int, int]], prompts: Sequence[Sequence[Prompt]], room: int
    ) -> dict[tuple[int, int], FollowingRow]:
        """Begins a batch of models that share a stepper, in the place of any before, at (model, row) each.

        `prompts[k][b]` is prompt b for model k. Gives the listeners; the main model has none.
        """
        if not places:
            return {}
        stepper = self.fusion_models[places[0][0]].stepper
        self._numbers = {
            place: number
            for place, number in self._numbers.items()
            if self.fusion_models[place[0]].stepper is not stepper
        }
        listeners: dict[tuple[int, int], FollowingRow] = {}
        rows = []
        for number, (index, row) in enumerate(places):
            fusion_model, prompt = self.fusion_models[index], prompts[index][row]
            if index:
                listeners[index, row] = FollowingRow(fusion_model, number, prompt)
            rows.append(listeners[index, row].ids if index else fusion_model.ids(prompt))
        adapters = [self.fusion_models[index].adapter for index, _ in places]
        stepper.open(rows, room, adapters if any(one >= 0 for one in adapters) else None)
        self._numbers |= {place: number for number, place in enumerate(places)}
        return listeners

    def tokens(self, index: int, row: int) -> list[int]:
        """A model's row as it stands."""
        return self.fusion_models[index].stepper.tokens(self._numbers[index, row])

    def append(self, row: int, token: int) -> None:
        """The main model goes on."""
        self.fusion_models[0].stepper.append(self._numbers[0, row], token)

    def logits(self, index: int, rows: Sequence[int]) -> torch.Tensor:
        """(len(rows), V) of one model, float32: what comes next in each row.

        Raises UserError where a row's are no numbers.
        """
        found = self.fusion_models[index].stepper.logits([self._numbers[index, row] for row in rows])
        # a row may rule tokens out, but not all of them
        if rows and not found.amax(-1).isfinite().all():
            raise no_numbers(self.fusion_models[index])
        return found

    def drop(self, index: int, row: int) -> None:
        """A model's row is done, if it was ever begun."""
        if (index, row) in self._numbers:
            self.fusion_models[index].stepper.drop(self._numbers.pop((index, row)))

    def close(self) -> None:
        """Gives all memory back."""
        for fusion_model in self.fusion_models:
            fusion_model.stepper.close()
