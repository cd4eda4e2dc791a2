"""Weights of a fusion's members: equal, as given, or by perplexity on the prompt (PackLLM, arXiv 2404.11531)."""

import math
from collections.abc import Sequence

import torch
from torch.nn.functional import cross_entropy
from transformers import DynamicCache

from swarm.engines.local.positions import FreshPositions
from swarm.engines.local.ragged_stepper import RaggedStepper
from swarm.engines.local.stepper_checks import check_length
from swarm.errors import UserError
from swarm.maths.member_weights import explicit, from_perplexity, uniform
from swarm.members.fusion.failure_policy import FAILURES, FailurePolicy
from swarm.members.fusion.fusion_models import FusionModel, Prompt, no_numbers
from swarm.members.fusion.fusion_settings import FusionSettings

AT_A_TIME = 128  # tokens whose logits over a whole vocabulary are in memory at a time


def prompt_weights(
    policy: FailurePolicy, prompts: Sequence[Sequence[Prompt]], settings: FusionSettings
) -> torch.Tensor:
    """(B, N): every model's weight for every prompt, as the settings have it; `prompts[k][b]` is b for model k.

    By perplexity, all have the same weight for a prompt that is a single token for one of them, whose loss is unknown.
    One that fails at a prompt ends all or is left out of its text, with the weight 0.
    """
    fusion_models = policy.fusion_models
    if settings.weights == "perplexity":
        losses = prompt_losses(policy, prompts)
        there = torch.tensor([[index in policy.members(row) for index in range(len(fusion_models))]
                              for row in range(len(losses))])  # fmt: skip
        known = (losses.isfinite() | ~there).all(-1, keepdim=True)
        return from_perplexity(losses.where(known, 0.0).masked_fill(~there, torch.inf), settings.temperature)
    count = len(fusion_models)
    given = uniform(count) if isinstance(settings.weights, str) else explicit(settings.weights, count)
    return given.expand(len(prompts[0]), -1)


def prompt_losses(policy: FailurePolicy, prompts: Sequence[Sequence[Prompt]]) -> torch.Tensor:
    """(B, N): every prompt's mean loss per token under every model, in nat; the models' steppers are closed.

    It is nan for a prompt of one token, and where a model fails and is left out. Raises UserError for an
    encoder-decoder, which does not predict its prompt.
    """
    for fusion_model in policy.fusion_models:
        if fusion_model.stepper.separate_prompt:
            raise UserError(
                f"member {fusion_model.name} is an encoder-decoder, which does not predict its prompt: "
                "give weights as numbers"
            )
    return torch.tensor([_losses(policy, index, own) for index, own in enumerate(prompts)]).T


def _losses(policy: FailurePolicy, index: int, prompts: Sequence[Prompt]) -> list[float]:
    """The losses of one model, with its own adapter if it has one."""
    fusion_model, found = policy.fusion_models[index], []
    adapters, positions = fusion_model.stepper.adapters, FreshPositions(fusion_model.stepper.model)
    try:
        if adapters:
            adapters.attach()
            adapters.speak([fusion_model.adapter], AT_A_TIME)
        for row, prompt in enumerate(prompts):
            found.append(math.nan)
            try:
                found[-1] = _loss(fusion_model, fusion_model.ids(prompt))
            except FAILURES as error:
                policy.leave_out(index, error, [row])
            positions.restore()
    finally:
        positions.restore()
        if adapters:
            adapters.detach()
    return found


@torch.no_grad()
def _loss(fusion_model: FusionModel, ids: list[int]) -> float:
    """The mean loss of the tokens after the first; nan for a prompt of one. UserError if too long or not finite."""
    if len(ids) < 2:
        return math.nan
    model, device = fusion_model.stepper.model, fusion_model.embeddings.device
    check_length(model, len(ids), fusion_model.stepper.limit)
    # models that are stepped row by row may keep no keys and values, or have positions that depend on the length
    in_parts = isinstance(fusion_model.stepper, RaggedStepper)
    options = {"past_key_values": DynamicCache(config=model.config)} if in_parts else {}
    at_a_time = AT_A_TIME if in_parts else len(ids)
    total = 0.0
    for start in range(0, len(ids) - 1, at_a_time):
        read = torch.tensor([ids[start : start + at_a_time]], device=device)
        wanted = torch.tensor(ids[start + 1 : start + at_a_time + 1], device=device)
        logits = model(input_ids=read, use_cache=in_parts, **options).logits[0, : len(wanted)]
        total += float(cross_entropy(logits.float(), wanted, reduction="sum"))
    if math.isnan(total):
        raise no_numbers(fusion_model)
    return total / (len(ids) - 1)
