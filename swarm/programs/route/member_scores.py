"""The members that a router chooses among, asked and scored on a task's questions."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from swarm.engines.base import Member
from swarm.errors import UserError
from swarm.evolution.checked_config import make_config, with_present_names
from swarm.evolution.command_line import add_settings, given_settings
from swarm.evolution.config import SearchConfig, settings_of
from swarm.evolution.fitness import Fitness
from swarm.members.blending.pairwise import Texts
from swarm.members.members import Members, read_members
from swarm.members.routing.interfaces import LanguageModel
from swarm.metrics.score_matrix import ScoreMatrix
from swarm.plugins import use_plugin_files
from swarm.programs import front_doors
from swarm.programs.engine_choice import BaseReader, make_cache, make_executor
from swarm.programs.route.label_sources import COMPARING, Scoring
from swarm.programs.task import Task, read_task
from swarm.system.prompts import node_prompt
from swarm.system.scheduler import Scheduler
from swarm.system.system import single


@dataclass(frozen=True)
class AskedMembers:
    """The members of a router, with the scheduler that asks them.

    Attributes:
      members: all that there are.
      chosen: those that the router is about.
      scheduler: through which their engines are asked.
      config: the settings.
    """

    members: Members
    chosen: tuple[Member, ...]
    scheduler: Scheduler
    config: SearchConfig

    def reader(self) -> LanguageModel:
        """The bare base model, in this process: beside the workers' own, if there are several."""
        return BaseReader(self.scheduler.executor, self.members, self.config)()

    @property
    def names(self) -> tuple[str, ...]:
        """Of the chosen."""
        return tuple(member.name for member in self.chosen)

    @property
    def digests(self) -> tuple[str, ...]:
        """Of the chosen."""
        return tuple(member.digest for member in self.chosen)


def add_task_options(parser: argparse.ArgumentParser, task: bool = True) -> None:
    """Settings that mean the same for a search: of the members and the engine, and of the task."""
    add_settings(parser, settings_of("route" if task else "route ask"))


def config_of(options: argparse.Namespace, known: Mapping[str, Any] = {}) -> SearchConfig:
    """The settings that were given, else those that are `known`, else a search's defaults."""
    config = make_config(dict(known) | with_present_names(given_settings(options, "search")))
    use_plugin_files(config.plugin)
    return config


def checked_task(config: SearchConfig) -> Task:
    """The checked task; no model is loaded."""
    task = read_task(config)
    task.check_scorer()
    return task.for_nodes(1)


def read_chosen(config: SearchConfig, wanted: Sequence[str] | None) -> tuple[Members, tuple[Member, ...]]:
    """All members, and the chosen ones by these names: by default the experts.

    Raises UserError for a name that there is not, or fewer than two.
    """
    directory, _ = front_doors.expert_directory(config.initial_expert_directory)
    beside = Path(config.composites) if config.composites else None
    members = read_members(directory, config.base_model, config.combine, config.combine_rank, beside)
    there = {member.name: member for member in members.initial()}
    names = list(wanted) if wanted is not None else members.pool.names
    if unknown := [name for name in names if name not in there]:
        raise UserError(f"there is no member {unknown[0]!r} in {directory}; there are {', '.join(there)}")
    if len(set(names)) < 2 or len(set(names)) < len(names):
        raise UserError(f"a router chooses among {', '.join(names) or 'nobody'}; wanted two or more, each named once")
    return members, tuple(there[name] for name in names)


@contextmanager
def asked_by(config: SearchConfig, members: Members, chosen: tuple[Member, ...]) -> Iterator[AskedMembers]:
    """A context manager of the engines for these members; loads the base model."""
    with closing(make_executor(members, config)) as executor:
        yield AskedMembers(members, chosen, Scheduler(executor, make_cache(executor, config)), config)


def check_references(metric: str | None, task: Task) -> None:
    """Raises UserError for a metric that compares with a text, where an answer of the task is none."""
    if metric is None or metric in COMPARING:
        return
    if any(not isinstance(example.answer, str) for example in (*task.dataset.dev, *task.dataset.test)):
        raise UserError(f"--metric {metric} compares with a text, but an answer of {task.dataset.name} is none")


def answered(asked: AskedMembers, task: Task, split: str) -> tuple[list[str], Texts]:
    """The prompts of a split and every chosen member's answers to them, (P, M).

    The prompts are those that the members are asked first, which are also what a router reads.
    """
    examples = getattr(task.dataset, split)
    queries = next(task.evaluation.judge(task.dataset, examples))[: len(examples)]
    tasks = [(single(member), queries) for member in asked.chosen]
    texts = tuple(zip(*asked.scheduler.answer_all(tasks, task.params), strict=True))
    return [node_prompt(query, []) for query in queries], texts


def scored(asked: AskedMembers, task: Task, split: str, scoring: Scoring | None) -> ScoreMatrix:
    """Every chosen member's answers to a split's questions, scored by the eval, or as `scoring` says."""
    evaluation, examples = task.evaluation, getattr(task.dataset, split)
    prompts, texts = answered(asked, task, split)
    references = [str(example.answer) for example in examples]
    if scoring is not None:
        return scoring(prompts, asked.names, texts, references, split)
    fitness = Fitness(asked.scheduler, evaluation, task.dataset, task.params, task.config.scorer)
    judgements = fitness.judge([single(member) for member in asked.chosen], examples)
    scores = np.stack([np.asarray(judgement[task.config.scorer], dtype=np.float64) for judgement in judgements], 1)
    settings = {"eval": evaluation.name, "scorer": task.config.scorer}
    name = f"{evaluation.name} ({task.config.scorer})"
    return ScoreMatrix(
        tuple(prompts),
        asked.names,
        tuple(tuple(row) for row in texts),
        name,
        scores,
        settings,
        tuple(references),
        split,
    )
