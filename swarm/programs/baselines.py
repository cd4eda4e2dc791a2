"""`h-swarm baselines`: a constant answer, every expert alone, their average, vote and blends: what to beat."""

import argparse
import json
import logging
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from tqdm import tqdm

from swarm.data.example import Example
from swarm.data.overlap import warn_of_learned
from swarm.errors import UserError
from swarm.evals.eval import Judgement
from swarm.evolution.checked_config import make_config
from swarm.evolution.command_line import given_settings
from swarm.evolution.final_scores import summarise
from swarm.evolution.fitness import Fitness, check_judgement
from swarm.evolution.fitted_on_dev import warn_of_seen
from swarm.maths.interval import Estimate
from swarm.members.members import Members, read_members
from swarm.plugins import use_plugin_files
from swarm.programs import front_doors
from swarm.programs.asking_checks import check_template_settings
from swarm.programs.blends import FUSED, RANKED, blends_of, with_blends
from swarm.programs.engine_choice import make_cache, make_executor
from swarm.programs.parsers import baselines_parser
from swarm.programs.task import Task, read_task
from swarm.system.scheduler import Scheduler
from swarm.system.system import System, single

log = logging.getLogger(__name__)

AVERAGE, VOTE, CONSTANT = "uniform average", "majority vote", "most frequent answer"


def baselines_program(arguments: list[str] | None = None) -> int:
    """`h-swarm baselines`. Returns the exit code."""
    options = baselines_parser().parse_args(arguments)
    front_doors.log_to(None)
    config = make_config(given_settings(options, "baselines"))
    use_plugin_files(config.plugin)
    task = read_task(config)
    task.check_scorer()
    splits = ("dev", "test") if options.split == "both" else (options.split,)
    table = constant_scores(task, splits)
    if not options.without_experts:
        table |= _expert_scores(task, splits, options)
    elif not table:
        name = task.evaluation.name
        raise UserError(
            f"eval {name} has a judge, which is not asked about a constant answer; leave --without-experts out"
        )
    for line in [json.dumps(table)] if options.json else baseline_table(table, splits, config.scorer):
        log.info("%s", line)
    return front_doors.DONE


def _expert_scores(task: Task, splits: Sequence[str], options: argparse.Namespace) -> dict[str, Any]:
    """What needs the experts: they are read and the base is loaded."""
    config = task.config
    task.evaluation.prepare()
    directory, where = front_doors.expert_directory(config.initial_expert_directory)
    if not options.json:
        log.info("%s", where)
    beside = Path(config.composites) if config.composites else None
    members = read_members(directory, config.base_model, config.combine, config.combine_rank, beside)
    task = task.for_nodes(len(members.names))
    blends = blends_of(options, members.pool.names)
    if blends and not options.json:
        names = ", ".join(blend.name for blend in blends)
        log.info("%s: each of their answers asks all %d experts", names, len(members.pool.names))
    warn_of_learned(task.dataset, {expert.name: expert.folder for expert in members.pool.initial})
    for split in splits:
        warn_of_seen(members, task.evaluation, task.dataset, split)
    members = with_blends(members, blends)
    check_template_settings(members, task.params)
    with closing(make_executor(members, config)) as executor:
        return score_baselines(task, members, Scheduler(executor, make_cache(executor, config)), splits)


def constant_scores(task: Task, splits: Sequence[str]) -> dict[str, Any]:
    """{CONSTANT: {split: {scorer: estimate}}} of a system that always replies with dev's most frequent answer.

    A search that does not leave it behind has learnt nothing. Empty for evals with a judge, which nobody need pay for.
    """
    if task.evaluation.judge_calls:
        return {}
    reply = Counter(example.answer for example in task.dataset.dev).most_common(1)[0][0]
    scores = {}
    for split in splits:
        examples = getattr(task.dataset, split)
        judging = task.evaluation.judge(task.dataset, examples)
        queries = next(judging)
        try:
            while True:
                queries = judging.send([reply] * len(queries))
        except StopIteration as finished:
            judgement = check_judgement(task.evaluation, finished.value, len(examples), task.config.scorer)
        scores[split] = summarise(judgement, task.evaluation, examples)
    return {CONSTANT: scores}


