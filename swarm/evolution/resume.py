"""Checks of a resumed run: settings that may change, and code or addresses that the user has to name again."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from swarm.data.lm_eval_data import task_file
from swarm.data.names import dataset_names
from swarm.errors import UserError
from swarm.evals import eval_names
from swarm.evals.own_evals import eval_file_digest, is_file_name
from swarm.evolution.config import SearchConfig
from swarm.evolution.state import SearchState
from swarm.plugins import plugin_files_digest
from swarm.storage.files import file_digest
from swarm.storage.user_cache import remember_named, was_named

log = logging.getLogger(__name__)

EVAL_FILE, JUDGE_URL, RAY_ADDRESS, PLUGIN = "eval_file", "judge_url", "ray_address", "plugin"
TASK_FILE = "lm_eval_task"


def check_what_it_names(again: str, config: SearchConfig, given: Mapping[str, Any], recorded: object) -> None:
    """Refuses a run whose settings would run code or send a key where the user did not say so on this machine.

    A run's folder can come from anybody. An eval's file is run if the user names it now, or has named that very content
    before and the run began with it (`recorded` is its digest); plugin files, a judge's address and a cluster's are
    used if the user names them now or has named them before. `again` is the command that goes on, which the cure
    extends. Raises UserError.
    """
    whole = str(config.eval_type)
    for name in _eval_files(config) if "eval_type" not in given else ():
        digest = eval_file_digest(name)
        if digest not in str(recorded).split():
            raise UserError(f"the run's eval file {name} has changed since it began: read it, then {again} -e {whole}")
        if not was_named(EVAL_FILE, digest):
            raise UserError(f"you have not run the eval file {name} here before: read it, then {again} -e {whole}")
    check_task_files(again, config, given)
    if config.plugin and "plugin" not in given and not was_named(PLUGIN, plugin_files_digest(config.plugin)):
        raise UserError(
            f"the run has the plugin {config.plugin}, which you have not run here with this content: read it, then "
            f"{again} --plugin {config.plugin}"
        )
    if config.judge_url and "judge_url" not in given and not was_named(JUDGE_URL, config.judge_url):
        raise UserError(
            f"the run asks a judge at {config.judge_url}, which you have not named here before: if it may have your "
            f"texts and key, {again} --judge_url {config.judge_url}"
        )
    # whoever has a cluster can run code on the machines that join it, this one included
    joins = config.ray_address if config.executor == "ray" and "ray_address" not in given else None
    if joins and not was_named(RAY_ADDRESS, joins):
        raise UserError(
            f"the run joins a Ray cluster at {joins}, which you have not named here before: if it is one "
            f"that you trust, {again} --ray_address {joins}"
        )


def check_task_files(again: str, config: SearchConfig, given: Mapping[str, Any]) -> None:
    """Raises UserError for a task of lm_eval in a file that the user has not named: its templates can run code."""
    names = [] if "dataset" in given else dataset_names(str(config.dataset))
    names += [] if "eval_type" in given else eval_names(str(config.eval_type))
    for path in _task_files(names):
        if not was_named(TASK_FILE, file_digest(path)):
            raise UserError(
                f"the task {path} has templates, which can run code, and you have not named it here with this content: "
                f"read it, then {again} -d {config.dataset} -e {config.eval_type}"
            )


def remember_what_is_named(config: SearchConfig) -> None:
    """What the user has named now need not be named again when a run is resumed."""
    for name in _eval_files(config):
        remember_named(EVAL_FILE, eval_file_digest(name))
    for path in _task_files([*dataset_names(str(config.dataset)), *eval_names(str(config.eval_type))]):
        remember_named(TASK_FILE, file_digest(path))
    if config.plugin:
        remember_named(PLUGIN, plugin_files_digest(config.plugin))
    if config.judge_url:
        remember_named(JUDGE_URL, config.judge_url)
    if config.ray_address:
        remember_named(RAY_ADDRESS, config.ray_address)


def without_used_limits(config: SearchConfig, given: dict[str, Any], state: SearchState) -> SearchConfig:
    """The settings without limits that were kept from an earlier sitting and are used up.

    Limits count the work of all sittings. One that ended the last sitting would end this one at once.
    """
    calls, tokens = state.charged[1:] if config.by_candidates else (state.usage.generations, state.usage.tokens)
    if config.by_candidates and state.stop_reason.startswith("--max_"):  # it ended before what would have passed it
        limit = state.stop_reason.split()[0].removeprefix("--")
        calls = max(calls, config.max_generations or 0) if limit == "max_calls" else calls
        tokens = max(tokens, config.max_tokens or 0) if limit == "max_tokens" else tokens
    used = {
        "max_generations": calls,
        "max_tokens": tokens,
        "max_time": state.usage.seconds,
    }
    limits = {name: getattr(config, name) for name in used if name not in given}
    spent = [name for name, limit in limits.items() if limit is not None and used[name] >= limit]
    lifted: dict[str, Any] = dict.fromkeys(spent)
    for name in spent:
        log.info("--%s %s was reached and no longer holds; give a new one to end the search again", name, limits[name])
    return replace(config, **lifted)


def _eval_files(config: SearchConfig) -> list[str]:
    """The names of evals in files; of several readings of `-e` those whose file is there."""
    names = [name for name in eval_names(str(config.eval_type)) if is_file_name(name)]
    there = [name for name in names if Path(name.partition(":")[0]).is_file()]
    return there or names[:1]


def _task_files(names: Sequence[str]) -> list[Path]:
    """The user's own tasks of lm_eval, in files."""
    return list(dict.fromkeys(path for name in names if (path := task_file(name)) is not None))
