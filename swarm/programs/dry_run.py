"""search.py --dry-run and --calibrate: whether a search would begin, and what it would cost."""

import logging
from collections.abc import Sequence
from dataclasses import replace

from swarm.engines.executor import Executor
from swarm.engines.local.base_checks import check_base
from swarm.evolution.config import SearchConfig
from swarm.evolution.fitted_on_dev import CHOOSES, warn_of_seen
from swarm.evolution.forecast import Forecast, describe_time, duration, forecast, forecast_lines, small_limits
from swarm.evolution.made_rounds import default_calls, start_calls
from swarm.evolution.problem import most_nodes
from swarm.evolution.speed import ENOUGH, MOST, USUAL, Lengths, Measuring, known_speed, remember_speed
from swarm.members.composite import Composite
from swarm.members.members import Members, generations_of, missing_models
from swarm.members.routing.router_artefact import load_router, read_router_facts
from swarm.members.routing.router_node import routers_of
from swarm.programs import front_doors
from swarm.programs.asking_checks import check_asking
from swarm.programs.engine_choice import device_map_of, devices_of, quieten_libraries
from swarm.programs.task import Task

log = logging.getLogger(__name__)


def dry_run(task: Task, members: Members) -> int:
    """Refuses the members where a search would, then says what it would cost; `members` may be a preview.

    Returns the exit code. Raises UserError as the search would, as far as that can be told without reading weights.
    """
    for sentence in _unseen(task, members):
        log.info("not looked at: %s", sentence)
    warn_of_seen(members, task.evaluation, task.dataset, "dev", CHOOSES, bool(task.config.refresh_routers))
    return show_cost(task, members)


def _unseen(task: Task, members: Members) -> list[str]:
    """What a search would look at, too, and nobody has yet; UserError for what it would refuse."""
    config, pool = task.config, members.pool
    quieten_libraries()
    device = devices_of(config)[0]
    placed = device_map_of(config, device)
    unseen = [check_base(pool, device, config.dtype, config.fold, config.trust_remote_code, placed)]
    check_asking(members, task.params)
    if pool.models:
        unseen.append("the numbers in the models' files, of which NaN and infinity are refused when the search begins")
        _check_readers(members.composites)
    for composite in members.composites:
        unseen += [
            f"model {model} of {composite.name} is not on this machine: a search fetches it"
            for model in missing_models(composite)
        ]
    return [sentence for sentence in unseen if sentence]


def _check_readers(composites: Sequence[Composite]) -> None:
    """Raises UserError for a router that reads with the experts' base model: full models have none."""
    for router in routers_of(composites):
        if read_router_facts(router.classifier)["features"] == "hidden":
            load_router(router.classifier)


def calibrate(task: Task, members: Members, executor: Executor) -> int:
    """Measures how fast the experts answer here, keeps that, and says what the search costs. Returns the exit code."""
    queries = next(task.evaluation.judge(task.dataset, task.dataset.dev))
    log.info(
        "measuring how fast models answer here: ever more dev questions, for about %.0f s, at most %.0f s", ENOUGH, MOST
    )
    measuring = Measuring(executor, members.pool.experts(), queries, task.params)
    speed = measuring.run(lambda line: log.info("%s", line))
    remember_speed(_engine_name(task.config, members), _task_name(task), speed)
    log.info("%s", measuring)
    return show_cost(task, members)


def show_cost(task: Task, members: Members) -> int:
    """Says what the search costs at most. Returns the exit code."""
    if task.config.by_candidates:
        return _show_budget(task, members)
    speed = known_speed(_engine_name(task.config, members), _task_name(task))
    lengths = speed.lengths if speed else USUAL
    most, likely = (_forecast(task, members, each) for each in (replace(lengths, answer=1.0), lengths))
    for line in forecast_lines(most):
        log.info("%s", line)
    log.info("An answer has at most %d tokens (--max_new_tokens).", task.params.max_new_tokens)
    for line in small_limits(task.config, most):
        log.warning("%s", line)
    if speed:
        log.info("%s", describe_time(most, likely, speed))
    else:
        log.info("For a time, measure this machine once: the same command with --calibrate.")
    return front_doors.DONE


def _show_budget(task: Task, members: Members) -> int:
    """Says what a search by candidates may spend, which its budget decides. Returns the exit code."""
    config, experts = task.config, len(members.pool.names)
    calls = config.max_generations or default_calls(len(members.names), task.evaluation, task.dataset)
    alone = start_calls(experts, task.evaluation, task.dataset)
    log.info("%s spends at most %s calls: %s for every expert alone, then on candidates, one of %d nodes taking "
             "at most %s; answers that are known cost nothing.", config.optimizer, f"{calls:,}", f"{alone:,}",
             len(members.names), f"{len(members.names) * alone // experts:,}")  # fmt: skip
    nodes = most_nodes(config, len(members.names), task.dataset)
    log.info(
        "The final scores take %s calls more at most, for a system of %d nodes and what it is compared with.",
        f"{(nodes + 2) * (len(task.dataset.dev) + len(task.dataset.test)) * task.evaluation.passes:,}",
        nodes,
    )
    log.info("An answer has at most %d tokens (--max_new_tokens).", task.params.max_new_tokens)
    log.info("%s", _time_of(calls, task, members))
    return front_doors.DONE


def _time_of(calls: int, task: Task, members: Members) -> str:
    """How long so many calls take at the speed that was measured here, if any was."""
    speed = known_speed(_engine_name(task.config, members), _task_name(task))
    if speed is None:
        return "For a time, measure this machine once: the same command with --calibrate."

    def seconds(lengths: Lengths) -> str:
        each = _forecast(task, members, lengths).iteration  # of a graph of every member, as of most candidates
        share = calls / each.generations
        return duration(speed.seconds(share * each.prompt_tokens, share * each.new_tokens))

    full, likely = seconds(replace(speed.lengths, answer=1.0)), ""
    if speed.lengths.answer != 1.0:
        likely = f"about {seconds(speed.lengths)} if answers are as long as those were, "
    return (
        f"At the speed measured here: {likely}about {full} if every answer is of full length; making new experts and "
        "judging come on top."
    )


def _forecast(task: Task, members: Members, lengths: Lengths) -> Forecast:
    names = members.pool.names
    asked = generations_of(names, members.composites)
    return forecast(
        task.config, len(names), task.dataset, task.evaluation, task.params, asked, lengths, task.instructions
    )


def _task_name(task: Task) -> str:
    return f"{task.evaluation.name} on {task.dataset.name}, {task.params.max_new_tokens} tokens"


def _engine_name(config: SearchConfig, members: Members) -> str:
    model = members.pool.base
    workers = f" by {config.workers} workers" if config.workers is not None else ""
    return f"{model} on {config.gpus or 'default device'} in {config.dtype or 'default format'}{workers}"
