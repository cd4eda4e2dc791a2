"""`h-swarm evaluate`: a system from disk scored on a dataset."""

import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from swarm.data.example import Example
from swarm.errors import UserError
from swarm.evals.joint_eval import JointEval
from swarm.evolution.answer_records import FOUND, answer_records, as_lines
from swarm.evolution.command_line import given_settings
from swarm.evolution.final_scores import summarise
from swarm.evolution.fitness import Fitness, Judged
from swarm.evolution.fitted_on_dev import warn_of_seen
from swarm.evolution.reply_counts import complaints, counts_by_node
from swarm.evolution.run_folder import ARGS, ORIGIN, read_json
from swarm.maths.gain import buckets
from swarm.maths.interval import Estimate
from swarm.members.members import Members
from swarm.plugins import use_plugin_files
from swarm.programs import front_doors
from swarm.programs.asking_checks import check_template_settings
from swarm.programs.engine_choice import make_cache, make_executor
from swarm.programs.final_result import refusal_lines
from swarm.programs.found_system import FoundSystem, check_data, check_eval_is_named, read_found
from swarm.programs.parsers import ALL, evaluate_parser
from swarm.programs.task import Task, read_task
from swarm.reports.by_column import aligned, by_column
from swarm.reports.changes import gain_lines
from swarm.reports.kept_answers import kept_answer
from swarm.reports.report import estimate_lines, graph_as_text, score_title
from swarm.storage.files import write_whole
from swarm.system.scheduler import Scheduler
from swarm.system.system import single
from swarm.weights.pool import read_pool

log = logging.getLogger(__name__)


def evaluate_program(arguments: list[str] | None = None) -> int:
    """evaluate.py. Returns the exit code."""
    options = evaluate_parser().parse_args(arguments)
    front_doors.log_to(None)
    if options.limit is not None and options.limit != ALL and options.limit < 1:
        raise UserError(f"--limit is {options.limit}; wanted at least 1, or {ALL}")
    use_plugin_files(options.plugin)
    given = given_settings(options, "evaluate")
    if options.limit is not None:
        given[f"{options.split}_limit"] = None if options.limit == ALL else options.limit
    found = read_found(Path(options.folder), given)
    check_eval_is_named(found)
    task = read_task(found.config).for_nodes(len(found.system.assignment))
    check_data(found, task)
    task.evaluation.prepare()
    check_template_settings(found.system.saved, found.params(task))
    warn_of_seen(found.system.saved, task.evaluation, task.dataset, options.split)
    examples = getattr(task.dataset, options.split)
    first = _first_experts(found) if options.experts else None
    _check_output(options, examples)
    judged = {FOUND: _judged(found, task, examples)}
    if first is not None:
        judged |= _experts_judged(found, task, examples, first)
    _show(options, found, task, judged)
    return front_doors.DONE


def _judged(found: FoundSystem, task: Task, examples: Sequence[Example]) -> Judged:
    with closing(make_executor(found.system.saved, found.config)) as executor:
        system, cache = found.cached(executor)
        return _fitness(Scheduler(executor, cache), found, task).judge_traced([system], examples)[0]


def _fitness(scheduler: Scheduler, found: FoundSystem, task: Task) -> Fitness:
    return Fitness(scheduler, task.evaluation, task.dataset, found.params(task), task.evaluation.scorers[0])


def _check_output(options: Any, examples: Sequence[Example]) -> None:
    """Raises UserError, before anything is asked, for a file that cannot be written, or a column that there is not."""
    path: Path | None = options.save_answers
    if path is not None and (not path.parent.is_dir() or path.is_dir()):
        raise UserError(f"--save_answers {path} is no file in a folder that is there; name another one")
    if options.by and not any(example.column(options.by) for example in examples):
        there = ", ".join(["id", "domain", "gold", *dict.fromkeys(name for one in examples for name in one.columns)])
        raise UserError(f"--by {options.by}: no question has such a column; there are {there}")


