"""Options that change nothing beside the others, named in one line before anything is loaded."""

import argparse
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from swarm.members.fusion.fusion_settings import FusionSettings
from swarm.members.fusion.unused_settings import check_not_contradicting, listed, without_effect
from swarm.programs.deepen.deepen_options import ANCHORS, FUSION
from swarm.programs.deepen.flags import FLAGS, MOST_DEVICES, DeepenFlags

log = logging.getLogger(__name__)

OF_TEXTS = ("gate", "eos", "bridge", "top")  # nothing of them is asked where one of several options is chosen
SWITCHES = {"centre": "--centre", "normalise": "--no_normalise"}
ALONE = "the main model answers alone"


@dataclass(frozen=True)
class Way:
    """Flags and settings under which questions are answered."""

    flags: DeepenFlags
    settings: FusionSettings


def check_unused(options: argparse.Namespace, ways: Sequence[Way], models: int) -> None:
    """Logs one line with the options that were given and have no effect in any of the `ways`, on so many models.

    Raises UserError for two of them that contradict each other.
    """
    for way in ways:
        if way.flags.fuses:
            check_not_contradicting("the command line", way.settings)
    names = _given(options)
    reasons = [_reasons(way, models) for way in sorted(ways, key=lambda way: not way.flags.fuses)]
    unused = {names[name]: reasons[0][name] for name in names if all(name in own for own in reasons)}
    if unused:
        log.warning("without effect here: %s", listed(unused, unused.keys()))


def check_unused_anchors(options: argparse.Namespace, settings: FusionSettings) -> None:
    """The same for a step that makes nothing but anchors."""
    reasons, names = without_effect(settings), _given(options)
    if unused := {names[name]: reasons[name] for name in names if name in reasons}:
        log.warning("without effect here: %s", listed(unused, unused.keys()))


def _given(options: argparse.Namespace) -> dict[str, str]:
    """Settings that were given on the command line, and how they are called there."""
    values = vars(options)
    given = {flag.attribute: flag.name for flag in (*ANCHORS, *FUSION) if values.get(flag.attribute) is not None}
    given |= {name: switch for name, switch in SWITCHES.items() if values.get(name) is not None}
    for flag in FLAGS:
        default = list(flag.default) if flag.many else flag.default
        if flag.attribute in values and values[flag.attribute] not in (default, flag.default, [flag.default]):
            given[flag.attribute] = flag.name
    if values.get("weigh"):
        given["weights"] = "--weigh"
    if values.get("artefact"):
        given["artefact"] = "--artefact"
    return given


def _reasons(way: Way, models: int) -> dict[str, str]:
    """What has no effect in a way, and why."""
    if not way.flags.fuses:
        fused = [flag.attribute for flag in (*ANCHORS, *FUSION)]
        devices = [f"device_{index}" for index in range(1, MOST_DEVICES)]
        published = [name for name in ("learning_rate", "updates") if getattr(way.flags, name)]
        return dict.fromkeys([*fused, *SWITCHES, *published, *devices, "weights", "mode", "device", "artefact"], ALONE)
    devices = [f"device_{index}" for index in range(models, MOST_DEVICES)]
    reasons = without_effect(way.settings) | dict.fromkeys(devices, f"the config has {models} models")
    if way.flags.processor == "choice":
        reasons = dict.fromkeys(OF_TEXTS, "-lpm choice writes one option") | reasons
    return reasons
