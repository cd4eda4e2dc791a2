"""Fused decoding as the published program does it, plainly: what our own is measured against and compared with.

After the description of arXiv 2404.12715 and its program: dense relative rows, the inverse by autograd, one prompt at a
time, every assistant reading its whole text anew for every token.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import KLDivLoss
from torch.nn.functional import normalize


@dataclass(frozen=True)
class Settings:
    """Weights of the models, main first; learning rate, updates, mode (vanilla, tas, tas2, tas2+mas2), stop text."""

    weights: Sequence[float]
    learning_rate: float = 0.15
    updates: int = 5
    mode: str = "vanilla"
    stop: str | None = None


@dataclass(frozen=True)
class Model:
    """A model, its tokenizer, and its relative rows (V, d)."""

    model: Any
    tokenizer: Any
    rows: Tensor


def relative_rows(embeddings: Tensor, anchors: Tensor, kind: torch.dtype = torch.float64) -> Tensor:
    """(V, d): softmax of 100 times the length-normalised cosines of every token to every anchor."""
    unit = normalize(embeddings.to(kind), dim=1, eps=1e-8)
    return (100 * normalize(unit @ unit[anchors].T, dim=1, eps=1e-12)).softmax(1)


def target(distributions: Tensor, weights: Tensor, mode: str) -> Tensor:
    """(d,): what the models (N, d) agree on."""
    factors = torch.ones_like(distributions)
    if mode == "tas":
        factors = (-(distributions - distributions[0]).abs()).exp()
    elif mode in ("tas2", "tas2+mas2"):
        factors = (-(distributions - distributions.mean(0)).abs()).exp()
    shares = weights[:, None] * factors
    if mode == "tas2+mas2":
        shares = shares * factors.sum(1, keepdim=True)
    mixed = (shares * distributions).sum(0)
    return mixed / mixed.sum()


def fused_logits(logits: Sequence[Tensor], rows: Sequence[Tensor], settings: Settings) -> Tensor:
    """(V_0,): the main model's logits after the inverse, found by AdamW."""
    distributions = torch.stack([own.softmax(-1) @ some for own, some in zip(logits, rows, strict=True)])
    wanted = target(distributions, torch.tensor(settings.weights).to(distributions), settings.mode)
    moving = logits[0].clone().requires_grad_()
    optimiser = torch.optim.AdamW([moving], lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=10, eta_min=settings.learning_rate / 4)
    divergence = KLDivLoss(reduction="mean")
    with torch.enable_grad():
        for _ in range(settings.updates):
            optimiser.zero_grad()
            divergence((moving.softmax(-1) @ rows[0]).log(), wanted).backward()
            optimiser.step()
            schedule.step()
    return moving.detach()


@torch.no_grad()
def write(
    models: Sequence[Model], prompt: str, most: int, settings: Settings, seen: list[Tensor] | None = None
) -> list[int]:
    """The main model's tokens for a prompt; its own keys and values stay, the others read all of their text each time.

    The main model's end token ends it and is not fused. Text is handed on exactly, not piece by piece. The fused
    logits of every token are put into `seen`.
    """
    main = models[0]
    prompt_ids: list[int] = main.tokenizer(prompt)["input_ids"]
    end = main.model.generation_config.eos_token_id
    written: list[int] = []
    before = decoded(main.tokenizer, prompt_ids)
    cache = None
    while len(written) < most:
        read = [*prompt_ids, *written] if cache is None else written[-1:]
        output = main.model(torch.tensor([read]), past_key_values=cache, use_cache=True)
        cache, own = output.past_key_values, output.logits[0, -1]
        token = int(own.argmax())
        if token != end:
            text = prompt + decoded(main.tokenizer, [*prompt_ids, *written])[len(before) :]
            logits = [own] + [last_logits(model, text) for model in models[1:]]
            kind = models[0].rows.dtype
            fused = fused_logits([each.to(kind) for each in logits], [m.rows for m in models], settings)
            token = int(fused.argmax())
            if seen is not None:
                seen.append(fused)
        written.append(token)
        new = decoded(main.tokenizer, [*prompt_ids, *written])[len(before) :]
        if token == end or (settings.stop and settings.stop in new):
            break
    return written


def last_logits(model: Model, text: str) -> Tensor:
    """(V,): what a model has to say after a text, read from its beginning."""
    logits: Tensor = model.model(torch.tensor([model.tokenizer(text)["input_ids"]]), use_cache=False).logits
    return logits[0, -1]


def decoded(tokenizer: Any, ids: list[int]) -> str:
    """The text of tokens without special ones."""
    return str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))
