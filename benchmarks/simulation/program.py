"""The command line of a simulation."""

import argparse
import json
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from benchmarks.simulation import report
from benchmarks.simulation.pace import Pace
from benchmarks.simulation.runs import Outcome, Setting, simulate
from benchmarks.simulation.texts import Lengths
from benchmarks.simulation.transport import Faults
from swarm.errors import UserError
from swarm.maths.choices import EDGES
from swarm.workers.worker_executor import Limits

WORKERS = [2**power for power in range(11)]
PACE = {
    "swap": "seconds to put together another expert and put it in place",
    "batch": "seconds to send a batch and get its answers back",
    "read": "seconds for a token of a prompt",
    "step": "seconds for a decoding step, whatever its rows",
    "row": "seconds on top for every row of a step",
    "head": "seconds of the process that hands out batches, for every request, shared ones included",
    "start": "seconds until a worker has started, at first and after a loss",
    "rows": "that a worker holds at a time",
}
LENGTHS = {
    "question": "tokens of a question in the mean",
    "question_spread": "their standard deviation, as a share of the mean",
    "answer": "tokens of an answer in the mean",
    "answer_spread": "their standard deviation, as a share of the mean",
    "most": "tokens that an answer may have",
}


def simulate_program(words: Sequence[str] | None = None) -> int:
    """Simulates, prints the table and writes what was asked for. Raises UserError for what cannot be simulated."""
    options = _parser().parse_args(words)
    _check(options)
    setting = _setting(options)
    logging.getLogger("swarm").setLevel(logging.ERROR)  # of every lost worker there would be a line
    begun, outcomes = time.monotonic(), []
    whole = replace(setting, faults=Faults())
    one = simulate(whole, 1)
    for workers in options.workers:
        sound = workers == 1 and setting.faults == Faults()
        outcomes.append(one if sound else simulate(setting, workers))
        print(f"{workers} workers: {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
    print("\n".join(_about(options, setting, outcomes)))
    lines = report.records(outcomes, one)
    print("\n".join(["", *report.table(lines), "", *report.LEGEND]))
    if options.json:
        report.write_json_record(options.json, setting, outcomes, one)
    if options.csv:
        report.write_csv(options.csv, lines)
    if options.picture:
        report.draw(options.picture, lines)
    return 0


def measured_pace(path: Path) -> dict[str, float]:
    """The pace that `scripts/bench.py pace scheduler --json` has measured, as far as it is in the file."""
    try:
        rows = json.loads(path.read_text(encoding="utf8"))["rows"]
        ours = {row["row"]: row["ours"]["value"] for row in rows}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} cannot be read as figures ({error}); make them with scripts/bench.py pace scheduler --json {path}"
        ) from error
    parts = [name for name in PACE if f"pace: {name}" in ours]
    if not parts:
        raise UserError(f"{path} has no row of a pace; make it with scripts/bench.py pace scheduler --json {path}")
    found = {name: ours[f"pace: {name}"] / 1e6 for name in parts}  # the figures are microseconds
    return found | ({"head": ours["scheduler"] / 1e6} if "scheduler" in ours else {})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="What more workers bring to a search: its real steps, scheduler, queue and crew, in simulated time."
    )
    standard, faults, limits = Setting(), Faults(), Limits()
    add = parser.add_argument
    add("--workers", type=int, nargs="+", default=WORKERS, help="how many (default: 1 to 1024 in powers of two)")
    add("--experts", type=int, default=standard.experts, help="n (default: %(default)s)")
    add("--graphs", type=int, default=standard.graphs, help="N (default: %(default)s)")
    add("--assignments", type=int, default=standard.assignments, help="M (default: %(default)s)")
    add("--questions", type=int, default=standard.questions, help="D, of dev (default: %(default)s)")
    add("--iterations", type=int, default=standard.iterations, help="after the start (default: %(default)s)")
    add("--top_p", type=float, default=0.0, help="nucleus when a graph is decoded (default: %(default)s)")
    add("--edges", choices=EDGES, default="tree", help="as search.py has it (default: %(default)s)")
    add("--ask_ahead", action="store_true", help="as search.py has it")
    add("--seed", type=int, default=standard.seed, help="of every draw (default: %(default)s)")
    add("--pace", type=Path, help="figures of scripts/bench.py pace scheduler --json, instead of what is assumed")
    for names, defaults in ((PACE, Pace()), (LENGTHS, Lengths())):
        for name, text in names.items():
            value = getattr(defaults, name)
            add(f"--{name}", type=type(value), metavar=name.upper(), help=f"{text} (default: {value:g}, assumed)")
    add("--between_losses", type=float, default=faults.between_losses, help="mean seconds until a worker is lost (inf)")
    add("--hangs", type=float, default=faults.hangs, help="share of the batches at which a worker hangs (default: 0)")
    add("--patience", type=float, default=limits.answer, help="seconds without a sign (default: %(default)s)")
    for name, text in (("json", "all figures"), ("csv", "the table"), ("picture", "the curves")):
        add(f"--{name}", type=Path, metavar="FILE", help=f"write {text} there")
    return parser


