"""The table of runs that scripts/world_runs.py made: methods side by side on worlds of each kind, at equal calls.

python scripts/world_table.py rows.jsonl --out table.json

Means over worlds with 95 % intervals by the hierarchical bootstrap over worlds, search seeds and questions
(`swarm/maths/hierarchical.py`); differences are paired. Where a difference is to the better of several methods, that is
the one with the best mean over search seeds in each world.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from world_runs import METHODS, Runs

from swarm.maths.hierarchical import RESAMPLES, hierarchical_mean
from swarm.maths.interval import Estimate

Row = dict[str, Any]
Cells = dict[tuple[str, int], Row]
"""World and search seed -> the run there."""


def by_method(rows: Sequence[Row]) -> tuple[dict[str, Cells], list[str]]:
    """The methods that have a run for every world and seed, and the names of those that lack some."""
    cells: dict[str, Cells] = {}
    for row in rows:
        cells.setdefault(row["method"], {})[row["world"], row["search_seed"]] = row
    every = {place for own in cells.values() for place in own}
    return {name: own for name, own in cells.items() if {*own} == every}, [
        n for n, own in cells.items() if {*own} != every
    ]


def scores(cells: Cells) -> dict[str, np.ndarray]:
    """World -> which questions each of its runs answers rightly, (seeds, questions), in the order of the seeds."""
    found: dict[str, list[np.ndarray]] = {}
    for (world, _), row in sorted(cells.items()):
        found.setdefault(world, []).append(np.array([*map(int, row["right"])]))
    return {world: np.stack(own) for world, own in found.items()}


def better_of(methods: Mapping[str, dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """World -> the scores of the method with the best mean there."""
    worlds = next(iter(methods.values()))
    return {world: max((own[world] for own in methods.values()), key=np.mean) for world in worlds}


def bootstrapped(worlds: Mapping[str, np.ndarray], resamples: int) -> Estimate:
    """The mean over worlds with its interval; equal scores give equal intervals."""
    return hierarchical_mean([*worlds.values()], np.random.default_rng(0), resamples)


def flattery(cells: Cells) -> float:
    """How far dev is above test, on average, in standard errors of a share of so many dev questions."""
    gaps = []
    for row in cells.values():
        test = row["right"].count("1") / len(row["right"])
        error = max(test * (1 - test) / row["dev_size"], 1e-12) ** 0.5
        gaps.append((row["dev"] - test) / error if error > 1e-5 else 0.0)
    return float(np.mean(gaps))


def passing(cells: Cells, first: Cells) -> list[float | None]:
    """For every run the share of the first method's calls at which it passed that one's final dev score, if it did."""
    shares: list[float | None] = []
    for place, row in sorted(cells.items()):
        goal, spent = first[place]["dev"], first[place]["calls"]
        shares.append(next((calls / spent for calls, dev in row["curve"] if dev > goal), None))
    return shares


def summary(name: str, cells: Cells, first: Cells | None, resamples: int) -> Row:
    """A method's numbers."""
    calls = [row["calls"] for row in cells.values() if row["calls"] is not None]
    passed = passing(cells, first) if first and calls else []
    known = sorted(share if share is not None else float("inf") for share in passed)
    return {
        "method": name,
        "test": vars(bootstrapped(scores(cells), resamples)),
        "dev": float(np.mean([row["dev"] for row in cells.values()])),
        "dev_minus_test_in_standard_errors": flattery(cells),
        "calls": float(np.mean(calls)) if calls else None,
        "nodes": float(np.mean([row["nodes"] for row in cells.values()])),
        "passed": sum(share < float("inf") for share in known),
        "median_share_of_calls_until_passed": known[len(known) // 2]
        if known and known[len(known) // 2] < 1e9
        else None,
        "runs": len(cells),
    }


def kind_table(rows: Sequence[Row], methods: Mapping[str, Any], kind: str, resamples: int) -> Row:
    """All numbers of the worlds of one kind."""
    complete, lacking = by_method(rows)
    order = [name for name in methods["methods"] if name in complete]
    first = complete.get(methods["budget_of"])
    right = {name: scores(complete[name]) for name in order}
    differences, ours = [], methods["default"]
    for others in methods["differences"].get(kind, []):
        present = [name for name in others if name in right]
        if ours in right and len(present) == len(others):
            theirs = better_of({name: right[name] for name in present})
            gaps = {world: right[ours][world].astype(float) - theirs[world] for world in theirs}
            differences.append({"ours": ours, "theirs": others, "test": vars(bootstrapped(gaps, resamples))})
    return {
        "worlds": sorted({row["world"] for row in rows}),
        "methods": [summary(name, complete[name], first, resamples) for name in order],
        "differences": differences,
        "lacking": lacking,
    }


def markdown(kind: str, found: Row) -> list[str]:
    """A kind's table."""
    lines = [f"## {kind}: {len(found['worlds'])} worlds", ""]
    lines += [
        "| method | test | dev − test, in standard errors | calls | nodes | swarm's dev score passed |",
        "|---" * 6 + "|",
    ]
    for row in found["methods"]:
        calls = f"{row['calls']:,.0f}" if row["calls"] is not None else "no search"
        median = row["median_share_of_calls_until_passed"]
        passed = f"{row['passed']} of {row['runs']}" + (f", at {median:.2f} of its calls" if median is not None else "")
        cells = [row["method"], interval(row["test"]), f"{row['dev_minus_test_in_standard_errors']:+.1f}", calls,
                 f"{row['nodes']:.1f}", passed if row["calls"] is not None else ""]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    lines += [""]
    for one in found["differences"]:
        theirs = one["theirs"][0] if len(one["theirs"]) == 1 else f"the best of {', '.join(one['theirs'])}"
        lines.append(f"- {one['ours']} − {theirs}: {interval(one['test'], '+')}")
    lines += [f"- without a run for every world and seed, so not shown: {', '.join(found['lacking'])}"] * bool(
        found["lacking"]
    )
    return [*lines, ""]


def interval(found: Mapping[str, float], sign: str = "") -> str:
    """mean [low, high]."""
    return f"{found['mean']:{sign}.3f} [{found['low']:{sign}.3f}, {found['high']:{sign}.3f}]"


def main() -> None:
    """Prints the tables, and writes their numbers."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("rows", type=Path, nargs="+", help="files of lines")
    parser.add_argument("--table", type=Path, default=METHODS, help="the methods (default: data/worlds/methods.json)")
    parser.add_argument("--resamples", type=int, default=RESAMPLES, help="of the bootstrap (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="write every number there, as JSON")
    options = parser.parse_args()
    methods = json.loads(options.table.read_text(encoding="utf8"))
    rows = [row for path in options.rows for row in Runs(path).rows.values()]
    kinds = dict.fromkeys(row["kind"] for row in rows)
    found = {
        kind: kind_table([row for row in rows if row["kind"] == kind], methods, kind, options.resamples)
        for kind in kinds
    }
    if options.out:
        options.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf8")
    print("\n".join(line for kind, one in found.items() for line in markdown(kind, one)))


if __name__ == "__main__":
    main()
