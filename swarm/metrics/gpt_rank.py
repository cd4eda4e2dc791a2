"""GPT-Rank: members ranked per prompt by a judge's pairwise verdicts (arXiv 2306.02561, section 4 and its program)."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Protocol, TypeVar

import numpy as np

from swarm.errors import UserError
from swarm.metrics.score_matrix import ScoreMatrix
from swarm.text.thoughts import without_thoughts

GPT_RANK = "gpt_rank"  # the name of its scores

# (what the first member gets against the second, what the second gets against the first)
VERDICTS = {
    "A is better": (1.0, -1.0),
    "B is better": (-1.0, 1.0),
    "Same good": (0.5, 0.5),
    "Same bad": (-0.5, -0.5),
}
_STRICTER = 'Reply with one of "A is better", "B is better", "Same good" and "Same bad", and nothing else.'
_VERDICT = re.compile(r"(?<!\w)(?:(?P<better>[AB])\s+is\s+better|same\s+(?P<same>good|bad))(?!\w)", re.IGNORECASE)

T = TypeVar("T")


class PairJudge(Protocol):
    """What is used here of a judge (`swarm.evals.judges.judge.Judge`)."""

    def facts(self) -> Mapping[str, str]: ...

    def ask(self, questions: Sequence[str], read: Callable[[str], T | None], stricter: str) -> list[T | None]: ...


@dataclass(frozen=True)
class TieRule:
    """The credit of each verdict in the columns "≥ Vicuna" and "≥ Open Assistant".

    Attributes:
      same_good, same_bad: what an equal verdict counts.
      itself: what a choice of that very member counts.
    """

    same_good: float = 1.0
    same_bad: float = 0.0
    itself: float = 1.0


# The paper defines "better than or same good as". Its printed table of choosers took a choice of that very member for a
# loss; LLM-Blender's issue 6 corrects it.
TIES = {"defined": TieRule(), "printed": TieRule(itself=0.0), "corrected": TieRule(same_good=0.5, itself=0.5)}


def comparison_matrix(names: Sequence[str], verdicts: Mapping[tuple[str, str], str]) -> np.ndarray:
    """(M, M) float64: at [a, b] what a gets against b; NaN where a pair was not compared, 0 on the diagonal.

    A pair that is there in both orders gets the mean. Raises KeyError for an unknown name or verdict.
    """
    index_of = {name: index for index, name in enumerate(names)}
    total, count = np.zeros((2, len(names), len(names)))
    for (first, second), verdict in verdicts.items():
        a, b = index_of[first], index_of[second]
        for row, column, value in ((a, b, VERDICTS[verdict][0]), (b, a, VERDICTS[verdict][1])):
            total[row, column] += value
            count[row, column] += 1
    np.fill_diagonal(count, 1)
    with np.errstate(invalid="ignore"):
        return total / count


def gpt_scores(comparisons: np.ndarray) -> np.ndarray:
    """Σ_b (C − Cᵀ)[a, b] per member: (..., M, M) -> (..., M); pairs that were not compared count nothing.

    Equal verdicts cancel. NaN for a member that was compared with none.
    """
    differences = comparisons - np.swapaxes(comparisons, -1, -2)
    return np.where(_asked(comparisons), np.nansum(differences, axis=-1), np.nan)


def compared(comparisons: np.ndarray) -> np.ndarray:
    """(...,) whether any two members of a row were compared."""
    return np.asarray(_asked(comparisons).any(axis=-1))


def _asked(comparisons: np.ndarray) -> np.ndarray:
    """(..., M) whether a member was compared with another."""
    apart = ~np.eye(comparisons.shape[-1], dtype=bool)
    return np.asarray((~np.isnan(comparisons) & apart).any(axis=-1))


def ranks(scores: np.ndarray) -> np.ndarray:
    """Ranks from 1, highest score first: (..., M) -> (..., M) float64. Ties share the better rank; NaN has none."""
    higher = (scores[..., None, :] > scores[..., :, None]).sum(-1)
    return np.where(np.isnan(scores), np.nan, higher + 1.0)


def gpt_rank(comparisons: np.ndarray) -> np.ndarray:
    """Mean rank of every member over the rows with comparisons, (P, M, M) -> (M,); the lower the better.

    A row counts for the members that were compared there. Raises UserError if no row has any comparison.
    """
    found_ranks = ranks(gpt_scores(_whole(comparisons)))
    with np.errstate(invalid="ignore"):
        return np.nansum(found_ranks, axis=0) / (~np.isnan(found_ranks)).sum(axis=0)


@dataclass(frozen=True)
class GptColumns:
    """A chooser's columns of the paper's table 2, over the rows with comparisons.

    Attributes:
      gpt_rank: mean rank of the chosen member, from 1; the lower the better.
      at_least: name -> share of rows whose chosen member is no worse than that one.
      top3: share of rows whose chosen member is among the first three.
      size: number of rows.
    """

    gpt_rank: float
    at_least: Mapping[str, float]
    top3: float
    size: int


def gpt_columns(
    comparisons: np.ndarray,
    chosen: np.ndarray,
    names: Sequence[str],
    against: Sequence[str] = (),
    rule: TieRule = TIES["defined"],
) -> GptColumns:
    """The table's columns for the choice of member `chosen[p]` for prompt p; (P, M, M) and (P,) ints.

    Members of `against` that are not in `names` are left out. A chosen member that was compared with none has the last
    rank. Raises UserError if no row has a comparison.
    """
    asked = compared(comparisons)
    kept, picked = _whole(comparisons), np.asarray(chosen)[asked]
    rows = np.arange(len(kept))
    found_ranks = np.nan_to_num(ranks(gpt_scores(kept))[rows, picked], nan=float(len(names)))
    at_least = {}
    for name in against:
        if name in names:
            other = list(names).index(name)
            at_least[name] = float(_no_worse(kept[rows, picked, other], kept[rows, other, picked], rule,
                                             picked == other).mean())  # fmt: skip
    return GptColumns(float(found_ranks.mean()), at_least, float((found_ranks <= 3).mean()), len(kept))


def _no_worse(own: np.ndarray, other: np.ndarray, rule: TieRule, itself: np.ndarray) -> np.ndarray:
    """The credit per verdict; one that flips with the order of asking is a tie, good unless both were bad."""
    tie = np.where(own + other >= 0, rule.same_good, rule.same_bad)
    share = np.where(own > other, 1.0, np.where(own < other, 0.0, tie))
    return np.where(itself, rule.itself, np.where(np.isnan(own), 0.0, share))


def _whole(comparisons: np.ndarray) -> np.ndarray:
    kept: np.ndarray = comparisons[compared(comparisons)]
    if not len(kept):
        raise UserError("no prompt has comparisons of its answers; give rows with cmp_results, or ask a judge")
    return kept


def pairwise_prompt(prompt: str, first: str, second: str) -> str:
    """The judge's prompt about two answers to one prompt."""
    return (
        "Two answers to the same request follow. Say which is better. Begin with exactly one of these four: "
        '"A is better", "B is better", "Same good" (both are equally good), "Same bad" (both are equally bad).\n'
        f"Request:\n{prompt}\n\nAnswer A:\n{first}\n\nAnswer B:\n{second}"
    )


