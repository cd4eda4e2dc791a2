"""Candidate tokens of a fused step: those with almost all of the probability, and those that can win."""

from dataclasses import dataclass

import torch
from torch import Tensor

FIRST_GUESS = 64  # tokens that are looked at before more
GUESS_GROWTH = 4
BLOCK = 128  # values of which only the largest is looked at first


@dataclass(frozen=True)
class Candidates:
    """Each row's candidate tokens with their logits; rows with fewer than K are padded with their first token.

    Attributes:
      ids: (B, K) token ids.
      logits: (B, K) float32, -inf where a row is filled up.
      log_total: (B,) log of the sum of exp of all of the model's logits, candidates or not.
      counts: (B,) how many of a row are no filling.
    """

    ids: Tensor
    logits: Tensor
    log_total: Tensor
    counts: Tensor

    @property
    def probabilities(self) -> Tensor:
        """Probabilities (B, K), which sum to 1 less what is dropped; 0 for padding."""
        return (self.logits - self.log_total[:, None]).exp()

    @property
    def dropped(self) -> Tensor:
        """Probability (B,) of all tokens that are no candidates."""
        return (1 - self.probabilities.sum(-1)).clamp_min(0)

    @property
    def log_rest(self) -> Tensor:
        """(B,) log of the sum of exp of the logits that are no candidates', -inf if there are none."""
        return self.log_total + self.dropped.log()

    def __getitem__(self, rows: slice) -> "Candidates":
        """Some of the rows, no wider than they need."""
        if rows.stop - rows.start == len(self.ids):
            return self
        counts = self.counts[rows]
        widest = int(counts.max())
        return Candidates(self.ids[rows, :widest], self.logits[rows, :widest], self.log_total[rows], counts)

    def none(self) -> "Candidates":
        """No tokens for any row."""
        return Candidates(self.ids[:, :0], self.logits[:, :0], self.log_total, torch.zeros_like(self.counts))


def most_probable(logits: Tensor, bound: float, least: int, most: int, within: float = 0.0) -> Candidates:
    """Each row's most probable tokens, sorted, until the rest has at most the probability `bound`.

    `logits` is (B, V) float32. There are at least `least` of them, as well as all whose logits are within `within`
    (nat) of the row's largest and all that are as probable as the last of them, and at most `most`.

    Raises ValueError if a row's probabilities are no numbers.
    """
    vocabulary = logits.shape[1]
    log_total = logits.logsumexp(-1)
    least, most = min(least, vocabulary), min(most, vocabulary)
    guess = min(max(FIRST_GUESS, least), most)
    while True:
        values, ids = largest(logits, guess)
        held = (values - log_total[:, None]).exp_().cumsum(-1)
        # one more than were looked at where these are not enough
        counts = ((held < 1 - bound).sum(-1) + 1).clamp_min(least)
        if within > 0:
            close = values >= values[:, :1] - within
            counts = torch.maximum(counts, close.sum(-1) + close[:, -1])
        # of equals all: which of them come first depends on how many are looked at, and so on other rows
        last = values.gather(1, counts.clamp_max(guess)[:, None] - 1)
        equal = (values == last) & (last > -torch.inf)
        counts = torch.maximum(counts, ((values > last) | equal).sum(-1) + equal[:, -1])
        # one transfer for both questions: is this enough, and are these numbers
        needed, numbers = torch.stack([counts.max(), log_total.isfinite().all().long()]).tolist()
        if not numbers:
            raise ValueError("a model's next-token logits are not numbers, or all of a row's are -inf")
        if needed <= guess or guess >= most:
            break
        guess = min(guess * GUESS_GROWTH, most)
    counts = counts.clamp_max(guess)
    return _filled(ids, values, counts, min(needed, guess), log_total)


def with_further(candidates: Candidates, logits: Tensor, ids: Tensor, wanted: Tensor) -> Candidates:
    """Candidates of the model with these logits (B, V) and, where `wanted` (B, A), the tokens `ids` (B, A); by id."""
    nobody = logits.shape[1]
    filling = torch.arange(candidates.ids.shape[1], device=ids.device) >= candidates.counts[:, None]
    keys = torch.cat([candidates.ids.masked_fill(filling, nobody), ids.masked_fill(~wanted, nobody)], 1).sort(-1).values
    keys[:, 1:].masked_fill_(keys[:, 1:] == keys[:, :-1], nobody)
    keys = keys.sort(-1).values
    counts = (keys < nobody).sum(-1)
    keys = keys[:, : int(counts.max())]
    values = logits.gather(1, keys.clamp_max(nobody - 1))
    return _filled(keys, values, counts, keys.shape[1], candidates.log_total)


def divided(candidates: Candidates, some: Tensor) -> tuple[Candidates, Candidates]:
    """The candidates for which `some` (B, K) is true, and the others; either may be padding only."""
    nobody = torch.iinfo(torch.long).max
    order = torch.arange(candidates.ids.shape[1], device=some.device).expand_as(some)
    filling = order >= candidates.counts[:, None]
    halves = []
    for chosen in (some & ~filling, ~some & ~filling):
        counts = chosen.sum(-1)
        columns = order.masked_fill(~chosen, nobody).sort(-1).values[:, : int(counts.max())]
        columns = columns.where(columns < nobody, 0)
        ids, values = candidates.ids.gather(1, columns), candidates.logits.gather(1, columns)
        halves.append(_filled(ids, values, counts, columns.shape[1], candidates.log_total))
    return halves[0], halves[1]


def largest(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """As `torch.topk` of (B, n), several times faster on a CPU: only blocks whose largest value counts are sorted."""
    batch, size = values.shape
    blocks = size // BLOCK
    if count * 4 > blocks:
        found = values.topk(count)
        return found.values, found.indices
    whole = blocks * BLOCK
    blocked = values[:, :whole].unflatten(1, (blocks, BLOCK))
    chosen = blocked.amax(-1).topk(count).indices  # (B, count)
    ids = (chosen[..., None] * BLOCK + torch.arange(BLOCK, device=values.device)).view(batch, -1)
    rest = torch.arange(whole, size, device=values.device).expand(batch, -1)
    ids = torch.cat([ids, rest], 1)
    found = values.gather(1, ids).topk(count)
    return found.values, ids.gather(1, found.indices)


def _filled(ids: Tensor, values: Tensor, counts: Tensor, width: int, log_total: Tensor) -> Candidates:
    ids, values = ids[:, :width], values[:, :width]
    filling = torch.arange(width, device=ids.device) >= counts[:, None]
    return Candidates(ids.where(~filling, ids[:, :1]), values.masked_fill(filling, -torch.inf), log_total, counts)
