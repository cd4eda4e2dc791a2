"""h-swarm doctor: whether a search can run on this machine, one line for each thing looked at, with its cure."""

import argparse
import json
import os
import sys
from collections.abc import Sequence

from swarm.evolution.command_line import Parser
from swarm.programs.doctor_checks import devices, experts, extras, hub, memory, packages, versions
from swarm.programs.doctor_folders import folders
from swarm.programs.finding import FAIL, OK, WARN, Finding, looked_at

POSSIBLE, IMPOSSIBLE = 0, 1
CHECKS = {
    "python": versions,
    "packages": packages,
    "extras": extras,
    "device": devices,
    "memory": memory,
    "hub": hub,
    "folders": folders,
    "experts": experts,
}
_COLOURS = {OK: 32, WARN: 33, FAIL: 31}


def doctor_program(arguments: list[str] | None = None) -> int:
    """Prints what there is and what is wrong with it. Returns the exit code: 1 where no search can run."""
    given = _parser().parse_args(sys.argv[1:] if arguments is None else arguments)
    findings: list[Finding] = []
    for name, check in CHECKS.items():
        found = looked_at(name, check)
        findings += found
        if not given.json:
            for finding in found:
                print(line_of(finding, _in_colour()), flush=True)
    possible = all(finding.mark != FAIL for finding in findings)
    print(_record(findings, possible) if given.json else _summary(findings))
    return POSSIBLE if possible else IMPOSSIBLE


def line_of(finding: Finding, colour: bool = False) -> str:
    """A finding as it is shown."""
    mark = f"{finding.mark:<5}"
    if colour:
        mark = f"\x1b[{_COLOURS[finding.mark]}m{mark}\x1b[0m"
    return f"{mark}{finding.name:<13} {finding}"


def _parser() -> Parser:
    parser = Parser(
        prog="h-swarm doctor",
        description="Whether a search can run here: device, memory, packages, hub, folders and experts, a line each.",
        epilog="exit codes: 0 a search can run here, 1 it cannot: the lines marked FAIL say what to do",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    return parser


def _in_colour() -> bool:
    """Only for a person at a terminal, and not against the convention of no-color.org."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _record(findings: Sequence[Finding], possible: bool) -> str:
    checks = [{"name": f.name, "mark": f.mark, "found": f.found, "cure": f.cure} for f in findings]
    return json.dumps({"search_possible": possible, "checks": checks}, indent=2)


def _summary(findings: Sequence[Finding]) -> str:
    failed, warned = ([f.name for f in findings if f.mark == mark] for mark in (FAIL, WARN))
    if failed:
        return f"no search can run here yet: mend {', '.join(dict.fromkeys(failed))}"
    return "a search can run here" + (f"; worth a look: {', '.join(dict.fromkeys(warned))}" if warned else "")
