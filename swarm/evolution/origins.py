"""What is noted of where a run and its system come from, so that both can be gone on with elsewhere."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from swarm.data.hub import is_hub_id
from swarm.evals.plugins import file_of, is_file_name
from swarm.evolution.config import SearchConfig
from swarm.evolution.state import Best
from swarm.evolution.steps import Problem

DATA_SETTINGS = ("columns", "splits", "hub_config", "data_revision", "dev_size", "share_chunks")
LIMITS_OF_DATA = ("dev_limit", "test_limit")
KEPT_WITH_A_SYSTEM = ("compat", "judge_model", "judge_tokens", "dtype", "fold", *LIMITS_OF_DATA, *DATA_SETTINGS)


def from_anywhere(config: SearchConfig) -> SearchConfig:
    """The settings with local paths made absolute, so that a run can be resumed from any folder."""
    names = ["data_directory", "initial_expert_directory", "composites", "base_model", "dataset"]
    if config.judge_url is None:  # a server's model may have the name of a folder
        names.append("judge_model")
    given = {name: getattr(config, name) for name in names}
    here: dict[str, Any] = {
        name: str(Path(value).resolve())
        for name, value in given.items()
        if value and (_is_data_path(value, config) if name == "dataset" else Path(value).is_dir())
    }
    name = str(config.eval_type)
    if is_file_name(name):
        here["eval_type"] = f"{file_of(name).resolve()}:{name.partition(':')[2]}"
    return replace(config, **here)


def _is_data_path(dataset: str, config: SearchConfig) -> bool:
    """Whether a dataset is meant as a path: a name in the data directory goes before a folder of that name."""
    if (Path(config.data_directory) / f"{dataset}.json").is_file():
        return False
    return Path(dataset).exists()


def about_system(problem: Problem, best: Best, scores: dict[str, Any] | None) -> dict[str, Any]:
    """What is noted with a system: where it comes from, and what scoring it again has to know beside names."""
    config = problem.config
    settings = {name: getattr(config, name) for name in KEPT_WITH_A_SYSTEM if getattr(config, name) is not None}
    if config.judge_url is None and Path(str(config.judge_model)).is_dir():
        settings["judge_model"] = str(Path(str(config.judge_model)).resolve())
    dataset = str(config.dataset)
    if is_hub_id(dataset) and not _is_data_path(dataset, config):
        settings["dataset"] = dataset  # a local path would be another one elsewhere
    return {
        "eval": problem.fitness.evaluation.name,
        "dataset": problem.fitness.dataset.name,
        "dataset_digest": problem.fitness.dataset.digest,
        "settings": settings,
        "found": best.found,
        "dev_in_search": best.score,
        "scores": scores,
    }
