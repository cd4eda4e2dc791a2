"""What a fusion's node.json may hold: ten settings beside its members, the others under `advanced`."""

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from swarm.errors import UserError
from swarm.members.fusion.fusion_settings import ADVANCED, FIELDS, USUAL

OWN_FIELDS = ("type", "members", "main")
NESTED = "advanced"  # the key of the settings that few need; each is read beside the members as well
OUTSIDE = (*OWN_FIELDS, *USUAL, NESTED)
_LIKENESS = 0.7  # from which on a name is taken for another one, misspelt: "speed" is not to become "space"


def settings_of_record(path: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a node.json gives, wherever in it they stand.

    Raises UserError for a field that does not exist, is out of place, or is there twice.
    """
    nested = record.get(NESTED, {})
    if not isinstance(nested, dict):
        raise UserError(f'{path}: {NESTED} is {nested!r}; wanted an object of settings, such as {{"gate": 0.9}}')
    beside = {name: value for name, value in record.items() if name not in (*OWN_FIELDS, NESTED)}
    if unknown := sorted(set(beside) - set(FIELDS)):
        raise UserError(
            f"{path} has the field {unknown[0]!r}{_meant(unknown[0], ADVANCED, f'under {NESTED}')}; wanted of: "
            f"{', '.join(OUTSIDE)} ({NESTED} has {len(ADVANCED)} more: docs/fusion.md)"
        )
    if wrong := sorted(set(nested) - set(ADVANCED)):
        if wrong[0] in OUTSIDE:
            raise UserError(f"{path}: {wrong[0]} is under {NESTED}; wanted it outside, beside members")
        raise UserError(
            f"{path}: {NESTED} has the field {wrong[0]!r}{_meant(wrong[0], OUTSIDE, 'beside members')}; wanted of: "
            f"{', '.join(ADVANCED)}"
        )
    if twice := sorted(set(beside) & set(nested)):
        raise UserError(f"{path} has {twice[0]} twice, beside members and under {NESTED}; leave one of them out")
    return beside | nested


def with_setting(record: Mapping[str, Any], name: str, value: Any) -> dict[str, Any]:
    """A node.json with another value of a setting that it has, where that stands."""
    if name in record:
        return dict(record) | {name: value}
    return dict(record) | {NESTED: dict(record[NESTED]) | {name: value}}


def _meant(name: str, elsewhere: Collection[str], where: str) -> str:
    """The field that a name is probably meant to be, for a message; "" where none is like it."""
    found = get_close_matches(name.lower(), (*OUTSIDE, *ADVANCED), 1, _LIKENESS)
    return "".join(f" (did you mean {field!r}{f', {where}' if field in elsewhere else ''}?)" for field in found)
