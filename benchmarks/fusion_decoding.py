"""A whole decoding by two random models with the two real tokenizers, against the published procedure."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks import published_fusion
from benchmarks.fusion_worlds import Real
from benchmarks.measure import Row, Seconds, check_equal, interleaved, median_of, ratio_at_least, timed
from benchmarks.parts import threads_as_before
from swarm.engines.local.stepper import make_stepper
from swarm.members.fusion.build import make_rows
from swarm.members.fusion.fused_decoding import FusedDecoding
from swarm.members.fusion.fused_step import FusedStep
from swarm.members.fusion.fusion_models import FusionModel, Prompt
from swarm.members.fusion.fusion_settings import FusionSettings
from swarm.members.fusion.rows import DenseRows, LazyRows, RowSource
from swarm.members.fusion.token_choosers import RelativeChooser

PROMPTS = (
    "The capital of France is Paris, and the capital of Italy is",
    "Question: how many legs has a spider? Answer:",
    "def answer(numbers):",
    "It was a dark night, and the rain had not stopped for two days when",
)
KINSHIP = 0.9  # of common tokens' vectors in both models
PEAK = 12.0  # standard deviation of the logits: near the top they fall as the ranks' log, times some 2.5


@dataclass(frozen=True)
class Size:
    """How much of it: width of the models, prompts, tokens of an answer."""

    width: int = 64
    prompts: int = 4
    new_tokens: int = 64


def rows(real: Real, size: Size, repeats: int) -> list[Row]:
    """One prompt alone, and several in a batch. One thread: the models are tiny."""
    with threads_as_before(one=True):
        return _rows(_World(real, size), size, repeats)


class _World:
    """Two models, with all that either way needs before it can begin."""

    def __init__(self, real: Real, size: Size):
        self.tokenizers, self.anchors, self.size = real.tokenizers, real.anchors, size
        tokenizers = self.tokenizers
        self.models = kindred(tokenizers, self.anchors, size.width)
        self.settings = FusionSettings()
        self.plain = [
            published_fusion.Model(model, tokenizer, DenseRows.build(RowSource(_embeddings(model), ids)).all())
            for model, tokenizer, ids in zip(self.models, tokenizers, self.anchors, strict=True)
        ]
        self.fusion_models = [
            FusionModel(
                f"model {index}",
                tokenizer,
                make_stepper(model),
                -1,
                _embeddings(model),
                frozenset({model.generation_config.eos_token_id}),
            )
            for index, (model, tokenizer) in enumerate(zip(self.models, tokenizers, strict=True))
        ]

    def ours(self, learning_rate: float = 0.15) -> "_Ours":
        """Fused decoding that knows no row yet; the main model alone if the rate is 0."""
        tables = [
            make_rows(_embeddings(model), ids, self.settings, True, False)
            for model, ids in zip(self.models, self.anchors, strict=True)
        ]
        step = replace(self.settings.step, learning_rate=learning_rate)
        chooser = RelativeChooser(FusedStep(tables, self.anchors, step))
        return _Ours(FusedDecoding(self.fusion_models, chooser, self.settings), tables, self.size.new_tokens)

    def theirs(self, prompt: str) -> list[int]:
        """The main model's tokens by the published procedure."""
        settings = published_fusion.Settings([0.5, 0.5])
        return published_fusion.write(self.plain, prompt, self.size.new_tokens, settings)


@dataclass
class _Ours:
    decoding: FusedDecoding
    tables: list[Any]
    new_tokens: int

    def written(self, prompts: Sequence[str]) -> list[list[int]]:
        """The main model's tokens for each prompt, all in one batch."""
        told = [[Prompt(prompt, True) for prompt in prompts] for _ in self.tables]
        weights = torch.full((len(prompts), len(self.tables)), 1 / len(self.tables))
        found = {one.row: list(one.ids) for one in self.decoding.decode(told, self.new_tokens, weights)}
        return [found[row] for row in range(len(prompts))]

    def hit_rate(self) -> float:
        """Percent of the rows asked for that were there."""
        lazy = [table for table in self.tables if isinstance(table, LazyRows)]
        hits, misses = sum(table.hits for table in lazy), sum(table.misses for table in lazy)
        return 100 * hits / max(hits + misses, 1)


