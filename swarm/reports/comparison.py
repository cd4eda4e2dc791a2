"""Runs compared: paired differences on the same questions, and the settings in which they differ."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from swarm.errors import UserError
from swarm.evolution.answer_records import FOUND
from swarm.evolution.config import settings
from swarm.evolution.setting import RUN, UNUSED
from swarm.maths.interval import Estimate, Paired, estimate, over_runs, paired, verdict
from swarm.reports.by_column import aligned
from swarm.reports.finished_run import FinishedRun, read_as_written
from swarm.reports.kept_answers import KeptAnswer, answers_path, read_answers

Key = tuple[str, str, str, int]  # question, gold, choices, and which of several equal ones


@dataclass(frozen=True)
class Comparison:
    """Several runs on the same questions.

    Attributes:
      runs: in the order in which they were given.
      questions: on how many they are compared.
      scores: of each run on them.
      differences: of the first run and each other one, second less first, paired.
      settings: name -> each run's value, where these differ.
      trials: names of runs that differ in their seed only, more than one -> their mean over runs.
    """

    runs: tuple[FinishedRun, ...]
    questions: int
    scores: tuple[Estimate, ...]
    differences: tuple[Paired, ...]
    settings: Mapping[str, tuple[Any, ...]]
    trials: Mapping[tuple[str, ...], Estimate]

    def record(self) -> dict[str, Any]:
        """The comparison as JSON has it."""
        return {
            "runs": [str(run.folder) for run in self.runs],
            "questions": self.questions,
            "scores": [asdict(score) for score in self.scores],
            "differences_from_the_first": [asdict(each) for each in self.differences],
            "settings": self.settings,
            "trials": [{"runs": names} | asdict(mean) for names, mean in self.trials.items()],
        }


def compared(runs: Sequence[FinishedRun], split: str, common: bool = False) -> Comparison:
    """The comparison on a split's questions; `common`, on those that all runs have.

    Raises UserError if a run has kept no answers, if they were scored differently, or are on other questions.
    """
    first = runs[0]
    for run in runs[1:]:
        for what, ours, theirs in (
            ("eval", first.eval, run.eval),
            ("code of the eval", first.origin("eval_code"), run.origin("eval_code")),
            ("judge", first.args.get("judge_model"), run.args.get("judge_model")),
            ("score", first.scorer, run.scorer),
            ("range of scores", first.range, run.range),
        ):
            if ours != theirs:
                raise UserError(
                    f"{first.folder} has the {what} {ours} and {run.folder} {theirs}, which cannot be compared; score "
                    "one of them by the other's with h-swarm evaluate"
                )
    keyed = [_by_key(read_answers(run.folder, split)) for run in runs]
    keys = [key for key in keyed[0] if all(key in own for own in keyed)]
    if not common or not keys:
        _check_same(runs, keyed, split, len(keys))
    scores, estimates, bounds = [], [], first.range
    for run, own in zip(runs, keyed, strict=True):
        with read_as_written(answers_path(run.folder)):
            scores.append([own[key].score(FOUND, run.scorer) for key in keys])
            estimates.append(estimate(scores[-1], *bounds))
    return Comparison(
        tuple(runs),
        len(keys),
        tuple(estimates),
        tuple(paired(own, scores[0], *bounds) for own in scores[1:]),
        differing(runs),
        _trials(runs, scores),
    )


def _by_key(answers: Sequence[KeptAnswer]) -> dict[Key, KeptAnswer]:
    """The answers by what was asked, wherever it stands in the data."""
    seen: Counter[tuple[str, str, str]] = Counter()
    found: dict[Key, KeptAnswer] = {}
    for each in answers:
        about = (each.question, each.gold, str(sorted(each.choices.items())))
        found[(*about, seen[about])] = each
        seen[about] += 1
    return found


def _check_same(runs: Sequence[FinishedRun], keyed: Sequence[Mapping[Key, Any]], split: str, common: int) -> None:
    for run, own in zip(runs[1:], keyed[1:], strict=True):
        if set(own) != set(keyed[0]):
            cure = "compare on these with --common" if common else "there is nothing to compare"
            raise UserError(
                f"{runs[0].folder} and {run.folder} have answered other questions of {split} ({len(keyed[0])} and "
                f"{len(own)}, {common} in common to all): {cure}"
            )


def differing(runs: Sequence[FinishedRun]) -> dict[str, tuple[Any, ...]]:
    """The settings in which runs differ, but for their names and where their numbers went."""
    names = [name for name, setting in settings().items() if setting.group not in (RUN, UNUSED)]
    values = {name: tuple(run.args.get(name) for run in runs) for name in names}
    return {name: own for name, own in values.items() if any(value != own[0] for value in own)}


def _trials(runs: Sequence[FinishedRun], scores: Sequence[Sequence[float]]) -> dict[tuple[str, ...], Estimate]:
    """The runs that differ in their seed only, as far as settings decide results, and have all of the same content."""
    deciding = [
        name for name, setting in settings().items() if setting.changes_results and name not in ("seed", "name")
    ]
    groups: dict[str, list[int]] = {}
    for index, run in enumerate(runs):
        content = [run.origin(name) for name in ("experts", "composites", "dataset", "base")]
        same = groups.setdefault(str([content, *(run.args.get(name) for name in deciding)]), [])
        if run.args.get("seed") not in (runs[other].args.get("seed") for other in same):  # a copy shows nothing
            same.append(index)
    return {
        tuple(runs[index].name for index in group): over_runs([sum(scores[i]) / len(scores[i]) for i in group])
        for group in groups.values()
        if len(group) > 1
    }


def comparison_lines(found: Comparison, split: str) -> list[str]:
    """The comparison as text."""
    rows: list[tuple[str, ...]] = [("run", split, f"difference from {found.runs[0].name}", "")]
    for index, (run, score) in enumerate(zip(found.runs, found.scores, strict=True)):
        apart = found.differences[index - 1] if index else None
        told = {1: "higher", -1: "lower", 0: "no difference shown"}[verdict(apart)] if apart else ""
        cell = f"{apart.mean:+.3f} [{apart.low:+.3f}, {apart.high:+.3f}]" if apart else ""
        rows.append((run.name, str(score), cell, told))
    lines = [f"on {found.questions} questions of {split}, paired, with 95 % intervals:", *aligned(rows), ""]
    if found.settings:
        names = ("setting", *(run.name for run in found.runs))
        cells = [names, *((name, *map(_shown, values)) for name, values in found.settings.items())]
        lines += ["they differ in:", *(f"  {line}" for line in aligned(cells))]
    else:
        lines.append("their settings are the same")
    for trial, mean in found.trials.items():
        half = mean.high - mean.mean
        lines.append(f"{len(trial)} runs that differ in their seed only ({', '.join(trial)}): {mean.mean:.3f} ± "
                     f"{half:.3f} over runs")  # fmt: skip
    return lines


def _shown(value: Any) -> str:
    text = "-" if value is None else str(value)
    return text if len(text) <= 40 or "/" not in text else f"…/{Path(text).name}"
