"""The choice of a decoder: our batched KV cache where that is exact, else transformers' `generate`."""

import inspect
import sys
from typing import Any

from peft import PeftModel
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from swarm.engines.local.generation_settings import changes_answers, greedy
from swarm.engines.local.greedy_decoding import Decoder
from swarm.engines.local.long_rows import LongRowsAlone
from swarm.engines.local.neighbours import rows_are_apart
from swarm.engines.local.plain_generate import PlainGenerate, end_tokens
from swarm.engines.local.positions import scaled_by_length

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
    if can_step(bare, settings):
        way = Decoder(bare, is_plain(bare), end_tokens(settings), pad_token_id, token_budget)
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


def can_step(model: Any, generation_config: Any) -> bool:
    """Whether a model's greedy decoding is its forward pass and argmax, with keys and values as its only memory.

    Others (encoder-decoders, state spaces, code that came with a model, a repetition penalty, ...) are left to
    transformers' own `generate`.
    """
    text = model.config.get_text_config()
    layers = DynamicCache(config=model.config).layers
    return (
        type(model).__module__.startswith("transformers.models.")
        and text is model.config
        and not model.config.is_encoder_decoder
        and not getattr(model.config, "alibi", False)
        and set(inspect.signature(model.forward).parameters) >= NEEDED
        and len(layers) == text.num_hidden_layers
        and all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers)
        and not changes_answers(generation_config)
    )


def is_plain(model: Any) -> bool:
    """Whether all layers attend to all columns and take a 4D mask; else transformers makes the masks.

    Sliding windows are laid over columns, so what a row has read must lie side by side there, and prompts cannot share
    a beginning that lies elsewhere. Most models' cache tells of them, GPT-Neo's only its list of kinds of attention.
    """
    layers = DynamicCache(config=model.config).layers
    kinds = getattr(model.config, "attention_layers", None) or ()
    return (
        all(type(layer) is DynamicLayer for layer in layers)
        and "local" not in kinds
        and model.config._attn_implementation in ("sdpa", "eager")
    )
