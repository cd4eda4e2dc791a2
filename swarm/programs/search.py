"""search.py: begins a search, resumes one, or forecasts its cost."""

import logging
import time
from argparse import Namespace
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import swarm
from swarm.data.overlap import warn_of_learned
from swarm.engines.executor import Executor
from swarm.errors import UserError
from swarm.evolution.checked_config import (
    chosen_optimizer,
    config_of_run,
    make_config,
    unused_but_given,
    with_present_names,
)
from swarm.evolution.command_line import parse
from swarm.evolution.config import SearchConfig
from swarm.evolution.final_scores import questions_of_the_end
from swarm.evolution.fitted_on_dev import CHOOSES, warn_of_seen
from swarm.evolution.made_rounds import check_budget, with_more
from swarm.evolution.optimizers.table import code_of, make_optimizer
from swarm.evolution.problem import most_nodes
from swarm.evolution.refresh import check_refresh
from swarm.evolution.resume import check_what_it_names, remember_what_is_named, without_used_limits
from swarm.evolution.resume_command import name_taken
from swarm.evolution.run_folder import BEST, LOG, ORIGIN, RESULT, ROUTERS, Run, create_run, open_run, read_json
from swarm.evolution.settings_file import is_of_a_run, read_settings_file, write_settings_file
from swarm.evolution.state import first_state
from swarm.members.composite import Composite
from swarm.members.members import Members, read_composites, read_members
from swarm.members.routing.router_store import RouterStore
from swarm.plugins import use_plugin_files
from swarm.programs import front_doors
from swarm.programs.asking_checks import check_template_settings
from swarm.programs.dry_run import calibrate, dry_run
from swarm.programs.engine_choice import make_executor
from swarm.programs.final_result import show_result
from swarm.programs.parsers import RUNS
from swarm.programs.session import Session
from swarm.programs.task import Task, read_task
from swarm.reports.tracking import check_tracker
from swarm.weights.pool import expert_folders

log = logging.getLogger(__name__)


def search_program(arguments: list[str] | None = None) -> int:
    """search.py: a new search, a resumed one, or what one would cost. Returns the exit code."""
    began = time.monotonic()
    given, mode = parse(arguments)
    front_doors.log_to(None)
    if mode.resume and (mode.dry_run or mode.calibrate or mode.settings_file or mode.config or mode.save_config):
        raise UserError(
            "--resume goes on with a run and its own settings; wanted it without a settings file, --save-config, "
            "--dry-run and --calibrate, which are for new ones (a run's settings are a file: its args.json)"
        )
    if mode.resume:
        return go_on(Path(mode.resume), given, began)[0]
    config = _config_of(given, mode)
    tell_optimizer(given, config)
    if mode.save_config:
        write_settings_file(Path(mode.save_config), config)
        log.info("settings are in %s; to search with them: h-swarm search %s", mode.save_config, mode.save_config)
        return front_doors.DONE
    return begin(config, mode, began)[0]


def begin(config: SearchConfig, mode: Namespace, began: float) -> tuple[int, Path | None]:
    """A new search, or what one would cost. Returns the exit code, and the run's folder if there is one.

    `began` is when this sitting began, as `time.monotonic` tells it. Raises UserError for what the user can mend.
    """
    if config.name and (RUNS / config.name).exists():
        raise name_taken(RUNS / config.name)
    remember_what_is_named(config)
    use_plugin_files(config.plugin)
    check_tracker(config.tracker)
    if ignored := unused_but_given(config):
        log.warning("without effect here: %s", ", ".join(f"--{name}" for name in ignored))
    task = read_task(config)
    task.check_scorer()
    directory, where = front_doors.expert_directory(config.initial_expert_directory)
    log.info("%s", where)
    experts = [folder.name for folder in expert_folders(directory)]
    composites: tuple[Composite, ...] = ()
    if len(experts) > 1:  # fewer are an error that reading them explains
        composites = read_composites(experts, directory, _beside(config))
        task = _for_its_nodes(task, len(experts), len(composites))
    if config.by_candidates:
        make_optimizer(config)  # which says what is wrong with it before anything is loaded
    check_budget(config, len(experts), task.evaluation, task.dataset)
    check_refresh(config, task.evaluation, task.dataset, composites)
    _check_judge_limit(task)
    if mode.dry_run:
        return dry_run(task, _read_members(config, directory, preview=True)), None
    task.evaluation.prepare()
    members = _read_members(config, directory)
    check_template_settings(members, task.params)
    with closing(make_executor(members, config)) as executor:
        if mode.calibrate:
            return calibrate(task, members, executor), None
        kept = replace(config, initial_expert_directory=str(directory))
        with create_run(RUNS, kept, _origin(members, task, executor)) as run:
            front_doors.log_to(run.folder / LOG)
            log.info("run: %s (seed %d, %s)", run.folder, config.seed, _surroundings(executor))
            warn_of_learned(task.dataset, {expert.name: expert.folder for expert in members.pool.initial})
            warn_of_seen(members, task.evaluation, task.dataset, "dev", CHOOSES, bool(config.refresh_routers))
            state = first_state(config.seed, config.by_candidates)
            session = Session(run, task, members, executor, state, began)
            return session.work(), run.folder


def tell_optimizer(given: Mapping[str, Any], config: SearchConfig) -> None:
    """Says which optimizer a search has, where nobody named it and it is not the default."""
    name, why = chosen_optimizer(given)
    if why and name == config.optimizer:
        log.info("optimizer: %s (%s; --optimizer names another)", name, why)


