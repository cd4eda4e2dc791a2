"""What a single setting is, and the headings that settings stand under in the help."""

from dataclasses import field
from typing import Any

TASK, DATA, JUDGE = "the task", "data in other shapes (docs/data.md)", "the judge of gemini_match (docs/judges.md)"
SWARM, GRAPH = "the swarms", "graphs"
WEIGHTS, SCORES, LIMITS = "experts", "scoring", "limits"
ENGINE, RECORD, UNUSED = "engine", "the run", "accepted without effect (options of the published program)"


def option(
    default: Any,
    group: str,
    help: str,
    *,
    short: str = "",
    choices: tuple[str, ...] = (),
    least: float | None = None,
    switch: bool = False,
) -> Any:
    """A setting: its default, the heading that it stands under in the help, what it means, and what it may be.

    A switch is turned on by its name alone.
    """
    about = {"group": group, "help": help, "short": short, "choices": choices, "least": least, "switch": switch}
    return field(default=default, metadata=about)
