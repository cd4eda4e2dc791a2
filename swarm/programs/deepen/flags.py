"""The published program's flags (arXiv 2404.12715; -em is the later program's), checked before anything is loaded."""

import argparse
import logging
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from swarm.errors import UserError
from swarm.maths.targets import MODES

PROCESSORS = {
    "based_on_probility_transfer_logits_fp32_processor": "fused",
    "based_on_probility_transfer_logits_fp32_digit_vote_processor": "digit_vote",
    "yi_ppl_based_on_probility_transfer_logits_processor": "choice",
    "intermlm_ppl_based_on_probility_transfer_logits_processor": "choice",
}
"""-lpm: the published names -> what they do; either is understood."""
SPLITS = ("dev", "test")
MOST_DEVICES = 9
TOLERANCE = 1e-6  # by which weights may miss the sum of 1 without a word
_OFF = 1e-6  # a learning rate that the published program takes for none

log = logging.getLogger(__name__)


RATE, UPDATES = "-lr", "-len"


@dataclass(frozen=True)
class Flag:
    """One flag: its name, the attribute that it sets, how its value is read, its default, and what it is."""

    name: str
    attribute: str
    kind: Callable[[str], Any]
    default: Any
    help: str
    many: bool = False


FLAGS = (
    Flag(RATE, "learning_rate", float, 0.0, "step length of the inverse transformation; 0 turns the fusion off"),
    Flag(UPDATES, "updates", int, 5, "updates of the inverse transformation, each token"),
    Flag("-rsd", "results", Path, Path("."), "folder of the result file"),
    Flag("-rm", "split", str, "dev", "dev or test: which of the config's files is answered"),
    Flag("-lpm", "processor", str, next(iter(PROCESSORS)), "what is done with the logits, by the published names"),
    Flag("-dp", "device", str, None, "device of the fused step; default: the main model's"),
    *(Flag(f"-d{index}", f"device_{index}", str, None, f"device of model {index}, the main one being 0; several: "
           "cuda:0,cuda:1")
      for index in range(MOST_DEVICES)),
    Flag("-ew", "weights", float, (1.0,), "weight of each model, the main one first; default: all equal", many=True),
    Flag("-em", "mode", str, "vanilla", f"how the models are weighed against each other: {', '.join(MODES)}"),
)  # fmt: skip


@dataclass(frozen=True)
class DeepenFlags:
    """Checked flags.

    Attributes:
      learning_rate, updates: of the inverse transformation.
      results: folder of the result file.
      split: "dev" or "test".
      processor: "fused", "digit_vote" or "choice".
      device: of the fused step; None for the main model's.
      devices: of each model; None for one that is not named.
      weights: of each model, the main one first; their sum is 1.
      mode: one of MODES.
      fuses: whether the assistants have any say.
    """

    learning_rate: float
    updates: int
    results: Path
    split: str
    processor: str
    device: str | None
    devices: tuple[str | None, ...]
    weights: tuple[float, ...]
    mode: str
    fuses: bool


def add_flags(parser: argparse.ArgumentParser, flags: Sequence[Flag] = FLAGS, several: Collection[str] = ()) -> None:
    """Adds flags, the published ones, to a parser, each under its attribute's name; those in `several` take lists."""
    for flag in flags:
        many = "+" if flag.many or flag.name in several else None
        default = [flag.default] if flag.name in several else flag.default
        shown = flag.help.replace("%", "%%")
        parser.add_argument(flag.name, dest=flag.attribute, type=flag.kind, default=default, help=shown, nargs=many)


def check_flags(
    given: argparse.Namespace, members: int, needed: Collection[str] = (RATE, UPDATES), warn: bool = True
) -> DeepenFlags:
    """The flags for a fusion of so many models.

    A learning rate or a number of updates of 0 turns the fusion off where it is among the `needed`. That is logged
    unless `warn` is False.

    Raises UserError for a value that cannot be used: what was given, and what there is.
    """
    rate, updates = given.learning_rate, given.updates
    if not (math.isfinite(rate) and rate >= 0):
        raise UserError(f"-lr is {rate}; wanted a step length from 0 on, 0.15 in the paper")
    if updates < 0:
        raise UserError(f"-len is {updates}; wanted a number of updates from 0 on, 5 in the paper")
    devices = [getattr(given, f"device_{index}") for index in range(MOST_DEVICES)]
    values = {RATE: rate if rate > _OFF else 0, UPDATES: updates}
    off = [name for name in needed if not values[name]]
    flags = DeepenFlags(
        rate,
        updates,
        Path(given.results),
        _one_of("-rm", given.split, SPLITS),
        _processor(given.processor),
        _device("-dp", given.device),
        tuple(_devices(f"-d{index}", device) for index, device in enumerate((devices + [None] * members)[:members])),
        checked_weights(given.weights, members),
        _one_of("-em", given.mode, tuple(MODES)),
        members > 1 and not off,
    )
    if members > 1 and off and warn:
        which = f"{off[0]} {rate if off[0] == RATE else updates:g}"
        log.warning("%s turns the fusion off: the main model answers alone (the paper has -lr 0.15 -len 5)", which)
    return flags


def checked_weights(weights: Sequence[float], members: int) -> tuple[float, ...]:
    """One weight per model with a sum of 1; a lone 1, the published default, stands for equal ones.

    Weights of another sum are divided by it, which is logged; zeros are allowed.

    Raises UserError for another number of them, for a negative one, and where all are 0.
    """
    given = " ".join(f"{weight:g}" for weight in weights)
    if list(weights) == [1.0]:
        return (1.0 / members,) * members
    if len(weights) != members:
        raise UserError(f"-ew has {len(weights)} weights ({given}); wanted {members}, one for each model of the config")
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or not any(weights):
        raise UserError(f"-ew is {given}; wanted weights from 0 on that are not all 0")
    total = math.fsum(weights)
    if abs(total - 1) > TOLERANCE:
        log.info("-ew %s has the sum %g: every weight is divided by it", given, total)
    return tuple(weight / total for weight in weights)


def _one_of(flag: str, value: str, known: Sequence[str]) -> str:
    if value not in known:
        raise UserError(f"{flag} is {value!r}; wanted one of {', '.join(known)}")
    return value


def _processor(value: str) -> str:
    """What a published name, in any case, or one of our own stands for."""
    name = value.lower()
    own = list(dict.fromkeys(PROCESSORS.values()))
    if name not in PROCESSORS and name not in own:
        raise UserError(f"-lpm is {value!r}; wanted one of {', '.join([*own, *PROCESSORS])}")
    return PROCESSORS.get(name, name)


def _device(flag: str, value: str | None) -> str | None:
    if value is not None:
        try:
            torch.device(value)
        except RuntimeError as error:
            raise UserError(f'{flag} is {value!r}; wanted a device such as "cpu" or "cuda:0"') from error
    return value


def _devices(flag: str, value: str | None) -> str | None:
    """One device, or several among which a model's layers are divided; CUDA devices once each."""
    names = [] if value is None else value.split(",")
    for name in names:
        _device(flag, name)
    if len(set(names)) < len(names) and set(names) != {"cpu"}:
        raise UserError(f"{flag} is {value!r} and names a device twice; wanted each once")
    return value
