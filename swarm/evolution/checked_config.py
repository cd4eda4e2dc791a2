"""From what a user says to a checked config: names and values of earlier versions, limits, what goes together."""

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from difflib import get_close_matches
from typing import Any

from swarm.errors import UserError
from swarm.evolution.config import SearchConfig, settings
from swarm.evolution.names import (
    COMPAT_DEFAULTS,
    EVOLUTION,
    ONLY_SWARM,
    OWN_OPTIMIZERS,
    PAPER,
    PAPER_RANGES,
    SWARM_NAME,
)
from swarm.evolution.setting import UNUSED
from swarm.values import in_words

MAPPINGS, LISTS = ("columns", "splits", "sampling", "chat_template_kwargs"), ("stop_strings",)


def defaults(compat: str | None = None, seed: int = 0) -> dict[str, Any]:
    """Every setting's default, under this compatibility mode; the paper draws some of them by the seed."""
    values = {each.name: each.default for each in fields(SearchConfig) if each.default is not MISSING}
    if compat not in COMPAT_DEFAULTS:
        return values
    values |= COMPAT_DEFAULTS[compat] | {"compat": compat, "optimizer": SWARM_NAME}
    if compat == PAPER:
        rng = random.Random(seed)
        values |= {name: rng.choice(choices) for name, choices in PAPER_RANGES.items()}
    return values


def chosen_optimizer(given: Mapping[str, Any]) -> tuple[str, str]:
    """The optimizer for what the user gave, and why it is not the default where nobody named it."""
    given = with_present_names(given)
    if given.get("optimizer") is not None:
        return given["optimizer"], ""
    if given.get("compat") is not None:
        return SWARM_NAME, f"--compat {given['compat']} is the swarm's"
    own = [name for name in given if name in settings() and settings()[name].optimizers == ONLY_SWARM]
    if own:
        return SWARM_NAME, f"{', '.join(f'--{name}' for name in own)}: only the swarm has that"
    return EVOLUTION, ""


