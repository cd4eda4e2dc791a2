"""MixInstruct's format: prompts with the answers, scores and pairwise comparisons of several models.

One JSON object per line (llm-blender/mix-instruct, arXiv 2306.02561): `id, instruction, input, output, candidates`,
each candidate with `model, text, scores` (and `decoding_method`); rows of the test split have `cmp_results` too, a
JSON text of {"modelA,modelB": "A is better" | "B is better" | "Same good" | "Same bad"}. Either text of a prompt may be
empty; where both are there they are joined by a line end.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from swarm.data.tables import Row, jsonl_rows, show
from swarm.errors import UserError
from swarm.metrics.gpt_rank import GPT_RANK, VERDICTS, comparison_matrix, gpt_scores
from swarm.metrics.score_matrix import ScoreMatrix

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Candidate:
    """One model's answer.

    Attributes:
      scores: metric -> score, as stored; a score that is null is left out.
    """

    model: str
    text: str
    scores: Mapping[str, float]


@dataclass(frozen=True)
class PromptRow:
    """One prompt with its answers.

    Attributes:
      id: as the file has it, or "".
      prompt: what a model was asked.
      reference: the right answer.
      candidates: one per model, in the same order in every row.
      comparisons: (first model, second model) -> verdict about the pair, or None where there are none.
    """

    id: str
    prompt: str
    reference: str
    candidates: tuple[Candidate, ...]
    comparisons: Mapping[tuple[str, str], str] | None


@dataclass(frozen=True)
class MixInstruct:
    """Rows of one split.

    Attributes:
      where: the file, as messages begin with.
      split: "train", "val", "test", or "" where that is not known.
      names: the M models, in the order of the first row.
    """

    where: str
    split: str
    names: tuple[str, ...]
    rows: tuple[PromptRow, ...]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The stored scores that every answer of every row has, in alphabetic order."""
        kept = (set(candidate.scores) for row in self.rows for candidate in row.candidates)
        return tuple(sorted(set.intersection(*kept)))

    def stored(self, metric: str) -> ScoreMatrix:
        """The scores of a metric as the file has them, NaN where an answer has none.

        Raises UserError if no answer has that score.
        """
        scores = np.full((len(self), len(self.names)), np.nan)
        for i, row in enumerate(self.rows):
            for j, candidate in enumerate(row.candidates):
                scores[i, j] = candidate.scores.get(metric, np.nan)
        if np.isnan(scores).all():
            there = sorted({name for row in self.rows for candidate in row.candidates for name in candidate.scores})
            raise UserError(f"{self.where}: no stored score {show(metric)}, only {', '.join(there) or 'none'}; name "
                            "one of these, or have it computed")  # fmt: skip
        settings = {"stored": True, "source": "as the file has them"}
        return ScoreMatrix(self.prompts, self.names, self.texts, metric, scores, settings, self.references, self.split)

    @property
    def prompts(self) -> tuple[str, ...]:
        """(P,)."""
        return tuple(row.prompt for row in self.rows)

    @property
    def references(self) -> tuple[str, ...]:
        """(P,) right answers."""
        return tuple(row.reference for row in self.rows)

    @property
    def texts(self) -> tuple[tuple[str, ...], ...]:
        """(P, M)."""
        return tuple(tuple(candidate.text for candidate in row.candidates) for row in self.rows)

    def comparisons(self) -> np.ndarray:
        """(P, M, M) as `gpt_rank.comparison_matrix` has them; NaN all over a row without comparisons."""
        size = len(self.names)
        matrix = np.full((len(self), size, size), np.nan)
        for index, row in enumerate(self.rows):
            if row.comparisons is not None:
                matrix[index] = comparison_matrix(self.names, row.comparisons)
        return matrix

    def judged(self) -> ScoreMatrix:
        """The scores of the stored comparisons, see `gpt_rank.gpt_scores`; NaN over a row without.

        Raises UserError if no row has any.
        """
        scores = gpt_scores(self.comparisons())
        if np.isnan(scores).all():
            raise UserError(f"{self.where}: no row has comparisons (cmp_results); name a judge that makes them with "
                            "--judge_model, or another metric")  # fmt: skip
        settings = {"stored": True, "source": "cmp_results"}
        return ScoreMatrix(
            self.prompts, self.names, self.texts, GPT_RANK, scores, settings, self.references, self.split
        )


def read_mix_instruct(path: Path, split: str | None = None, limit: int | None = None) -> MixInstruct:
    """The rows of a JSON Lines file, the first `limit` of them.

    `split` is told by the file's name (train..., val..., test...) where it is not given.

    Raises UserError, with the line, for what is not as the format wants it.
    """
    if limit is not None and limit < 1:
        raise UserError(f"the limit of {path} is {limit}; give at least 1, or none to read all of it")
    if split is None:
        split = next((name for name in SPLITS if path.name.startswith(name)), "")
    lines = jsonl_rows(path, "name a file in MixInstruct's format, such as h-swarm data get mix-instruct brings")
    names, rows = _collected(islice(lines, limit))
    if not rows:
        raise UserError(f"{path} has no rows, wanted at least one; name another file, or bring it again")
    return MixInstruct(str(path), split, names, tuple(rows))


