"""What a resumed run may change, and what it may not do unasked."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from swarm.errors import UserError
from swarm.evals.plugins import file_digest, file_of, is_file_name
from swarm.search.config import SearchConfig
from swarm.search.state import SearchState

FREE_ON_RESUME = (
    "max_generations",
    "max_tokens",
    "max_time",
    "max_judge_calls",
    "max_cost",
    "judge_url",
    "judge_at_once",
    "judge_timeout",
    "judge_price",
    "eval_type",
    "gpus",
    "dtype",
    "token_budget",
    "trust_remote_code",
    "wandb",
    "project_name_wb",
    "base_model",
    "initial_expert_directory",
    "data_directory",
    "dataset",
)


def check_eval_file(folder: Path, recorded: object, config: SearchConfig, named: bool) -> None:
    """Refuses a run whose eval is a file that the user has not named now and that is not as it was.

    Nothing that came with a run's folder is run because that folder says so. `recorded` is the digest of the file that
    the run in `folder` began with. Raises UserError.
    """
    name = str(config.eval_type)
    if named or not is_file_name(name):
        return
    again = f"read it, then name it again: --resume {folder} -e {name}"
    if file_of(name).resolve().is_relative_to(folder.resolve()):
        raise UserError(f"the run's eval {name} lies in the run's own folder, so it is not run unasked: {again}")
    if file_digest(name) != recorded:
        raise UserError(f"the run's eval file {name} has changed since it began: {again}")


def without_used_limits(config: SearchConfig, given: dict[str, Any], state: SearchState) -> SearchConfig:
    """The settings without limits that were kept from an earlier sitting and are used up.

    Limits count the work of all sittings. One that ended the last sitting would end this one at once.
    """
    used = {
        "max_generations": state.usage.generations,
        "max_tokens": state.usage.tokens,
        "max_time": state.usage.seconds,
    }
    limits = {name: getattr(config, name) for name in used if name not in given}
    spent = [name for name, limit in limits.items() if limit is not None and used[name] >= limit]
    lifted: dict[str, Any] = dict.fromkeys(spent)
    return replace(config, **lifted)
