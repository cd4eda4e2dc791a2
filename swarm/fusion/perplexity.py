"""How much each member counts: the same, as given, or by how well it predicts a prompt (PackLLM, arXiv 2404.11531)."""

from collections.abc import Sequence

import torch
from torch.nn.functional import cross_entropy
from transformers import DynamicCache

from swarm.errors import UserError
from swarm.fusion.settings import FusionSettings
from swarm.fusion.voices import Prompt, Voice
from swarm.maths.member_weights import explicit, from_perplexity, uniform

AT_A_TIME = 128  # tokens whose logits over a whole vocabulary are in memory at a time


def prompt_weights(
    voices: Sequence[Voice], prompts: Sequence[Sequence[Prompt]], settings: FusionSettings
) -> torch.Tensor:
    """(B, N): every voice's weight for every prompt, as the settings have it; `prompts[k][b]` is b for voice k."""
    if settings.weights == "perplexity":
        return from_perplexity(prompt_losses(voices, prompts), settings.temperature)
    count = len(voices)
    given = uniform(count) if isinstance(settings.weights, str) else explicit(settings.weights, count)
    return given.expand(len(prompts[0]), -1)


def prompt_losses(voices: Sequence[Voice], prompts: Sequence[Sequence[Prompt]]) -> torch.Tensor:
    """(B, N): every prompt's mean loss per token under every voice, in nat; the voices' steppers are open.

    Raises UserError for an encoder-decoder, which does not predict its prompt.
    """
    for voice in voices:
        if voice.stepper.separate_prompt:
            raise UserError(
                f"member {voice.name} is an encoder-decoder, which does not predict its prompt: give weights as numbers"
            )
    columns = [[_loss(voice, voice.ids(prompt)) for prompt in own] for voice, own in zip(voices, prompts, strict=True)]
    return torch.tensor(columns).T


@torch.no_grad()
def _loss(voice: Voice, ids: list[int]) -> float:
    """Of the tokens after the first; 0 for a prompt of one."""
    stepper = voice.stepper
    model = stepper.model
    if stepper.adapters:
        stepper.adapters.speak([voice.adapter])
    device = voice.embeddings.device
    cache, total = DynamicCache(config=model.config), 0.0
    for start in range(0, len(ids) - 1, AT_A_TIME):
        read = torch.tensor([ids[start : start + AT_A_TIME]], device=device)
        wanted = torch.tensor(ids[start + 1 : start + AT_A_TIME + 1], device=device)
        logits = model(input_ids=read, past_key_values=cache, use_cache=True).logits[0, : len(wanted)]
        total += float(cross_entropy(logits.float(), wanted, reduction="sum"))
    return total / max(len(ids) - 1, 1)
