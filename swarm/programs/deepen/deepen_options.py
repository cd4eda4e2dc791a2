"""Options that the published program does not have, and the settings that they make together with its flags."""

import argparse
import json
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from swarm.errors import UserError
from swarm.maths.member_weights import CONSISTENCIES
from swarm.members.fusion.anchors import SELECTIONS
from swarm.members.fusion.fusion_artefact import saved_digest
from swarm.members.fusion.fusion_settings import BRIDGES, EOS, ON_FAILURE, ROWS, SPACES, FusionSettings, read_settings
from swarm.members.fusion.step_settings import CANDIDATES, INVERSES
from swarm.members.fusion.vocabulary import RULES
from swarm.programs.deepen.flags import RATE, UPDATES, DeepenFlags, Flag
from swarm.programs.deepen.published_config import DeepenConfig

LEFT_OUT_OF_CHOICES = 1e-6  # options may be improbable, and hang on what is left out
ANCHORS = (
    Flag("--keys", "keys", str, None, f"which tokens are the same: {', '.join(RULES)} (default: bytes)"),
    Flag("--anchors", "anchors", str, None, f"which common tokens are anchors: {', '.join(SELECTIONS)} (default: all)"),
    Flag("--anchor_count", "anchor_count", int, None, "how many anchors, where they are not all"),
    Flag("--anchor_seed", "anchor_seed", int, None, "seed of anchors at random (default: 0)"),
)
FUSION = (
    Flag("--space", "space", str, None, f"where models meet: {', '.join(SPACES)} (default: relative, DeePEn)"),
    Flag("--inverse", "inverse", str, None, f"back from the relative space: {', '.join(INVERSES)} (default: adamw)"),
    Flag("--gate", "gate", float, None, "the main model chooses alone where its first token has this probability"),
    Flag("--bridge", "bridge", str, None, f"how texts are handed on: {', '.join(BRIDGES)} (default: exact)"),
    Flag("--eos", "eos", str, None, f"who ends an answer: {', '.join(EOS)} (default: main)"),
    Flag("--on_failure", "on_failure", str, None, f"when an assistant fails: {', '.join(ON_FAILURE)} (default: fail)"),
    Flag("--consistency", "consistency", str, None,
         f"weigh models anew at every token (CoRE): {', '.join(CONSISTENCIES)} (default: not)"),
    Flag("--temperature", "temperature", float, None, "of --weigh perplexity (default: 1)"),
    Flag("--top", "top", int, None, "tokens of each model in --space union (default: 10)"),
    Flag("--rows", "rows", str, None, f"relative rows: {', '.join(ROWS)} (default: auto)"),
    Flag("--row_memory", "row_memory", int, None, "MB that each model's relative rows may take (default: what "
         "memory is free)"),
    Flag("--row_disk", "row_disk", int, None, "MB of disk that all fusions' rows may take, kept for later runs "
         "(default: 4000; 0: none)"),
    Flag("--candidates", "candidates", str, None, f"tokens that a step works on: {', '.join(CANDIDATES)} "
         "(default: needed)"),
    Flag("--dropped", "dropped", float, None, "most probability that a step may leave out (default: 0.001)"),
    Flag("--most", "most", int, None, "most tokens of a model that a step works on, whatever that leaves out "
         "(default: 512)"),
)  # fmt: skip


def add_anchor_options(parser: argparse.ArgumentParser) -> None:
    """What the anchors and the relative rows are."""
    group: Any = parser.add_argument_group("anchors")
    for flag in ANCHORS:
        group.add_argument(flag.name, dest=flag.attribute, type=flag.kind, help=flag.help)
    _switch(group, "--centre", "centre", True, "subtract the mean embedding first: where main recognises few tokens")
    _switch(group, "--no_normalise", "normalise", False, "do not divide rows of cosines by their length")


def add_fusion_options(parser: argparse.ArgumentParser) -> None:
    """How the models fuse, beyond the published flags."""
    group: Any = parser.add_argument_group("fusion")
    for flag in FUSION:
        group.add_argument(flag.name, dest=flag.attribute, type=flag.kind, help=flag.help)
    group.add_argument("--weigh", choices=("perplexity",), help="weigh models by the prompt's perplexity, not by -ew")


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """How models are loaded and asked."""
    group: Any = parser.add_argument_group("models")
    group.add_argument("--dtype", help="float32, bfloat16, float16 (default: bfloat16 on CUDA, float32 on the CPU)")
    _switch(group, "--trust_remote_code", "trust_remote_code", True, "run Python code that comes with a model")
    group.add_argument("--batch", type=int, default=8, help="questions that are answered side by side (default: 8)")


def needed_flags(options: argparse.Namespace) -> tuple[str, ...]:
    """The published flags that must be above 0 for models to fuse under the other options."""
    if options.space not in (None, "relative") or options.inverse == "none":
        return ()
    return (UPDATES,) if options.inverse == "em" else (RATE, UPDATES)


def anchor_settings(options: argparse.Namespace) -> dict[str, Any]:
    """The anchor options that were given; UserError for a number of them where all are taken."""
    if options.anchor_count is not None and options.anchors in (None, "all"):
        raise UserError(
            f"--anchor_count {options.anchor_count} has no effect on all common tokens; add --anchors random or "
            "consistency, or leave it out"
        )
    return _given(options, [*(flag.attribute for flag in ANCHORS), "centre", "normalise"])


def fusion_settings(options: argparse.Namespace, flags: DeepenFlags, config: DeepenConfig) -> FusionSettings:
    """The settings of a run; UserError for a value that cannot be, or options that contradict each other."""
    record = anchor_settings(options) | _given(options, [flag.attribute for flag in FUSION])
    record |= {"mode": flags.mode, "learning_rate": flags.learning_rate, "updates": flags.updates}
    record |= {"stop": list(config.stop), "weights": list(flags.weights)}
    if flags.processor == "choice":
        record.setdefault("dropped", LEFT_OUT_OF_CHOICES)
    if options.weigh:
        if list(options.weights) != [1.0]:
            raise UserError(
                f"--weigh {options.weigh} and -ew both set the weights of the models; leave one of them out"
            )
        record["weights"] = options.weigh
    return read_settings("the command line", record, len(flags.weights))


def matrix_settings(options: argparse.Namespace) -> FusionSettings:
    """The settings of an artefact."""
    return read_settings("the command line", anchor_settings(options), 1)


def flat_settings(settings: FusionSettings) -> dict[str, Any]:
    """All settings that can change a text, by their names; an artefact by its content."""
    record = asdict(settings)
    del record["row_memory"], record["row_disk"]
    record |= record.pop("step")
    record["artefact"] = saved_digest(Path(settings.artefact)) if settings.artefact else ""
    plain: dict[str, Any] = json.loads(json.dumps(record))  # tuples are lists in a file
    return plain


def check_counts(options: argparse.Namespace, names: Sequence[str]) -> None:
    """Raises UserError for a number below 1."""
    for name in names:
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UserError(f"--{name} is {value}; wanted at least 1")


def _given(options: argparse.Namespace, names: Collection[str]) -> dict[str, Any]:
    return {name: value for name in names if (value := getattr(options, name)) is not None}


def _switch(group: Any, name: str, attribute: str, value: bool, help: str) -> None:
    group.add_argument(name, dest=attribute, action="store_const", const=value, help=help)
