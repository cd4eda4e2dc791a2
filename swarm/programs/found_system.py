"""A found system as it lies on disk, with the settings by which it was found, to be evaluated or asked."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from swarm.data.names import names_of_data
from swarm.engines.base import GenerationParams
from swarm.engines.cache.completion_cache import CompletionCache
from swarm.engines.executor import Executor
from swarm.errors import UserError
from swarm.evals import EVALS, eval_names
from swarm.evals.own_evals import is_file_name
from swarm.evolution.checked_config import make_config, with_present_names
from swarm.evolution.config import SearchConfig, settings
from swarm.evolution.origins import kept_with_a_system, of_its_data
from swarm.evolution.resume import check_task_files
from swarm.evolution.run_folder import ARGS, BEST, RESULT, read_json
from swarm.plugins import names_in
from swarm.programs.engine_choice import make_cache
from swarm.programs.task import Task, with_users_own
from swarm.system.system import LoadedSystem, load_system
from swarm.weights.written import written_as

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FoundSystem:
    """A system from disk.

    Attributes:
      folder: the run's, or the system's own.
      system: the system.
      config: the user's settings, else those by which it was found.
      given: the user's settings, as far as they were given.
    """

    folder: Path
    system: LoadedSystem
    config: SearchConfig
    given: Mapping[str, Any]

    def with_settings(self, given: Mapping[str, Any]) -> "FoundSystem":
        """The same system under further settings of the user's. Raises UserError for one that cannot be."""
        given = dict(self.given) | with_present_names(given)
        return replace(self, config=_config_of(self.folder, self.about, given, True), given=given)

    @property
    def about(self) -> dict[str, Any]:
        """What was noted with it when it was found."""
        return dict(self.system.about)

    def params(self, task: Task) -> GenerationParams:
        """The generation parameters of the search, if the eval is the same; the user's own go first."""
        found, known = self.system.params, (self.about.get("eval"), self.about.get("dataset"))
        if found is None or known != (task.evaluation.name, task.dataset.name):
            return task.params
        return with_users_own(found, self.config)

    def cached(self, executor: Executor) -> tuple[LoadedSystem, CompletionCache]:
        """The system as the search asked it, so that answers kept on this machine are known; and what keeps them.

        Warns where the engine is another one than the search's.
        """
        _warn_of_another_engine(self.folder, executor.facts())
        system = self.system if self.config.no_cache else _as_searched(self.system)
        return system, make_cache(executor, self.config)


def read_found(folder: Path, given: Mapping[str, Any], scored: bool = True) -> FoundSystem:
    """The system in a run's folder, or in its own, with the settings that the user has `given`.

    A system's folder can come from anybody: it says what its questions, its judge and its number format were, and
    nothing else. Settings of reading data hold for the same data only. What is not to be `scored` needs neither eval
    nor data. Raises UserError if there is none, or a setting cannot be.
    """
    if not folder.exists():
        raise UserError(f"{folder} is not there; wanted a run such as search/<name> (h-swarm runs lists them)")
    given = with_present_names(given)
    if folder.name == BEST and (folder.parent / ARGS).is_file():
        folder = folder.parent  # the run knows more
    system = load_system(folder / BEST if (folder / BEST).is_dir() else folder, given.get("base_model"))
    return FoundSystem(folder, system, _config_of(folder, system.about, given, scored), given)


def _config_of(folder: Path, about: dict[str, Any], given: Mapping[str, Any], scored: bool) -> SearchConfig:
    eval_type = given.get("eval_type") or about.get("eval")
    found = _settings_of(folder, about)
    if given.get("dataset") is not None and ",".join(names_of_data(given["dataset"])) != about.get("dataset"):
        found = {name: value for name, value in found.items() if not of_its_data(settings()[name])}
    if given.get("executor", "local") != "local":
        found.pop("gpus", None)  # a device of this machine, of which a cluster knows nothing
    wanted = found | dict(given) | {"eval_type": eval_type}
    if not scored:
        wanted |= {name: "none" for name in ("eval_type", "dataset") if not wanted.get(name)}
    return make_config(wanted)


def check_eval_is_named(found: FoundSystem) -> None:
    """Raises UserError where the eval is a file's, which does not travel, and the user does not name it."""
    name, path = str(found.config.eval_type), found.folder / ARGS
    ran = read_json(path) if path.is_file() else {}
    given = found.given
    if ran.get("plugin") and not given.get("plugin") and name not in names_in("evals", EVALS):
        raise UserError(f"the system was found by the eval {name} of a plugin: name it with --plugin {ran['plugin']}")
    check_task_files(f"the same command on {found.folder} with", found.config, given)
    if given.get("eval_type") or not any(map(is_file_name, eval_names(name))):
        return
    known = ran.get("eval_type")
    raise UserError(
        f"the system was found by the eval {name}, whose file does not travel with it: name it with "
        f"-e {known if is_file_name(str(known)) else 'path/to/file.py:name'}"
    )


def check_data(found: FoundSystem, task: Task) -> None:
    """Raises UserError where data of the name that the system was found on is other data, unless the user names it."""
    before, now = found.about.get("dataset_digest"), task.dataset.digest
    if not found.given.get("dataset") and before not in (None, now):
        raise UserError(
            f"the system was found on other data than {task.dataset.name} in {task.config.data_directory} (digest "
            f"{str(before)[:12]}, here {now[:12]}); name what you mean with -d"
        )


def _as_searched(system: LoadedSystem) -> LoadedSystem:
    """The system with its experts' digests of the search that wrote them on this machine."""
    experts = system.pool.experts()
    known = written_as(expert.digest for expert in experts)
    experts = [replace(each, digest=known.get(each.digest, each.digest)) for each in experts]
    return replace(system, members=system.saved.around(experts))


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
    noted = about.get("settings", {})
    if not isinstance(noted, dict):
        raise UserError(f"{folder}: the settings in its system.json are {noted!r}, no object: restore it")
    found = {name: noted[name] for name in (*kept_with_a_system(), "dataset") if name in noted}
    path = folder / ARGS
    ran = {name: value for name, value in (read_json(path) if path.is_file() else {}).items() if value is not None}
    for name in (*kept_with_a_system(), "dataset", "data_directory"):
        if name in ran and not (name in found and name in ("dtype", "fold")):
            found[name] = ran[name]
    if ran.get("gpus") == "cpu":
        found["gpus"] = "cpu"
    return {"dataset": about.get("dataset")} | found
