"""A decoder by transformers' own `generate`, for models whose KV cache we cannot batch."""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from swarm.engines.local.sampled_tokens import DrawnTokens, RowSampler
from swarm.engines.local.shared_prefixes import Tokens
from swarm.engines.local.threads import Threads

Answers = list[tuple[int, Tokens]]  # index of a row, and what was generated for it, its end token included


class PlainGenerate:
    """Static batches of prompts of similar length, each decoded until its longest answer ends.

    Attributes:
      one_by_one: whether every batch is a single row, for models that take notice of padding or of other rows.
      token_budget: the most tokens, prompts and answers with padding, that one batch may hold.
      rows: how many rows the last batch had.
      held: how many tokens it held, with padding.
    """

    def __init__(self, model: Any, generation_config: Any, token_budget: int, one_by_one: bool = False):
        self.model = model
        self.one_by_one = one_by_one
        self.token_budget = token_budget
        self.rows = self.held = 0
        self._settings = generation_config
        self._threads = Threads(model)

    def decode(
        self, rows: Sequence[Tokens], max_new_tokens: int, samplers: Sequence[RowSampler] | None = None
    ) -> Iterator[Answers]:
        """Every row's answer once, drawn by `samplers` if there are any; rows are prompts, at least one token each."""
        order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
        while order:
            width = len(rows[order[0]]) + max_new_tokens
            taken = order[: 1 if self.one_by_one else max(self.token_budget // width, 1)]
            self.rows, self.held = len(taken), len(taken) * width
            order = order[len(taken) :]
            own = None if samplers is None else [samplers[i] for i in taken]
            answers = self._generate([rows[i] for i in taken], max_new_tokens, own)
            yield list(zip(taken, answers, strict=True))

    def release(self) -> None:
        """Does nothing: no memory is held between batches."""

    @torch.inference_mode()
    def _generate(self, rows: list[Tokens], max_new_tokens: int, samplers: Sequence[RowSampler] | None) -> list[Tokens]:
        settings = copy.copy(self._settings)
        settings.max_new_tokens = max_new_tokens
        pad, width, device = settings.pad_token_id, max(map(len, rows)), self.model.device
        ids = left_padded(rows, pad, device)
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
        with self._threads.of_a_pass():
            output = self.model.generate(
                input_ids=ids,
                attention_mask=mask,
                generation_config=settings,
                logits_processor=[DrawnTokens(samplers)] if samplers else [],
            )
        ends = end_tokens(settings)
        return [_until_end(answer, ends) for answer in output[:, width:].tolist()]


def left_padded(rows: Sequence[Tokens], pad: int, device: torch.device) -> torch.Tensor:
    """Rows with left padding, (rows, tokens of the longest)."""
    width = max(map(len, rows))
    return torch.tensor([[pad] * (width - len(row)) + row for row in rows], device=device)


def end_tokens(settings: Any) -> set[int]:
    """The ids of the end tokens."""
    ends = settings.eos_token_id
    return set(ends) if isinstance(ends, list) else set() if ends is None else {ends}


def _until_end(answer: Tokens, ends: set[int]) -> Tokens:
    """The tokens up to the end token, without padding."""
    return next((answer[: i + 1] for i, token in enumerate(answer) if token in ends), answer)
