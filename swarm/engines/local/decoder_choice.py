"""The choice of a decoder: the token core where that is exact for the model, else transformers' `generate`."""

import inspect
import logging
import sys
from typing import Any

import torch
from peft import PeftModel
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from swarm.engines.local.attention_masks import MaskKinds, mask_kinds
from swarm.engines.local.decoder import Decoder
from swarm.engines.local.generation_settings import changes_answers, greedy
from swarm.engines.local.long_rows import LongRowsAlone
from swarm.engines.local.lora_batch import BARE
from swarm.engines.local.neighbours import LENGTHS, far_apart, probe_rows, rows_are_apart
from swarm.engines.local.plain_generate import PlainGenerate, end_tokens
from swarm.engines.local.positions import learned_positions, scaled_by_length
from swarm.engines.local.token_core import TokenCore

log = logging.getLogger(__name__)

READS_PADDING = ("rwkv", "xlstm")  # model types whose recurrence takes no notice of the mask
# settings that look at a whole prompt, its padding included
LOOKS_AT_PROMPT = ("encoder_repetition_penalty", "encoder_no_repeat_ngram_size")
NEEDED = frozenset(("input_ids", "position_ids", "attention_mask", "past_key_values", "use_cache", "logits_to_keep"))


def make_decoder(
    model: Any, pad_token_id: int, token_budget: int = sys.maxsize
) -> Decoder | PlainGenerate | LongRowsAlone:
    """The decoder for a model or a PeftModel."""
    settings = greedy(model.generation_config, pad_token_id)
    # PEFT's layers are in the model itself; the wrapper around it is only in the way
    bare = model.get_base_model() if isinstance(model, PeftModel) else model
    way: Decoder | PlainGenerate
    kinds = None if changes_answers(settings) else core_kinds(bare)
    if kinds:
        way = Decoder(TokenCore(bare, kinds), end_tokens(settings), token_budget)
    else:
        one_by_one = (
            model.config.model_type in READS_PADDING
            or any(getattr(settings, n, None) for n in LOOKS_AT_PROMPT)
            or not rows_are_apart(model, settings)
        )
        way = PlainGenerate(model, settings, token_budget, one_by_one)
    limit = scaled_by_length(bare)
    if limit is None:
        return way
    return LongRowsAlone(way, PlainGenerate(model, settings, token_budget, one_by_one=True), limit)


def core_kinds(model: Any) -> MaskKinds | None:
    """The masks with which the token core reads a model; None for one that it cannot read, which `generate` does.

    Keys and values must be the model's only memory (encoder-decoders, state spaces and code that came with a model are
    others), its masks such as we make, and a short row beside a long one, read in parts, must have the logits that the
    model itself has for it alone: that is tried.
    """
    text = model.config.get_text_config()
    layers = DynamicCache(config=model.config).layers
    kinds = None
    if (
        type(model).__module__.startswith("transformers.models.")
        and text is model.config
        and not model.config.is_encoder_decoder
        and not getattr(model.config, "alibi", False)
        and set(inspect.signature(model.forward).parameters) >= NEEDED
        and len(layers) == text.num_hidden_layers
        and all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers)
    ):
        kinds = mask_kinds(model)
    return kinds if kinds and _reads_as_alone(model, kinds) else None


@torch.inference_mode()
def _reads_as_alone(model: Any, kinds: MaskKinds) -> bool:
    """Whether the core's logits of a short and a long row are those of the model itself, each alone and in one pass."""
    if model.device.type == "meta":  # a model without numbers, of which only the layers are looked at
        return True
    limit = min(filter(None, (learned_positions(model), scaled_by_length(model))), default=None)
    rows = probe_rows(model, [min(length, limit or length) for length in LENGTHS])
    core = TokenCore(model, kinds)
    core.reshape(len(rows), max(map(len, rows)))
    core.enter(rows, [BARE] * len(rows))
    core.advance({1: max(len(rows[1]) // 2, 1)})
    core.advance({row: max(len(tokens) - 1, 1) for row, tokens in enumerate(rows)})
    found = core.step(torch.tensor([row[-1] for row in rows], device=core.device))
    for row, tokens in enumerate(rows):
        alone = model(input_ids=torch.tensor([tokens], device=core.device), use_cache=False).logits[0, -1]
        differ = far_apart(alone.float(), found[row].float(), core.dtype)
        if differ:
            log.info("%s is left to transformers' generate: in the token core its logits differ by %.2g of their "
                     "spread", model.config.model_type, differ, extra={"file_only": True})  # fmt: skip
            return False
    return True
