"""Whether the Python that runs this has what h-swarm needs: `python scripts/active_environment.py [extra ...]`.

Exit code 0, or 1 with what it lacks in one line. Needs nothing but the standard library, and does not import what it
looks for: importing PyTorch takes seconds, metadata takes none.
"""

import ast
import re
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OLDEST = (3, 10)


def requirements(*extras: str) -> list[str]:
    """What pyproject.toml asks for; its lists of strings and comments are Python's, too (tomllib comes with 3.11)."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf8")
    found: list[str] = []
    for name in ("dependencies", *extras):
        match = re.search(rf"^{name} = (\[.*?\])$", text, re.MULTILINE | re.DOTALL)
        if match is None:
            raise SystemExit(f"{name!r} is no extra of pyproject.toml")
        found += ast.literal_eval(match[1])
    return found


def lack(requirement: str) -> str:
    """What is wrong with a requirement's package here; "" if nothing is."""
    name, bound, lowest = re.fullmatch(r"([A-Za-z0-9._-]+)(?:(>=)([0-9.]+))?", requirement).groups()  # type: ignore[union-attr]
    try:
        there = version(name)
    except PackageNotFoundError:
        return name
    return f"{requirement} (has {there})" if bound and release(there) < release(lowest) else ""


def other_swarm() -> str:
    """Another package swarm than this clone's, which processes that a search starts would import; or ""."""
    found = find_spec("swarm")
    if found is None or found.origin is None or Path(found.origin).resolve().parents[1] == ROOT:
        return ""
    return f"h-swarm from this clone (has {Path(found.origin).parent})"


def release(text: str) -> tuple[int, ...]:
    """The numbers of a version without trailing zeros; a pre-release or local build counts as its release."""
    numbers = [int(part) for part in re.match(r"[0-9]+(\.[0-9]+)*", text)[0].split(".")]  # type: ignore[index]
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def main(extras: list[str]) -> int:
    """The exit code."""
    if sys.version_info < OLDEST:
        print("Python {}.{} or newer (has {}.{})".format(*OLDEST, *sys.version_info))
        return 1
    lacking = [what for what in (*map(lack, requirements(*extras)), other_swarm()) if what]
    if lacking:
        print(", ".join(lacking))
    return 1 if lacking else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
