"""scripts/route.py: one prompt to one expert, on its own: fit, eval, ask, replay."""

import argparse
import sys
from dataclasses import dataclass
from importlib import import_module

from swarm import front_doors
from swarm.search.options import Parser


@dataclass(frozen=True)
class Step:
    """One of the program's steps.

    Attributes:
      about: what it does.
      module: where it is: `add_options` gives a parser its options, `program` does it and gives the exit code. Only
        the module of the step that is asked for is imported.
    """

    about: str
    module: str


STEPS = {
    "fit": Step("every member's answers to the dev questions scored, and a router fitted on them", "fitting"),
    "eval": Step("a router on the test questions, beside every member, chance and a perfect choice", "evaluation"),
    "ask": Step("a prompt to the one member that the router picks", "asking"),
    "replay": Step("a router fitted and tried on stored answers and scores, nothing generated", "replay"),
}


def route_parser() -> Parser:
    """The parser of scripts/route.py, up to the name of the step."""
    parser = Parser(
        prog="route.py",
        usage="python scripts/route.py STEP [options]     (STEP --help lists them)",
        description="Routers: which member answers which prompt, so that only that one is asked.",
        epilog="\n".join(["steps:", *(f"  {name:<10}{step.about}" for name, step in STEPS.items())]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("step", choices=tuple(STEPS), metavar="STEP", help=", ".join(STEPS))
    return parser


def step_parser(name: str) -> Parser:
    """The parser of one step."""
    parser = Parser(prog=f"route.py {name}", description=STEPS[name].about, allow_abbrev=False)
    import_module(f"swarm.route.{STEPS[name].module}").add_options(parser)
    return parser


def route_program(arguments: list[str] | None = None) -> int:
    """scripts/route.py. Returns the exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    name: str = route_parser().parse_args(words[:1]).step
    options = step_parser(name).parse_args(words[1:])
    front_doors.log_to(None)
    code: int = import_module(f"swarm.route.{STEPS[name].module}").program(options)
    return code
