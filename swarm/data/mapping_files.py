"""Files of names and values that people write: YAML, or JSON."""

from pathlib import Path
from typing import Any

import yaml

from swarm.data.tables import as_text, parse_json, read_data_file
from swarm.errors import UserError

MOST = 1_000_000  # bytes of a file that a person has written


def read_mapping_file(path: Path, what: str) -> Any:
    """What a YAML file says, or a JSON file by its suffix; no tags, so that nothing but plain values is made.

    Raises UserError if there is no such file (`what` it was to be), it cannot be read, or says a key twice.
    """
    if not path.is_file():
        raise UserError(f"{path} is no file that is there, wanted {what} in YAML or JSON: correct the name")
    if path.stat().st_size > MOST:
        size = path.stat().st_size
        raise UserError(f"{path} has {size:,} bytes, wanted {what}, of at most {MOST:,}: correct the name")
    text = as_text(path, read_data_file(path))
    if path.suffix.lower() == ".json":
        return parse_json(path, text)
    try:
        _refuse_twins(path, yaml.compose(text, yaml.SafeLoader), set())
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is no YAML ({' '.join(str(error).split())}): mend the file there") from error


def _refuse_twins(path: Path, node: Any, seen: set[int]) -> None:
    """Refuses an object that says one key twice, of which YAML silently takes the last."""
    value = getattr(node, "value", None)
    if not isinstance(value, list) or id(node) in seen:  # an alias is the same node again
        return
    seen.add(id(node))
    said = set()
    for part in value:
        key, inner = part if isinstance(part, tuple) else (None, part)
        if key is not None and isinstance(key.value, str):
            if key.value in said:
                raise UserError(f"{path}: line {key.start_mark.line + 1} says {key.value} twice: drop one of them")
            said.add(key.value)
        _refuse_twins(path, inner, seen)
