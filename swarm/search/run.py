"""A run's folder: search/<name>/ with its settings, state, numbers and best system. One process at a time."""

import errno
import json
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from swarm.errors import UserError
from swarm.evals.hub import is_hub_id
from swarm.evals.judges.budget import NO_WORK, JudgeUsage
from swarm.evals.plugins import file_of, is_file_name
from swarm.files import take_lock, write_json, write_whole
from swarm.search.config import SearchConfig, make_config
from swarm.search.resume import FREE_ON_RESUME
from swarm.search.state import Best, SearchState, state_from_json, state_to_json
from swarm.search.steps import Problem
from swarm.system.system import save_system

ARGS, ORIGIN, STATE, RESULT = "args.json", "origin.json", "state.json", "result.json"
METRICS, SCRATCHPAD, LOG, BEST = "metrics.jsonl", "utility_scratchpad.json", "log.txt", "best"
JUDGED, ROUTERS = "judge_usage.json", "routers"

DATA_SETTINGS = ("columns", "splits", "hub_config", "data_revision", "dev_size", "share_chunks")
KEPT_WITH_A_SYSTEM = ("compat", "judge_model", "judge_tokens", *DATA_SETTINGS)


class Run:
    """One run's folder, locked for this process while it is open."""

    def __init__(self, folder: Path):
        """Takes the lock. Raises UserError if another process holds it."""
        self.folder = folder
        self._lock = open(folder / "lock", "a")  # noqa: SIM115 (held for the life of the run)
        take_lock(self._lock, f"{folder} is in use by another process; wait for it or stop it, then --resume")
        for leftover in folder.rglob(".*.tmp"):  # of a process that was killed while it wrote
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()

    def close(self) -> None:
        """Gives the lock back."""
        self._lock.close()

    def save(self, state: SearchState) -> None:
        """Writes the state, whole or not at all."""
        write_json(self.folder / STATE, state_to_json(state), indent=None)

    def load(self) -> SearchState | None:
        """The last state written; None if the run did not get that far. Raises UserError if it cannot be read."""
        path = self.folder / STATE
        try:
            return state_from_json(json.loads(path.read_text(encoding="utf8")))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path} cannot be read ({type(error).__name__}: {error}); restore it from a copy"
            ) from error

    def write_scratchpad(self, state: SearchState) -> None:
        """utility_scratchpad.json, one key a line; not flushed to disk, since it can be made from the state again."""
        record = _scratchpad(state)
        lines = [f"{json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in record.items()]
        write_whole(self.folder / SCRATCHPAD, "{\n" + ",\n".join(lines) + "\n}\n", flush=False)

    def keep_judge_usage(self, usage: JudgeUsage) -> None:
        """Writes what a judge has been made to do; it counts against the limits of later sittings, whatever happens."""
        waiting = self.folder / f".{JUDGED}.tmp"
        # not flushed to disk: a kill loses nothing so, and this comes twice with every call
        waiting.write_text(json.dumps(asdict(usage)) + "\n", encoding="utf8")
        waiting.replace(self.folder / JUDGED)

    def judge_usage(self) -> JudgeUsage:
        """What a judge has been made to do in earlier sittings."""
        path = self.folder / JUDGED
        if not path.exists():
            return NO_WORK
        try:
            return JudgeUsage(**read_json(path))
        except TypeError as error:
            raise UserError(f"{path} is damaged ({error}): restore it, or delete it to count from zero") from error

    def check_origin(self, origin: dict[str, Any]) -> list[str]:
        """Raises UserError if experts, data or eval are others than the run began with; gives warnings for the rest."""
        path = self.folder / ORIGIN
        before = read_json(path)
        for part, cure in (
            ("experts", "-i"),
            ("composites", "--composites"),
            ("base", "-b"),
            ("dataset", "-d"),
            ("dataset_name", "-d"),
            ("eval", "-e"),
        ):
            then, now = (str(record.get(part) or "none")[:12] for record in (before, origin))
            if before.get(part, "") != origin.get(part, ""):
                raise UserError(
                    f"{self.folder} was begun with other content for {part} (digest {then}, now {now}); restore it "
                    f"({cure}), or start a new run"
                )
        warnings = []
        if before.get("eval_code", "") != origin.get("eval_code", ""):
            warnings.append("the eval's code differs from the run's beginning: scores before and after may not compare")
        changed = [key for key, value in origin.get("engine", {}).items() if before.get("engine", {}).get(key) != value]
        return warnings + [f"the engine's {key} differs from the run's beginning: texts may differ" for key in changed]

    def write_metrics(self, step: int, record: dict[str, Any]) -> None:
        """Appends one step's numbers to metrics.jsonl."""
        with open(self.folder / METRICS, "a", encoding="utf8") as file:
            file.write(json.dumps({"step": step} | record, allow_nan=False) + "\n")

    def forget_metrics_after(self, step: int) -> None:
        """Drops lines of steps that an interrupted sitting wrote but whose state was never written."""
        path = self.folder / METRICS
        if path.exists():
            lines = [line for line in path.read_text(encoding="utf8").splitlines() if _step_of(line) <= step]
            write_whole(path, "".join(line + "\n" for line in lines))

    def write_best(self, problem: Problem, state: SearchState, scores: dict[str, Any] | None = None) -> None:
        """The best system as a folder that `System.load` reads."""
        assert state.best is not None
        system = problem.best_system(state.best)
        save_system(
            self.folder / BEST,
            system,
            problem.members_with(state.best.routers),
            state.best.decoded.adjacency,
            _about(problem, state.best, scores),
        )

    def write_graphs(self, state: SearchState) -> None:
        """graphs/: the swarm's matrices under the published program's names."""
        if state.graphs is None:
            return
        graphs = state.graphs
        named = {f"graph_{k}/now": matrix for k, matrix in enumerate(graphs.positions)}
        named |= {f"graph_{k}/personal_best": matrix for k, matrix in enumerate(graphs.personal_bests)}
        named |= {f"graph_{k}/velocity": matrix for k, matrix in enumerate(graphs.velocities)}
        for name, matrix in {**named, "global_best": graphs.global_best, "global_worst": graphs.global_worst}.items():
            target = self.folder / "graphs" / name
            target.mkdir(parents=True, exist_ok=True)
            np.save(target / "adjacency.npy", matrix, allow_pickle=False)


def numbers(state: SearchState) -> dict[str, float]:
    """A state's scores under the keys that the published program logs."""
    record: dict[str, float] = {}
    for kind, swarm in (("graph", state.graphs), ("model", state.experts)):
        if swarm is not None:
            record |= {f"{kind}_g": swarm.global_best_score, f"{kind}_g_worst": swarm.global_worst_score}
            record |= {f"{kind}_{i}_now": history[-1] for i, history in enumerate(swarm.histories)}
    if state.experts is not None:
        first = len(state.experts.histories)
        record |= {f"model_{first + i}_now": credit for i, credit in enumerate(state.composite_credits)}
    if state.best is not None:
        record["all_time_best_dev"] = state.best.score
    for one in state.refreshed:
        about = {"prompts": one.prompts, "labelled": one.labelled, "questions": one.questions, "kept": bool(one.kept)}
        record |= {f"router_{one.name}_{name}": value for name, value in about.items()}
    return record


def _scratchpad(state: SearchState) -> dict[str, Any]:
    """The numbers and how they came about, under the published program's keys (utility_scratchpad.json)."""
    record: dict[str, Any] = dict(numbers(state))
    for kind, swarm in (("graph", state.graphs), ("model", state.experts)):
        if swarm is not None:
            record[f"{kind}_g_history"] = list(swarm.best_history)
            for i, history in enumerate(swarm.histories):
                record |= {f"{kind}_{i}_best": max(history), f"{kind}_{i}_history": list(history)}
    return record


def create_run(root: Path, config: SearchConfig, origin: dict[str, Any]) -> Run:
    """A new folder for a run, with its settings and the digests of what they are applied to; whole or not at all.

    Raises UserError if the name that was asked for exists.
    """
    root.mkdir(parents=True, exist_ok=True)
    waiting = root / f".{secrets.token_hex(8)}.tmp"
    waiting.mkdir()
    try:
        write_json(waiting / ORIGIN, origin)
        for name in [config.name] if config.name else _fresh_names(config):
            write_json(waiting / ARGS, asdict(replace(_from_anywhere(config), name=name)))
            try:
                return Run(waiting.rename(root / name))
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
    finally:
        shutil.rmtree(waiting, ignore_errors=True)
    raise name_taken(root / str(config.name))


def name_taken(folder: Path) -> UserError:
    """What to say of a run name that exists."""
    return UserError(f"{folder} exists; wanted a new name (-n), or go on: python search.py --resume {folder}")


def open_run(folder: Path, given: dict[str, Any]) -> tuple[Run, SearchConfig]:
    """A run to go on with, and its settings with those that may change replaced by the given ones.

    Raises UserError if it is no run, is in use, or if a setting is given that has to stay.
    """
    if not (folder / ARGS).is_file():
        raise UserError(f"{folder} is no run ({ARGS} missing); wanted a folder such as search/<name>")
    if fixed := sorted(set(given) - set(FREE_ON_RESUME)):
        raise UserError(
            f"--{fixed[0]} cannot change when a run is resumed; start a new run for it, or leave it out. May change: "
            + ", ".join(FREE_ON_RESUME)
        )
    before = read_json(folder / ARGS)
    # code that comes with a model runs only for whoever asks for it, not because a folder says so
    return Run(folder), make_config(before | {"trust_remote_code": False} | given)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises UserError if it cannot be read."""
    try:
        record = json.loads(path.read_text(encoding="utf8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); restore it from a copy") from error
    if not isinstance(record, dict):
        raise UserError(f"{path} is no JSON object; restore it from a copy")
    return record


def _fresh_names(config: SearchConfig) -> Iterator[str]:
    stem = re.sub(r"[^A-Za-z0-9_.-]", "_", Path(str(config.dataset)).stem)
    base = f"{stem}_{time.strftime('%Y%m%d_%H%M%S')}"
    yield base
    while True:
        yield f"{base}_{secrets.token_hex(2)}"


def _from_anywhere(config: SearchConfig) -> SearchConfig:
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


def _about(problem: Problem, best: Best, scores: dict[str, Any] | None) -> dict[str, Any]:
    """What is noted with a system: where it comes from, and what scoring it again has to know beside names."""
    config = problem.config
    settings = {name: getattr(config, name) for name in KEPT_WITH_A_SYSTEM if getattr(config, name) is not None}
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


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")  # a line that was cut off in the middle
