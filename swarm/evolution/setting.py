"""What a single setting is: its heading, its limits, which commands take it, what may be done with it later."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SEARCH = frozenset({"search"})
SCORING = frozenset({"search", "evaluate", "baselines", "route"})
POOL = frozenset({"search", "baselines", "route", "route ask"})
ENGINES = SCORING | POOL | {"ask"}
EVERYWHERE = ENGINES | {"replay"}


@dataclass(frozen=True)
class SettingGroup:
    """A heading under which settings stand, in the help and in a settings file; the rest is its settings' default.

    Attributes:
      key: the section of a settings file.
      title: the heading in the help.
      used_by: see `Setting`, like the four that follow.
    """

    key: str
    title: str
    used_by: frozenset[str] = SEARCH
    resumable: bool = False
    changes_results: bool = True
    with_system: bool = False
    optimizers: tuple[str, ...] = ()


TASK = SettingGroup("task", "the task", SCORING)
DATA = SettingGroup("data", "data in other shapes (docs/data.md)", SCORING, with_system=True)
JUDGE = SettingGroup("judge", "the judge of gemini_match (docs/judges.md)", SCORING | {"replay"})
OPTIMIZER = SettingGroup("candidates", "the optimizer (docs/search.md)")
SWARM = SettingGroup("swarm", "the swarms (--optimizer swarm)", optimizers=("swarm",))
GRAPHS = SettingGroup("graphs", "graphs")
EXPERTS = SettingGroup("experts", "experts", POOL)
SCORES = SettingGroup("scoring", "scoring", SCORING)
LIMITS = SettingGroup("limits", "limits", resumable=True, changes_results=False)
COMPUTE = SettingGroup("compute", "engine and devices", ENGINES, resumable=True, changes_results=False)
RUN = SettingGroup("run", "the run", resumable=True, changes_results=False)
UNUSED = SettingGroup("unused", "accepted without effect (options of the published program)", changes_results=False)
GROUPS = (TASK, DATA, JUDGE, OPTIMIZER, SWARM, GRAPHS, EXPERTS, SCORES, LIMITS, COMPUTE, RUN, UNUSED)


@dataclass(frozen=True)
class Setting:
    """A setting as the table in config.py declares it.

    Attributes:
      group: its heading.
      help: what it means.
      short: its one letter, if it has one.
      metavar: what stands for its value in the help, where neither its choices nor its kind say it.
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
      optimizers: names of the only ones in which it has an effect; empty where it has one in all.
    """

    group: SettingGroup
    help: str
    used_by: frozenset[str]
    resumable: bool
    changes_results: bool
    with_system: bool
    optimizers: tuple[str, ...] = ()
    short: str = ""
    metavar: str = ""
    aliases: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    formerly: Mapping[str, Mapping[str, str]] = field(default_factory=dict, hash=False)
    least: float | None = None
    most: float | None = None
    switch: bool = False
    common: bool = False
    path: bool = False
    trusted: bool = False
    only_with: tuple[str, Any] | None = None
    name: str = ""
    default: Any = None
    kinds: tuple[type, ...] = ()

    @property
    def flags(self) -> list[str]:
        """Its options on the command line."""
        return [f"-{self.short}"] * bool(self.short) + [f"--{name}" for name in (self.name, *self.aliases)]


def option(default: Any, group: SettingGroup, help: str, **about: Any) -> Any:
    """A dataclass field with its default, `about` it what `Setting` has; what is not said is as its group has it."""
    usual = {
        name: getattr(group, name) for name in ("used_by", "resumable", "changes_results", "with_system", "optimizers")
    }
    return field(default=default, metadata={"setting": Setting(group, help, **(usual | about))})