def _collected(records: Iterable[Row]) -> tuple[tuple[str, ...], list[PromptRow]]:
    """The models, and the rows with their candidates in that order."""
    rows: list[PromptRow] = []
    names: tuple[str, ...] = ()
    for record in records:
        row = _row(record.where, record.fields)
        own = tuple(candidate.model for candidate in row.candidates)
        names = names or own
        if own != names:
            row = _ordered(record.where, row, names)
        rows.append(row)
    return names, rows


def _ordered(place: str, row: PromptRow, names: tuple[str, ...]) -> PromptRow:
    """The row with its candidates in the first row's order."""
    own = {candidate.model: candidate for candidate in row.candidates}
    missing = [name for name in names if name not in own]
    strange = [name for name in own if name not in names]
    if missing or strange:
        what = f"no answer of {missing[0]}" if missing else f"an answer of {strange[0]}, which the first row has not"
        raise UserError(f"{place} has {what}; wanted one of each of {', '.join(names)}: complete or drop the row")
    return PromptRow(row.id, row.prompt, row.reference, tuple(own[name] for name in names), row.comparisons)


def _row(place: str, record: Any) -> PromptRow:
    if not isinstance(record, Mapping):
        raise UserError(f"{place} is {show(record)}, wanted an object; write one with instruction, output, candidates")
    parts = [_text(place, record, field) for field in ("instruction", "input")]
    prompt = "\n".join(part for part in parts if part)
    if not prompt.strip():
        raise UserError(f"{place} has an empty prompt (instruction and input); fill one in or drop the row")
    candidates = tuple(_candidate(place, one) for one in _list_of(place, record.get("candidates")))
    models = [candidate.model for candidate in candidates]
    twice = next((model for model in models if models.count(model) > 1), None)
    if twice is not None:
        raise UserError(f"{place} has more than one answer of {twice}; keep one, or give them different names")
    comparisons = _comparisons(place, record.get("cmp_results"), models)
    return PromptRow(str(record.get("id") or ""), prompt, _text(place, record, "output"), candidates, comparisons)


def _text(place: str, record: Mapping[str, Any], field: str) -> str:
    value = record.get(field)
    if value is None and field != "output":
        return ""
    if not isinstance(value, str):
        raise UserError(f"{place}: {field} is {show(value)}, wanted a text; add one or drop the row")
    return value


def _list_of(place: str, candidates: Any) -> list[Any]:
    if not isinstance(candidates, list) or not candidates:
        raise UserError(f"{place}: candidates is {show(candidates)}, wanted a list of answers; add them")
    return candidates


def _candidate(place: str, one: Any) -> Candidate:
    if not isinstance(one, Mapping) or not isinstance(one.get("model"), str) or not one["model"]:
        raise UserError(f"{place}: a candidate is {show(one)}, wanted an object with model, text and scores; mend it")
    model, text, scores = one["model"], one.get("text"), one.get("scores")
    if not isinstance(text, str):
        raise UserError(f"{place}: the answer of {model} is {show(text)}, wanted a text; complete it")
    if scores is None:
        scores = {}
    if not isinstance(scores, Mapping):
        raise UserError(f"{place}: scores of {model} is {show(scores)}, wanted metrics with numbers; mend it")
    kept = {}
    for metric, value in scores.items():
        if value is None:
            continue
        if not isinstance(value, int | float) or isinstance(value, bool) or not np.isfinite(value):
            raise UserError(f"{place}: {metric} of {model} is {show(value)}, wanted a finite number; mend or drop it")
        kept[str(metric)] = float(value)
    return Candidate(model, text, kept)


def _comparisons(place: str, written: Any, models: list[str]) -> dict[tuple[str, str], str] | None:
    """The verdicts of a row, which stand there as a JSON text, or None where there are none."""
    if isinstance(written, str) and written.strip():
        try:
            written = json.loads(written)
        except ValueError as error:
            raise UserError(f"{place}: cmp_results is not JSON ({error}); mend or drop it") from error
    if not written:
        return None
    if not isinstance(written, Mapping):
        raise UserError(f"{place}: cmp_results is {show(written)}, wanted pairs of models with verdicts; mend it")
    found = {}
    for key, verdict in written.items():
        pair = tuple(str(key).split(","))
        if len(pair) != 2 or pair[0] == pair[1] or not set(pair) <= set(models):
            raise UserError(f"{place}: cmp_results compares {show(key)}, wanted two of {', '.join(models)}; mend it")
        if verdict not in VERDICTS:
            raise UserError(f"{place}: cmp_results says {show(verdict)}, wanted one of {', '.join(VERDICTS)}; mend it")
        found[pair[0], pair[1]] = verdict
    return found
