"""Settings of a fusion that have no effect under the others, to be warned of."""

from collections.abc import Collection, Mapping

from swarm.errors import UserError
from swarm.members.fusion.fusion_settings import FusionSettings

ANCHORS = ("anchors", "anchor_count", "anchor_seed")
CANDIDATES = ("dropped", "least", "most")
ROWS = ("rows", "row_memory", "row_disk")
OF_A_MODE = "which works the members' weights out itself"


def without_effect(settings: FusionSettings) -> dict[str, str]:
    """Every field that changes no answer under the others, and why: "space is union"."""
    step, found = settings.step, dict[str, str]()

    def add(reason: str, *names: str) -> None:
        found.update({name: reason for name in names if name not in found})

    if settings.space == "relative":
        _add_of_step(settings, found)
        add("space is relative", "top")
    else:
        add(f"space is {settings.space}", *ANCHORS, *CANDIDATES, "artefact", "normalise", "centre", *ROWS)
        add(f"space is {settings.space}", "mode", "inverse", "learning_rate", "updates", "candidates")
    if settings.space == "mapped":
        add("space is mapped", "top", "consistency")
    if step.consistency and "consistency" not in found:
        add("consistency weighs members anew at every token", "weights")
    if settings.weights != "perplexity" or "weights" in found:
        add("weights are not the prompt's perplexity", "temperature")
    if settings.anchors != "random":
        add(f"anchors are {settings.anchors}, not random", "anchor_seed")
    if settings.gate > 1:
        add("no token has a probability above 1", "gate")
    return found


def _add_of_step(settings: FusionSettings, found: dict[str, str]) -> None:
    """Adds the fields without effect in the space `relative`."""
    step = settings.step
    if step.inverse == "none":
        names = ("mode", "learning_rate", "updates", "candidates", "consistency", *CANDIDATES)
        found.update(dict.fromkeys((*names, "normalise", "centre", *ROWS), "inverse is none"))
        return
    if step.inverse == "em":
        found["learning_rate"] = "inverse is em"
    if step.candidates == "all":
        found.update(dict.fromkeys(CANDIDATES, "candidates are all"))
    if step.mode == "tas+mas":
        found["consistency"] = f"mode is tas+mas, {OF_A_MODE}"
        if isinstance(settings.weights, str) or all(settings.weights):  # a member of weight 0 stays out of it
            found["weights"] = found["consistency"]
    if settings.rows == "dense":
        found.update(dict.fromkeys(ROWS[1:], "rows are dense"))


def check_not_contradicting(where: str, settings: FusionSettings) -> None:
    """Raises UserError for two ways of putting members together, of which one is never taken.

    `where` names the record in the message.
    """
    step, reasons = settings.step, without_effect(settings)
    for name, usual in (("mode", "vanilla"), ("inverse", "adamw"), ("consistency", "")):
        given = getattr(step, name)
        if given != usual and name in reasons:
            raise UserError(f"{where}: {name} is {given!r}, which has no effect where {reasons[name]}; leave one out")


def listed(reasons: Mapping[str, str], names: Collection[str]) -> str:
    """The names with their reasons, for one line: "top (space is relative), rows, most (inverse is none)"."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(reasons[name], []).append(name)
    return "; ".join(f"{', '.join(own)} ({reason})" for reason, own in groups.items())