def _setting(options: argparse.Namespace) -> Setting:
    pace = Pace(**((measured_pace(options.pace) if options.pace else {}) | _given(options, PACE)))
    sizes: dict[str, Any] = {
        name: getattr(options, name) for name in ("experts", "graphs", "assignments", "questions", "iterations", "seed")
    }
    return Setting(
        **sizes,
        pace=pace,
        lengths=Lengths(**_given(options, LENGTHS)),
        faults=Faults(options.between_losses, options.hangs),
        limits=replace(Limits(), answer=options.patience),
        search={"top_p": options.top_p, "edges": options.edges, "ask_ahead": options.ask_ahead},
    )


def _given(options: argparse.Namespace, names: dict[str, str]) -> dict[str, Any]:
    return {name: getattr(options, name) for name in names if getattr(options, name) is not None}


def _check(options: argparse.Namespace) -> None:
    """Raises UserError for numbers that mean nothing."""
    least: dict[str, float] = {"experts": 2, "graphs": 2, "assignments": 1, "questions": 1, "iterations": 0, "seed": 0}
    least |= {"rows": 1, "question": 1, "answer": 1, "most": 1, "read": 1e-9, "hangs": 0, "between_losses": 1e-9}
    least |= dict.fromkeys(("swap", "batch", "step", "row", "head", "start", "question_spread", "answer_spread"), 0)
    for name, limit in least.items():
        value = getattr(options, name)
        if value is not None and not value >= limit:
            raise UserError(f"--{name} is {value:g}; wanted at least {limit:g}")
    if options.hangs >= 1:
        raise UserError(f"--hangs is {options.hangs:g}; wanted less than 1, or no batch would ever be answered")
    if min(options.workers) < 1:
        raise UserError(f"--workers holds {min(options.workers)}; wanted at least 1 each")


def _about(options: argparse.Namespace, setting: Setting, outcomes: Sequence[Outcome]) -> list[str]:
    steps = outcomes[0].steps
    asked, shared = sum(step.asked for step in steps), sum(step.shared for step in steps)
    pace = ", ".join(f"{field.name} {getattr(setting.pace, field.name):.3g}" for field in fields(Pace))
    source = f"measured ({options.pace})" if options.pace else "ASSUMED for Gemma-7B on a card with 80 GB, not measured"
    return [
        f"n = {setting.experts}, N = {setting.graphs}, M = {setting.assignments}, D = {setting.questions}, "
        f"iterations {setting.iterations} and the start, top-p {options.top_p:g}, {options.edges}"
        f"{', asking ahead' if options.ask_ahead else ''}, seed {setting.seed}",
        f"{asked:,} requests, {asked - shared:,} of them for the workers, in {len(steps)} steps",
        f"pace, {source}: {pace}",
    ]
