"""The engine in this process: a transformers model on the CPU or on CUDA devices, whose experts are exchanged."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import peft
import tokenizers
import torch
import transformers

from swarm.engines.base import Finished, GenerationParams, Member, More, Request, Turn
from swarm.engines.local.answer_texts import AnswerTexts
from swarm.engines.local.answering import Answering
from swarm.engines.local.chat_template import check_not_empty, rendered
from swarm.engines.local.decoder_choice import make_decoder
from swarm.engines.local.device_map import DeviceMap, devices_and_dtype, load_placed_base, spread, spread_decoder
from swarm.engines.local.devices import what_is_unusual
from swarm.engines.local.expert_store import ExpertStore
from swarm.engines.local.positions import learned_positions
from swarm.engines.local.pretrained import padding_of
from swarm.engines.local.prompt_tokens import TokenMemory
from swarm.engines.local.resident_model import ResidentModel, make_resident
from swarm.engines.local.shared_prefixes import Tokens
from swarm.engines.local.side_by_side import SideBySide, Sitting, side_by_side
from swarm.engines.local.token_budget import adapter_bytes, check_room, measured_token_budget
from swarm.errors import UserError
from swarm.weights.adapters import LoraWeights
from swarm.weights.base_model import base_folder, base_model_digest, parameter_count
from swarm.weights.full_model import FullWeights
from swarm.weights.pool import Expert, Pool

log = logging.getLogger(__name__)

DECODING = "2"  # to be raised with every change to how prompts are read or answers made that can change a text
FEW_LETTERS = 100_000  # of prompts together, which one thread makes tokens of in some ten milliseconds


class InProcessEngine:
    """Answers requests with the pool's base model and whatever expert a request names; greedy decoding.

    Attributes:
      devices: those on which the base lies; `device` is the first, where prompts are read.
      divided: whether its layers are divided among them.
      token_budget: the most tokens (padded prompt and answer) that one batch may hold.
      known_prompts: the tokens of prompts that were read lately.
      loaded: the digest of the expert whose weights are in the model; "" for none.
      exchange_seconds: that loading an expert has taken, at the best.
      texts: what makes completions of answers.
      side_by_side: how experts share batches; None where they do not.
      halvings: how often a batch did not fit into memory and was halved.
    """

    def __init__(
        self,
        pool: Pool,
        device: str | None = None,
        dtype: str | None = None,
        token_budget: int | None = None,
        trust_remote_code: bool = False,
        fold: bool | None = None,
        device_map: Mapping[str, str] | None = None,
    ):
        """Loads the base model.

        `device` is cpu, cuda or cuda:<id> (default: CUDA where there is any), or several as cuda:0+cuda:1, on which its
        layers are divided: as `device_map` says, else in parts of like size. `dtype` is a key of `DTYPES` (default:
        bfloat16 on CUDA devices that have it, else float32); `fold` is whether adapters are added to the base weights
        (default: where that is exact, see `make_resident`). Raises UserError if base and experts do not fit or cannot
        be had, or if there is a device that cannot be used.
        """
        self.pool = pool
        self.devices, self.dtype = devices_and_dtype(device, dtype)
        self.device = self.devices[0]
        if unusual := what_is_unusual(self.device, self.dtype, dtype):
            log.warning("%s", unusual)
        self.halvings = 0
        folder = base_folder(pool.base, pool.revision)
        if self.device.type == "cuda" and len(self.devices) == 1:
            check_room(pool.base, parameter_count(folder), self.device, self.dtype)
        options = {"revision": pool.revision, "trust_remote_code": trust_remote_code}
        self.tokenizer, model, placed = load_placed_base(pool.base, self.dtype, self.devices, device_map, **options)
        files = [name for name in self.tokenizer.vocab_files_names.values() if name]
        self.divided = placed is not None
        self._base_digest = base_model_digest(folder, trust_remote_code, not pool.models, files)
        self._store = ExpertStore(pool)
        first = self._store.weights(pool.experts()[0])
        self._resident = self._resident_of(model, first, placed, fold)
        self.loaded, self._bare = "", False
        self.exchange_seconds = 0.0
        self.texts = AnswerTexts(pool.base, self.tokenizer, self._resident.model.generation_config)
        self.known_prompts = TokenMemory()
        self._positions = learned_positions(self._resident.model)
        padding = padding_of(self.tokenizer, self._resident.model)
        self.decoder = (make_decoder if placed is None else spread_decoder)(self._resident.model, padding)
        shared = adapter_bytes(self.device) if len(pool.names) > 1 and not fold else 0
        self.side_by_side: SideBySide | None = None
        if shared:
            self.side_by_side = side_by_side(self.decoder, self._resident.model, first, self._store.weights, shared)
        reserved = shared if self.side_by_side else 0
        budgets = (measured_token_budget(self.decoder, one, reserved) for one in dict.fromkeys(self.devices))
        self.token_budget = token_budget or min(budgets)
        self.decoder.token_budget = self.token_budget

    def _resident_of(
        self, model: Any, first: LoraWeights | FullWeights, placed: DeviceMap | None, fold: bool | None
    ) -> ResidentModel:
        """The resident model where it belongs, with the first expert."""
        try:
            there = model.to(self.device) if placed is None else model
            resident = make_resident(there.eval(), first, self.pool.base, fold)
        except torch.OutOfMemoryError:
            raise UserError(
                f"base model {self.pool.base} ({model.num_parameters() * self.dtype.itemsize / 2**30:.1f} GiB of "
                f"weights) does not fit into the memory of {' and '.join(map(str, self.devices))}: use a smaller base "
                "or a device with more memory, or several (-g 0+1)"
            ) from None
        if placed is not None:
            spread(resident.model, placed)
        return resident

    def facts(self) -> dict[str, str]:
        """The settings and versions that can change a text."""
        return {
            "engine": "in_process",
            "base": self._base_digest,
            "weights": self._resident.kind,
            "dtype": str(self.dtype).removeprefix("torch."),
            "device": self.device.type,
            "decoding": DECODING,
        } | {package.__name__: package.__version__ for package in (torch, transformers, tokenizers, peft)}

    def expect(self, members: Sequence[Member]) -> None:
        """Announces the experts of the next requests: their weights are then materialised together, which is faster."""
        self._store.expect([member for member in members if isinstance(member, Expert)])

    def generate(self, requests: Sequence[Request], more: More | None = None) -> Iterator[Finished]:
        """Answers experts side by side where that is faster, else expert by expert, so that each is loaded once."""
        answering = Answering(self, more)
        answering.take(requests)
        yield from answering.answers()

    @contextmanager
    def seated(self, sitting: Sitting) -> Iterator[None]:
        """The model speaks as the sitting's expert meanwhile, or each row as its own."""
        if sitting.expert is not None:
            self.load(sitting.expert)
            yield
            return
        assert self.side_by_side is not None
        if not self._bare:
            self.clear()
        with self.side_by_side.rows.speaking():
            yield

    def load(self, expert: Expert) -> None:
        """Loads an expert's weights into the resident model, which `generate` does by itself."""
        if expert.digest != self.loaded:
            self.loaded, self._bare = "", False  # nobody's, should this be interrupted
            weights = self._store.weights(expert)
            start = time.perf_counter()
            self._resident.load(weights)
            took = time.perf_counter() - start
            self.exchange_seconds = min(self.exchange_seconds or took, took)
            self.loaded = expert.digest

    @property
    def model(self) -> Any:
        """The resident model with the expert that is loaded; the bare base after `clear`."""
        return self._resident.model

    def weights(self, expert: Expert) -> LoraWeights | FullWeights:
        """An expert's weights; an adapter's tensors hold until the engine is asked for another expert."""
        return self._store.weights(expert)

    def clear(self) -> None:
        """Restores the bare base model, so that rows can have LoRA adapters of their own (`RowAdapters`).

        The next `generate` loads its expert again. Raises ValueError for a pool of full models.
        """
        self.loaded = ""
        self._resident.clear()
        self._bare = True

    @property
    def mixes(self) -> bool:
        """Whether experts may share batches."""
        return self.side_by_side is not None

    def prompt_tokens(self, requests: Sequence[Request], params: GenerationParams) -> list[Tokens]:
        """The tokens of prompts that have these parameters. Raises UserError for one that the model cannot read."""
        self.texts.name_what_is_not_taken(params)
        if any(request.history for request in requests):  # of a conversation, which nobody else has
            read = [row for one in requests for row in self._tokenise([one.prompt], params, one.history)]
        else:
            read = self.known_prompts.tokens([request.prompt for request in requests], params, self._tokenise)
        self._check_prompts(read, params)
        return read

    def _tokenise(self, prompts: list[str], params: GenerationParams, history: Sequence[Turn] = ()) -> list[list[int]]:
        prompts, special = rendered(self.tokenizer, prompts, params, history)
        if not self.tokenizer.is_fast:
            return self.tokenizer(prompts, add_special_tokens=special)["input_ids"]
        # without offsets into the text, which nobody asks for, this takes half as long
        encode = self.tokenizer.backend_tokenizer.encode_batch_fast
        # threads, which a call about several prompts starts, wait for torch's own before they gain anything
        calls = [[prompt] for prompt in prompts] if sum(map(len, prompts)) < FEW_LETTERS else [prompts]
        return [encoding.ids for call in calls for encoding in encode(call, add_special_tokens=special)]

    def _check_prompts(self, tokens: list[Tokens], params: GenerationParams) -> None:
        check_not_empty(f"base model {self.pool.base}", map(len, tokens))
        longest = max(map(len, tokens))
        limit = self._positions
        if limit and longest + params.max_new_tokens > limit:
            raise UserError(
                f"a prompt of {longest} tokens and {params.max_new_tokens} new ones exceed the {limit} positions of "
                f"base model {self.pool.base}: use one that reads more, or fewer --max_new_tokens"
            )

    def halve(self, longest: int) -> None:
        """Halves what is held at a time. Raises UserError where one row, of so many tokens, does not fit."""
        decoder = self.decoder
        if decoder.rows == 1:
            raise UserError(
                f"one prompt of {longest} tokens does not fit into the memory of {self.device}: use a smaller base "
                "model, a device with more memory or shorter prompts"
            )
        decoder.release()
        self.token_budget = decoder.token_budget = max(decoder.held // 2, 1)
        self.halvings += 1
        level = logging.WARNING if self.halvings == 1 else logging.DEBUG
        log.log(level, "out of memory: batches now hold at most %d tokens", self.token_budget)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
