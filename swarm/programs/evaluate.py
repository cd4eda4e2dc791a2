"""`h-swarm evaluate`: a system from disk scored on a dataset."""

import json
import logging
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from swarm.engines.base import GenerationParams
from swarm.errors import UserError
from swarm.evals.own_evals import is_file_name
from swarm.evolution.checked_config import make_config, with_present_names
from swarm.evolution.command_line import given_settings
from swarm.evolution.config import SearchConfig, settings
from swarm.evolution.final_scores import summarise
from swarm.evolution.fitness import Fitness
from swarm.evolution.fitted_on_dev import warn_of_seen
from swarm.evolution.origins import kept_with_a_system, of_its_data
from swarm.evolution.run_folder import ARGS, BEST, RESULT, read_json
from swarm.maths.interval import Estimate
from swarm.plugins import use_plugin_files
from swarm.programs import front_doors
from swarm.programs.engine_choice import make_cache, make_executor
from swarm.programs.parsers import ALL, evaluate_parser
from swarm.programs.task import Task, read_task
from swarm.reports.report import graph_as_text, score_title
from swarm.system.scheduler import Scheduler
from swarm.system.system import LoadedSystem, load_system
from swarm.weights.written import written_as

log = logging.getLogger(__name__)


def evaluate_program(arguments: list[str] | None = None) -> int:
    """evaluate.py. Returns the exit code."""
    options = evaluate_parser().parse_args(arguments)
    front_doors.log_to(None)
    if options.limit is not None and options.limit != ALL and options.limit < 1:
        raise UserError(f"--limit is {options.limit}; wanted at least 1, or {ALL}")
    if not Path(options.folder).exists():
        raise UserError(f"{options.folder} is not there; wanted a run such as search/<name> (h-swarm runs lists them)")
    use_plugin_files(options.plugin)
    system = load_system(_system_folder(Path(options.folder)), options.base_model)
    config = _settings(options, system.about)
    task = read_task(config).for_nodes(len(system.assignment))
    _check_data(options, system.about, task)
    task.evaluation.prepare()
    warn_of_seen(system.saved, task.evaluation, task.dataset, options.split)
    params = _params(system, task)
    scorer = task.evaluation.scorers[0]
    with closing(make_executor(system.saved, config)) as executor:
        _warn_of_another_engine(Path(options.folder), executor.facts())
        system = system if config.no_cache else _as_searched(system)
        scheduler = Scheduler(executor, make_cache(executor, config))
        fitness = Fitness(scheduler, task.evaluation, task.dataset, params, scorer)
        examples = task.dataset.dev if options.split == "dev" else task.dataset.test
        scores = summarise(fitness.judge([system], examples)[0], task.evaluation)
    _show(options, system, scores, getattr(config, f"{options.split}_limit"))
    return front_doors.DONE


def _as_searched(system: LoadedSystem) -> LoadedSystem:
    """The system with its experts' digests of the search that wrote them on this machine."""
    experts = system.pool.experts()
    known = written_as(expert.digest for expert in experts)
    experts = [replace(each, digest=known.get(each.digest, each.digest)) for each in experts]
    return replace(system, members=system.saved.around(experts))


def _check_data(options: Any, about: dict[str, Any], task: Task) -> None:
    """Raises UserError where data of the name that the system was found on is other data, unless the user names it."""
    before, now = about.get("dataset_digest"), task.dataset.digest
    if options.dataset is None and before not in (None, now):
        raise UserError(
            f"the system was found on other data than {task.dataset.name} in {task.config.data_directory} (digest "
            f"{str(before)[:12]}, here {now[:12]}); name what you mean with -d"
        )


def _params(system: LoadedSystem, task: Task) -> GenerationParams:
    """The generation parameters of the search, if the eval is the same; the user's own go first."""
    found = (system.about.get("eval"), system.about.get("dataset"))
    if system.params is None or found != (task.evaluation.name, task.dataset.name):
        return task.params
    config = task.config
    return replace(
        system.params,
        max_new_tokens=config.max_new_tokens or system.params.max_new_tokens,
        chat=system.params.chat if config.chat is None else config.chat,
    )


def _warn_of_another_engine(folder: Path, facts: dict[str, str]) -> None:
    """Warns of differences from the engine by which a run was scored: texts may differ."""
    path = folder / RESULT
    before = read_json(path).get("engine") if path.is_file() else None
    known = before if isinstance(before, dict) else {}
    changed = [f"{fact} {now} (was {known[fact]})" for fact, now in facts.items() if known.get(fact, now) != now]
    if changed:
        log.warning("this engine is not the run's, so that texts may differ: %s", ", ".join(changed))


def _settings_of(folder: Path, about: dict[str, Any]) -> dict[str, Any]:
    """The settings that a system was found with, by its system.json, and in a run's folder by the run.

    Those also have where its data lies; systems saved by earlier versions do not have all of it. What may change when a
    run is resumed the system knows best.
    """
    settings = about.get("settings", {})
    if not isinstance(settings, dict):
        raise UserError(f"{folder}: the settings in its system.json are {settings!r}, no object: restore it")
    found = {name: settings[name] for name in (*kept_with_a_system(), "dataset") if name in settings}
    path = folder / ARGS
    ran = {name: value for name, value in (read_json(path) if path.is_file() else {}).items() if value is not None}
    for name in (*kept_with_a_system(), "dataset", "data_directory"):
        if name in ran and not (name in found and name in ("dtype", "fold")):
            found[name] = ran[name]
    if ran.get("gpus") == "cpu":
        found["gpus"] = "cpu"
    return {"dataset": about.get("dataset")} | found


def _settings(options: Any, about: dict[str, Any]) -> SearchConfig:
    """The user's settings, else the search's; those of reading data hold for the same data only.

    A system's folder can come from anybody: it says what its questions, its judge and its number format were, and
    nothing else.
    """
    eval_type = options.eval_type or about.get("eval")
    if options.eval_type is None and is_file_name(str(eval_type)):
        path = Path(options.folder) / ARGS
        known = read_json(path).get("eval_type") if path.is_file() else None
        raise UserError(
            f"the system was found by the eval {eval_type}, whose file does not travel with it: name it with "
            f"-e {known if is_file_name(str(known)) else 'path/to/file.py:name'}"
        )
    found = _settings_of(Path(options.folder), about)
    if options.dataset is not None and Path(options.dataset).stem != about.get("dataset"):
        found = {name: value for name, value in found.items() if not of_its_data(settings()[name])}
    given = with_present_names(given_settings(options, "evaluate"))
    if given.get("executor", "local") != "local":
        found.pop("gpus", None)  # a device of this machine, of which a cluster knows nothing
    if options.limit is not None:
        given[f"{options.split}_limit"] = None if options.limit == ALL else options.limit
    return make_config(found | given | {"eval_type": eval_type})


def _system_folder(folder: Path) -> Path:
    return folder / BEST if (folder / BEST).is_dir() else folder


def _show(options: Any, system: LoadedSystem, scores: dict[str, Any], limit: int | None) -> None:
    if options.json:
        log.info("%s", json.dumps({"folder": options.folder, "split": options.split, "scores": scores}))
        return
    for line in graph_as_text(system):
        log.info("%s", line)
    if limit is not None and options.limit is None and scores[min(scores)]["size"] == limit:
        log.info("on the first %d examples, as it was found; --limit %s for all there are", limit, ALL)
    for scorer in sorted(scores, key=lambda name: name != "strict"):
        log.info("%s %s: %s", options.split, score_title(scorer, scores), Estimate(**scores[scorer]))
