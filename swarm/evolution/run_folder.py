"""A run's folder: search/<name>/ with its settings, state, numbers and best system. One process at a time."""

import errno
import json
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from typing import IO, Any

import numpy as np

from swarm.engines.metered import Usage
from swarm.errors import UserError
from swarm.evals.judges.budget import NO_WORK, JudgeUsage
from swarm.evolution.checked_config import config_of_run
from swarm.evolution.config import SearchConfig, settings
from swarm.evolution.numbers import scratchpad
from swarm.evolution.origins import about_system, from_anywhere
from swarm.evolution.problem import Problem
from swarm.evolution.resume_command import name_taken
from swarm.evolution.state import SearchState, state_from_json, state_to_json
from swarm.storage.files import (
    check_own_file,
    check_own_folder,
    open_lock,
    open_own,
    read_text,
    take_lock,
    tidy,
    whole_folder,
    write_json,
    write_whole,
)
from swarm.system.system import save_system

ARGS, ORIGIN, STATE, RESULT = "args.json", "origin.json", "state.json", "result.json"
METRICS, SCRATCHPAD, LOG, BEST = "metrics.jsonl", "utility_scratchpad.json", "log.txt", "best"
JUDGED, USED, ROUTERS, GRAPHS = "judge_usage.json", "usage.json", "routers", "graphs"
WRITTEN_BY_WANDB, WANDB_ID = "wandb", "wandb_id"
GRAPH_PICTURE, CURVES_PICTURE, ANSWERS = "graph.png", "curves.png", "answers.jsonl"
FILES = (ARGS, ORIGIN, STATE, RESULT, METRICS, SCRATCHPAD, LOG, JUDGED, USED, GRAPH_PICTURE, CURVES_PICTURE, WANDB_ID,
         ANSWERS, "candidates.jsonl", "asked.bin")  # fmt: skip
FOLDERS = (BEST, ROUTERS, GRAPHS, WRITTEN_BY_WANDB)


