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

from swarm.engines.base import Finished, GenerationParams, Member, Request, Turn
from swarm.engines.local.answer_texts import AnswerTexts
from swarm.engines.local.chat_template import check_not_empty, rendered
from swarm.engines.local.decoder import Decoder
from swarm.engines.local.decoder_choice import make_decoder
from swarm.engines.local.device_map import DeviceMap, devices_and_dtype, load_placed_base, spread, spread_decoder
from swarm.engines.local.devices import what_is_unusual
from swarm.engines.local.expert_store import ExpertStore
from swarm.engines.local.plain_generate import Answers
from swarm.engines.local.positions import learned_positions
from swarm.engines.local.pretrained import padding_of
from swarm.engines.local.prompt_tokens import TokenMemory
from swarm.engines.local.resident_model import ResidentModel, make_resident
from swarm.engines.local.sampled_tokens import samplers_of
from swarm.engines.local.shared_prefixes import Tokens
from swarm.engines.local.side_by_side import SideBySide, Sitting, side_by_side
from swarm.engines.local.token_budget import adapter_bytes, check_room, is_out_of_memory, measured_token_budget
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
        self._loaded, self._bare = "", False
        self._exchange = 0.0  # seconds that loading an expert has taken, at the best
        self._texts = AnswerTexts(pool.base, self.tokenizer, self._resident.model.generation_config)
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

    def generate(self, requests: Sequence[Request]) -> Iterator[Finished]:
        """Answers experts side by side where that is faster, else expert by expert, so that each is loaded once."""
        by_params: dict[GenerationParams, list[int]] = {}
        for index, request in enumerate(requests):
            by_params.setdefault(request.params, []).append(index)
        for params, indices in by_params.items():
            asked = [requests[index] for index in indices]
            tokens = self._tokens(asked, params)
            self._check_prompts(tokens, params)
            self._texts.name_what_is_not_taken(params)
            for sitting in self._sittings(asked, tokens, params.max_new_tokens):
                with self._seated(sitting):
                    for answers in self._decode_within_memory(tokens, params, asked, sitting):
                        completions = self._texts.completions(tokens, answers, params)
                        yield [(indices[i], completion) for i, completion in completions]

    def _sittings(self, asked: Sequence[Request], tokens: Sequence[Tokens], most: int) -> Iterator[Sitting]:
        by_expert: dict[str, list[int]] = {}
        for index, request in enumerate(asked):
            by_expert.setdefault(request.member.digest, []).append(index)
        # the expert that is loaded already goes first
        order = sorted(by_expert, key=lambda digest: digest != self._loaded)
        experts = [_expert(asked[by_expert[digest][0]].member) for digest in order]
        if self.side_by_side is None:
            return (Sitting(by_expert[expert.digest], expert) for expert in experts)
        of_experts = [(expert, by_expert[expert.digest]) for expert in experts]
        return self.side_by_side.sittings(of_experts, tokens, most, self._exchange)

    @contextmanager
    def _seated(self, sitting: Sitting) -> Iterator[None]:
        """The model speaks as the sitting's expert meanwhile, or each row as its own."""
        if sitting.expert is not None:
            self.load(sitting.expert)
            yield
            return
        assert self.side_by_side is not None
        if self._loaded or not self._bare:
            self.clear()
        with self.side_by_side.rows.speaking():
            yield

    def load(self, expert: Expert) -> None:
        """Loads an expert's weights into the resident model, which `generate` does by itself."""
        if expert.digest != self._loaded:
            self._loaded, self._bare = "", False  # nobody's, should this be interrupted
            weights = self._store.weights(expert)
            start = time.perf_counter()
            self._resident.load(weights)
            took = time.perf_counter() - start
            self._exchange = min(self._exchange or took, took)
            self._loaded = expert.digest

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
        self._loaded = ""
        self._resident.clear()
        self._bare = True

    def _tokens(self, requests: Sequence[Request], params: GenerationParams) -> list[Tokens]:
        if any(request.history for request in requests):  # of a conversation, which nobody else has
            return [
                token for request in requests for token in self._tokenise([request.prompt], params, request.history)
            ]
        return self.known_prompts.tokens([request.prompt for request in requests], params, self._tokenise)

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

    def _decode_within_memory(
        self, tokens: list[Tokens], params: GenerationParams, asked: Sequence[Request], sitting: Sitting
    ) -> Iterator[Answers]:
        """The answers to a sitting's rows; where memory runs out, the rest anew with half as many rows at a time."""
        left = sitting.indices
        adapters = None if sitting.adapters is None else dict(zip(left, sitting.adapters, strict=True))
        while left:
            done: set[int] = set()
            try:
                rows, samplers = [tokens[i] for i in left], samplers_of([asked[i] for i in left])
                own: dict[str, Any] = {}
                if isinstance(self.decoder, Decoder):
                    own["is_over"] = self._texts.is_over(params)
                    own["adapters"] = None if adapters is None else [adapters[i] for i in left]
                for answers in self.decoder.decode(rows, params.max_new_tokens, samplers, **own):
                    if self.side_by_side:
                        lengths = [len(answer) for _, answer in answers]
                        self.side_by_side.pace.note_answers(lengths, params.max_new_tokens)
                    done.update(left[row] for row, _ in answers)
                    yield [(left[row], answer) for row, answer in answers]
            except RuntimeError as error:  # torch.OutOfMemoryError is one, and the processor's allocator has no own
                if not is_out_of_memory(error):
                    raise
                self._halve(max(len(tokens[i]) for i in left))
            left = [i for i in left if i not in done]

    def _halve(self, longest: int) -> None:
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


def _expert(member: Member) -> Expert:
    if not isinstance(member, Expert):
        raise TypeError(f"this engine answers for experts, not for {type(member).__name__} {member.name}")
    return member
