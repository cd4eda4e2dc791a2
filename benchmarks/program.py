"""What things cost: our way, a plain way and the floor, measured side by side, as one table.

    h-swarm bench all                        # all rows
    h-swarm bench iteration generation --repeats 7 --json figures.json
    h-swarm bench --list
    h-swarm bench --card swap ways reference iteration --folder /tmp/card   # on an accelerator

Ways that are set beside each other run in turn on the same inputs; figures are medians, ± is half the range. Where two
ways must do the same, that is checked: a difference is an error, and the program ends with 1.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measure import table
from benchmarks.table import BENCHMARKS, CARD, check_card, run_benchmarks, run_card
from swarm.errors import UserError
from swarm.evolution.command_line import Parser

ROOT = Path(__file__).resolve().parent.parent


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = Parser(prog="h-swarm bench", description=str(__doc__).splitlines()[0])
    parser.add_argument("rows", nargs="*", metavar="row", help="benchmarks to run, or all; see --list")
    parser.add_argument("--repeats", type=int, default=5, help="runs of every way (default: 5)")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument("--small", action="store_true", help="tiny sizes, to see that all works: figures mean nothing")
    parser.add_argument(
        "--card", nargs="+", metavar="PIECE", help=f"measure an accelerator instead: {', '.join(CARD)}, in that order"
    )
    parser.add_argument("--shape", default="gemma-7b", help="of the model that is made for it (default: gemma-7b)")
    parser.add_argument("--folder", type=Path, help="where that model is kept from piece to piece (17 GB)")
    parser.add_argument("--device", default="cuda", help="(default: cuda)")
    parser.add_argument("--list", action="store_true", help="name the benchmarks and what they measure")
    return parser.parse_args(arguments)  # type: ignore[no-any-return]


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0, or 1 if two ways that must do the same did not."""
    options = parse_arguments(arguments)
    if options.list or not (sys.argv[1:] if arguments is None else arguments):
        for name, line in BENCHMARKS.items():
            print(f"{name:12} {line}")
        return 0
    if options.rows == ["all"]:
        options.rows = []
    for names, known in ((options.rows, BENCHMARKS), (options.card or [], CARD)):
        for name in names:
            if name not in known:
                raise UserError(f"no benchmark {name!r}; there are {', '.join(known)}")
    if options.card:
        check_card(options.shape, options.folder, options.device)
    if options.repeats < 1:
        raise UserError(f"--repeats is {options.repeats}; wanted at least 1")
    from benchmarks.machine import describe

    about = describe(ROOT)
    if options.small:
        about.append("SMALL SIZES: these figures mean nothing")
    print("\n".join(about) + "\n", flush=True)
    if options.card:
        failures: list[str] = []
        rows = run_card(options.card, options.shape, options.folder, options.device)
    else:
        rows, failures = run_benchmarks(options.rows or list(BENCHMARKS), options.repeats, options.small)
    print(table(rows, with_goals=not options.small))
    for failure in failures:
        print(f"error: {failure}", file=sys.stderr)
    if options.json:
        record = {"about": about, "rows": [row.record(not options.small) for row in rows], "failures": failures}
        options.json.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf8")
    return 1 if failures else 0
