"""Settings from a file and to a file: YAML or JSON, flat or under the headings that the help has."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from swarm.data.file_formats import suffix_of
from swarm.data.mapping_files import read_mapping_file
from swarm.data.tables import show
from swarm.errors import UserError
from swarm.evolution.checked_config import LISTS, MAPPINGS, as_typed, check_value, defaults, with_present_names
from swarm.evolution.config import SearchConfig, settings
from swarm.evolution.run_folder import ARGS
from swarm.evolution.setting import GROUPS, Setting
from swarm.storage.files import write_whole

EXAMPLE = "wanted settings such as dataset: gsm8k"
SECTIONS = {group.key: group for group in GROUPS}


def read_settings_file(path: Path) -> dict[str, Any]:
    """The settings that a file names, under the names that this version has; paths in it are as on the command line.

    Of a run's args.json the name is left out: a run's name is taken. Raises UserError for a file that cannot be read or
    is no mapping, a key that is no setting (with the nearest that is) or is said twice, or a value that cannot be.
    """
    content = read_mapping_file(path, "settings")
    if not isinstance(content, Mapping):
        data = f"; if it is your data: -d {path}" if suffix_of(path) else ""
        raise UserError(f"{path} holds {show(content)}, no settings by name; {EXAMPLE}{data}")
    found: dict[str, Any] = {}
    said: dict[str, str] = {}
    for key, value in content.items():
        inner = value if key in SECTIONS else {key: value}
        if not isinstance(inner, Mapping):
            raise UserError(f"{path}: {key} is {show(inner)}; wanted settings of that heading by name")
        for given, each in inner.items():
            name = str(given).replace("-", "_")
            if key in SECTIONS:
                _check_section(path, key, name)
            [present] = with_present_names({name: None})
            if present in found:
                other = f", as {said[present]}" if said[present] != name else ""
                raise UserError(f"{path} says {name} twice{other}: drop one of them")
            found[present], said[present] = each, name
    found = with_present_names({name: _as_declared(name, value) for name, value in found.items()})
    for name, value in found.items():
        check_value(name, value, f"{path}: ", [*SECTIONS])
    return {name: value for name, value in found.items() if not (name == "name" and is_of_a_run(path))}


def is_of_a_run(path: Path) -> bool:
    """Whether a run has written a file: it may have come from anybody, and what is in it the user has not named."""
    return path.name == ARGS


def write_settings_file(path: Path, config: SearchConfig) -> None:
    """Writes the settings that are not the defaults under their headings, as JSON where the name says so, else YAML.

    Raises UserError where a file is there already, or cannot be written.
    """
    if path.exists():
        raise UserError(f"{path} is there; name a new file with --save-config, or remove it")
    usual = defaults(config.compat) | {"compat": None}
    given = {name: getattr(config, name) for name in settings() if getattr(config, name) != usual[name]}
    sections = {
        group.key: {
            name: given[name] for name, setting in settings().items() if name in given and setting.group == group
        }
        for group in GROUPS
    }
    content = {key: values for key, values in sections.items() if values}
    if path.suffix.lower() == ".json":
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    else:
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
        text = f"# h-swarm search {path}\n{text}"
    try:
        write_whole(path, text)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); name another file with --save-config") from error


def settings_schema() -> dict[str, Any]:
    """A JSON schema of settings files, for editors: every setting flat, and under its heading."""
    flat = {name: _property(setting) for name, setting in settings().items()}
    sections = {
        key: {
            "type": "object",
            "description": group.title,
            "additionalProperties": False,
            "properties": {name: flat[name] for name, setting in settings().items() if setting.group == group},
        }
        for key, group in SECTIONS.items()
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "settings of h-swarm search",
        "type": "object",
        "additionalProperties": False,
        "properties": sections | flat,
    }


_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}


def _property(setting: Setting) -> dict[str, Any]:
    types = [_TYPES[kind] for kind in setting.kinds]
    types += ["object"] * (setting.name in MAPPINGS) + ["array"] * (setting.name in LISTS)
    described: dict[str, Any] = {
        "description": setting.help,
        "type": types if len(types) > 1 else types[0],
        "default": setting.default,
    }
    if setting.choices:
        described["enum"] = [*setting.choices, *([None] if type(None) in setting.kinds else [])]
    if setting.least is not None:
        described["minimum"] = setting.least
    if setting.most is not None:
        described["maximum"] = setting.most
    return described


def _check_section(path: Path, key: str, name: str) -> None:
    """Raises UserError for a setting under another heading than its own."""
    [present] = with_present_names({name: None})
    setting = settings().get(present)
    if setting is not None and setting.group.key != key:
        raise UserError(f"{path}: {name} stands under {key}; wanted it under {setting.group.key}, or outside of both")


def _as_declared(name: str, value: Any) -> Any:
    """A setting's value as its type has it: YAML writes 1 for 1.0, and mappings and lists."""
    setting = settings().get(name)
    value = as_typed(name, value)
    whole = setting is not None and float in setting.kinds and type(value) is int
    return float(value) if whole else value
