"""The command line of a search, made from SearchConfig."""

import argparse
import sys
from dataclasses import Field, fields
from typing import Any, NoReturn

from swarm.evolution.config import PAPER_CODE_DEFAULTS, SearchConfig, setting_kinds

EXAMPLES = """examples:
  python search.py -e exact_match -d gsm8k                       with the experts in initial_experts/
  python search.py -e exact_match -d gsm8k --dry-run             what that would cost
  python search.py --resume search/gsm8k_20261120_101500         go on with an interrupted run
exit codes: 0 done, 2 bad input, 3 a limit ended the search (with a result), 130 interrupted (resumable)"""


class Parser(argparse.ArgumentParser):
    """Errors are one line, exit code 2; `--some-option` and `--some_option` are the same."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does, with every option's name in its own spelling."""
        arguments = [self._own_spelling(word) for word in (sys.argv[1:] if args is None else args)]
        return super().parse_known_args(arguments, namespace)

    def _own_spelling(self, word: str) -> str:
        name, equals, value = word.partition("=")
        for spelling in (name.replace("_", "-"), name.replace("-", "_").replace("__", "--", 1)):
            if name.startswith("--") and spelling in self._option_string_actions:
                return spelling + equals + value
        return word

    def error(self, message: str) -> NoReturn:
        """Ends the program."""
        self.exit(2, f"{self.prog}: error: {message} (--help lists the options)\n")


def search_parser() -> Parser:
    """The parser of search.py; settings that the user does not give are absent from its result."""
    parser = Parser(
        prog="search.py",
        usage="python search.py -e EVAL -d DATASET [options]\n       python search.py --resume RUN [options]",
        description="Searches for a multi-LLM system: a graph of roles and the weights of the experts in them.",
        epilog=EXAMPLES,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=36, width=118),
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    modes = parser.add_argument_group("other than a new search")
    modes.add_argument("--resume", metavar="RUN", help="go on with this run; only limits and engine options may change")
    modes.add_argument(
        "--dry-run",
        action="store_true",
        help="check what can be checked without loading anything, and print what the search will cost",
    )
    modes.add_argument(
        "--calibrate",
        action="store_true",
        help="time generations for half a minute, two at most, then print the cost as --dry-run does",
    )
    groups: dict[str, Any] = {}
    for setting in fields(SearchConfig):
        title = setting.metadata["group"]
        if title not in groups:
            groups[title] = parser.add_argument_group(title)
        add_setting(groups[title], setting)
    return parser


def add_setting(group: Any, setting: Field[Any], help: str = "") -> None:
    """Adds a setting's option to a parser or group; `help` replaces its own."""
    about, kind = setting.metadata, setting_kinds()[setting.name][0]
    if about["switch"]:
        group.add_argument(f"--{setting.name}", action="store_const", const=True, help=help or about["help"])
        return
    group.add_argument(
        *([f"-{about['short']}"] if about["short"] else []),
        f"--{setting.name}",
        dest=setting.name,
        type=truth if kind is bool else kind,
        metavar="|".join(about["choices"]) or ("0|1" if kind is bool else kind.__name__.upper()),
        choices=about["choices"] or None,
        help=help or _with_default(setting.name, about["help"], setting.default),
    )


def truth(text: str) -> bool:
    """0/1, as the published program takes them, or true/false, yes/no."""
    if text.lower() in ("1", "true", "yes"):
        return True
    if text.lower() in ("0", "false", "no"):
        return False
    raise argparse.ArgumentTypeError(f"{text!r} is neither 0 nor 1")


def parse(arguments: list[str] | None = None) -> tuple[dict[str, Any], argparse.Namespace]:
    """(settings that were given, the mode options); ends the program on bad input."""
    given = vars(search_parser().parse_args(sys.argv[1:] if arguments is None else arguments))
    modes = {"resume": None, "dry_run": False, "calibrate": False}
    mode = argparse.Namespace(**{name: given.pop(name, default) for name, default in modes.items()})
    return given, mode


def _with_default(name: str, text: str, default: Any) -> str:
    shown = int(default) if isinstance(default, bool) else default
    other = f"; {PAPER_CODE_DEFAULTS[name]} with --compat" if name in PAPER_CODE_DEFAULTS else ""
    text = text if default is None else f"{text} (default: {shown}{other})"
    return text.replace("%", "%%")
