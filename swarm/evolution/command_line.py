"""The command line of a search, made from its settings."""

import argparse
import sys
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, NoReturn

from swarm.evolution.config import settings_of
from swarm.evolution.names import COMPAT_DEFAULTS
from swarm.evolution.setting import GROUPS, Setting
from swarm.text.visible import visible_line

ALL = "all"
_METAVARS = {bool: "0|1", int: "N", float: "X", str: "TEXT"}
MODES = dict.fromkeys(("settings_file", "config", "save_config", "resume")) | {"dry_run": False, "calibrate": False}
EXAMPLES = """examples:
  h-swarm search -e exact_match -d gsm8k                       with the experts in initial_experts/
  h-swarm search -e exact_match -d gsm8k --dry-run             what that would cost
  h-swarm search my.yml --seed 1                               settings from a file; the command line goes first
  h-swarm search --resume search/gsm8k_20261120_101500         go on with an interrupted run
exit codes: 0 done (a limit with a result, too: see --strict_exit), 2 bad input, 3 a limit with nothing found,
130 interrupted (resumable)"""


class Parser(argparse.ArgumentParser):
    """Errors are one line, exit code 2, with the nearest right name; `--some-option` and `--some_option` are the same.

    Where `shown` names some of the options (by their `dest`), `--help` lists these, and `--help all` the rest, too.
    """

    def __init__(self, *, shown: Collection[str] = (), **kwargs: Any):
        super().__init__(**{"add_help": False, "allow_abbrev": False} | kwargs)
        for kind, reader in ((int, whole_number), (float, number), (bool, truth)):
            self.register("type", kind, reader)
        self._shown = frozenset(shown)
        self._given: list[str] = []
        text = f"show this; --help {ALL}: every option" if shown else "show this"
        self.add_argument("-h", "--help", nargs="?", const="", default=argparse.SUPPRESS, action=_Help, metavar=ALL,
                          help=text)  # fmt: skip

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does, with every option's name in its own spelling."""
        self._given = [self._own_spelling(word) for word in (sys.argv[1:] if args is None else args)]
        return super().parse_known_args(self._given, namespace)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does; an option that there is not is an error that names the nearest one."""
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            near = [self._nearest(word) for word in unknown if word.startswith("-")]
            meant = "; did you mean " + ", ".join(filter(None, near)) + "?" if any(near) else ""
            self.error(f"unrecognized arguments: {' '.join(unknown)}{meant}")
        return found

    def _nearest(self, word: str) -> str:
        """The option that a mistyped one is nearest to; "" where none is near."""
        known = {name.replace("-", "_"): name for name in self._option_string_actions if name.startswith("--")}
        near = get_close_matches(word.partition("=")[0].replace("-", "_"), known, 1, 0.6)
        return known[near[0]] if near else ""

    def _own_spelling(self, word: str) -> str:
        name, equals, value = word.partition("=")
        for spelling in (name.replace("_", "-"), name.replace("-", "_").replace("__", "--", 1)):
            if name.startswith("--") and spelling in self._option_string_actions:
                return spelling + equals + value
        return word

    def format_help(self, everything: bool = False) -> str:
        """The help: of the options that people use, or of all."""
        if everything or not self._shown:
            return super().format_help()
        hidden = [each for each in self._actions if each.option_strings and each.dest not in {*self._shown, "help"}]
        texts = [each.help for each in hidden]
        try:
            for each in hidden:
                each.help = argparse.SUPPRESS
            return f"{super().format_help()}\n{len(hidden)} more options: --help {ALL}\n"
        finally:
            for each, text in zip(hidden, texts, strict=True):
                each.help = text

    def error(self, message: str) -> NoReturn:
        """Prints the error as one line and exits with code 2."""
        if "arguments are required" in message:  # perhaps by another name
            unknown = [word.partition("=")[0] for word in self._given if word.startswith("--")]
            near = [self._nearest(word) for word in unknown if word not in self._option_string_actions]
            message += f"; did you mean {', '.join(filter(None, near))}?" if any(near) else ""
        self.exit(2, visible_line(f"{self.prog}: error: {message} (--help lists the options)") + "\n")


class _Help(argparse.Action):
    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        if values not in ("", ALL):
            parser.error(f"--help {values}: wanted --help, or --help {ALL}")
        print(parser.format_help(everything=values == ALL), end="")
        parser.exit()


def search_parser() -> Parser:
    """The parser of a search; settings that the user does not give are absent from its result."""
    taken = settings_of("search")
    parser = Parser(
        prog="h-swarm search",
        usage="h-swarm search -e EVAL -d DATASET [options]\n       h-swarm search FILE.yml [options]\n"
        "       h-swarm search --resume RUN [options]",
        description="Searches for a multi-LLM system: a graph of roles and the weights of the experts in them.",
        epilog=EXAMPLES,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=36, width=118),
        argument_default=argparse.SUPPRESS,
        shown={setting.name for setting in taken if setting.common} | MODES.keys(),
    )
    parser.add_argument("settings_file", nargs="?", metavar="FILE", help="settings in YAML or JSON (docs/settings.md)")
    modes = parser.add_argument_group("settings from a file; other than a new search")
    modes.add_argument("--config", metavar="FILE", help="the same as naming FILE")
    modes.add_argument(
        "--save-config", metavar="FILE", help="check the settings, write them to FILE, and do not search"
    )
    modes.add_argument(
        "--resume", metavar="RUN", help="go on with this run; limits, engine and where things lie may change"
    )
    modes.add_argument(
        "--dry-run",
        action="store_true",
        help="check what can be checked without loading anything, and print what the search will cost",
    )
    modes.add_argument(
        "--calibrate",
        action="store_true",
        help="time calls for half a minute, two at most, then print the cost as --dry-run does",
    )
    add_settings(parser, taken, grouped=True)
    return parser


def add_settings(
    parser: Any, taken: Sequence[Setting], grouped: bool = False, helps: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Adds the options of settings to a parser or group; `grouped`, each under its heading."""
    headings = {group: parser.add_argument_group(group.title) for group in GROUPS
                if any(setting.group == group for setting in taken)} if grouped else {}  # fmt: skip
    for setting in taken:
        add_setting(headings.get(setting.group, parser), setting, helps.get(setting.name, ""))


