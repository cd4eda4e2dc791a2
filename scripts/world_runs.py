"""Runs methods on worlds at equal calls, one JSON line a run; runs whose line is there are not run again.

python scripts/world_runs.py --worlds worlds/noisy-30 worlds/noisy-31 --seeds 0 1 2 --rows rows.jsonl

A method of data/worlds/methods.json is a list of search.py's options, or the name of a baseline. "share": 1 lets it ask
as often as the first method, the swarm, did on the same world with the same seed; another number that share of it.
Every run has a cache of its own, empty at first, so a request is charged when the method asks it first, and only then.
scripts/world_table.py makes the table of such lines.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from train_world import write_questions
from world_base import DEV, TEST
from world_card import Answers, Row, baselines
from world_kinds import read_world

ROOT = Path(__file__).resolve().parents[1]
METHODS = ROOT / "data/worlds/methods.json"
Key = tuple[str, int, str]
"""World, search seed and method: one run."""


class Runs:
    """The lines of a file of runs.

    Attributes:
      rows: what is there, by key.
    """

    def __init__(self, path: Path):
        """Reads the file; a last line that a kill has cut is dropped."""
        self.path = path
        text = path.read_text(encoding="utf8") if path.is_file() else ""
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            path.write_text(whole, encoding="utf8")
        self.rows: dict[Key, dict[str, Any]] = {key_of(row): row for row in map(json.loads, whole.splitlines())}

    def add(self, row: Mapping[str, Any]) -> None:
        """Appends a line."""
        self.rows[key_of(row)] = dict(row)
        with self.path.open("a", encoding="utf8") as file:
            file.write(json.dumps(row) + "\n")


def key_of(row: Mapping[str, Any]) -> Key:
    """What tells a run from others."""
    return row["world"], row["search_seed"], row["method"]


def baseline_row(row: Row) -> dict[str, Any]:
    """The numbers of a baseline."""
    return {"calls": None, "nodes": row.calls, "dev": float(row.dev.mean()), "right": bits(row.test), "curve": []}


def bits(right: Sequence[float] | np.ndarray) -> str:
    """A 1 for every question that is answered rightly, else a 0."""
    return "".join("01"[int(one)] for one in right)


def search(arguments: Sequence[str], folder: Path) -> None:
    """search.py in a process of its own, in a folder, with its output in a log. Raises RuntimeError where it fails."""
    context = multiprocessing.get_context("forkserver")  # which imports once, for all runs
    context.set_forkserver_preload(["swarm.programs.search", "swarm.engines.local.transformers_engine"])
    process = context.Process(target=_in_folder, args=(list(arguments), folder))
    process.start()
    process.join()
    if process.exitcode:
        log = (folder / "log.txt").read_text(encoding="utf8").splitlines()[-3:]
        raise RuntimeError(f"search.py {' '.join(arguments)} ended with {process.exitcode}: {' / '.join(log)}")


def _in_folder(arguments: list[str], folder: Path) -> None:
    os.chdir(folder)
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(log, stream)
    from swarm.programs.front_doors import guarded
    from swarm.programs.search import search_program

    sys.exit(guarded(lambda: search_program(arguments)))


def searched_row(run: Path) -> dict[str, Any]:
    """The numbers of a search, from its folder."""
    state, result = (json.loads((run / name).read_text(encoding="utf8")) for name in ("state.json", "result.json"))
    answers = map(json.loads, (run / "best/answers.jsonl").read_text(encoding="utf8").splitlines())
    scores = {"dev": [], "test": []}
    for answer in answers:
        scores[answer["split"]].append(answer["scores"]["found"]["strict"])
    steps = map(json.loads, (run / "metrics.jsonl").read_text(encoding="utf8").splitlines())
    curve = [
        (step.get("calls", step["usage_generations"]), step["all_time_best_dev"])
        for step in steps
        if "all_time_best_dev" in step
    ]
    charged = state.get("charged", (0, 0, 0))[1]  # which only a search by candidates keeps
    return {
        "calls": charged or state["usage"]["generations"],
        "nodes": len(json.loads((run / "best/system.json").read_text(encoding="utf8"))["places"]),
        "dev": float(np.mean(scores["dev"])),
        "right": bits(scores["test"]),
        "curve": curve,
        "ended": result["stop_reason"],
    }


class WorldRuns:
    """The runs of one world with one search seed."""

    def __init__(self, folder: Path, seed: int, sizes: Mapping[str, int], work: Path):
        self.folder, self.seed, self.sizes = folder.resolve(), seed, sizes
        self.work = (work / f"{folder.name}-{seed}").resolve()
        self.world = read_world(folder)
        self._baselines: dict[str, Row] = {}

    def row(self, name: str, method: Mapping[str, Any], budget: int | None) -> dict[str, Any]:
        """A method's line but for what names it."""
        if "baseline" in method:
            if not self._baselines:
                self._baselines = baselines(Answers(self.world, self.folder, self.seed, **self.sizes))
            return baseline_row(self._baselines[method["baseline"]])
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        questions = self.work / "questions.json"
        write_questions(self.world, questions, self.seed, **self.sizes)
        arguments = ["-e", "exact_match", "-d", str(questions), "-i", str(self.folder / "experts")]
        arguments += ["--seed", str(self.seed), "--name", "run", *method["options"]]
        if budget is not None:
            arguments += ["--max_calls", str(budget)]
        search(arguments, self.work)
        row = searched_row(self.work / "search/run")
        shutil.rmtree(self.work)
        return row