def read_verdict(text: str) -> str | None:
    """The first of the four verdicts that a reply gives, or None where it gives none.

    What a model thinks aloud is passed over.
    """
    found = _VERDICT.search(without_thoughts(text))
    if found is None:
        return None
    return f"{found['better'].upper()} is better" if found["better"] else f"Same {found['same'].lower()}"


def pairwise(judge: PairJudge, prompt: str, first: str, second: str) -> tuple[float, float]:
    """The verdict on two answers against each other, the judge asked in both orders.

    Its preference for a position cancels: a verdict that goes with the position and not with the answer gives (0, 0).
    Raises UserError or BudgetReached as the judge does.
    """
    verdict = judged_comparisons(judge, [prompt], [(first, second)])[0]
    return float(verdict[0, 1]), float(verdict[1, 0])


def judged_comparisons(judge: PairJudge, prompts: Sequence[str], texts: Sequence[Sequence[str | None]]) -> np.ndarray:
    """(P, M, M) as `comparison_matrix`, all pairs of a prompt's answers asked in both orders, all of them together.

    Equal answers are as good as each other and are not asked about; a missing answer is compared with none, nor is a
    pair that the judge refuses to compare. Raises UserError or BudgetReached as the judge does.
    """
    size = len(texts[0]) if texts else 0
    matrix = np.full((len(prompts), size, size), np.nan)
    matrix[:, np.arange(size), np.arange(size)] = 0.0
    asked: list[tuple[int, int, int]] = []
    questions: list[str] = []
    for row, (prompt, answers) in enumerate(zip(prompts, texts, strict=True)):
        for a, b in combinations(range(size), 2):
            first, second = answers[a], answers[b]
            if first is None or second is None:
                continue
            if first == second:
                matrix[row, a, b] = matrix[row, b, a] = VERDICTS["Same good"][0]
                continue
            asked.append((row, a, b))
            questions += [pairwise_prompt(prompt, first, second), pairwise_prompt(prompt, second, first)]
    verdicts = judge.ask(questions, read_verdict, _STRICTER)
    for index, (row, a, b) in enumerate(asked):
        first, second = verdicts[2 * index : 2 * index + 2]
        if first is None or second is None:
            continue  # the judge refused, and the user wants such questions left out
        straight, turned = VERDICTS[first], VERDICTS[second]
        matrix[row, a, b] = (straight[0] + turned[1]) / 2
        matrix[row, b, a] = (straight[1] + turned[0]) / 2
    return matrix


def judge_answers(
    judge: PairJudge,
    prompts: Sequence[str],
    names: Sequence[str],
    texts: Sequence[Sequence[str | None]],
    split: str = "",
) -> ScoreMatrix:
    """The matrix of `gpt_scores` by a judge's comparisons, see `judged_comparisons`; it needs no reference.

    Raises UserError as ScoreMatrix does, before anything is asked, or as the judge does; or BudgetReached.
    """
    kept = tuple(tuple(row) for row in texts)
    empty = ScoreMatrix(tuple(prompts), tuple(names), kept, GPT_RANK, np.full((len(prompts), len(names)), np.nan))
    scores = gpt_scores(judged_comparisons(judge, prompts, kept))
    question = pairwise_prompt("{prompt}", "{first}", "{second}")
    settings = {"judge": dict(judge.facts()), "orders": "both", "question": question, "stricter": _STRICTER}
    return ScoreMatrix(empty.prompts, empty.names, kept, GPT_RANK, scores, settings, split=split)
