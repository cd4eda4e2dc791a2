"""The models of a fusion: each with its tokenizer, its rows in a stepper, and its embeddings."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from swarm.engines.stepper import Stepper
from swarm.errors import UserError
from swarm.fusion.follower import Follower


@dataclass(frozen=True)
class Prompt:
    """A prompt as one model reads it: its text, and whether special tokens are put around it."""

    text: str
    special: bool


@dataclass(frozen=True)
class Voice:
    """One model of a fusion.

    Attributes:
      name: as messages say it.
      tokenizer: its own.
      stepper: what steps it; voices of one base share theirs.
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


class Listener:
    """Keeps one model's row in step with what another model writes."""

    def __init__(self, voice: Voice, row: int, prompt: Prompt):
        """`row` is the stepper's number of it."""
        self._stepper, self._row = voice.stepper, row
        if voice.stepper.separate_prompt:
            # the decoder's text begins after the prompt, which the encoder has read
            self._before = voice.ids(prompt)
            self._follower = Follower(voice.tokenizer, "", False)
        else:
            self._before = []
            self._follower = Follower(voice.tokenizer, prompt.text, prompt.special)

    @property
    def ids(self) -> list[int]:
        """All tokens of the row, its prompt included."""
        return [*self._before, *self._follower.ids]

    def hear(self, text: str) -> None:
        """More text has been written."""
        self._stepper.replace(self._row, [*self._before, *self._follower.extend(text)])


class Choir:
    """The voices' rows: row b of voice k is one of its stepper's, which may hold those of other voices, too."""

    def __init__(self, voices: Sequence[Voice]):
        self.voices = voices
        self._first: list[int] = []

    def open(self, prompts: Sequence[Sequence[Prompt]], room: int) -> list[list[Listener]]:
        """Begins a batch: `prompts[k][b]` is prompt b for voice k. Gives every voice's listeners; main has none."""
        shared: dict[int, list[int]] = {}
        for index, voice in enumerate(self.voices):
            shared.setdefault(id(voice.stepper), []).append(index)
        size = len(prompts[0])
        self._first = [0] * len(self.voices)
        listeners: list[list[Listener]] = [[] for _ in self.voices]
        for indices in shared.values():
            rows: list[list[int]] = []
            adapters: list[int] = []
            for index in indices:
                voice, self._first[index] = self.voices[index], len(rows)
                if index:
                    first = len(rows)
                    listeners[index] = [Listener(voice, first + b, prompt) for b, prompt in enumerate(prompts[index])]
                    rows += [listener.ids for listener in listeners[index]]
                else:
                    rows += [voice.ids(prompt) for prompt in prompts[0]]
                adapters += [voice.adapter] * size
            stepper = self.voices[indices[0]].stepper
            stepper.open(rows, room, adapters if any(one >= 0 for one in adapters) else None)
        return listeners

    def tokens(self, index: int, row: int) -> list[int]:
        """A voice's row as it stands."""
        return self.voices[index].stepper.tokens(self._first[index] + row)

    def append(self, row: int, token: int) -> None:
        """The main voice goes on."""
        self.voices[0].stepper.append(self._first[0] + row, token)

    def logits(self, index: int, rows: Sequence[int]) -> torch.Tensor:
        """(len(rows), V) of one voice, float32: what comes next in each row.

        Raises UserError where a row's are no numbers.
        """
        found = self.voices[index].stepper.logits([self._first[index] + row for row in rows])
        # a row may rule tokens out, but not all of them
        if rows and not found.amax(-1).isfinite().all():
            raise UserError(
                f"{self.voices[index].name} gives logits that are not numbers: use a wider number format (--dtype "
                "float32) or another model"
            )
        return found

    def drop(self, index: int, row: int) -> None:
        """A voice's row is done."""
        self.voices[index].stepper.drop(self._first[index] + row)

    def close(self) -> None:
        """Gives all memory back."""
        for voice in self.voices:
            voice.stepper.close()
