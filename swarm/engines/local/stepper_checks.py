"""Checks of a stepper's arguments, before a forward pass."""

from collections.abc import Container, Sequence
from typing import Any

from swarm.engines.local.lora_batch import BARE, RowAdapters
from swarm.errors import UserError


def check_rows(rows: Sequence[int], there: Container[int]) -> None:
    """Raises ValueError for a row that was dropped or never opened, or is named twice."""
    for row in rows:
        if row not in there:
            raise ValueError(f"row {row} is not open: it was dropped, or the batch has fewer rows")
    if len(set(rows)) != len(rows):
        raise ValueError(f"rows {list(rows)} name one of them twice")


def check_adapters(row_adapters: RowAdapters | None, rows: int, adapters: Sequence[int] | None) -> list[int]:
    """The adapter of every row; raises ValueError where one is named that is not there."""
    spoken = [BARE] * rows if adapters is None else list(adapters)
    count = row_adapters.count if row_adapters else 0
    if len(spoken) != rows or not all(one == BARE or 0 <= one < count for one in spoken):
        raise ValueError(f"adapters {spoken} for {rows} rows, wanted one each, from {BARE} (bare) to {count - 1}")
    return spoken


def check_length(model: Any, length: int, limit: int | None) -> None:
    """Raises UserError for a row that gets longer than the model can read; ValueError for one without a token."""
    if length < 1:
        raise ValueError("a row needs at least one token")
    if limit and length > limit:
        raise UserError(
            f"a row of {length} tokens, new ones included, exceeds the {limit} positions of the "
            f"{model.config.model_type} model {model.config._name_or_path or '(unnamed)'}: use one that reads more, "
            "shorter prompts, or fewer new tokens"
        )
