"""`FusionSettings`, from a node.json or a config, checked before any model is loaded."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from swarm.errors import UserError
from swarm.maths.member_weights import explicit
from swarm.members.fusion.anchors import SELECTIONS
from swarm.members.fusion.step_settings import StepSettings
from swarm.members.fusion.vocabulary import RULES

SPACES = ("relative", "union", "mapped")
WEIGHTS = ("uniform", "perplexity")
EOS = ("main", "shared")
ON_FAILURE = ("fail", "drop")
ROWS = ("auto", "dense", "lazy")
BRIDGES = ("exact", "legacy")


@dataclass(frozen=True)
class FusionSettings:
    """Settings of decoding by several models with different vocabularies.

    Attributes:
      step: of the space `relative`: mode, inverse, learning rate and so on.
      space: relative: DeePEn (arXiv 2404.12715); union: UniTE's union of top tokens (arXiv 2410.03777), the fast one;
        mapped: every token at the nearest string of the main model's (MinED, arXiv 2401.10491), a baseline.
      weights: uniform, perplexity (of the prompt, PackLLM), or a number for each member, in proportion.
      temperature: of weights by perplexity.
      top: tokens of each member in a union.
      keys: bytes: tokens are the same that write the same; published: whose pieces are written the same.
      anchors, anchor_count, anchor_seed: all common tokens, or so many of them at random or of most consistency.
      normalise: divide rows of cosines by their length before the softmax.
      centre: subtract the mean embedding first.
      rows: dense, lazy, or dense where a matrix is small and takes less than `row_memory`.
      row_memory: megabytes per model that relative rows may take, None for what can be spared; changes no text.
      row_disk: megabytes of disk that all fusions' relative rows may take, kept for later runs; changes no text.
      gate: the main model chooses alone where its first token has at least this probability; above 1 never.
      eos: main: the main model alone decides when to end; shared: ends are tokens like others.
      stop: texts at which an answer ends; they are not part of it.
      on_failure: fail: a member that fails ends all; drop: the others go on without it, for the rest of the text.
      bridge: exact, or legacy: texts are handed on as the original program does, for comparison.
      artefact: folder of anchors that were made before (`h-swarm deepen matrix`), "" for none.
    """

    step: StepSettings = field(default_factory=StepSettings)
    space: str = "relative"
    weights: str | tuple[float, ...] = "uniform"
    temperature: float = 1.0
    top: int = 10
    keys: str = "bytes"
    anchors: str = "all"
    anchor_count: int | None = None
    anchor_seed: int = 0
    normalise: bool = True
    centre: bool = False
    rows: str = "auto"
    row_memory: int | None = None
    row_disk: int = 4000
    gate: float = 2.0
    eos: str = "main"
    stop: tuple[str, ...] = ()
    on_failure: str = "fail"
    bridge: str = "exact"
    artefact: str = ""


CHOICES = {
    "space": SPACES, "keys": RULES, "anchors": SELECTIONS, "rows": ROWS, "eos": EOS, "on_failure": ON_FAILURE,
    "bridge": BRIDGES,
}  # fmt: skip
OF_STEP = tuple(one.name for one in fields(StepSettings))
FIELDS = tuple(one.name for one in fields(FusionSettings) if one.name != "step") + OF_STEP
USUAL = (
    "space", "mode", "inverse", "learning_rate", "updates", "weights",
    "centre", "anchors", "anchor_count", "on_failure",
)  # fmt: skip
"""The usual settings: the published flags, the algorithm, what lets models recognise each other, and failures."""
ADVANCED = tuple(name for name in FIELDS if name not in USUAL)
_KINDS: dict[str, tuple[type, ...]] = {
    "str": (str,), "int": (int,), "float": (float, int), "bool": (bool,), "int | None": (int,),
    "str | tuple[float, ...]": (str, list), "tuple": (list,),
}  # fmt: skip


def read_settings(where: str, record: Mapping[str, Any], count: int) -> FusionSettings:
    """The settings in a record for a fusion of `count` models; fields that are absent have their defaults.

    `where` names the record in messages. Raises UserError for a field that does not exist or cannot be so.
    """
    if unknown := sorted(set(record) - set(FIELDS)):
        raise UserError(f"{where} has the field {unknown[0]!r}; wanted of: {', '.join(sorted(FIELDS))}")
    for one in (*fields(FusionSettings), *fields(StepSettings)):
        if one.name in record:
            _check_kind(where, one.name, record[one.name], getattr(one.type, "__name__", str(one.type)))
    for name, choices in CHOICES.items():
        if name in record and record[name] not in choices:
            raise UserError(f"{where}: {name} is {record[name]!r}; wanted one of: {', '.join(choices)}")
    try:
        step = StepSettings(**{name: record[name] for name in OF_STEP if name in record})
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    given = {name: value for name, value in record.items() if name not in OF_STEP}
    for name in ("weights", "stop"):
        if isinstance(given.get(name), list):
            given[name] = tuple(given[name])
    settings = FusionSettings(step, **given)
    _check_together(where, settings, count)
    return settings


def switched_off(settings: FusionSettings) -> str | None:
    """The reason why the main model decodes alone under these settings; None if it does not."""
    step = settings.step
    if settings.space != "relative" or step.inverse == "none":
        return None
    if step.inverse == "adamw" and step.learning_rate == 0:
        return "learning_rate is 0, which turns the fusion off: the main model answers alone"
    return "updates is 0, which turns the fusion off: the main model answers alone" if step.updates == 0 else None


def _check_kind(where: str, name: str, value: Any, kind: str) -> None:
    kinds = _KINDS[kind]
    wrong = not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)
    inner = str if name == "stop" else (int, float)
    if wrong or (isinstance(value, list) and not all(isinstance(part, inner) for part in value)):
        wanted = {"weights": "a name or a list of numbers", "stop": "a list of texts"}.get(
            name, " or ".join(kind.__name__ for kind in kinds)
        )
        raise UserError(f"{where}: {name} is {value!r}; wanted {wanted}")


def _check_together(where: str, settings: FusionSettings, count: int) -> None:
    if isinstance(settings.weights, str):
        if settings.weights not in WEIGHTS:
            raise UserError(
                f"{where}: weights is {settings.weights!r}; wanted one of: {', '.join(WEIGHTS)}, or a list of {count} "
                "numbers"
            )
    else:
        try:
            explicit(settings.weights, count)
        except ValueError as error:
            raise UserError(f"{where}: {error}; wanted one for each member, in their order") from None
    for name, least in (("top", 1), ("row_memory", 1), ("row_disk", 0), ("anchor_seed", 0)):
        value = getattr(settings, name)
        if value is not None and value < least:
            raise UserError(f"{where}: {name} is {value}; wanted at least {least}")
    for name in ("gate", "temperature"):
        if not getattr(settings, name) > 0:
            raise UserError(f"{where}: {name} is {getattr(settings, name)}; wanted more than 0")
    if settings.anchors != "all" and (settings.anchor_count is None or settings.anchor_count < 1):
        raise UserError(f"{where}: anchors {settings.anchors!r} asks for anchor_count; wanted at least 1")
    if settings.anchors == "all" and settings.anchor_count is not None:
        raise UserError(
            f"{where}: anchor_count is {settings.anchor_count}, which has no effect on all common tokens; add anchors, "
            "random or consistency, or leave it out"
        )
    if "" in settings.stop:
        raise UserError(f"{where}: stop holds an empty text, at which every answer would end")
