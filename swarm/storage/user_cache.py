"""The user's own cache folder, and the code and addresses that the user has named on this machine before."""

import json
import os
from pathlib import Path

from swarm.errors import UserError
from swarm.storage.files import read_text, write_json

_NAMED = "named.json"


def own_cache() -> Path:
    """The cache folder, h_swarm in $XDG_CACHE_HOME or ~/.cache; made if need be, for the user alone (0700)."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # the XDG specification has relative values ignored
    folder = (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "h_swarm"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
    except OSError as error:
        raise UserError(
            f"the cache folder {folder} cannot be made ({error.strerror}); set XDG_CACHE_HOME to one that can"
        ) from error
    return folder


def remember_named(kind: str, what: str) -> None:
    """Remembers that the user has named this: code to run (its digest), or an address to send a key to.

    A run's folder may name such things too, but it can come from anybody.
    """
    named = _named()
    if what not in named.get(kind, []):
        write_json(own_cache() / _NAMED, named | {kind: [*named.get(kind, []), what]})


def was_named(kind: str, what: str) -> bool:
    """Whether the user has named this on this machine before."""
    return what in _named().get(kind, [])


def _named() -> dict[str, list[str]]:
    path = own_cache() / _NAMED
    try:
        named = json.loads(read_text(path))
        return {str(kind): list(values) for kind, values in named.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError, TypeError) as error:
        raise UserError(
            f"{path} is damaged ({error}): delete it, and name again what a resumed run asks for"
        ) from error
