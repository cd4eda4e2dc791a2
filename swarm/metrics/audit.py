"""The label audit: the most that a router can gain, computed before one is trained.

A router learns from a metric's winners. How often members win, how narrowly, and what a router that always picked the
winner would be worth under every other metric, is all in the scores: labels that judge otherwise than what the router
is judged by set a ceiling that no classifier gets over.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from swarm.errors import UserError
from swarm.maths.interval import Z95
from swarm.metrics.gpt_rank import GPT_RANK, gpt_scores, ranks
from swarm.metrics.score_matrix import ScoreMatrix, check_same_answers

NEAR = 0.1


@dataclass(frozen=True)
class _View:
    """One metric's scores of the answers.

    Attributes:
      scores: (P, M), higher is better.
      sign: -1 where the shown value is lower for better (ranks), else 1.
    """

    name: str
    scores: np.ndarray
    sign: int = 1


def label_audit(
    matrices: Sequence[ScoreMatrix], comparisons: np.ndarray | None = None, near: float = NEAR
) -> dict[str, Any]:
    """The audit of scores of the same answers under several metrics, as a record that JSON can hold.

    Only prompts with a score for every member under every metric count (`complete`); GPT-Rank is taken over those of
    them whose members were all compared (`compared`).

    Args:
      comparisons: (P, M, M) as gpt_rank.comparison_matrix has them, or None.
      near: winners that lead by less than so many standard deviations of the scores around their prompt's mean are
        called near ties.

    Where several members are best, a choice is worth their mean: equal answers are no coin flip.

    Raises UserError if the metrics are none, of equal names or not of the same answers, or if no prompt is
    complete.
    """
    names, views = _views(matrices, comparisons)
    metrics = views[: len(matrices)]
    complete = ~np.isnan(np.concatenate([view.scores for view in metrics], axis=1)).any(axis=1)
    if not complete.any():
        raise UserError("no prompt has a score for every member under every metric; complete the answers")
    kept = [_View(view.name, view.scores[complete], view.sign) for view in views]
    compared = int((~np.isnan(kept[-1].scores).any(axis=1)).sum()) if comparisons is not None else 0
    if not compared:
        kept = kept[: len(matrices)]
    return {
        "names": list(names),
        "split": matrices[0].split,
        "prompts": len(complete),
        "complete": int(complete.sum()),
        "compared": compared,
        "near": near,
        "settings": {matrix.metric: dict(matrix.settings) for matrix in matrices},
        "metrics": {view.name: _winners(view, names, near) for view in kept},
        "choices": _choices(kept, names),
        "agreement": [_agreement(first, second) for first, second in combinations(kept, 2)],
    }


def winning_shares(scores: np.ndarray) -> np.ndarray:
    """(P, M): 1 for the best member of a row, 1/k for each of k that are best; rows with NaN are NaN."""
    best = scores == scores.max(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        return np.where(np.isnan(scores).any(axis=1, keepdims=True), np.nan, best / best.sum(axis=1, keepdims=True))


def kendall_tau(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(P,) Kendall's tau-b between two rankings of the M members of each row; NaN where one ranks nothing."""
    pairs = np.array(list(combinations(range(first.shape[1]), 2))).reshape(-1, 2)
    one, two = (np.sign(scores[:, pairs[:, 0]] - scores[:, pairs[:, 1]]) for scores in (first, second))
    scale = np.sqrt((one != 0).sum(axis=1) * (two != 0).sum(axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((one * two).sum(axis=1) / scale)


def _views(matrices: Sequence[ScoreMatrix], comparisons: np.ndarray | None) -> tuple[tuple[str, ...], list[_View]]:
    """The metrics in their order, then GPT-Rank where there is one."""
    if not matrices:
        raise UserError("an audit needs the scores of at least one metric; give some")
    first = matrices[0]
    labels = [*(matrix.metric for matrix in matrices), *([] if comparisons is None else [GPT_RANK])]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise UserError(f"two metrics of an audit are called {twice}; give each its own name")
    for matrix in matrices[1:]:
        check_same_answers(first, matrix)
    views = [_View(matrix.metric, matrix.scores) for matrix in matrices]
    if comparisons is not None:
        size = len(first.names)
        if comparisons.shape != (len(first), size, size):
            raise UserError(f"comparisons have shape {comparisons.shape}, wanted {(len(first), size, size)}; take "
                            "those of the same rows")  # fmt: skip
        views.append(_View(GPT_RANK, -ranks(gpt_scores(comparisons)), -1))
    return first.names, views


def _winners(view: _View, names: Sequence[str], near: float) -> dict[str, Any]:
    """The share of prompts that each member wins, with the margins."""
    scores = view.scores[~np.isnan(view.scores).any(axis=1)]
    shares = winning_shares(scores)
    ordered = np.sort(scores, axis=1)
    lead = ordered[:, -1] - ordered[:, -2] if scores.shape[1] > 1 else np.full(len(scores), np.inf)
    spread = float((scores - scores.mean(axis=1, keepdims=True)).std())
    tied = lead == 0
    return {
        "size": len(scores),
        "mean": _by_name(names, view.sign * scores.mean(axis=0)),
        "best_single": names[int(scores.mean(axis=0).argmax())],
        "wins": _by_name(names, shares.mean(axis=0)),
        "sole_wins": _by_name(names, (shares == 1).mean(axis=0)),
        "ties": float(tied.mean()),
        "near_ties": float((~tied & (lead < near * spread)).mean()),
        "all_equal": float((ordered[:, 0] == ordered[:, -1]).mean()),
        "spread": spread,
    }


def _choices(views: Sequence[_View], names: Sequence[str]) -> dict[str, dict[str, dict[str, float]]]:
    """The mean score of each policy under each metric: a member always, a random one, each metric's winner."""
    size = len(views[0].scores)
    ways = {f"always {name}": np.tile(np.eye(len(names))[j], (size, 1)) for j, name in enumerate(names)}
    ways["random"] = np.full((size, len(names)), 1 / len(names))
    ways |= {f"oracle {view.name}": winning_shares(view.scores) for view in views}
    return {way: {view.name: _worth(shares, view) for view in views} for way, shares in ways.items()}


def _worth(shares: np.ndarray, view: _View) -> dict[str, float]:
    """The mean score of a policy with the half width of its 95 % interval, over the rows that have both."""
    values = view.sign * (shares * view.scores).sum(axis=1)
    values = values[~np.isnan(values)]
    half = Z95 * float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return {"mean": float(values.mean()), "half_width": half, "size": len(values)}


def _agreement(first: _View, second: _View) -> dict[str, Any]:
    """Agreement of two metrics' rankings of members per prompt; None where no prompt has one."""
    known = ~(np.isnan(first.scores) | np.isnan(second.scores)).any(axis=1)
    one, two = first.scores[known], second.scores[known]
    taus = kendall_tau(one, two)
    taus = taus[~np.isnan(taus)]
    winners = [winning_shares(scores) == 1 for scores in (one, two)]
    sole = winners[0].any(axis=1) & winners[1].any(axis=1)
    same = (winners[0] & winners[1]).any(axis=1)[sole]
    return {
        "first": first.name,
        "second": second.name,
        "kendall_tau": float(taus.mean()) if len(taus) else None,
        "tau_size": len(taus),
        "equal_winners": float(same.mean()) if len(same) else None,
        "winners_size": int(sole.sum()),
    }


def _by_name(names: Sequence[str], values: np.ndarray) -> dict[str, float]:
    return dict(zip(names, map(float, values), strict=True))


def audit_text(record: dict[str, Any]) -> str:
    """The audit as Markdown tables, from the record."""
    metrics, names = record["metrics"], record["names"]
    split = f" of {record['split']}" if record["split"] else ""
    lines = [f"{record['complete']} of {record['prompts']} prompts{split} have every score"
             + (f", {record['compared']} of them with comparisons of all answers." if record["compared"] else "."),
             "", "Share of prompts that a member wins (ties shared):", ""]  # fmt: skip
    lines += _table(["member", *metrics], [[name, *(f"{100 * metrics[m]['wins'][name]:.1f} %" for m in metrics)]
                                           for name in names]
                    + [[said, *(f"{100 * metrics[m][key]:.1f} %" for m in metrics)]
                       for said, key in (("ties", "ties"), ("near ties", "near_ties"), ("all equal", "all_equal"))]
                    + [["best single", *(metrics[m]["best_single"] for m in metrics)]])  # fmt: skip
    lines += ["", "What a choice is worth (mean ± half of the 95 % interval; gpt_rank: lower is better):", ""]
    lines += _table(["choice", *metrics], [[way, *(_cell(cells[m]) for m in metrics)]
                                           for way, cells in record["choices"].items()])  # fmt: skip
    if record["agreement"]:
        lines += ["", "How metrics agree:", ""]
        lines += _table(
            ["metrics", "Kendall tau", "equal winners"],
            [[f"{pair['first']}, {pair['second']}", _figure(pair["kendall_tau"], pair["tau_size"], 1, ""),
              _figure(pair["equal_winners"], pair["winners_size"], 100, " %")] for pair in record["agreement"]],
        )  # fmt: skip
    return "\n".join(lines) + "\n"


def _cell(worth: dict[str, float]) -> str:
    return f"{worth['mean']:.3f} ± {worth['half_width']:.3f}"


def _figure(value: float | None, size: int, factor: float, unit: str) -> str:
    return "–" if value is None else f"{factor * value:.{2 if factor == 1 else 1}f}{unit} (n={size})"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (header, *rows)]
    rule = " | ".join("-" * width for width in widths)
    return [f"| {line} |" for line in (lines[0], rule, *lines[1:])]
