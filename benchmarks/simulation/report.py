"""What a simulation has found, as a table, as records and as a picture."""

import csv
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.simulation.runs import Outcome, Setting
from swarm.reports.figures import needed_figure, save_picture
from swarm.storage.files import write_json, write_whole

COLUMNS = {
    "workers": "workers",
    "makespan": "makespan (s)",
    "speed_up": "speed-up",
    "utilisation": "utilisation",
    "efficiency": "efficiency",
    "serial_fraction": "serial fraction",
    "bound": "bound (s)",
    "over_bound": "makespan / bound",
    "rows": "rows a batch",
    "losses": "losses",
}
LEGEND = (
    "makespan: of all steps, the workers having started; speed-up: over one worker without faults; utilisation: share",
    "of the workers' time in which they are at work; efficiency: speed-up / workers; serial fraction (Karp, Flatt):",
    "(1 / speed-up - 1 / workers) / (1 - 1 / workers); bound: of every step the longest chain of requests that wait",
    "for each other, or its work in full batches / workers if that is more, summed over the steps.",
)


def speed_up(one: Outcome, many: Outcome) -> float:
    """How many times faster the many are than one worker without a fault."""
    return one.makespan / many.makespan


def serial_fraction(speed: float, workers: int) -> float | None:
    """The share of the work that has behaved as if only one worker could do it (Karp and Flatt, CACM 33(5), 1990).

    Negative where many are more than as many times faster. None for one worker.
    """
    return (1 / speed - 1 / workers) / (1 - 1 / workers) if workers > 1 else None


def records(outcomes: Sequence[Outcome], one: Outcome) -> list[dict[str, Any]]:
    """A line for each number of workers."""
    lines = []
    for outcome in outcomes:
        batches, rows, losses = (
            sum(getattr(step.tally, name) for step in outcome.steps) for name in ("batches", "rows", "losses")
        )
        speed = speed_up(one, outcome)
        lines.append(
            {
                "workers": outcome.workers,
                "makespan": outcome.makespan,
                "speed_up": speed,
                "utilisation": outcome.utilisation,
                "efficiency": speed / outcome.workers,
                "serial_fraction": serial_fraction(speed, outcome.workers),
                "bound": outcome.bound,
                "over_bound": outcome.makespan / outcome.bound,
                "longest": outcome.longest,
                "rows": rows / batches,
                "batches": batches,
                "swaps": sum(step.tally.swaps for step in outcome.steps),
                "losses": losses,
            }
        )
    return lines


def table(lines: Sequence[dict[str, Any]]) -> list[str]:
    """The lines in Markdown."""
    cells = [list(COLUMNS.values()), *([_cell(name, line[name]) for name in COLUMNS] for line in lines)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(COLUMNS))]
    padded = [[cell.rjust(width) for cell, width in zip(row, widths, strict=True)] for row in cells]
    text = [f"| {' | '.join(row)} |" for row in padded]
    return [text[0], "|" + "|".join("-" * (width + 1) + ":" for width in widths) + "|", *text[1:]]


def _cell(name: str, value: float | None) -> str:
    if value is None:
        return "–"
    if name in ("utilisation", "efficiency"):
        return f"{100 * value:.0f} %"
    if name == "serial_fraction":
        return f"{100 * value:.2f} %"
    if name in ("workers", "losses"):
        return f"{value:,}"
    return f"{value:,.1f}" if value < 1000 else f"{value:,.0f}"


def write_json_record(path: Path, setting: Setting, outcomes: Sequence[Outcome], one: Outcome) -> None:
    """Setting, lines, and every step of every number of workers."""
    steps = {str(outcome.workers): [asdict(step) for step in outcome.steps] for outcome in outcomes}
    described = asdict(setting)
    faults = described["faults"]  # JSON knows no infinity
    described["faults"] = {name: None if value == float("inf") else value for name, value in faults.items()}
    write_json(path, {"setting": described, "lines": records(outcomes, one), "steps": steps})


def write_csv(path: Path, lines: Sequence[dict[str, Any]]) -> None:
    """The lines as a table for other programs."""
    rows: list[str] = []

    class Lines:
        def write(self, text: str) -> None:
            rows.append(text)

    writer = csv.DictWriter(Lines(), list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    write_whole(path, "".join(rows))


def draw(path: Path, lines: Sequence[dict[str, Any]]) -> None:
    """Makespan beside its bound, and utilisation and efficiency, over the number of workers. Needs matplotlib."""
    workers = [line["workers"] for line in lines]
    figure = needed_figure(figsize=(11, 4))
    times, shares = figure.subplots(1, 2)
    for name, title, style in (
        ("makespan", "makespan", "o-"),
        ("bound", "bound", "k--"),
        ("longest", "longest chains", "k:"),
    ):
        times.plot(workers, [line[name] for line in lines], style, label=title)
    times.set_yscale("log")
    times.set_ylabel("simulated seconds")
    for name in ("utilisation", "efficiency"):
        shares.plot(workers, [100 * line[name] for line in lines], "o-", label=name)
    shares.set_ylabel("%")
    for panel in (times, shares):
        panel.set_xscale("log", base=2)
        panel.set_xlabel("workers")
        panel.legend()
    save_picture(figure, path, dots=130)
