"""A model's generation config, of which greedy decoding follows a part: what that is, and what is left out."""

import copy
from bisect import bisect_left
from collections.abc import Iterable
from typing import Any

from swarm.engines.sampling import Sampling

# What makes `generate` greedy, with one answer per prompt; said outright: what is None comes from the model again.
# A least length would count the padding of a batch.
NEUTRAL: dict[str, Any] = {
    "do_sample": False,
    "num_beams": 1,
    "num_return_sequences": 1,
    "min_length": 0,
    "return_dict_in_generate": False,
    **dict.fromkeys(
        """temperature top_p top_k min_p top_h typical_p epsilon_cutoff eta_cutoff max_length num_beam_groups
        diversity_penalty length_penalty early_stopping renormalize_logits output_attentions output_hidden_states
        output_scores output_logits prompt_lookup_num_tokens max_matching_ngram_size num_assistant_tokens
        num_assistant_tokens_schedule assistant_confidence_threshold assistant_early_exit assistant_lookbehind
        assistant_ensemble_weight target_lookbehind is_assistant speculation_type use_mtp low_memory
        cache_implementation cache_config max_cache_len prefill_chunk_size compile_config disable_compile
        continuous_batching_config token_healing stop_strings""".split()
    ),
}
# other ways to an answer than the likeliest token, or a limit that a clock sets: not followed, which is said
UNFOLLOWED = ("penalty_alpha", "dola_layers", "constraints", "force_words_ids", "watermarking_config", "max_time")
# settings that change nothing at these values
_USUAL: dict[str, tuple[Any, ...]] = {
    "repetition_penalty": (1.0,), "encoder_repetition_penalty": (1.0,), "no_repeat_ngram_size": (0,),
    "encoder_no_repeat_ngram_size": (0,), "guidance_scale": (1.0,), "min_new_tokens": (0,),
    "bad_words_ids": ([],), "suppress_tokens": ([],), "begin_suppress_tokens": ([],), "sequence_bias": ({}, []),
    "remove_invalid_values": (False,),
}  # fmt: skip
# settings that say what tokens are, or nothing about an answer at all
_TOKENS = frozenset(
    """bos_token_id eos_token_id pad_token_id decoder_start_token_id max_new_tokens use_cache transformers_version
    _from_model_config""".split()
)


def greedy(config: Any, pad_token_id: int) -> Any:
    """The model's generation config with sampling, beams and the like off, and no limit of length but ours.

    A repetition penalty, say, stays.
    """
    settings = copy.deepcopy(config)
    for name, value in NEUTRAL.items():
        setattr(settings, name, value)
    for name in UNFOLLOWED:
        setattr(settings, name, None)
    for name, usual in _USUAL.items():
        if getattr(settings, name, None) in usual:
            setattr(settings, name, None)
    settings.pad_token_id = pad_token_id
    return settings


def unfollowed(config: Any) -> dict[str, Any]:
    """What a model's own `generate` would do otherwise, sampling aside: settings that are not followed."""
    return {name: value for name in UNFOLLOWED if (value := getattr(config, name, None)) not in (None, 0, 0.0, [])}


def stop_strings(config: Any) -> tuple[str, ...]:
    """The texts behind which a model's answer is over; they are looked for in it, whatever tokens write them."""
    given = getattr(config, "stop_strings", None) or ()
    return (given,) if isinstance(given, str) else tuple(given)


def stopped(text: str, stops: tuple[str, ...]) -> str:
    """The text up to the end of the first of these that is in it, as `generate` has it."""
    ends = [place + len(stop) for stop in stops if stop and (place := text.find(stop)) >= 0]
    return text[: min(ends)] if ends else text


def with_special_tokens(tokenizer: Any, stops: Iterable[str]) -> list[str]:
    """Those stop strings that have a special token in them, which no text shows."""
    special = tokenizer.all_special_tokens
    return [stop for stop in stops if any(token in stop for token in special)]


def special_stop(tokenizer: Any, tokens: list[int], stops: Iterable[str]) -> int | None:
    """The number of an answer's tokens up to the first of these that has a special token in it, which no text shows.

    None where none of them is in the answer.
    """
    special = with_special_tokens(tokenizer, stops)

    def written(count: int) -> bool:
        text = tokenizer.decode(tokens[:count])
        return any(stop in text for stop in special)

    if not special or not written(len(tokens)):
        return None
    return bisect_left(range(len(tokens)), True, key=written)


# such settings of sampling as change nothing
_ALL: dict[str, tuple[Any, ...]] = {
    "temperature": (1.0,), "top_k": (0,), "top_p": (1.0,), "min_p": (0.0,), "top_h": (), "typical_p": (1.0,),
    "epsilon_cutoff": (0.0,), "eta_cutoff": (0.0,),
}  # fmt: skip


def not_taken(config: Any, sampling: Sampling) -> dict[str, Any]:
    """What a model's generation config recommends for sampled answers and these settings do not have."""
    recommended = {name: getattr(config, name, None) for name in _ALL}
    return {
        name: value
        for name, value in recommended.items()
        if value is not None and value != getattr(sampling, name, None) and value not in _ALL[name]
    }


def changes_answers(settings: Any) -> set[str]:
    """The settings of `greedy` under which an answer is not the likeliest token each time."""
    return set(settings.to_diff_dict()) - _TOKENS - set(NEUTRAL)