def _rows(world: _World, size: Size, repeats: int) -> list[Row]:
    prompts = PROMPTS[: size.prompts]
    plain: dict[int, list[int]] = {}
    turn = itertools.cycle(range(len(prompts)))

    def reference() -> None:
        number = next(turn)
        plain[number] = world.theirs(prompts[number])

    warm = world.ours()
    fresh: list[_Ours] = []
    texts: dict[str, list[list[int]]] = {}

    def ours(name: str, asked: Sequence[str], known: bool) -> Any:
        def way() -> Seconds:
            # what is made once for a fusion, however much it writes, is not decoding
            used = warm if known else world.ours()
            seconds = timed(lambda: texts.__setitem__(name, used.written(asked)))
            if not known:
                fresh[:] = [used]
            return Seconds(seconds)

        return way

    ways = {
        "reference": reference,
        "one cold": ours("one cold", prompts[:1], False),
        "one": ours("one", prompts[:1], True),
        "batch": ours("batch", prompts, True),
        "batch cold": ours("batch cold", prompts, False),
    }
    seconds = interleaved(ways, repeats)
    for name, own in texts.items():
        written = [number for number in sorted(plain) if number < len(own)]
        check_equal(
            [own[number] for number in written], [plain[number] for number in written], f"texts of a fusion, {name}"
        )
    theirs = median_of(seconds["reference"], "s")
    about = _about(world, prompts, plain)
    hits = f"no row known at first, {fresh[0].hit_rate():.0f} % of the rows asked for were there"
    in_a_batch = f"{len(prompts)} prompts in one batch; "
    beside = [
        ("one prompt, cold", "one cold", 1, f"{about}; no row known at first; reference: another prompt each time"),
        ("one prompt, warm", "one", 1, "the same with the rows known that it asked for before"),
        ("batch, cold", "batch cold", len(prompts), f"{in_a_batch}{hits}; reference: one prompt, times {len(prompts)}"),
        ("batch, warm", "batch", len(prompts), f"{in_a_batch}with the rows known that they asked for before"),
    ]
    return [
        Row(
            f"fusion: decoding, {name}",
            median_of(seconds[way], "s"),
            theirs.times(count),
            goals=(ratio_at_least(20),),
            note=note,
        )
        for name, way, count, note in beside
    ]


def _about(world: _World, prompts: Sequence[str], plain: Mapping[int, list[int]]) -> str:
    alone = world.ours(learning_rate=0).written(prompts)
    changed = sum(plain[number] != alone[number] for number in plain)
    sizes = " and ".join(f"{len(one):,}" for one in world.tokenizers)
    held = top_twenty(world.models[0], world.tokenizers[0], prompts)
    return (
        f"{world.size.new_tokens} tokens by two Llamas of two layers (D = {world.size.width}) with the vocabularies of "
        f"Llama-2 and GPT-2 (V = {sizes}, d = {world.anchors.shape[1]:,}), kindred in their common tokens; the first "
        f"20 tokens hold {100 * held:.1f} %; {len(plain)} texts, token by token those of the reference, {changed} of "
        f"them other than the main model's own; {torch.get_num_threads()} thread(s)"
    )


def kindred(tokenizers: Sequence[Any], anchors: Tensor, width: int) -> list[Any]:
    """Random models that say much the same on common tokens, so that they have something to agree on."""
    models: list[Any] = []
    for index, tokenizer in enumerate(tokenizers):
        torch.manual_seed(index)
        model = LlamaForCausalLM(_config(tokenizer, width)).eval()
        if models:
            _make_kindred(model, anchors[index], models[0], anchors[0])
        _peak(model, tokenizer)
        models.append(model)
    return models


def _config(tokenizer: Any, width: int) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.3,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )


def _make_kindred(model: Any, ids: Tensor, first: Any, first_ids: Tensor) -> None:
    model.model.layers.load_state_dict(first.model.layers.state_dict())
    tables = ("get_input_embeddings", "get_output_embeddings")
    for own, other in ((getattr(model, name)().weight.data, getattr(first, name)().weight.data) for name in tables):
        spread = other[first_ids].std() / own.std()
        own.mul_(spread)
        own[ids] = KINSHIP * other[first_ids] + (1 - KINSHIP**2) ** 0.5 * own[ids]


def _peak(model: Any, tokenizer: Any) -> None:
    """Logits as steep as language models', and none for parts of characters: texts are to be texts."""
    head = model.lm_head.weight.data
    head *= PEAK / (head.std() * model.config.hidden_size**0.5)
    pieces = [tokenizer.convert_ids_to_tokens(token) or "" for token in range(len(tokenizer))]
    parts = [i for i, piece in enumerate(pieces) if piece.startswith("<0x") or "\ufffd" in tokenizer.decode([i])]
    head[parts] = 0


@torch.no_grad()
def top_twenty(model: Any, tokenizer: Any, prompts: Sequence[str]) -> float:
    """The probability that a model's 20 likeliest next tokens have together, mean over all places of the prompts."""
    logits = torch.cat([model(torch.tensor([tokenizer(prompt)["input_ids"]])).logits[0] for prompt in prompts])
    return float(logits.float().softmax(-1).topk(20).values.sum(-1).mean())


def _embeddings(model: Any) -> Tensor:
    found: Tensor = model.get_input_embeddings().weight.detach()
    return found
