"""Multiple choice by a fusion: the option whose first token scores best (arXiv 2404.12715)."""

from collections.abc import Sequence

import torch

from swarm.errors import UserError
from swarm.members.fusion.fused_decoding import FusedDecoding
from swarm.members.fusion.fusion_models import FusionModel, Prompt
from swarm.members.fusion.perplexity import prompt_weights


def option_tokens(fusion_model: FusionModel, prompt: Prompt, options: Sequence[str]) -> list[int]:
    """The first token of each option behind the prompt, by the model's own tokenizer.

    A blank comes before it, unless the prompt or the option brings one. Raises UserError where two options begin with
    the same token, and where one is empty.
    """
    tokens = [_first_token(fusion_model, prompt, option) for option in options]
    _check_apart(fusion_model, options, tokens)
    return tokens


def with_shared_blank(fusion_model: FusionModel, prompts: Sequence[Prompt], options: Sequence[str]) -> list[Prompt]:
    """A prompt as every model reads it, that of the main one first; with the options' blank, if need be.

    Tokenizers that write the blank of " 1" as a token of its own would have all options begin alike.
    """
    first = {_first_token(fusion_model, prompts[0], option) for option in options}
    blanks = {written_option(prompts[0].text, option)[:1] for option in options}
    if len(options) == 1 or len(first) > 1 or blanks != {" "}:
        return list(prompts)
    return [Prompt(f"{prompt.text} ", prompt.special) for prompt in prompts]


def _check_apart(fusion_model: FusionModel, options: Sequence[str], tokens: Sequence[int]) -> None:
    for index, token in enumerate(tokens):
        if token in tokens[:index]:
            pair = f"{options[tokens.index(token)]!r} and {options[index]!r}"
            raise UserError(
                f"options {pair} begin with the same token for {fusion_model.name}, and are told apart by their first "
                "token: "
                "give options that begin differently"
            )


def written_option(prompt: str, option: str) -> str:
    """The option's text as it is appended to the prompt."""
    return option if not prompt or prompt[-1].isspace() or option[:1].isspace() else f" {option}"


def _first_token(fusion_model: FusionModel, prompt: Prompt, option: str) -> int:
    before = fusion_model.ids(prompt)
    after = fusion_model.ids(Prompt(prompt.text + written_option(prompt.text, option), prompt.special))
    if after[: len(before)] == before and len(after) > len(before):
        return after[len(before)]
    # the prompt's end and the option make one token: as it is written by itself
    alone = fusion_model.ids(Prompt(option, False))
    if not alone:
        raise UserError(f"option {option!r} has no token for {fusion_model.name}; wanted options that are not empty")
    return alone[0]


def choose_options(
    decoding: FusedDecoding,
    prompts: Sequence[Sequence[Prompt]],
    options: Sequence[Sequence[str]],
    weights: torch.Tensor | None = None,
) -> list[int]:
    """The index of the best option per prompt, by the fusion's scores of the options' first tokens.

    `prompts[k][b]` is prompt b for model k, `options[b]` those of prompt b, `weights` and members that fail are as in
    `FusedDecoding.decode`, in whose count tokens are.
    """
    fusion_models, count = decoding.fusion_models, decoding.count
    rows = list(range(len(options)))
    ready = [with_shared_blank(fusion_models[0], [own[row] for own in prompts], options[row]) for row in rows]
    tokens = [option_tokens(fusion_models[0], own[0], some) for own, some in zip(ready, options, strict=True)]
    most = max(map(len, tokens))
    asked = torch.tensor([own + own[:1] * (most - len(own)) for own in tokens])  # filled up with the first
    policy = decoding.policy(len(rows))
    if weights is None:
        weights = prompt_weights(policy, prompts, decoding.settings)
    found = [0] * len(rows)
    try:
        policy.open([[own[index] for own in ready] for index in range(len(fusion_models))], 1)
        for indices, logits in policy.together(rows, policy.ensemble.logits(0, rows)):
            scores = decoding.chooser.scores(logits, weights[indices], asked[indices])
            for index, best in zip(indices, scores.argmax(-1).tolist(), strict=True):
                found[index] = best
            count.tokens += len(indices)
            count.fused += len(indices) * (sum(own is not None for own in logits) > 1)
    finally:
        policy.ensemble.close()
    return found
