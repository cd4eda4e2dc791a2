"""The pages that are made from the settings: the option reference and the schema of settings files."""

import json
import re
from collections.abc import Iterable
from typing import Any

from swarm.evolution.command_line import Parser, search_parser
from swarm.evolution.config import settings
from swarm.evolution.names import COMPAT_DEFAULTS
from swarm.evolution.setting import EVERYWHERE, GROUPS, UNUSED, Setting, SettingGroup
from swarm.evolution.settings_file import settings_schema
from swarm.programs.parsers import (
    ask_parser,
    baselines_parser,
    compare_parser,
    evaluate_parser,
    finetune_parser,
    remove_parser,
    runs_parser,
    show_parser,
)
from swarm.programs.route.route import ROUTE

SCHEMA = "settings.schema.json"
OPTIONS = "options.md"
HEAD = """# Options

<!-- made by scripts/make_docs.py from the settings themselves: change swarm/evolution/config.py instead -->

`h-swarm search --help` shows what people use most, `--help all` the rest. `--some-option` and `--some_option` are one.
Every setting can also stand in [a file](settings.md): under its long name, or in a section as named below.

| column | says |
|---|---|
| taken by | which commands: `route` is its steps rank, fit and eval; `route ask` and `replay` are its other two |
| resume | whether it may change when a search goes on with `--resume` |
| results | whether it decides what is found or scored; the others decide how fast, how far and where noted |
"""
COMMANDS = ("search", "evaluate", "baselines", "ask", "route", "route ask", "replay")
TYPES = {str: "text", int: "whole number", float: "number", bool: "0 or 1"}


def pages() -> dict[str, str]:
    """The content of each page that is made, by its name in docs/."""
    return {OPTIONS: options_page(), SCHEMA: json.dumps(settings_schema(), indent=1, ensure_ascii=False) + "\n"}


def options_page() -> str:
    """Every option of a search by group, then those that other commands have beside these, as Markdown."""
    parts = [HEAD, *(_group_section(group) for group in GROUPS), _own_options()]
    return "\n".join(parts)


def _group_section(group: SettingGroup) -> str:
    title, _, page = group.title.partition(" (docs/")
    page = page.rstrip(")")
    linked = f"\n\nIn a file: `{group.key}`." + (f" [{page}]({page}) has more." if page else "")
    heading = f"## {title[0].upper()}{title[1:]}{linked}"
    taken = [setting for setting in settings().values() if setting.group == group]
    if group == UNUSED:
        rows = [[_flags(setting), _meaning(setting.help)] for setting in taken]
        return f"{heading}\n\n{_table(['option', 'why it has none'], rows)}"
    head = ["option", "value (default)", "what it means", "taken by", "resume", "results"]
    return f"{heading}\n\n{_table(head, map(_row, taken))}"


def _row(setting: Setting) -> list[str]:
    commands = [word for word in COMMANDS if word in setting.used_by]
    return [
        _flags(setting),
        _values(setting) + _default(setting),
        _meaning(setting.help),
        "all" if setting.used_by == EVERYWHERE else ", ".join(commands),
        "yes" if setting.resumable else "no",
        "yes" if setting.changes_results else "no",
    ]


def _flags(setting: Setting) -> str:
    return " ".join(f"`{flag}`" for flag in setting.flags)


def _values(setting: Setting) -> str:
    if setting.switch:
        return "(no value)"
    if setting.choices:
        earlier = f" (earlier: {', '.join(f'`{value}`' for value in setting.formerly)})" if setting.formerly else ""
        return ", ".join(f"`{value}`" for value in setting.choices) + earlier
    kind, least, most = TYPES[setting.kinds[0]], setting.least, setting.most
    if least is None:
        return kind
    return f"{kind} ≥ {least:g}" if most is None else f"{kind}, {least:g} to {most:g}"


def _default(setting: Setting) -> str:
    value = setting.default
    if value is None or setting.switch:
        return ""
    shown = f"`{int(value) if isinstance(value, bool) else value}`"
    modes = [(mode, own[setting.name]) for mode, own in COMPAT_DEFAULTS.items() if setting.name in own]
    other = "".join(
        f"; with `--compat {mode}` `{int(value) if isinstance(value, bool) else value}`" for mode, value in modes
    )
    return f" ({shown}{other})"


def _meaning(text: str) -> str:
    """A help text as Markdown: pages as links, options as code."""
    escaped = re.sub(r"[<>|]", lambda found: {"<": "&lt;", ">": "&gt;", "|": "\\|"}[found[0]], text)
    linked = re.sub(r"\bdocs/(\w+\.md)", r"[\1](\1)", escaped)
    return re.sub(r"(?<![\w-])(--[a-z_]+(?:-[a-z]+)*)", r"`\1`", linked)


def _table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _own_options() -> str:
    """What commands take beside the settings of a search."""
    parsers = [search_parser(), evaluate_parser(), baselines_parser(), ask_parser(), show_parser(), compare_parser(),
               runs_parser(), remove_parser(), finetune_parser()]  # fmt: skip
    steps = [ROUTE.step_parser(step) for step in ROUTE.steps]
    rows = [row for parser in [*parsers, *steps] for row in _rows_of(parser)]
    return f"## Of single commands\n\n{_table(['command', 'option', 'what it means'], rows)}"


def _rows_of(parser: Parser) -> list[list[str]]:
    own = [action for action in parser._actions if action.dest not in {*settings(), "help"}]
    return [[f"`{parser.prog}`", _names(action), _meaning(_help_of(action))] for action in own]


def _names(action: Any) -> str:
    return " ".join(f"`{flag}`" for flag in action.option_strings) or f"`{action.metavar or action.dest}`"


def _help_of(action: Any) -> str:
    text = " ".join((action.help or "").replace("%%", "%").split())
    choices = f"{', '.join(map(str, action.choices))}: " if action.choices else ""
    return (choices + text).strip()
