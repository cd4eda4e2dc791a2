"""What a run has found: the content of its result.json, and how it is shown."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from swarm.engines.metered import Metered
from swarm.evolution.config import SearchConfig
from swarm.evolution.final_scores import FinalScores, by_dataset, gain_on_dev
from swarm.evolution.problem import Problem
from swarm.evolution.reply_counts import ReplyCounts, as_rows, complaints
from swarm.evolution.run_folder import CURVES_PICTURE, GRAPH_PICTURE
from swarm.evolution.state import SearchState
from swarm.reports.changes import graph_changes, mixtures
from swarm.reports.datasets import dataset_lines
from swarm.reports.report import graph_as_text, score_table

log = logging.getLogger(__name__)


def result_of(
    problem: Problem, state: SearchState, scores: FinalScores, records: Mapping[str, Sequence[Any]], meter: Metered
) -> dict[str, Any]:
    """The content of result.json; `records` are those of the answers, by split."""
    assert state.best is not None
    fitness, tally = problem.fitness, meter.tally()
    ends = fitness.evaluation.lowest, fitness.evaluation.highest
    found = problem.best_system(state.best)
    return {
        "scores": scores.table,
        **({"datasets": datasets} if (datasets := by_dataset(scores, fitness)) else {}),
        "range": [end if math.isfinite(end) else None for end in ends],
        "stop_reason": state.stop_reason,
        "iterations": len(state.best_history) - 1,
        **({"candidates": _about_candidates(problem, state)} if state.by_candidates else {}),
        "found": state.best.found,
        "graph": graph_as_text(found),
        "replies": {"max_new_tokens": fitness.params.max_new_tokens}
        | {split: as_rows(own) for split, own in records.items()},
        "gain": gain_on_dev(scores, state, fitness, len(problem.pool.names)),
        "moved": mixtures(problem, state.best),
        "changes": None if state.first is None else graph_changes(problem.best_system(state.first), found),
        "first_score": None if state.first is None else state.first.score,
        "usage": asdict(meter.usage.plus(state.final_usage)),
        "judge": {"model": problem.config.judge_model, "refused": fitness.evaluation.refused}
        | asdict(fitness.evaluation.judge_usage),
        "engine": meter.facts() | {"batches_halved_for_memory": tally.halvings},
        **tally.record(),
        "workers": [work.record() for work in meter.work()],
    }


def _about_candidates(problem: Problem, state: SearchState) -> dict[str, Any]:
    """What a search by candidates has spent, and what racing has saved of it."""
    wanted, asked = state.raced
    return {
        "optimizer": problem.config.optimizer,
        "tried": state.tried,
        "calls": state.charged[1],
        "tokens": state.charged[2],
        "racing_saved": 1 - asked / wanted if wanted else 0.0,
    }


def reply_complaints(result: dict[str, Any], config: SearchConfig) -> list[str]:
    """What is wrong with many of the found system's answers on test, as a result.json has it."""
    replies = result.get("replies", {})
    names = ("answers", "cut", "empty", "unreadable", "cut_unreadable")
    counts = {f"role {row['node']}": ReplyCounts(*(row[name] for name in names)) for row in replies.get("test", [])}
    return complaints(counts, replies["max_new_tokens"], str(config.eval_type)) if counts else []


def refusal_lines(refused: int, config: SearchConfig) -> list[str]:
    """What became of the questions that the judge refused, in a line; none where there were none."""
    outcome = "they are in no system's mean" if config.judge_refusal == "skip" else "they have the lowest rating"
    return [f"the judge refused {refused} questions: {outcome}"] if refused else []


def show_result(result: dict[str, Any], config: SearchConfig, folder: Path) -> None:
    """Shows what a run has found, as its result.json has it."""
    lines = ["", "the found system:", *(f"  {line}" for line in result["graph"]), ""]
    lines += score_table(result["scores"], config.scorer)
    lines += dataset_lines(result, config.scorer)
    lines += ["", f"found in {result['found']}; {result['usage']['generations']:,} generations"]
    if about := result.get("candidates"):
        lines += [f"{about['optimizer']}: {about['tried']:,} candidates, {about['calls']:,} calls charged; of the "
                  f"answers that they would have taken on dev, racing saved {about['racing_saved']:.0%}"]  # fmt: skip
    lines += reply_complaints(result, config)
    lines += refusal_lines(result["judge"].get("refused", 0), config)
    pictures = [name for name in (GRAPH_PICTURE, CURVES_PICTURE) if (folder / name).is_file()]
    shown = f", pictures: {', '.join(pictures)}" if pictures else ""
    lines += [f"run: {folder}  (best system: {folder / 'best'}{shown})"]
    lines += [
        f"a closer look: h-swarm show {folder}; a vote may do as well: h-swarm baselines, with the same -e, -d, -i"
    ]
    for line in lines:
        log.info("%s", line)
