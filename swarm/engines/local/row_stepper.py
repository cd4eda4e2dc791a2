"""A stepper of single rows, for models that cannot be batched: encoder-decoders, ALiBi, state spaces."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import DynamicCache, EncoderDecoderCache
from transformers.cache_utils import DynamicLayer

from swarm.engines.local.lora_batch import RowAdapters
from swarm.engines.local.positions import FreshPositions, learned_positions, scaled_by_length
from swarm.engines.local.shared_prefixes import Tokens, common_prefix
from swarm.engines.local.stepper_checks import check_adapters, check_length, check_rows
from swarm.engines.local.threads import Threads
from swarm.engines.local.token_core import CHUNKS
from swarm.errors import UserError


@dataclass
class _Row:
    """An open row: its tokens and its cache.

    Attributes:
      prompt: what an encoder reads, nothing for other models.
      given: what stands before the row's own tokens in a decoder.
      tokens: what is generated, for models without an encoder the prompt too.
      kept: how many tokens, given ones included, the cache holds.
    """

    adapter: int
    prompt: Tokens
    given: Tokens
    tokens: Tokens
    kept: int = 0
    cache: Any = None
    encoded: Any = field(default=None, repr=False)


class RowStepper:
    """Every row with transformers' own cache where that can be cropped, else read anew; see `stepper.Stepper`.

    Attributes:
      separate_prompt: whether the prompt goes to an encoder, and all that is replaced or appended to the decoder.
      limit: the tokens that a row may have, on either side; None for any number.
      read: tokens read so far.
    """

    def __init__(self, model: Any, adapters: RowAdapters | None = None, forced_bos_token_id: int | None = None):
        """`forced_bos_token_id` is what an encoder-decoder's text begins with: by default what its config says.

        Raises UserError for one that does not say what its decoder begins with.
        """
        self.model, self.adapters = model, adapters
        self.separate_prompt = bool(model.config.is_encoder_decoder)
        self.limit = learned_positions(model)
        self.read = 0
        self._given = decoder_beginning(model, forced_bos_token_id) if self.separate_prompt else []
        parameter = next(model.parameters())
        self._device = parameter.device
        self._chunk = CHUNKS[self._device.type]
        self._fixed = scaled_by_length(model)
        self._positions = None if self._fixed is None else FreshPositions(model)
        # code that came with a model may call anything a cache
        self._keeps = type(model).__module__.startswith("transformers.models.")
        self._last_only = "logits_to_keep" in inspect.signature(model.forward).parameters
        self._threads = Threads(model)
        self._rows: dict[int, _Row] = {}

    def open(self, rows: Sequence[Tokens], room: int, adapters: Sequence[int] | None = None) -> None:
        """Begins a batch."""
        spoken = check_adapters(self.adapters, len(rows), adapters)
        for row in rows:
            longest = max(len(row), room + len(self._given)) if self.separate_prompt else len(row) + room
            check_length(self.model, min(len(row), longest), self.limit)
            check_length(self.model, longest, self.limit)
        self._rows = {
            number: _Row(adapter, list(row), self._given, [])
            if self.separate_prompt
            else _Row(adapter, [], [], list(row))
            for number, (row, adapter) in enumerate(zip(rows, spoken, strict=True))
        }
        if self.adapters:
            self.adapters.attach()

    @torch.no_grad()
    def logits(self, rows: Sequence[int]) -> torch.Tensor:
        """Next-token logits, (len(rows), V) float32 on the model's device."""
        check_rows(rows, self._rows)
        found = [self._next(self._rows[row]) for row in rows]
        return torch.stack(found).float() if found else torch.empty(0, 0, device=self._device)

    def replace(self, row: int, tokens: Tokens) -> None:
        """Sets a row's tokens; raises ValueError for another prompt than an encoder has read."""
        check_rows([row], self._rows)
        state = self._rows[row]
        own = tokens[len(state.prompt) :]
        if tokens[: len(state.prompt)] != state.prompt:
            raise ValueError(f"row {row} does not begin with the prompt that its encoder has read")
        if not self.separate_prompt or own:
            check_length(self.model, len(state.given) + len(own), self.limit)
        common = len(state.given) + common_prefix(state.tokens, own)
        state.tokens = own
        self._crop(state, common)

    def append(self, row: int, token: int) -> None:
        """Appends a token to a row."""
        check_rows([row], self._rows)
        state = self._rows[row]
        check_length(self.model, len(state.given) + len(state.tokens) + 1, self.limit)
        state.tokens.append(token)

    def tokens(self, row: int) -> Tokens:
        """All tokens of a row, those of its prompt included."""
        check_rows([row], self._rows)
        return [*self._rows[row].prompt, *self._rows[row].tokens]

    def drop(self, row: int) -> None:
        """Frees a row."""
        check_rows([row], self._rows)
        del self._rows[row]

    def close(self) -> None:
        """Drops all rows."""
        self._rows = {}
        if self._positions:
            self._positions.restore()
        if self.adapters:
            self.adapters.detach()

    def bytes(self) -> int:
        """Memory that keys and values take."""
        caches = [_own(row.cache) for row in self._rows.values() if row.cache is not None]
        return sum(layer.keys.nbytes + layer.values.nbytes for cache in caches for layer in cache.layers)

    def _crop(self, state: _Row, length: int) -> None:
        """Crops the cache to the first `length` tokens."""
        if state.kept > length:
            state.cache.crop(length - state.kept)
            state.kept = length

    def _next(self, state: _Row) -> torch.Tensor:
        """Next-token logits (V,) of a row."""
        if self._positions:
            self._positions.restore()  # of another row, or of this one when it was longer
        ids = [*state.given, *state.tokens]
        output = None
        if self._keeps and (self._fixed is None or len(ids) <= self._fixed):
            output = self._read_on(state, ids)
        if output is None:
            state.cache, state.kept = None, 0
            self.read += len(ids)
            output = self._pass(state, ids, keeps=False)
        return output.logits[0, -1]  # type: ignore[no-any-return]

    def _read_on(self, state: _Row, ids: Tokens) -> Any:
        """The output for what the row's cache does not hold yet; None for a model whose cache cannot be cropped."""
        self._crop(state, len(ids) - 1)
        output = None
        while state.kept < len(ids):
            part = ids[state.kept : state.kept + self._chunk]
            output = self._pass(state, part, keeps=True)
            state.cache = output.get("past_key_values")
            self._keeps = _can_crop(state.cache)
            if not self._keeps:
                return None
            state.kept += len(part)
            self.read += len(part)
        return output

    def _pass(self, state: _Row, ids: Tokens, keeps: bool) -> Any:
        """The model's output for a row's next tokens."""
        options: dict[str, Any] = {"use_cache": keeps}
        if state.cache is not None:
            options["past_key_values"] = state.cache
        if self._last_only:
            options["logits_to_keep"] = 1
        if self.adapters:
            self.adapters.speak([state.adapter], len(ids))
        with self._threads.of_a_pass():
            if not self.separate_prompt:
                return self.model(input_ids=self._tensor(ids), **options)
            if state.encoded is None:
                state.encoded = self.model.get_encoder()(input_ids=self._tensor(state.prompt))
                self.read += len(state.prompt)
            return self.model(encoder_outputs=state.encoded, decoder_input_ids=self._tensor(ids), **options)

    def _tensor(self, ids: Tokens) -> torch.Tensor:
        return torch.tensor([ids], device=self._device)


