"""scripts/deepen.py: the published token fusion program's steps, on their own (arXiv 2404.12715)."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

from swarm import front_doors
from swarm.deepen.evaluation import add_evaluation, evaluation
from swarm.deepen.matrix import add_matrix, matrix
from swarm.deepen.picture import add_picture, picture
from swarm.deepen.run import add_run, run
from swarm.deepen.sweep import add_sweep, sweep
from swarm.search.options import Parser


@dataclass(frozen=True)
class Step:
    """One of the program's steps: what it is, its options, and what it does with them, which gives the exit code."""

    about: str
    add_options: Callable[[argparse.ArgumentParser], None]
    program: Callable[[argparse.Namespace], int]


STEPS = {
    "matrix": Step("what the models' tokens have in common, worked out and saved", add_matrix, matrix),
    "run": Step("a config's questions, answered by its models together; goes on where it was stopped", add_run, run),
    "eval": Step("scores of result files: the published metric beside a strict one", add_evaluation, evaluation),
    "sweep": Step("accuracy and time over updates, learning rates, anchors and models", add_sweep, sweep),
    "picture": Step("how alike tokens lie in the relative spaces of several models", add_picture, picture),
}


def deepen_parser() -> Parser:
    """The parser of scripts/deepen.py."""
    parser = Parser(prog="deepen.py", description=f"DeePEn on its own: {', '.join(STEPS)}.", allow_abbrev=False)
    steps = parser.add_subparsers(dest="step", required=True, metavar="STEP", parser_class=Parser)
    for name, step in STEPS.items():
        own = steps.add_parser(name, help=step.about, description=step.about, allow_abbrev=False)
        step.add_options(own)
    return parser


def deepen_program(arguments: list[str] | None = None) -> int:
    """scripts/deepen.py. Returns the exit code."""
    options = deepen_parser().parse_args(arguments)
    front_doors.log_to(None)
    return STEPS[options.step].program(options)