def _for_its_nodes(task: Task, experts: int, composites: int) -> Task:
    """The task for graphs of as many nodes as they may have in this search."""
    config = task.config
    if not config.by_candidates:
        return task.for_nodes(config.population(experts) + composites)
    most = most_nodes(config, experts + composites, task.dataset)
    if most < (config.max_nodes or experts + composites):
        log.info("candidates have at most %d nodes: the shortest context has no more parts (or --share_chunks 1)", most)
    return task.for_nodes(most)


def _config_of(given: dict[str, Any], mode: Namespace) -> SearchConfig:
    """The settings of a file, if there is one, and of the command line, which goes first."""
    file = _settings_file(mode)
    if file is None:
        return make_config(given)
    if not is_of_a_run(file):
        return make_config(read_settings_file(file) | with_present_names(given))
    config = config_of_run(read_settings_file(file), given)
    origin = file.parent / ORIGIN
    recorded = read_json(origin).get("eval_code") if origin.is_file() else None
    check_what_it_names(f"h-swarm search {file}", config, given, recorded)
    return config


def _settings_file(mode: Namespace) -> Path | None:
    if mode.settings_file and mode.config:
        raise UserError(f"{mode.settings_file} and --config {mode.config} are two settings files; wanted one")
    named = mode.settings_file or mode.config
    return Path(named) if named else None


def go_on(folder: Path, given: dict[str, Any], began: float) -> tuple[int, Path]:
    """A run that goes on, or is shown where it is complete. Returns the exit code and the run's folder.

    Raises UserError as `begin` does, and where the run is not what it began as.
    """
    run, config = open_run(folder, given)
    with run:
        return _go_on(run, config, given, began), folder


def _go_on(run: Run, config: SearchConfig, given: dict[str, Any], began: float) -> int:
    folder = run.folder
    state = run.with_kept_usage(run.load() or first_state(config.seed, config.by_candidates))
    front_doors.log_to(run.folder / LOG)
    scored = state.next_step == "final" and (run.folder / RESULT).exists()
    more = [name for name in ("max_generations", "max_tokens", "max_time") if name in with_present_names(given)]
    if scored and more and config.by_candidates:
        state, scored = with_more(state), False
    if scored and (run.folder / BEST).exists():
        log.info("%s is complete:", folder)
        show_result(read_json(run.folder / RESULT), config, folder)
        return front_doors.DONE
    for routers in (state.routers, state.best.routers if state.best else {}):
        RouterStore(folder / ROUTERS).check(routers)
    ended = config.by_candidates and not more and not (run.folder / RESULT).exists()  # killed in its final scores
    if not ended or not state.stop_reason:
        config = without_used_limits(config, given, state)
    check_what_it_names(f"--resume {folder}", config, given, read_json(folder / ORIGIN).get("eval_code"))
    remember_what_is_named(config)
    use_plugin_files(config.plugin)
    check_tracker(config.tracker)
    task = read_task(config, run.judge_usage())
    task.evaluation.prepare()
    members = _read_members(config, Path(str(config.initial_expert_directory)))
    task = _for_its_nodes(task, len(members.pool.names), len(members.composites))
    check_template_settings(members, task.params)
    check_budget(config, len(members.pool.names), task.evaluation, task.dataset)
    stop_reason = state.stop_reason if state.next_step == "final" or ended else ""
    with closing(make_executor(members, config)) as executor:
        for warning in run.check_origin(_origin(members, task, executor)):
            log.warning("%s", warning)
        log.info("resumed: %s, next step: %s (%s)", folder, state.title, _surroundings(executor))
        run.forget_metrics_after(state.steps_done)
        if not scored:
            if (run.folder / RESULT).exists():
                run.save(state)  # has the work of that result, which is a limit's and not to be taken for the end's
            (run.folder / RESULT).unlink(missing_ok=True)
        return Session(run, task, members, executor, replace(state, stop_reason=stop_reason), began).work()


def _check_judge_limit(task: Task) -> None:
    most, needed = task.config.max_judge_calls, questions_of_the_end(task.evaluation, task.dataset)
    if most is not None and most <= needed:
        raise UserError(
            f"--max_judge_calls is {most}, but the final scores alone have {needed} questions; give more, or fewer "
            "test examples with --test_limit"
        )


def _beside(config: SearchConfig) -> Path | None:
    """The folder of composites beside the experts, if any."""
    return Path(config.composites) if config.composites else None


def _read_members(config: SearchConfig, directory: Path, preview: bool = False) -> Members:
    members = read_members(directory, config.base_model, config.combine, config.combine_rank, _beside(config), preview)
    names = members.pool.names
    if len(names) < 2:
        raise UserError(f"{directory} holds one expert ({names[0]}); a search needs at least 2: add another folder")
    return members


def _origin(members: Members, task: Task, executor: Executor) -> dict[str, Any]:
    facts = executor.facts()
    return {
        "experts": members.pool.digest,
        "composites": members.composites_digest,
        "base": facts.pop("base", ""),
        "dataset": task.dataset.digest,
        "dataset_name": task.dataset.name,
        "eval": task.evaluation.name,
        "eval_code": task.evaluation.code,
        "instructions": task.instructions.digest,
        "optimizer_code": code_of(task.config.optimizer),
        "engine": facts,
        "expert_names": members.names,
        "version": swarm.__version__,
    }


def _surroundings(executor: Executor) -> str:
    facts = executor.facts()
    workers = f", {executor.workers} workers" if executor.workers > 1 else ""
    return f"{facts['dtype']} on {facts['device']}{workers}"