def decoder_beginning(model: Any, forced_bos_token_id: int | None = None) -> Tokens:
    """The decoder's start tokens of an encoder-decoder.

    The start token, and a forced one where the model has one or is given one (NLLB's target language). Raises
    UserError where no config names a start token.
    """
    configs = (model.generation_config, model.config)
    starts = [getattr(config, name, None) for name in ("decoder_start_token_id", "bos_token_id") for config in configs]
    start = next((one for one in starts if one is not None), None)
    if start is None:
        raise UserError(
            f"encoder-decoder {model.config._name_or_path or model.config.model_type} has no decoder_start_token_id in "
            "its config.json or generation_config.json: add the one that it was trained with"
        )
    forced = [forced_bos_token_id, *(getattr(config, "forced_bos_token_id", None) for config in configs)]
    return [start, *[one for one in forced if one is not None][:1]]


def _own(cache: Any) -> Any:
    """A decoder's cache of its own tokens."""
    return cache.self_attention_cache if isinstance(cache, EncoderDecoderCache) else cache


def _can_crop(cache: Any) -> bool:
    """Whether the last tokens of a cache can be forgotten exactly: keys and values of all tokens, nothing summed up."""
    own = _own(cache)
    return isinstance(own, DynamicCache) and all(type(layer) is DynamicLayer for layer in own.layers)
