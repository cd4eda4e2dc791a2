"""`ScoreMatrix`: every member's score on every prompt under one metric, with the metric's settings."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from swarm.data.tables import as_text, parse_json, read_data_file, show
from swarm.errors import UserError
from swarm.metrics.metric import Metric
from swarm.storage.files import file_digest
from swarm.storage.store import KeptFolder

HEADER, ROWS = "scores.json", "scores.jsonl"
AGAIN = "score the answers again"
SCORES = KeptFolder(HEADER, "scores", AGAIN, 1, ("metric", "settings", "names", "split", "rows"))


@dataclass(frozen=True, eq=False)
class ScoreMatrix:
    """Scores (P, M) of M members' answers to P prompts under one metric.

    Attributes:
      prompts: (P,).
      names: the M members, no two alike.
      texts: (P, M), None where a member gave no answer.
      metric: its name.
      settings: what decides its scores, JSON-able: versions, signature, model and digest.
      scores: (P, M) float64, higher is better; NaN exactly where there is no answer or the metric has no score.
      references: (P,) right answers, or empty where they are not kept.
      split: which part of a data set the prompts are ("train", "val", "test"), or "" where that is not known.

    Raises UserError, which names the row, where a length differs or a member is there twice.
    """

    prompts: tuple[str, ...]
    names: tuple[str, ...]
    texts: tuple[tuple[str | None, ...], ...]
    metric: str
    scores: np.ndarray
    settings: Mapping[str, Any] = field(default_factory=dict)
    references: tuple[str, ...] = ()
    split: str = ""

    def __post_init__(self) -> None:
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice or not self.names:
            given = f"{show(twice[0])} more than once" if twice else "no members"
            raise UserError(f"scores have {given}, wanted every member once; rename or add some")
        count = len(self.prompts)
        scores = np.asarray(self.scores, dtype=np.float64)
        if scores.shape != (count, len(self.names)):
            raise UserError(f"scores have shape {scores.shape}, wanted {count} prompts by {len(self.names)} members; "
                            f"{AGAIN}")  # fmt: skip
        for what, rows in (("texts", self.texts), ("references", self.references)):
            if len(rows) != count and (what == "texts" or rows):
                raise UserError(f"{len(rows)} rows of {what} for {count} prompts, wanted one each; give all of them")
        for index, texts in enumerate(self.texts):
            check_members(f"row {index}", texts, self.names)
        if np.isinf(scores).any():
            row = int(np.argwhere(np.isinf(scores))[0, 0])
            raise UserError(f"row {row} has an infinite score under {self.metric}; wanted finite ones: {AGAIN}")
        object.__setattr__(self, "scores", scores)

    def __len__(self) -> int:
        return len(self.prompts)

    def best_single(self) -> int:
        """The member with the highest mean score over the prompts that every member has a score for.

        Of equals the first. Raises UserError if there is no such prompt.
        """
        whole = ~np.isnan(self.scores).any(axis=1)
        if not whole.any():
            raise UserError(f"no prompt has a {self.metric} score for every member; complete the answers")
        return int(self.scores[whole].mean(axis=0).argmax())


def check_members(where: str, texts: Sequence[object], names: Sequence[str]) -> None:
    """Raises UserError if a row has not one text per member."""
    if len(texts) != len(names):
        missing = f" ({', '.join(names[len(texts) :])} missing)" if len(texts) < len(names) else ""
        raise UserError(f"{where} has {len(texts)} answers, wanted {len(names)}, one per member{missing}; complete it")
    for name, text in zip(names, texts, strict=True):
        if text is not None and not isinstance(text, str):
            raise UserError(f"{where}: the answer of {name} is {show(text)}, wanted a text, or null for none; mend it")


def score_answers(
    prompts: Sequence[str],
    names: Sequence[str],
    texts: Sequence[Sequence[str | None]],
    references: Sequence[str],
    metric: Metric,
    split: str = "",
) -> ScoreMatrix:
    """The matrix of a metric's scores, by one call with all answers but the missing ones.

    Raises UserError as ScoreMatrix does, before anything is scored, or where the metric cannot be had.
    """
    if len(references) != len(prompts):
        raise UserError(f"{len(references)} references for {len(prompts)} prompts, wanted one each; give all of them")
    shape = (len(prompts), len(names))
    kept = tuple(tuple(row) for row in texts)
    empty = ScoreMatrix(tuple(prompts), tuple(names), kept, metric.name, np.full(shape, np.nan), {}, tuple(references))
    asked = [(i, j) for i, row in enumerate(kept) for j, text in enumerate(row) if text is not None]
    answers = [text for row in kept for text in row if text is not None]
    values = metric.score(answers, [references[i] for i, _ in asked])
    scores = empty.scores
    for (i, j), value in zip(asked, values, strict=True):
        if not math.isfinite(value):
            raise UserError(f"metric {metric.name} gives {value} for the answer of {names[j]} in row {i}; wanted a "
                            "finite number: its model is broken, fetch it again")  # fmt: skip
        scores[i, j] = value
    return ScoreMatrix(
        empty.prompts, empty.names, kept, metric.name, scores, metric.settings(), empty.references, split
    )


def check_same_answers(first: ScoreMatrix, second: ScoreMatrix) -> None:
    """Raises UserError if two matrices are not of the same members' answers to the same prompts."""
    if (first.names, first.prompts, first.texts) != (second.names, second.prompts, second.texts):
        raise UserError(f"the scores {first.metric} and {second.metric} are not of the same answers; score the same "
                        "answers with both")  # fmt: skip


