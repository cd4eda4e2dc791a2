"""Commands whose next word says what is to be done: deepen, route, data, runs."""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from typing import Any

import swarm
from swarm.evolution.command_line import Parser
from swarm.programs import front_doors


@dataclass(frozen=True)
class Step:
    """One subcommand of a program.

    Attributes:
      about: what it does.
      module: its name: `add_options` gives a parser its options, `program` does it and gives the exit code; `SHOWN`, if
        it is there, names the options that plain --help shows. Only the module of the step that is asked for is
        imported, since most of them bring torch along.
    """

    about: str
    module: str


@dataclass(frozen=True)
class Stepwise:
    """A program with subcommands.

    Attributes:
      name: the command's, such as "deepen".
      about: what it is for.
      steps: by the word that asks for them.
      package: in which the steps' modules are.
    """

    name: str
    about: str
    steps: Mapping[str, Step]
    package: str

    def step_parser(self, name: str) -> Parser:
        """The parser of one step."""
        step = self.steps[name]
        module = self._module(name)
        shown = getattr(module, "SHOWN", ())
        parser = Parser(prog=f"h-swarm {self.name} {name}", description=step.about, shown=shown)
        module.add_options(parser)
        return parser

    def run(self, arguments: list[str] | None = None) -> int:
        """Runs the subcommand of the command line. Returns the exit code."""
        words = sys.argv[1:] if arguments is None else arguments
        rows = {name: step.about for name, step in self.steps.items()}
        name = first_word(f"h-swarm {self.name}", self.about, "step", rows, words)
        options = self.step_parser(name).parse_args(words[1:])
        front_doors.log_to(None)
        code: int = self._module(name).program(options)
        return code

    def _module(self, name: str) -> Any:
        return import_module(f"{self.package}.{self.steps[name].module}")


@dataclass(frozen=True)
class Subcommand:
    """A program that one word stands for.

    Attributes:
      about: what it does, in a line.
      program: "module:function" in `swarm`; the function takes the words that follow and returns the exit
        code. It is imported only when it is asked for.
      parser: "module:function" of its parser, in a module that is imported quickly, so that help and typing errors do
        not wait for libraries; "" where the program's own module is quick.
    """

    about: str
    program: str
    parser: str = ""

    def run(self, arguments: list[str]) -> int:
        """Does it."""
        if self.parser:
            _found(self.parser)().parse_args(arguments)
        code: int = _found(self.program)(arguments)
        return code


def _found(name: str) -> Any:
    module, _, function = name.partition(":")
    return getattr(import_module(f"swarm.{module}"), function)


def chosen_command(
    name: str, about: str, commands: Mapping[str, Subcommand], arguments: list[str], guide: str = ""
) -> int:
    """Runs the program that the first of the arguments names, with the others. Returns the exit code."""
    rows = {word: command.about for word, command in commands.items()}
    return commands[first_word(name, about, "command", rows, arguments, guide)].run(arguments[1:])


def first_word(name: str, about: str, what: str, rows: Mapping[str, str], arguments: list[str], guide: str = "") -> str:
    """The first of a program's arguments, one of the words in `rows`, each of which stands for a `what`.

    Ends the program with its help where there is none or it is asked for, and with an error for any other word.
    """
    width = max(map(len, rows)) + 2
    lines = "\n".join(f"  {word:<{width}}{line}" for word, line in rows.items())
    parser = Parser(
        prog=name,
        usage=f"{name} {what.upper()} [options]     ({what.upper()} --help lists them)",
        description=about,
        epilog="\n\n".join(filter(None, [f"{what}s:\n{lines}", guide])),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("word", metavar=what.upper(), help="one of those below")
    parser.add_argument("--version", action="version", version=f"h-swarm {swarm.__version__}")
    given = arguments[0] if arguments and arguments[0] != "help" else "--help"
    word: str = parser.parse_args([given]).word
    if word not in rows:
        near = get_close_matches(word, rows, 1, 0.5)
        meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(rows)}"
        parser.error(f"there is no {what} {word!r}; {meant}")
    return word
