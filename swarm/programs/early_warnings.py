"""Warnings before a search begins: of limits under which it finds nothing, and of a disk that is too small."""

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

from swarm.evolution import forecast
from swarm.evolution.problem import Problem
from swarm.members.members import generations_of
from swarm.weights.full_model import FullModel

log = logging.getLogger(__name__)


def warn_of_small_limits(problem: Problem) -> None:
    """Warns of limits of work that may end a swarm's search before anything is found."""
    fitness, config, members = problem.fitness, problem.config, problem.members
    if config.max_generations is None and config.max_tokens is None:
        return
    asked = generations_of(members.pool.names, members.composites)
    about, own = (fitness.dataset, fitness.evaluation, fitness.params), problem.instructions
    plan = forecast.forecast(config, len(members.pool.names), *about, asked, instructions=own)
    for line in forecast.small_limits(config, plan):
        log.warning("%s", line)


def warn_of_a_small_disk(models: Sequence[FullModel], folder: Path) -> None:
    """Warns where full models, which are written at the end, each as large as the first, may find no room."""
    needed, free = sum(model.bytes_on_disk for model in models), shutil.disk_usage(folder).free
    if needed > free:
        log.warning("the found system may take %.1f GB, and %s has %.1f GB free", needed / 1e9, folder, free / 1e9)
