"""Provenance of runs and systems, so that both can be used from any folder."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from swarm.data.hub import is_hub_id
from swarm.data.lm_eval_data import is_lm_eval
from swarm.data.names import dataset_names
from swarm.evals import named_from_anywhere
from swarm.evals.joint_eval import JointEval
from swarm.evals.own_evals import is_file_name
from swarm.evolution.config import SearchConfig, settings
from swarm.evolution.problem import Problem
from swarm.evolution.setting import DATA, Setting
from swarm.evolution.state import Best


def of_its_data(setting: Setting) -> bool:
    """Whether a setting says how the data is read, so that it holds for that data only."""
    return setting.group == DATA or setting.name in ("dev_limit", "test_limit")


def kept_with_a_system() -> list[str]:
    """The settings that are noted with a found system."""
    return [name for name, setting in settings().items() if setting.with_system]


def from_anywhere(config: SearchConfig) -> SearchConfig:
    """The settings with local paths made absolute, so that a run can be resumed from any folder."""
    names = {name for name, setting in settings().items() if setting.path} - {"eval_type", "plugin"}
    if config.judge_url is not None:  # a server's model may have the name of a folder
        names.remove("judge_model")
    given = {name: getattr(config, name) for name in names}
    here: dict[str, Any] = {
        name: str(Path(value).resolve()) for name, value in given.items() if value and _lies_here(name, value, config)
    }
    if "dataset" not in here and config.dataset:  # of several each
        here["dataset"] = ",".join(_from_here(one, config) for one in dataset_names(config.dataset))
    here["eval_type"] = named_from_anywhere(str(config.eval_type))
    if config.plugin:
        here["plugin"] = ",".join(str(Path(part.strip()).resolve()) for part in config.plugin.split(","))
    return replace(config, **here)


def _eval_name(problem: Problem) -> str:
    """The eval's name, with which its model is found from any folder; an eval's file does not travel."""
    name = problem.fitness.evaluation.name
    if isinstance(evaluation := problem.fitness.evaluation, JointEval):
        parts = ((part.name, part.evaluation.name) for part in evaluation.parts)
        return ",".join(f"{dataset}={own if is_file_name(own) else named_from_anywhere(own)}" for dataset, own in parts)
    return name if is_file_name(name) else named_from_anywhere(name)


def _lies_here(name: str, value: str, config: SearchConfig) -> bool:
    if name == "dataset":
        return _is_data_path(value, config)
    return Path(value).is_file() if name in ("instructions", "device_map") else Path(value).is_dir()


def _from_here(dataset: str, config: SearchConfig) -> str:
    """A dataset's name with the path in it, if there is one, made absolute."""
    if is_lm_eval(dataset):
        return named_from_anywhere(dataset)
    return str(Path(dataset).resolve()) if _is_data_path(dataset, config) else dataset


def _is_data_path(dataset: str, config: SearchConfig) -> bool:
    """Whether a dataset is a path: a name in the data directory goes before a folder of that name."""
    if (Path(config.data_directory) / f"{dataset}.json").is_file():
        return False
    return Path(dataset).exists()


def about_system(problem: Problem, best: Best, scores: dict[str, Any] | None) -> dict[str, Any]:
    """The record of a system's origin, with the settings that an evaluation needs."""
    config = problem.config
    settings = {name: getattr(config, name) for name in kept_with_a_system() if getattr(config, name) is not None}
    if config.judge_url is None and Path(str(config.judge_model)).is_dir():
        settings["judge_model"] = str(Path(str(config.judge_model)).resolve())
    dataset = str(config.dataset)
    if is_hub_id(dataset) and not _is_data_path(dataset, config):
        settings["dataset"] = dataset  # a local path would be another one elsewhere
    return {
        "eval": _eval_name(problem),
        "dataset": problem.fitness.dataset.name,
        "dataset_digest": problem.fitness.dataset.digest,
        "prefix": problem.fitness.dataset.prefix,
        "settings": settings,
        "found": best.found,
        "dev_in_search": best.score,
        "scores": scores,
    }
