"""What a single setting is: its heading, its limits, which commands take it, what may be done with it later."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

SEARCH = frozenset({"search"})
SCORING = frozenset({"search", "evaluate", "baselines", "route"})
POOL = frozenset({"search", "baselines", "route", "ask"})
ENGINES = SCORING | POOL
EVERYWHERE = ENGINES | {"replay"}


@dataclass(frozen=True)
class SettingGroup:
    """A heading under which settings stand, in the help and in a settings file; the rest is its settings' default.

    Attributes:
      key: the section of a settings file.
      title: the heading in the help.
      used_by: see `Setting`, like the three that follow.
    """

    key: str
    title: str
    used_by: frozenset[str] = SEARCH
    resumable: bool = False
    changes_results: bool = True
    with_system: bool = False


TASK = SettingGroup("task", "the task", SCORING)
DATA = SettingGroup("data", "data in other shapes (docs/data.md)", SCORING, with_system=True)
JUDGE = SettingGroup("judge", "the judge of gemini_match (docs/judges.md)", SCORING | {"replay"})
SWARM = SettingGroup("swarm", "the swarms")
GRAPHS = SettingGroup("graphs", "graphs")
EXPERTS = SettingGroup("experts", "experts", POOL)
SCORES = SettingGroup("scoring", "scoring", SCORING)
LIMITS = SettingGroup("limits", "limits", resumable=True, changes_results=False)
COMPUTE = SettingGroup("compute", "engine and devices", ENGINES, resumable=True, changes_results=False)
RUN = SettingGroup("run", "the run", resumable=True, changes_results=False)
UNUSED = SettingGroup("unused", "accepted without effect (options of the published program)", changes_results=False)
GROUPS = (TASK, DATA, JUDGE, SWARM, GRAPHS, EXPERTS, SCORES, LIMITS, COMPUTE, RUN, UNUSED)


@dataclass(frozen=True)
class Setting:
    """A setting as the table in config.py declares it.

    Attributes:
      group: its heading.
      help: what it means.
      short: its one letter, if it has one.
      aliases: further names, in files too.
      choices: the values that it may have, if they are few.
      formerly: values that it had in earlier versions -> what these settings say now.
      least, most: bounds of a number.
      switch: turned on by its name alone.
      common: shown by plain --help.
      used_by: the commands that take it.
      resumable: may change when a run is resumed.
      changes_results: decides what is found or scored; others decide how fast, how far and where it is noted.
      with_system: noted with a found system, which is scored with it again.
      path: may name a local file or folder, which is made absolute in a run's folder.
      trusted: it makes code run or sends keys and texts somewhere, so that a folder's word for it is not the user's.
      only_with: (setting, value) without which it has no effect.
    """

    group: SettingGroup
    help: str
    short: str
    aliases: tuple[str, ...]
    choices: tuple[str, ...]
    formerly: Mapping[str, Mapping[str, str]]
    least: float | None
    most: float | None
    switch: bool
    common: bool
    used_by: frozenset[str]
    resumable: bool
    changes_results: bool
    with_system: bool
    path: bool
    trusted: bool
    only_with: tuple[str, Any] | None
    name: str = ""
    default: Any = None
    kinds: tuple[type, ...] = ()

    @property
    def flags(self) -> list[str]:
        """Its options on the command line."""
        return [f"-{self.short}"] * bool(self.short) + [f"--{name}" for name in (self.name, *self.aliases)]


def option(
    default: Any,
    group: SettingGroup,
    help: str,
    *,
    short: str = "",
    aliases: tuple[str, ...] = (),
    choices: tuple[str, ...] = (),
    formerly: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
    least: float | None = None,
    most: float | None = None,
    switch: bool = False,
    common: bool = False,
    used_by: frozenset[str] | None = None,
    resumable: bool | None = None,
    changes_results: bool | None = None,
    with_system: bool | None = None,
    path: bool = False,
    trusted: bool = False,
    only_with: tuple[str, Any] | None = None,
) -> Any:
    """A dataclass field with its default; what is None here is as its group has it. See `Setting`."""
    setting = Setting(
        group=group, help=help, short=short, aliases=aliases, choices=choices, formerly=formerly, least=least,
        most=most, switch=switch, common=common, path=path, trusted=trusted, only_with=only_with,
        used_by=group.used_by if used_by is None else used_by,
        resumable=group.resumable if resumable is None else resumable,
        changes_results=group.changes_results if changes_results is None else changes_results,
        with_system=group.with_system if with_system is None else with_system,
    )  # fmt: skip
    return field(default=default, metadata={"setting": setting})
