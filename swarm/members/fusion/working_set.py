"""Arguments of the inverse step: rows of the main model's tokens that move, and one for all others."""

from dataclasses import dataclass

import torch
from torch import Tensor

from swarm.members.fusion.candidates import Candidates
from swarm.members.fusion.rows import RelativeRows

# rows of as many prompts as are worked on at a time: on a CPU they are to stay in its cache
WORKING_BYTES = {"cpu": 1 << 24}
WORKING_BYTES_OF_A_GPU = 1 << 31
KEPT_BYTES = 1 << 26  # memory for rows that is kept for the next step: fresh memory costs more than what is put there


@dataclass(frozen=True)
class WorkingSet:
    """Arguments of the inverse step for b prompts; the last of the K tokens stands for the tail, if there is one.

    Attributes:
      logits: (b, K) float32, -inf for filling.
      rows: (b, K, d) float32.
      log_total, log_rest: (b,) log of the sum of exp of all logits, and of those that are no candidates.
      frozen: (b, K) true for the tail; None if there is none.
    """

    logits: Tensor
    rows: Tensor
    log_total: Tensor
    log_rest: Tensor
    frozen: Tensor | None = None

    @property
    def probabilities(self) -> Tensor:
        """(b, K), 0 for filling."""
        return (self.logits - self.log_total[:, None]).exp()


class WorkingSets:
    """Builds working sets, one after the other in the same memory."""

    def __init__(self, rows: RelativeRows):
        """`rows` are the main model's."""
        self._rows = rows
        self._buffer = torch.empty(0)

    def parts(self, moving: Candidates) -> list[slice]:
        """Prompts that are worked on together."""
        batch, widest = moving.ids.shape
        room = WORKING_BYTES.get(moving.ids.device.type, WORKING_BYTES_OF_A_GPU)
        most = max(room // (4 * widest * self._rows.width), 1)
        return [slice(start, min(start + most, batch)) for start in range(0, batch, most)]

    def of(self, moving: Candidates, tail: Candidates, log_rest: Tensor) -> WorkingSet:
        """The working set of the tokens that move and of the tail, which the next call writes over.

        The tail's row is the mean of its tokens' rows by probability: r is what it would be with each of them.
        """
        if not tail.ids.shape[1]:
            return WorkingSet(moving.logits, self._taken(moving.ids), moving.log_total, log_rest)
        rows = self._taken(torch.cat([moving.ids, moving.ids[:, :1]], 1))
        shares = tail.probabilities
        mass = shares.sum(-1, keepdim=True)
        shares = shares / mass.clamp_min(torch.finfo(mass.dtype).tiny)
        rows[:, -1] = self._rows.project(tail.ids, shares)
        logits = torch.cat([moving.logits, moving.log_total[:, None] + mass.log()], 1)
        frozen = torch.zeros_like(logits, dtype=torch.bool)
        frozen[:, -1] = True
        return WorkingSet(logits, rows, moving.log_total, log_rest, frozen)

    def _taken(self, ids: Tensor) -> Tensor:
        """Rows (b, K, d) of ids (b, K)."""
        width = self._rows.width
        size = ids.numel() * width
        buffer = self._buffer
        if buffer.numel() < size or buffer.device != ids.device:
            buffer = torch.empty(size, device=ids.device)
            if 4 * size <= KEPT_BYTES:
                self._buffer = buffer
        rows = self._rows.take(ids.flatten(), buffer[:size].view(-1, width))
        return rows.view(*ids.shape, width)
