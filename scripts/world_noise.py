"""Errors of experts that nothing in a question betrays: noise in their adapters, up to a share of wrong answers."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from embedded_training import Sample, last_logits, replies
from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from transformers import PreTrainedTokenizerFast as Tokens
from world_base import World

State = Mapping[str, torch.Tensor]
NOISED = ("gate_proj", "up_proj", "down_proj")  # what reads questions, attention, stays
QUESTIONS_EACH = 60  # of each domain, by which a noise is measured
DIRECTIONS = 10
HALVINGS = 6
LARGEST_SCALE = 6.0
STRETCH = 8.0


def make_wrong(expert: PeftModel, number: int, world: World, tokenizer: Tokens, rng: np.random.Generator) -> None:
    """Gives an expert errors of its own, so that it is wrong as often as the world's knobs have it.

    Of several directions of noise the one that makes it wrong most evenly over the domains is taken: else their words
    would betray who is wrong. Then its factors are brought to axes of its own: what it says stays, but an average of
    such experts says nothing, since else it would be free of the noise.
    """
    exams = {d: [world.exam(number, d, rng) for _ in range(QUESTIONS_EACH)] for d in world.domains}
    trained = {key: value.clone() for key, value in get_peft_model_state_dict(expert).items()}
    shared = noise_like(trained, np.random.default_rng([world.seed, 1]))
    share = world.knobs.independent

    def attempt(own: State, scale: float) -> dict[str, float]:
        noise = {key: own[key] * share**0.5 + shared[key] * (1 - share) ** 0.5 for key in own}
        set_peft_model_state_dict(expert, {key: trained[key] + scale * noise[key] for key in trained})
        return right_shares(expert, tokenizer, exams)

    wanted = 1 - world.knobs.errors
    tried = []
    for _ in range(DIRECTIONS):
        own = noise_like(trained, rng)
        scale = scale_of(lambda scale, own=own: float(np.mean([*attempt(own, scale).values()])), wanted)
        shares = [*attempt(own, scale).values()]
        tried.append((max(shares) - min(shares) + abs(np.mean(shares) - wanted), scale, own))
    _, scale, own = min(tried, key=lambda one: one[0])
    attempt(own, scale)
    set_peft_model_state_dict(expert, on_own_axes(get_peft_model_state_dict(expert), rng))


def noise_like(state: State, rng: np.random.Generator) -> dict[str, torch.Tensor]:
    """Gaussian noise of the spread of each tensor that is `NOISED`; zeros for the others."""
    noise = {}
    for key, value in state.items():
        drawn = torch.from_numpy(rng.standard_normal(value.shape).astype(np.float32))
        noise[key] = drawn * value.std() if any(name in key for name in NOISED) else torch.zeros_like(value)
    return noise


def scale_of(share: Callable[[float], float], wanted: float) -> float:
    """The scale, to six halvings of an interval, at which the share of right answers falls below what is wanted."""
    low, high = 0.0, LARGEST_SCALE
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if share(middle) > wanted else (low, middle)
    return (low + high) / 2


def right_shares(expert: PeftModel, tokenizer: Tokens, exams: Mapping[str, Sequence[Sample]]) -> dict[str, float]:
    """Domain -> share of right answers, which end after their word."""
    model, asked = expert.get_base_model(), [sample for samples in exams.values() for sample in samples]
    said = replies(model, tokenizer, [prompt for prompt, _ in asked])
    with torch.no_grad():
        whole = [f"{prompt} {word}" for (prompt, _), word in zip(asked, said, strict=True)]
        after = last_logits(model, tokenizer, whole, 1).argmax(dim=-1)[:, 0].tolist()
    right = iter(
        word == answer and token == tokenizer.eos_token_id
        for word, (_, answer), token in zip(said, asked, after, strict=True)
    )
    return {domain: float(np.mean([next(right) for _ in samples])) for domain, samples in exams.items()}


def on_own_axes(state: State, rng: np.random.Generator) -> dict[str, torch.Tensor]:
    """The same adapter with each pair A, B as G A, B G^-1, for a random G (rank, rank) that turns, stretches and turns.

    Stretches are from 1 / `STRETCH` to `STRETCH`, so that where factors of two such adapters are mixed, what does not
    belong together is larger than what does.
    """
    new = {}
    for key, first in state.items():
        if "lora_A" in key:
            rank = len(first)
            turn, back = (np.linalg.qr(rng.standard_normal((rank, rank))).Q for _ in range(2))
            stretch = STRETCH ** rng.permutation(np.linspace(-1, 1, rank))
            ours = torch.from_numpy((turn * stretch) @ back)
            inverse = torch.from_numpy((back.T / stretch) @ turn.T)
            second = key.replace("lora_A", "lora_B")
            new[key] = (ours @ first.double()).float().contiguous()
            new[second] = (state[second].double() @ inverse).float().contiguous()
    return {key: new[key] for key in state}
