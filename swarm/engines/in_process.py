"""transformers in this process, on the CPU or one CUDA device: the base model stays, experts are exchanged."""

import copy
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer

from swarm.engines.base import Completion, GenerationParams, Request
from swarm.engines.expert_store import ExpertStore
from swarm.engines.slots import Slot, make_slot
from swarm.errors import UserError
from swarm.weights.base_model import base_folder, base_model_digest
from swarm.weights.pool import Expert, Pool

log = logging.getLogger(__name__)

CPU_TOKENS = 16_384
SMALL_MODEL = 10_000_000  # parameters below which threads wait for each other longer than they compute
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class InProcessEngine:
    """Answers requests with the pool's base model and whatever expert a request names; greedy decoding.

    Attributes:
      token_budget: the most tokens (padded prompt and answer) that one batch may hold.
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
    ):
        """Loads the base model.

        `device` is cpu, cuda or cuda:<id> (default: CUDA where there is any); `dtype` a key of `DTYPES` (default:
        bfloat16 on CUDA, float32 on the CPU); `fold` is whether adapters are added to the base weights (default: where
        that is exact, see `make_slot`). Raises UserError if base and experts do not fit or cannot be had.
        """
        self.pool = pool
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.dtype = DTYPES[dtype or ("bfloat16" if self.device.type == "cuda" else "float32")]
        self.halvings = 0
        folder = base_folder(pool.base, pool.revision)
        model = self._load(trust_remote_code)
        self._base_digest = base_model_digest(folder, with_code=trust_remote_code, with_weights=not pool.models)
        if self.device.type == "cpu" and model.num_parameters() < SMALL_MODEL:
            torch.set_num_threads(1)
        self._store = ExpertStore(pool)
        first = self._store.weights(pool.experts()[0])
        try:
            self._slot: Slot = make_slot(model.to(self.device).eval(), first, pool.base, fold)
        except torch.OutOfMemoryError:
            raise UserError(
                f"base model {pool.base} ({model.num_parameters() * self.dtype.itemsize / 2**30:.1f} GiB of weights) "
                f"does not fit into the memory of {self.device}: use a smaller base or a device with more memory"
            ) from None
        self._placed = ""
        self._generation = _greedy(model.generation_config, self.tokenizer.pad_token_id)
        self.token_budget = token_budget or _default_token_budget(model.config, self.device, self.dtype)

    def _load(self, trust_remote_code: bool) -> Any:
        base, options = self.pool.base, {"revision": self.pool.revision, "trust_remote_code": trust_remote_code}
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(base, padding_side="left", **options)
            model = AutoModelForCausalLM.from_pretrained(base, dtype=self.dtype, use_safetensors=True, **options)
        except (
            OSError,
            ValueError,
            ImportError,
            SafetensorError,
            LookupError,
            AttributeError,
            ArithmeticError,
        ) as error:
            reason = " ".join(str(error).split())[:300]
            raise UserError(
                f"base model {base} cannot be loaded ({reason}): fetch it again, or name another with -b"
            ) from error
        known, wanted = len(self.tokenizer), model.config.get_text_config().vocab_size
        if known < wanted / 2:
            # without its files, transformers makes up a tokenizer that knows next to nothing
            raise UserError(
                f"the tokenizer of base model {base} knows {known} tokens, the model {wanted}: its tokenizer files are "
                "missing or another model's; put them into its folder"
            )
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        return model

    def facts(self) -> dict[str, str]:
        """What of this engine can change a text."""
        return {
            "engine": "in_process",
            "base": self._base_digest,
            "weights": self._slot.kind,
            "dtype": str(self.dtype).removeprefix("torch."),
            "device": self.device.type,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }

    def expect(self, experts: Sequence[Expert]) -> None:
        """Says which experts will be asked for soon: their weights are then made together, which is faster."""
        self._store.expect(experts)

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        """Answers expert by expert, so that each is placed once, and the longest prompts first."""
        groups: dict[tuple[str, GenerationParams], list[int]] = {}
        for index, request in enumerate(requests):
            groups.setdefault((request.expert.digest, request.params), []).append(index)
        # the expert that is in place already goes first
        for digest, params in sorted(groups, key=lambda group: group[0] != self._placed):
            indices = groups[digest, params]
            if digest != self._placed:
                self._placed = ""  # nobody's, should this be interrupted
                self._slot.place(self._store.weights(requests[indices[0]].expert))
                self._placed = digest
            tokens = self._tokenise([requests[index].prompt for index in indices], params)
            order = sorted(range(len(indices)), key=lambda i: -len(tokens[i]))
            while order:
                taken, completions = self._next_batch(tokens, order, params)
                order = order[len(taken) :]
                yield from ((indices[i], completion) for i, completion in zip(taken, completions, strict=True))

    def _tokenise(self, prompts: list[str], params: GenerationParams) -> list[list[int]]:
        chat = params.chat and bool(self.tokenizer.chat_template)
        if chat:
            prompts = [
                self.tokenizer.apply_chat_template(
                    [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
                )
                for prompt in prompts
            ]
        # a rendered chat template brings its own <bos>
        return self.tokenizer(prompts, add_special_tokens=not chat or params.second_bos)["input_ids"]

    def _next_batch(
        self, tokens: list[list[int]], order: list[int], params: GenerationParams
    ) -> tuple[list[int], list[Completion]]:
        """The first rows of `order` that fit together, with their answers; fewer rows if memory runs out."""
        width = len(tokens[order[0]]) + params.max_new_tokens
        rows = max(self.token_budget // width, 1)
        while True:
            taken = order[:rows]
            try:
                return taken, self._generate([tokens[i] for i in taken], params)
            except torch.OutOfMemoryError:
                if len(taken) == 1:
                    raise UserError(
                        f"one prompt of {width - params.max_new_tokens} tokens does not fit into the memory of "
                        f"{self.device}: use a smaller base model, a device with more memory or shorter prompts"
                    ) from None
                rows = len(taken) // 2
                self.token_budget = rows * width
                self.halvings += 1
                level = logging.WARNING if self.halvings == 1 else logging.DEBUG
                log.log(level, "out of memory: batches now hold at most %d tokens", self.token_budget)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    @torch.inference_mode()
    def _generate(self, rows: list[list[int]], params: GenerationParams) -> list[Completion]:
        width = max(len(row) for row in rows)
        limit = getattr(self._slot.model.config, "n_positions", None)  # only learned positions end for good
        if limit and width + params.max_new_tokens > limit:
            raise UserError(
                f"a prompt of {width} tokens and {params.max_new_tokens} new ones exceed the {limit} positions of "
                f"base model {self.pool.base}: use one that reads more, or fewer --max_new_tokens"
            )
        pad = self.tokenizer.pad_token_id
        ids = torch.tensor([[pad] * (width - len(row)) + row for row in rows], device=self.device)  # (rows, width)
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=self.device)
        config = copy.copy(self._generation)
        config.max_new_tokens = params.max_new_tokens
        output = self._slot.model.generate(input_ids=ids, attention_mask=mask, generation_config=config)
        answers = output[:, width:].tolist()
        ends = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
        texts = self.tokenizer.batch_decode(answers, skip_special_tokens=True)
        return [
            Completion(text, len(row), _length(answer, ends))
            for text, row, answer in zip(texts, rows, answers, strict=True)
        ]


def _greedy(config: Any, pad_token_id: int) -> Any:
    """The model's own generation settings with sampling off (a repetition penalty, say, stays)."""
    greedy = copy.deepcopy(config)
    greedy.do_sample = False
    greedy.temperature = greedy.top_p = greedy.top_k = greedy.min_p = greedy.typical_p = None
    greedy.pad_token_id = pad_token_id
    greedy.max_length = None
    return greedy


def _length(answer: list[int], ends: list[int | None]) -> int:
    """Tokens generated for one row, its end token included, the padding behind it not."""
    return next((i + 1 for i, token in enumerate(answer) if token in ends), len(answer))


def _default_token_budget(config: Any, device: torch.device, dtype: torch.dtype) -> int:
    """On CUDA what half of the free memory holds as keys and values; on the CPU a size that keeps both cores busy."""
    if device.type != "cuda":
        return CPU_TOKENS
    text = config.get_text_config()
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    per_token = 2 * text.num_hidden_layers * heads * width * dtype.itemsize
    free, _ = torch.cuda.mem_get_info(device)
    return max(int(free * 0.5 / per_token), 1024)