def _first_experts(found: FoundSystem) -> Members:
    """The experts with which the run began. Raises UserError if they are not to be had, or are others now."""
    path = found.folder / ARGS
    if not path.is_file():
        raise UserError(f"--experts: {found.folder} is no run ({ARGS} missing), so its first experts are not known")
    directory = Path(str(read_json(path).get("initial_expert_directory")))
    pool = read_pool(directory, found.config.base_model, found.config.combine, found.config.combine_rank)
    origin = found.folder / ORIGIN
    began = read_json(origin).get("experts") if origin.is_file() else None
    if began != pool.digest:
        raise UserError(
            f"--experts: {directory} has not the experts that the run began with (digest {str(began)[:12]}, now "
            f"{pool.digest[:12]}); restore them"
        )
    return Members(pool)


def _experts_judged(found: FoundSystem, task: Task, examples: Sequence[Example], members: Members) -> dict[str, Judged]:
    """The experts with which the run began, each alone."""
    with closing(make_executor(members, found.config)) as executor:
        scheduler = Scheduler(executor, make_cache(executor, found.config))
        experts = members.pool.experts()
        judged = _fitness(scheduler, found, task).judge_traced(
            [single(expert, wording=found.system.wording) for expert in experts], examples
        )
        return dict(zip((expert.name for expert in experts), judged, strict=True))


def _gain(task: Task, judged: Mapping[str, Judged], examples: Sequence[Example]) -> list[dict[str, int]]:
    """The collaborative gain over the experts."""
    scorer = task.evaluation.scorers[0]
    solved = {who: task.evaluation.solved(each.judgement[scorer], examples) for who, each in judged.items()}
    together = solved.pop(FOUND)
    return [asdict(bucket) for bucket in buckets(np.array([*solved.values()]), together)]


def _show(options: Any, found: FoundSystem, task: Task, judged: Mapping[str, Judged]) -> None:
    examples = getattr(task.dataset, options.split)
    scores: dict[str, Any] = dict(summarise(judged[FOUND].judgement, task.evaluation, examples))
    records = list(answer_records(options.split, examples, judged, task.evaluation))
    if options.save_answers is not None:
        _write(options.save_answers, as_lines(records))
    if options.json:
        record = {"folder": options.folder, "split": options.split, "scores": scores}
        if isinstance(task.evaluation, JointEval):
            record["datasets"] = task.evaluation.estimates(judged[FOUND].judgement, examples)
        if options.experts:
            record["gain"] = _gain(task, judged, examples)
        log.info("%s", json.dumps(record))
        return
    lines = graph_as_text(found.system)
    limit = getattr(found.config, f"{options.split}_limit")
    if limit is not None and options.limit is None and len(examples) == limit:
        lines.append(f"on the first {limit} examples, as it was found; --limit {ALL} for all there are")
    for scorer in sorted(scores, key=lambda name: name != "strict"):
        lines.append(f"{options.split} {score_title(scorer, scores)}: {Estimate(**scores[scorer])}")
    if isinstance(task.evaluation, JointEval):
        lines += estimate_lines(task.evaluation.estimates(judged[FOUND].judgement, examples))
    counts = {f"role {node}": count for node, (_, count) in counts_by_node(records).items()}
    lines += complaints(counts, found.params(task).max_new_tokens, task.evaluation.name) if counts else []
    lines += refusal_lines(task.evaluation.refused, found.config)
    if options.by:
        answers, scorer = [kept_answer(one) for one in records], task.evaluation.scorers[0]
        lines += ["", *by_column(answers, options.by, scorer, (task.evaluation.lowest, task.evaluation.highest))]
    if options.experts:
        alone = ((who, f"{own.judgement[task.evaluation.scorers[0]].mean():.3f}") for who, own in judged.items())
        rows = sorted((row for row in alone if row[0] != FOUND), key=lambda row: row[1], reverse=True)
        lines += ["", *aligned([("expert, alone", task.evaluation.scorers[0]), *rows])]
        lines += ["", *gain_lines(_gain(task, judged, examples))]
    for line in lines:
        log.info("%s", line)


def _write(path: Path, text: str) -> None:
    try:
        write_whole(path, text)
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror}); name another file with --save_answers"
        ) from error