def with_present_names(given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings under the names, and with the values, that this version has for them."""
    names = {alias: setting.name for setting in settings().values() for alias in setting.aliases}
    named = {names.get(name, name): value for name, value in given.items()}
    for name, value in list(named.items()):
        now = settings()[name].formerly.get(value) if name in settings() and isinstance(value, str) else None
        if now is not None:
            named |= {other: each for other, each in now.items() if other == name or other not in given}
    return named


def as_typed(name: str, value: Any) -> Any:
    """A setting's value as its option is typed, where a file or Python has a mapping or a list for it."""
    if name == "chat_template_kwargs" and isinstance(value, Mapping):
        return json.dumps(dict(value), default=str)
    if name in MAPPINGS and isinstance(value, Mapping):
        return ",".join(f"{ours}={theirs}" for ours, theirs in value.items())
    return json.dumps(value, default=str) if name in LISTS and isinstance(value, list | tuple) else value


def make_config(given: Mapping[str, Any]) -> SearchConfig:
    """A checked config from the settings that the user gave.

    Raises UserError for a name that is no setting, a missing one, or a value that cannot be.
    """
    given = {name: as_typed(name, value) for name, value in with_present_names(given).items()}
    for name, value in given.items():
        check_value(name, value)
    usual = defaults(given.get("compat"), given.get("seed", 0)) | {"optimizer": chosen_optimizer(given)[0]}
    config = SearchConfig(**(usual | given))
    check_together(config)
    return config


def config_of_run(recorded: Mapping[str, Any], given: Mapping[str, Any]) -> SearchConfig:
    """A checked config from a run's own settings, which may come from anybody, and the user's, which go first.

    Code that comes with a model runs only for whoever asks for it, not because a folder says so.
    """
    usual = {"thoughts": "keep", "optimizer": SWARM_NAME}  # of runs that began before there was a choice
    return make_config(usual | with_present_names(recorded) | {"trust_remote_code": False} | with_present_names(given))


def check_value(name: str, value: Any, where: str = "", headings: Sequence[str] = ()) -> None:
    """Raises UserError for a name that is no setting (nor one of the `headings`), or a value that it cannot have.

    `where` it was given begins the message.
    """
    setting = settings().get(name)
    if setting is None:
        near = get_close_matches(name, [*headings, *settings()], 1)
        hint = f"did you mean {near[0]!r}?" if near else "h-swarm search --help all lists the settings"
        raise UserError(f"{where}unknown setting {name!r}; {hint}")
    shown = f"{where}{name}" if where else f"--{name}"
    kinds = (*setting.kinds, int) if float in setting.kinds else setting.kinds
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        wanted = " or ".join(in_words(kind) for kind in setting.kinds)
        choices = f", one of: {', '.join(setting.choices)}" if setting.choices else ""
        quoted = ": in quotes, as YAML reads it otherwise" if where and str in kinds and value is not None else ""
        raise UserError(f"{shown} is {value!r}; wanted {wanted}{choices}{quoted}")
    if value is None:
        return
    if setting.choices and value not in setting.choices:
        raise UserError(f"{shown} is {value!r}; wanted one of: {', '.join(setting.choices)}")
    if not isinstance(value, int | float):
        return
    if setting.least is not None and not (value >= setting.least and math.isfinite(value)):
        raise UserError(f"{shown} is {value}; wanted a number of at least {setting.least:g}")
    if setting.most is not None and value > setting.most:
        raise UserError(f"{shown} is {value}; wanted at most {setting.most:g}")


def unused_but_given(config: SearchConfig) -> list[str]:
    """Settings without effect that were given a value of their own, for a warning."""
    return [
        name
        for name, setting in settings().items()
        if getattr(config, name) != setting.default
        and (
            setting.group == UNUSED
            or (
                setting.optimizers and config.optimizer in OWN_OPTIMIZERS and config.optimizer not in setting.optimizers
            )
            or (setting.only_with and getattr(config, setting.only_with[0]) != setting.only_with[1])
        )
    ]


def _is_plain(name: str) -> bool:
    return bool(name.strip()) and name[0] != "." and not set(name) & set("/\\\0") and len(name.encode()) <= 200


def check_together(config: SearchConfig) -> None:
    """Raises UserError for settings that do not go together, or for a task that is not named."""
    for name, short in (("eval_type", "e"), ("dataset", "d")):
        if not getattr(config, name):
            raise UserError(f"--{name} (-{short}) is missing; for example: h-swarm search -e exact_match -d gsm8k")
    if config.name is not None and not _is_plain(config.name):
        raise UserError(
            f"--name is {config.name[:80]!r}; wanted a plain folder name of at most 200 bytes, no separators"
        )
    if "@" in (config.judge_url or "").partition("://")[2].partition("/")[0]:
        raise UserError("--judge_url holds a name or password, which would be kept with the run; use OPENAI_API_KEY")
    if config.no_answers and config.with_answers:
        raise UserError("--no_answers keeps no answers, and --with_answers sends them: leave one of them out")
    if config.max_cost is not None and config.judge_price is None:
        raise UserError("--max_cost needs the judge's price: --judge_price READ,WRITTEN per million tokens")
    if config.compat is not None and config.by_candidates:
        raise UserError(
            f"--compat {config.compat} is the swarm's, and --optimizer is {config.optimizer}: leave one of them out"
        )
    if config.starting_velocity_mode == "random" and config.graph_num < 2:
        raise UserError("--graph_num is 1; wanted at least 2, or --starting_velocity_mode zero")
    move = config.move_coefficients
    if move.inertia + move.cognitive + move.social + move.repel <= 0:
        raise UserError("inertia, cognitive_coeff, social_coeff and repel_coeff are all 0; wanted a positive one")
    if config.populate_initial_experts and config.initial_experts_num is None:
        raise UserError("--populate_initial_experts needs --initial_experts_num: how many experts there shall be")
    if config.paper_code and config.starting_velocity_mode != "random":
        raise UserError(
            f"--starting_velocity_mode {config.starting_velocity_mode} stops the published program "
            "(NotImplementedError); use random, or leave out --compat"
        )
    if config.paper_code and config.edges != "tree":
        raise UserError("--edges bernoulli is the paper's, not the published program's; leave out --compat")
