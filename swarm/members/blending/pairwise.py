"""Pairwise ranking of answers, as PairRanker does (arXiv 2306.02561, section 3)."""

from collections.abc import Sequence
from itertools import permutations

import numpy as np

from swarm.errors import UserError
from swarm.members.blending.pair_models import PairModel, Triple
from swarm.members.blending.usual import MODES

Texts = Sequence[Sequence[str | None]]


def best_first(
    model: PairModel, prompts: Sequence[str], texts: Texts, mode: str = "all", top: int | None = None
) -> list[list[int]]:
    """Per prompt the column indices in `texts` (P, M) of its `top` best answers (default: all), the best first.

    Of equals the earlier comes first; members without an answer are left out. Raises UserError as `pairwise_scores`.
    """
    most = max((len(row) for row in texts), default=0)
    wanted = most if top is None else top
    scores = pairwise_scores(model, prompts, texts, mode, max(wanted, 1))
    orders = np.argsort(-scores, axis=1, kind="stable")  # NaN comes last
    counts = (~np.isnan(scores)).sum(axis=1)
    return [order[: min(wanted, count)].tolist() for order, count in zip(orders, counts, strict=True)]


def pairwise_scores(
    model: PairModel, prompts: Sequence[str], texts: Texts, mode: str = "all", top: int = 1
) -> np.ndarray:
    """(P, M) float64 scores of answers, higher is better, NaN for missing ones; every pair is seen in both orders.

    "all" compares every pair: the score is the mean over the others of half the difference of the two orders' logits
    (the paper's MaxLogits up to a factor), at M (M - 1) comparisons per prompt. "bubble" finds the first `top` ranks
    only, by that many sweeps in which the better of two goes on to meet the next: these score top, top - 1, ..., 1 and
    the others 0, at 2 (M - 1) comparisons for the first rank. Of equals the earlier member is taken.

    Raises UserError for another mode, or a `top` under 1.
    """
    if mode not in MODES:
        raise UserError(f"no mode {mode!r} of pairwise ranking; give one of {', '.join(MODES)}")
    if top < 1:
        raise UserError(f"top is {top}; wanted the number of answers to rank, at least 1")
    comparing = _Comparing(model, prompts, texts)
    return _all_pairs(comparing) if mode == "all" else _bubbled(comparing, top)


class _Comparing:
    """Comparisons of members' answers, each made once.

    Attributes:
      present: per prompt the members that gave an answer.
      shape: (P, M).
    """

    def __init__(self, model: PairModel, prompts: Sequence[str], texts: Texts):
        self._model = model
        self._prompts = prompts
        self._texts = texts
        self._known: dict[tuple[int, int, int], float] = {}
        self.present = [[j for j, text in enumerate(row) if text is not None] for row in texts]
        self.shape = (len(prompts), len(texts[0]) if texts else 0)

    def leads(self, pairs: Sequence[tuple[int, int, int]]) -> list[float]:
        """By how much the first of two members leads: half the difference of both orders, for (prompt, first, second).

        Which of the two is named first makes no difference but the sign.
        """
        orders = [order for p, a, b in pairs for order in ((p, a, b), (p, b, a))]
        new = [order for order in dict.fromkeys(orders) if order not in self._known]
        logits = self._model.compare([self._triple(order) for order in new]) if new else np.zeros(0)
        if not np.isfinite(logits).all():
            row = new[int(np.argmin(np.isfinite(logits)))][0]
            raise UserError(f"the pairwise ranker gives no finite number for two answers in row {row}; its model is "
                            "broken, fetch it again")  # fmt: skip
        self._known.update(zip(new, logits.tolist(), strict=True))
        return [(self._known[p, a, b] - self._known[p, b, a]) / 2 for p, a, b in pairs]

    def _triple(self, order: tuple[int, int, int]) -> Triple:
        row = self._texts[order[0]]
        return self._prompts[order[0]], str(row[order[1]]), str(row[order[2]])


def _all_pairs(comparing: _Comparing) -> np.ndarray:
    pairs = [(p, a, b) for p, present in enumerate(comparing.present) for a, b in permutations(present, 2)]
    scores = np.full(comparing.shape, np.nan)
    for p, present in enumerate(comparing.present):
        scores[p, present] = 0.0
    for (p, a, _), lead in zip(pairs, comparing.leads(pairs), strict=True):
        scores[p, a] += lead / (len(comparing.present[p]) - 1)
    return scores


def _bubbled(comparing: _Comparing, top: int) -> np.ndarray:
    scores = np.full(comparing.shape, np.nan)
    left = [list(present) for present in comparing.present]
    for p, present in enumerate(left):
        scores[p, present] = 0.0
    for points in range(min(top, comparing.shape[1]), 0, -1):
        for p, best in _sweep(comparing, left).items():
            scores[p, best] = points
            left[p].remove(best)
    return scores


def _sweep(comparing: _Comparing, left: Sequence[Sequence[int]]) -> dict[int, int]:
    """Per prompt the one that is ahead at the end; all prompts take a step together, so that batches are large."""
    best = {p: members[0] for p, members in enumerate(left) if members}
    for step in range(1, max(map(len, left), default=0)):
        pairs = [(p, best[p], members[step]) for p, members in enumerate(left) if step < len(members)]
        for (p, _, challenger), lead in zip(pairs, comparing.leads(pairs), strict=True):
            if lead < 0:
                best[p] = challenger
    return best
