"""scripts/deepen.py: the published token fusion program's steps, on their own (arXiv 2404.12715)."""

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
        the module of the step that is asked for is imported, since most of them bring torch along.
    """

    about: str
    module: str


STEPS = {
    "matrix": Step("what the models' tokens have in common, worked out and saved", "matrix"),
    "run": Step("a config's questions, answered by its models together; goes on where it was stopped", "run"),
    "eval": Step("scores of result files: the published metric beside a strict one", "evaluation"),
    "sweep": Step("accuracy and time over updates, learning rates, anchors and models", "sweep"),
    "picture": Step("how alike tokens lie in the relative spaces of several models", "picture"),
}


def deepen_parser() -> Parser:
    """The parser of scripts/deepen.py, up to the name of the step."""
    parser = Parser(
        prog="deepen.py",
        usage="python scripts/deepen.py STEP [options]     (STEP --help lists them)",
        description="DeePEn on its own: models with different vocabularies write one text.",
        epilog="\n".join(["steps:", *(f"  {name:<10}{step.about}" for name, step in STEPS.items())]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("step", choices=tuple(STEPS), metavar="STEP", help=", ".join(STEPS))
    return parser


def step_parser(name: str) -> Parser:
    """The parser of one step."""
    parser = Parser(prog=f"deepen.py {name}", description=STEPS[name].about, allow_abbrev=False)
    import_module(f"swarm.deepen.{STEPS[name].module}").add_options(parser)
    return parser


def deepen_program(arguments: list[str] | None = None) -> int:
    """scripts/deepen.py. Returns the exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    name: str = deepen_parser().parse_args(words[:1]).step
    options = step_parser(name).parse_args(words[1:])
    front_doors.log_to(None)
    code: int = import_module(f"swarm.deepen.{STEPS[name].module}").program(options)
    return code
