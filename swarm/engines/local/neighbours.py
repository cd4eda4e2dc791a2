"""Whether a model's rows take notice of each other: found out by asking it, rather than looked up by family."""

import copy
import logging
import math
from collections.abc import Sequence
from typing import Any

import torch

from swarm.engines.local.plain_generate import left_padded

log = logging.getLogger(__name__)

LENGTHS = (3, 17)  # tokens of a short row, and of the long one beside which it is padded
# of the spread of a row's logits: what rounding in another order may make of them, by the model's number format
_TOLERANCES = {torch.float32: 1e-4, torch.float64: 1e-6}
_HALF = 0.05


@torch.inference_mode()
def rows_are_apart(model: Any, generation_config: Any) -> bool:
    """Whether a short row has the same next token's logits alone and padded beside a long one, by `generate`.

    Positions that count padding, and masks that are not heeded, are found so. Where a model cannot be asked in a batch
    at all it is taken for one whose rows are not apart.
    """
    rows = probe_rows(model, LENGTHS)
    try:
        alone = _logits(model, generation_config, rows[:1])[0]
        beside = _logits(model, generation_config, rows)[0]
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        log.info("%s is asked one prompt at a time, since it takes no batch (%s)", model.config.model_type, error,
                 extra={"file_only": True})  # fmt: skip
        return False
    differ = far_apart(alone, beside, next(model.parameters()).dtype)
    if differ:
        log.info("%s is asked one prompt at a time: padding beside others changes its logits by %.2g of their spread",
                 model.config.model_type, differ, extra={"file_only": True})  # fmt: skip
    return not differ


def probe_rows(model: Any, lengths: Sequence[int]) -> list[list[int]]:
    """Rows of so many tokens that the model has."""
    size = model.get_input_embeddings().weight.shape[0]
    return [[(7 * place + 3 * length) % size for place in range(length)] for length in lengths]


def far_apart(one: torch.Tensor, other: torch.Tensor, dtype: torch.dtype) -> float:
    """By how much of their spread logits (V,) differ; 0 where rounding in that number format explains it."""
    numbers = one.isfinite()
    if not torch.equal(numbers, other.isfinite()):
        return math.inf
    if not numbers.any():  # a model that says nothing says the same
        return 0.0
    one, other = one[numbers], other[numbers]
    differ = float((one - other).abs().max() / (one.max() - one.min()).clamp_min(1e-6))
    return differ if differ > _TOLERANCES.get(dtype, _HALF) else 0.0


def _logits(model: Any, generation_config: Any, rows: list[list[int]]) -> torch.Tensor:
    """The next token's logits of every row, (rows, V)."""
    settings = copy.copy(generation_config)
    settings.max_new_tokens, settings.output_logits, settings.return_dict_in_generate = 1, True, True
    width = max(map(len, rows))
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=model.device)
    ids = left_padded(rows, settings.pad_token_id, model.device)
    output = model.generate(input_ids=ids, attention_mask=mask, generation_config=settings)
    found: torch.Tensor = output.logits[0].float()
    return found