class Run:
    """One run's folder, locked for this process while it is open."""

    def __init__(self, folder: Path):
        """Takes the lock, and removes what a killed process has left.

        Raises UserError if another process holds it, and if the folder, which may come from anybody, holds links, pipes
        or the like.
        """
        self.folder = folder
        for name in FILES:
            check_own_file(folder / name)
        for name in FOLDERS:
            check_own_folder(folder / name)
        self._lock = open_lock(folder / "lock")
        take_lock(self._lock, f"{folder} is in use by another process; wait for it or stop it, then --resume")
        tidy(folder, foreign=(WRITTEN_BY_WANDB,))
        self._in_hand = Lock()  # threads of a judge write, too

    def close(self) -> None:
        """Releases the lock; from then on nothing is written, by whichever thread."""
        with self._in_hand:
            self._lock.close()

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open_log(self) -> IO[str]:
        """Opens log.txt for appending."""
        return open_own(self.folder / LOG, "a")

    def save(self, state: SearchState) -> None:
        """Writes the state, whole or not at all."""
        write_json(self.folder / STATE, state_to_json(state), indent=None)

    def load(self) -> SearchState | None:
        """The last state written; None if the run did not get that far. Raises UserError if it cannot be read."""
        path = self.folder / STATE
        try:
            return state_from_json(json.loads(read_text(path)))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path} cannot be read ({type(error).__name__}: {error}); restore it from a copy"
            ) from error

    def write_scratchpad(self, state: SearchState) -> None:
        """utility_scratchpad.json, one key a line; not flushed to disk, since it can be made from the state again."""
        record = scratchpad(state)
        lines = [f"{json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in record.items()]
        write_whole(self.folder / SCRATCHPAD, "{\n" + ",\n".join(lines) + "\n}\n", flush=False)

    def keep_judge_usage(self, usage: JudgeUsage) -> None:
        """Writes the judge's usage, which counts against the limits of later sessions.

        A call that ends after `close` is counted already, at the most that it may cost.
        """
        self._keep(JUDGED, asdict(usage))

    def keep_usage(self, search: Usage, final: Usage) -> None:
        """Writes the usage of the search and of its final scores so far, so that it outlives a kill."""
        self._keep(USED, {"search": asdict(search), "final": asdict(final)})

    def _keep(self, name: str, record: dict[str, Any]) -> None:
        with self._in_hand:
            if not self._lock.closed:
                # not flushed to disk: a kill loses nothing so, and this comes with every call or batch
                write_whole(self.folder / name, json.dumps(record) + "\n", flush=False)

    def with_kept_usage(self, state: SearchState) -> SearchState:
        """The state with the work that was done after it was written: in mid-step, and in final scores.

        What is asked again and found is no work, so that it has to be counted from when it was done.
        """
        for name in (USED, RESULT):
            path = self.folder / name
            if not path.exists():
                continue
            record = read_json(path)
            try:
                if name == USED:
                    return replace(state, usage=Usage(**record["search"]), final_usage=Usage(**record["final"]))
                return replace(state, final_usage=Usage(**record["usage"]).since(state.usage))
            except (KeyError, TypeError) as error:
                raise UserError(f"{path} is damaged ({error}): restore it, or delete it to count without it") from error
        return state

    def forget_usage(self) -> None:
        """Removes what `keep_usage` wrote, once the state or the result has it."""
        (self.folder / USED).unlink(missing_ok=True)

    def judge_usage(self) -> JudgeUsage:
        """The judge's usage in earlier sessions."""
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
            ("instructions", "--instructions"),
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
        if before.get("optimizer_code", "") != origin.get("optimizer_code", ""):
            warnings.append("the optimizer's code differs from the run's beginning: it goes on otherwise than it began")
        changed = [key for key, value in origin.get("engine", {}).items() if before.get("engine", {}).get(key) != value]
        return warnings + [f"the engine's {key} differs from the run's beginning: texts may differ" for key in changed]

    def write_metrics(self, step: int, record: dict[str, Any]) -> None:
        """Appends one step's numbers to metrics.jsonl."""
        with open_own(self.folder / METRICS, "a") as file:
            file.write(json.dumps({"step": step} | record, allow_nan=False) + "\n")

    def forget_metrics_after(self, step: int) -> None:
        """Drops lines of steps that an interrupted session wrote but whose state was never written."""
        path = self.folder / METRICS
        if path.exists():
            lines = [line for line in read_text(path).splitlines() if _step_of(line) <= step]
            write_whole(path, "".join(line + "\n" for line in lines))

    def begin_again(self, state: SearchState) -> None:
        """Writes a state from which the steps are taken anew; what was noted of them is dropped."""
        self.save(state)
        self.forget_metrics_after(-1)

    def write_best(
        self,
        problem: Problem,
        state: SearchState,
        scores: dict[str, Any] | None = None,
        texts: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """The best system as a folder that `System.load` reads; `texts` are further files in it, by name."""
        assert state.best is not None
        system = problem.best_system(state.best)
        save_system(
            self.folder / BEST,
            system,
            problem.members_with(state.best.routers),
            state.best.decoded.adjacency,
            about_system(problem, state.best, scores),
            texts,
        )

    def write_graphs(self, state: SearchState) -> None:
        """graphs/: the swarm's matrices under the published program's names, all of them or none."""
        if state.graphs is None:
            return
        graphs = state.graphs
        named = {f"graph_{k}/now": matrix for k, matrix in enumerate(graphs.positions)}
        named |= {f"graph_{k}/personal_best": matrix for k, matrix in enumerate(graphs.personal_bests)}
        named |= {f"graph_{k}/velocity": matrix for k, matrix in enumerate(graphs.velocities)}
        named |= {"global_best": graphs.global_best, "global_worst": graphs.global_worst}
        with whole_folder(self.folder / GRAPHS) as new:
            for name, matrix in named.items():
                (new / name).mkdir(parents=True)
                np.save(new / name / "adjacency.npy", matrix, allow_pickle=False)


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
            write_json(waiting / ARGS, asdict(replace(from_anywhere(config), name=name)))
            try:
                return Run(waiting.rename(root / name))
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
    finally:
        shutil.rmtree(waiting, ignore_errors=True)
    raise name_taken(root / str(config.name))


def open_run(folder: Path, given: dict[str, Any]) -> tuple[Run, SearchConfig]:
    """A run to resume, and its settings with those that may change replaced by the given ones.

    Raises UserError if it is no run, is in use, or if a setting is given that has to stay.
    """
    if not (folder / ARGS).is_file():
        near = folder.parent / "search" / folder.name
        hint = f"did you mean {near}?" if (near / ARGS).is_file() else "h-swarm runs lists those there are"
        raise UserError(f"{folder} is no run ({ARGS} missing); wanted a folder such as search/<name>: {hint}")
    free = [name for name, setting in settings().items() if setting.resumable]
    if fixed := sorted(set(given) - set(free)):
        raise UserError(
            f"--{fixed[0]} cannot change when a run is resumed; start a new run for it, or leave it out. May change: "
            + ", ".join(free)
        )
    before = read_json(folder / ARGS)
    return Run(folder), config_of_run(before, given)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises UserError if it cannot be read."""
    try:
        record = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
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


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")  # a line that was cut off in the middle
