"""Answers' tokens as completions: their texts, where they end, and what a model recommends that is not followed."""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from swarm.engines.base import Completion, GenerationParams
from swarm.engines.local.generation_settings import (
    not_taken,
    special_stop,
    stop_strings,
    stopped,
    unfollowed,
    with_special_tokens,
)
from swarm.engines.local.plain_generate import Answers, end_tokens
from swarm.engines.local.shared_prefixes import Tokens
from swarm.engines.sampling import Sampling

log = logging.getLogger(__name__)


class AnswerTexts:
    """Makes completions of answers by a model's tokenizer and generation config."""

    def __init__(self, base: str, tokenizer: Any, generation_config: Any):
        """`base` is the model, as warnings say it; what its config asks for and nobody gets is warned of here."""
        self._base, self._tokenizer, self._config = base, tokenizer, generation_config
        self._ends, self._stops = end_tokens(generation_config), stop_strings(generation_config)
        self._named: set[Sampling] = set()
        self._warn(unfollowed(generation_config), "has {}, which is not followed: answers are greedy, or drawn as "
                   "--sampling says")  # fmt: skip

    def name_what_is_not_taken(self, params: GenerationParams) -> None:
        """Says once for each sampling what else the model's authors recommend for it."""
        if params.sampling is not None and params.sampling not in self._named:
            self._named.add(params.sampling)
            self._warn(not_taken(self._config, params.sampling), "recommends {} for sampled answers, which --sampling "
                       "does not have: it is not taken")  # fmt: skip

    def completions(
        self, prompts: Sequence[Tokens], answers: Answers, params: GenerationParams
    ) -> Iterator[tuple[int, Completion]]:
        """The completion of every answer, with its prompt's index."""
        ends = [special_stop(self._tokenizer, answer, params.stop_strings) for _, answer in answers]
        kept = [answer[:end] for end, (_, answer) in zip(ends, answers, strict=True)]
        texts = self._tokenizer.batch_decode(kept, skip_special_tokens=True)
        for text, end, (index, answer) in zip(texts, ends, answers, strict=True):
            yield index, self._completion(text, len(prompts[index]), answer, params, end is not None)

    def is_over(self, params: GenerationParams) -> Callable[[Tokens], bool] | None:
        """Whether an answer that is being written has come to a stop string; None where there are none."""
        stops = (*self._stops, *params.stop_strings)
        special = with_special_tokens(self._tokenizer, params.stop_strings)

        def over(answer: Tokens) -> bool:
            text = self._tokenizer.decode(answer, skip_special_tokens=True)
            if any(stop in text for stop in stops):
                return True
            return bool(special) and special_stop(self._tokenizer, answer, special) is not None

        return over if stops else None

    def _completion(
        self, text: str, read: int, answer: Tokens, params: GenerationParams, stopped_early: bool
    ) -> Completion:
        """The completion, which ends at the model's or the user's first stop string; what follows it is dropped.

        `stopped_early` says that it does so at one with a special token in it.
        """
        ended = stopped(text, (*self._stops, *params.stop_strings))
        full = len(answer) == params.max_new_tokens and answer[-1] not in self._ends
        cut = full and ended == text and not (stopped_early or ended.endswith((*self._stops, *params.stop_strings)))
        return Completion(ended, read, len(answer), cut)

    def _warn(self, left_out: dict[str, Any], what: str) -> None:
        if left_out:
            told = ", ".join(f"{name} {value}" for name, value in left_out.items())
            log.warning("base model %s: its generation_config.json %s", self._base, what.format(told))