def save_scores(folder: Path, matrix: ScoreMatrix) -> None:
    """Writes scores.json (all but the rows) and scores.jsonl (a row per prompt), both or neither.

    Raises UserError if `folder` is there and holds no scores, or cannot be written.
    """
    header = _header(matrix)
    with SCORES.writing(folder, header) as new:
        with open(new / ROWS, "w", encoding="utf8") as file:
            for index in range(len(matrix)):
                file.write(json.dumps(_row(matrix, index), ensure_ascii=True, allow_nan=False) + "\n")
        header["rows"] = file_digest(new / ROWS)


def load_scores(folder: Path) -> ScoreMatrix:
    """The matrix that `save_scores` wrote. Raises UserError, with the line, for a missing or damaged part."""
    path, rows_path = folder / HEADER, folder / ROWS
    header = SCORES.read(folder)
    if not rows_path.is_file() or file_digest(rows_path) != header["rows"]:
        raise UserError(f"{rows_path} is missing or not the one that {HEADER} was written with; {AGAIN}")
    try:
        names = tuple(str(name) for name in header["names"])
        kept = {key: header[key] for key in ("metric", "settings", "split")}
    except TypeError as error:
        raise UserError(f"{path} is damaged ({error!r}); {AGAIN}") from error
    lines = as_text(rows_path, read_data_file(rows_path)).split("\n")[:-1]
    rows = [_read_row(f"{rows_path}: line {n}", line, n, names) for n, line in enumerate(lines, start=1)]
    return ScoreMatrix(
        prompts=tuple(row["prompt"] for row in rows),
        names=names,
        texts=tuple(tuple(row["texts"]) for row in rows),
        scores=np.array([row["scores"] for row in rows], dtype=np.float64).reshape(len(rows), len(names)),
        references=tuple(row["reference"] for row in rows if "reference" in row),
        **kept,
    )


def _header(matrix: ScoreMatrix) -> dict[str, Any]:
    return {
        "metric": matrix.metric,
        "settings": dict(matrix.settings),
        "names": list(matrix.names),
        "split": matrix.split,
        "prompts": len(matrix),
    }


def _row(matrix: ScoreMatrix, index: int) -> dict[str, Any]:
    # JSON has no NaN; repr of a float64 reads back to the same bits
    scores = [None if math.isnan(value) else value for value in matrix.scores[index].tolist()]
    row: dict[str, Any] = {"prompt": matrix.prompts[index], "texts": list(matrix.texts[index]), "scores": scores}
    return row | ({"reference": matrix.references[index]} if matrix.references else {})


def _read_row(where: str, line: str, number: int, names: Sequence[str]) -> dict[str, Any]:
    row = parse_json(where.rpartition(": line")[0], line, number)
    if not isinstance(row, dict) or not {"prompt", "texts", "scores"} <= row.keys():
        raise UserError(f"{where} is {show(row)}, wanted prompt, texts and scores; {AGAIN}")
    for what in ("texts", "scores"):
        if not isinstance(row[what], list):
            raise UserError(f"{where}: {what} is {show(row[what])}, wanted a list; {AGAIN}")
        check_members(where, [None] * len(row[what]) if what == "scores" else row[what], names)
    numbers = [value for value in row["scores"] if value is not None]
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in numbers):
        raise UserError(f"{where}: scores is {show(row['scores'])}, wanted numbers or null; {AGAIN}")
    row["scores"] = [math.nan if value is None else float(value) for value in row["scores"]]
    return row
