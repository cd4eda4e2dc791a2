"""The token level of an engine: next-token logits of many rows that grow token by token."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from peft import PeftModel

from swarm.engines.local.decoder_choice import core_kinds
from swarm.engines.local.lora_batch import RowAdapters
from swarm.engines.local.positions import scaled_by_length
from swarm.engines.local.ragged_stepper import RaggedStepper
from swarm.engines.local.row_stepper import RowStepper
from swarm.engines.local.shared_prefixes import Tokens
from swarm.errors import UserError


class Stepper(Protocol):
    """The interface of a stepper: rows of tokens of one model, with a KV cache.

    Rows are numbered as `open` was given them, and keep their numbers when others are dropped. Every row's logits are
    those that it would have alone (in float32 to 1e-5; in half precision the size of a batch decides about rounding).
    A row that is not open raises ValueError, one that outgrows the model UserError.

    Attributes:
      model: the bare model that is stepped.
      adapters: the experts whose adapters it has, if any.
      separate_prompt: the prompt is read apart, by an encoder: `replace` must leave it as it is, and what comes behind
        it is a text of its own.
      limit: the tokens that a row may have; None for any number.
    """

    @property
    def separate_prompt(self) -> bool:
        """See above."""
        ...

    @property
    def read(self) -> int:
        """Tokens read so far, which tells what reading anew costs."""
        ...

    model: Any
    adapters: RowAdapters | None
    limit: int | None

    def open(self, rows: Sequence[Tokens], room: int, adapters: Sequence[int] | None = None) -> None:
        """Begins a batch with each row's prompt, at least one token, and room for further ones; forgets all before.

        `adapters` has each row's index among the LoRA adapters; -1 is the bare model, as for all without it.
        `room` is a plan of memory: rows that need more get it.
        """
        ...

    def logits(self, rows: Sequence[int]) -> torch.Tensor:
        """(len(rows), V) float32, not normalised: the next token of each row after all of its tokens."""
        ...

    def replace(self, row: int, tokens: Tokens) -> None:
        """Sets all tokens of a row, its prompt included; what it has in common with before is not read again."""
        ...

    def append(self, row: int, token: int) -> None:
        """Appends a token to a row."""
        ...

    def tokens(self, row: int) -> Tokens:
        """All tokens of a row, its prompt included; without an encoder-decoder's start tokens."""
        ...

    def drop(self, row: int) -> None:
        """Frees a row, which costs nothing any more."""
        ...

    def close(self) -> None:
        """Forgets all rows, gives their memory back, and leaves the model as it was; `open` begins again."""
        ...

    def bytes(self) -> int:
        """Memory that keys and values take."""
        ...


def make_stepper(
    model: Any,
    adapters: RowAdapters | None = None,
    longest: int | None = None,
    forced_bos_token_id: int | None = None,
) -> Stepper:
    """The stepper for a model or a PeftModel: batched where that is exact, else row by row.

    `longest` is what no row will exceed. A model whose rotary positions depend on how long a row is (`dynamic`,
    `longrope`) is stepped side by side only below the length where they begin to. `forced_bos_token_id` is what an
    encoder-decoder's text begins with (NLLB's target language), by default what its config says. The generation
    config of the model changes nothing else: logits are its own, without penalties.
    Raises UserError for a forced token where there is no encoder-decoder, and as `RowStepper` does.
    """
    bare = model.get_base_model() if isinstance(model, PeftModel) else model
    if forced_bos_token_id is not None and not bare.config.is_encoder_decoder:
        raise UserError(
            f"forced_bos_token_id {forced_bos_token_id} is for encoder-decoders, but {bare.config.model_type} is none: "
            "leave it out"
        )
    fixed = scaled_by_length(bare)
    kinds = core_kinds(bare)
    if kinds and (fixed is None or (longest is not None and longest <= fixed)):
        return RaggedStepper(bare, kinds, adapters)
    return RowStepper(bare, adapters, forced_bos_token_id)
