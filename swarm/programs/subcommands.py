"""Programs whose first word says what is to be done: scripts/deepen.py, scripts/route.py."""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from swarm.evolution.command_line import Parser
from swarm.programs import front_doors


@dataclass(frozen=True)
class Step:
    """One of a program's steps.

    Attributes:
      about: what it does.
      module: its name: `add_options` gives a parser its options, `program` does it and gives the exit code. Only
        the module of the step that is asked for is imported, since most of them bring torch along.
    """

    about: str
    module: str


@dataclass(frozen=True)
class Stepwise:
    """A program of several steps.

    Attributes:
      name: the script's, such as "deepen.py".
      about: what it is for.
      steps: by the word that asks for them.
      package: in which the steps' modules are.
    """

    name: str
    about: str
    steps: Mapping[str, Step]
    package: str

    def parser(self) -> Parser:
        """The parser of the command line, up to the name of the step."""
        parser = Parser(
            prog=self.name,
            usage=f"python scripts/{self.name} STEP [options]     (STEP --help lists them)",
            description=self.about,
            epilog="\n".join(["steps:", *(f"  {name:<10}{step.about}" for name, step in self.steps.items())]),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        parser.add_argument("step", choices=tuple(self.steps), metavar="STEP", help=", ".join(self.steps))
        return parser

    def step_parser(self, name: str) -> Parser:
        """The parser of one step."""
        step = self.steps[name]
        parser = Parser(prog=f"{self.name} {name}", description=step.about, allow_abbrev=False)
        self._module(name).add_options(parser)
        return parser

    def run(self, arguments: list[str] | None = None) -> int:
        """Does what the command line asks for. Returns the exit code."""
        words = sys.argv[1:] if arguments is None else arguments
        name: str = self.parser().parse_args(words[:1]).step
        options = self.step_parser(name).parse_args(words[1:])
        front_doors.log_to(None)
        code: int = self._module(name).program(options)
        return code

    def _module(self, name: str) -> Any:
        return import_module(f"{self.package}.{self.steps[name].module}")