def score_baselines(task: Task, members: Members, scheduler: Scheduler, splits: Sequence[str]) -> dict[str, Any]:
    """{who: {split: {scorer: estimate}}} for each member, the average of the experts' weights and the experts' vote.

    The vote is missing where the answers of this eval are free text, on which nobody can agree. Composites among the
    members, and blends, are scored as they are; the vote and a blend ask every expert.
    """
    experts = members.pool.experts()
    average = members.pool.expert(AVERAGE, [1 / len(experts)] * len(experts))
    wording = task.instructions.wording()
    alone = {expert.name: single(expert, wording=wording) for expert in experts}
    composites = {member.name: single(member, wording=wording) for member in members.initial()[len(experts) :]}
    systems = alone | composites | {AVERAGE: single(average, wording=wording)}
    sizes = {split: len(getattr(task.dataset, split)) for split in splits}
    table: dict[str, Any] = {who: {} for who in systems}
    requests = len(systems) * sum(sizes.values()) * task.evaluation.passes
    with tqdm(total=requests, desc="baselines", unit="req", leave=False, disable=not sys.stderr.isatty()) as bar:
        scheduler.on_answer = lambda *_: bar.update()
        fitness = Fitness(scheduler, task.evaluation, task.dataset, task.params, task.config.scorer)
        for split in splits:
            examples = getattr(task.dataset, split)
            for who, judgement in zip(systems, fitness.judge(list(systems.values()), examples), strict=True):
                table[who][split] = summarise(judgement, task.evaluation, examples)
            voted = majority_vote(fitness, list(alone.values()), examples)
            if voted is not None:
                table.setdefault(VOTE, {})[split] = summarise(voted, task.evaluation, examples)
    return table


def majority_vote(fitness: Fitness, systems: Sequence[System], examples: Sequence[Example]) -> Judgement | None:
    """The scores of the answers that most systems agree on; None if none of their answers is a vote.

    What counts as the same answer is the eval's to say (`Eval.ballot`). The answer that is scored is that of the first
    system that gave the most frequent one; with two passes each is voted on.
    """
    judging = fitness.evaluation.judge(fitness.dataset, examples)
    queries, anybody = next(judging), False
    while True:
        answers = fitness.scheduler.answer_all([(system, queries) for system in systems], fitness.params)
        chosen = []
        for index, said in enumerate(zip(*answers, strict=True)):
            # an eval that asks again asks about all examples in order, perhaps several times over
            ballots = [fitness.evaluation.ballot(text, examples[index % len(examples)]) for text in said]
            votes = Counter(ballot for ballot in ballots if ballot is not None)
            anybody = anybody or bool(votes)
            chosen.append(said[ballots.index(votes.most_common(1)[0][0])] if votes else said[0])
        if not anybody:
            return None
        try:
            queries = judging.send(chosen)
        except StopIteration as finished:
            return check_judgement(fitness.evaluation, finished.value, len(examples), fitness.scorer)


def baseline_table(table: dict[str, Any], splits: Sequence[str], scorer: str) -> list[str]:
    """The scores as lines, best expert on the first split marked; the scorer to maximise first."""
    width = max(map(len, table)) + 2
    experts = [who for who in table if who not in (AVERAGE, VOTE, CONSTANT, RANKED, FUSED)]
    lines = []
    for which in sorted(next(iter(table.values()))[splits[0]], key=lambda name: name != scorer):
        lines.append(f"{which + ' score':<{width}}" + "".join(f"{split:<30}" for split in splits).rstrip())
        best = max(experts, key=lambda who: table[who][splits[0]][which]["mean"], default=None)
        for who, scores in table.items():
            shown = [str(Estimate(**scores[split][which])) if split in scores else "no votes" for split in splits]
            cells = "".join(f"{cell:<30}" for cell in shown)
            lines.append(f"{who:<{width}}{cells}{'<- best expert on ' + splits[0] if who == best else ''}".rstrip())
    return lines