def add_setting(group: Any, setting: Setting, help: str = "") -> None:
    """Adds a setting's option to a parser or group; `help` replaces its own."""
    if setting.switch:
        text = help or setting.help
        group.add_argument(*setting.flags, dest=setting.name, action="store_const", const=True, help=text)
        return
    kind = setting.kinds[0]
    group.add_argument(
        *setting.flags,
        dest=setting.name,
        type=kind,
        metavar="|".join(setting.choices) or setting.metavar or _METAVARS[kind],
        choices=[*setting.choices, *setting.formerly] or None,
        help=help or _with_default(setting),
    )


def truth(text: str) -> bool:
    """A flag's value: 0/1, as the published program takes them, or true/false, yes/no."""
    if text.lower() in ("1", "true", "yes"):
        return True
    if text.lower() in ("0", "false", "no"):
        return False
    raise argparse.ArgumentTypeError(f"{text!r} is neither 0 nor 1")


def whole_number(text: str) -> int:
    """A whole number, as Python writes one."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None


def number(text: str) -> float:
    """A number, as Python writes one."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None


def parse(arguments: list[str] | None = None) -> tuple[dict[str, Any], argparse.Namespace]:
    """The settings that were given and the mode options; exits on bad input."""
    given = vars(search_parser().parse_args(sys.argv[1:] if arguments is None else arguments))
    mode = argparse.Namespace(**{name: given.pop(name, default) for name, default in MODES.items()})
    return given, mode


def given_settings(options: argparse.Namespace, command: str) -> dict[str, Any]:
    """The settings among a command's options that were given a value."""
    values = {setting.name: getattr(options, setting.name, None) for setting in settings_of(command)}
    return {name: value for name, value in values.items() if value is not None}


def _with_default(setting: Setting) -> str:
    default = int(setting.default) if isinstance(setting.default, bool) else setting.default
    modes = [(mode, own[setting.name]) for mode, own in COMPAT_DEFAULTS.items() if setting.name in own]
    other = "".join(f"; {value} with --compat {mode}" for mode, value in modes)
    text = setting.help if default is None else f"{setting.help} (default: {default}{other})"
    return text.replace("%", "%%")