def run_all(
    folders: Sequence[Path], seeds: Sequence[int], methods: Mapping[str, Any], runs: Runs, options: Any
) -> None:
    """Runs what has no line yet, world by world, seed by seed; prints each line's numbers."""
    chosen = options.methods or list(methods["methods"])
    if unknown := sorted({*chosen} - {*methods["methods"]}):
        raise SystemExit(f"no method {', '.join(unknown)}; there are {', '.join(methods['methods'])}")
    sizes = {"dev": options.dev, "test": options.test}
    for folder in folders:
        for seed in seeds:
            of_world = WorldRuns(folder, seed, sizes, options.work)
            for name in (name for name in methods["methods"] if name in chosen):
                key = (folder.name, seed, name)
                if key in runs.rows:
                    continue
                method, began = methods["methods"][name], time.monotonic()
                budget = budget_of(method, runs.rows.get((folder.name, seed, methods["budget_of"])))
                row = of_world.row(name, method, budget)
                named = dict(zip(("world", "search_seed", "method"), key, strict=True))
                about = {"kind": of_world.world.kind, "training_seed": of_world.world.seed, "budget": budget}
                about |= {"dev_size": options.dev, "seconds": round(time.monotonic() - began, 1), "commit": commit()}
                runs.add(named | about | row)
                share = row["right"].count("1") / len(row["right"])
                print(
                    f"{folder.name} {seed} {name}: dev {row['dev']:.3f} test {share:.3f}, {row['calls']} calls",
                    flush=True,
                )


def budget_of(method: Mapping[str, Any], first: Mapping[str, Any] | None) -> int | None:
    """The calls that a method may make. Raises SystemExit where the run that sets them is not there."""
    if "share" not in method:
        return None
    if first is None:
        raise SystemExit("the method that sets the budget has no line for this world and seed yet: run it, too")
    return int(method["share"] * first["calls"])


def commit() -> str:
    """The commit that this runs at; "" where there is none."""
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def main() -> None:
    """Runs the methods that the command line names."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--worlds", nargs="+", type=Path, required=True, help="folders that train_world.py made")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="of searches (default: 0 1 2)")
    parser.add_argument("--methods", nargs="+", help="only these (default: all)")
    parser.add_argument("--table", type=Path, default=METHODS, help="the methods (default: data/worlds/methods.json)")
    parser.add_argument("--rows", type=Path, required=True, help="file of lines, which is appended to")
    parser.add_argument("--work", type=Path, default=Path("search/worlds"), help="folder for what is thrown away after")
    parser.add_argument("--dev", type=int, default=DEV, help="dev questions (default: %(default)s)")
    parser.add_argument("--test", type=int, default=TEST, help="test questions (default: %(default)s)")
    options = parser.parse_args()
    methods = json.loads(options.table.read_text(encoding="utf8"))
    run_all(options.worlds, options.seeds, methods, Runs(options.rows), options)


if __name__ == "__main__":
    main()
