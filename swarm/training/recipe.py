"""A recipe: which experts are trained, from which base, on which data, and how. YAML, or JSON.

out: my_experts
defaults: {base: google/gemma-7b-it, learning_rate: 2.0e-4, epochs: 1}
experts:
  - {name: science, data: [{source: science.jsonl}]}
  - {name: mixed, seed: 1, data: [{source: llm-blender/mix-instruct, limit: 5000}, {source: chats.jsonl, share: 0.5}]}
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swarm.data.mapping_files import read_mapping_file
from swarm.data.tables import show
from swarm.errors import UserError
from swarm.training.fields import Fields

EXTRA = 'pip install -e ".[finetune]"'
COLUMNS = (
    "messages",
    "prompt",
    "completion",
    "instruction",
    "input",
    "output",
    "question",
    "answer",
    "choices",
    "context_chunks",
)
SCHEDULES = ("cosine", "linear", "constant")
DTYPES = ("float32", "bfloat16", "float16")
NODE = "node"  # a template's name: as a node of a graph puts a question

_KEYS = ("out", "defaults", "experts")
_SETTINGS = (
    "base", "revision", "data", "lora", "learning_rate", "schedule", "warmup", "epochs", "steps", "batch_size",
    "gradient_accumulation", "max_length", "seed", "dtype", "chat", "gradient_checkpointing", "checkpoint_every",
)  # fmt: skip
_SOURCE = (
    "source",
    "split",
    "share",
    "limit",
    "columns",
    "template",
    "separator",
    "empty",
    "config",
    "revision",
    "eval",
)
_LORA = ("r", "alpha", "dropout", "target_modules")
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)


@dataclass(frozen=True)
class DataSource:
    """Rows to learn from.

    Attributes:
      source: a file, a folder with a file for each split, or a hub id.
      split: of a file that has several, a folder or a hub set; None takes dev of a file, else train.
      share: the part of the rows that is drawn, by the expert's seed; above 0, up to 1.
      limit: the most rows that are taken, the first ones of what `share` leaves; None takes all.
      columns: our field (`COLUMNS`) -> the column that holds it, where the two differ.
      template: what a prompt is put into, with one {}; "node" puts it as a node of a graph does. None is node for
        questions and leaves other prompts as they are.
      separator: what stands between prompt and completion where there is no chat template; None is nothing for
        prompt/completion rows and a blank for others.
      skip_empty: pass over rows with an empty text, instead of refusing them.
      config, revision: which configuration and which state of a hub set.
      eval: whose wording questions have, as `-e` of a search names it; None is multiple_choice for those with choices,
        exact_match for others.
    """

    source: str
    split: str | None
    share: float
    limit: int | None
    columns: Mapping[str, str]
    template: str | None
    separator: str | None
    skip_empty: bool
    config: str | None
    revision: str | None
    eval: str | None = None


@dataclass(frozen=True)
class Lora:
    """PEFT's settings of an adapter; rank and modules are by default those of the published Gemma experts."""

    r: int
    alpha: int
    dropout: float
    target_modules: tuple[str, ...]


@dataclass(frozen=True)
class ExpertRecipe:
    """How one expert is trained.

    Attributes:
      place: where the recipe says it, as messages begin with.
      base, revision: hub id or folder of the base model, and which state of it.
      schedule, warmup: how the learning rate falls, and over which part of all steps it first rises.
      epochs: passes over the data; of no effect where `steps` (of the optimiser) are given.
      batch_size: rows per step of one process, before `gradient_accumulation` multiplies it.
      max_length: tokens of a row, prompt and completion together; None is 1024, or what the base holds if less.
      dtype: of the base's weights in memory; None is bfloat16 on a GPU, float32 on a CPU. Adapters are float32.
      chat: put rows into the base's chat template; None does so where it has one.
      gradient_checkpointing: less memory for more time; None does so on a GPU.
      checkpoint_every: steps between two states from which a stopped training goes on; without effect on weights.
    """

    place: str
    name: str
    base: str
    revision: str | None
    data: tuple[DataSource, ...]
    lora: Lora
    learning_rate: float
    schedule: str
    warmup: float
    epochs: float
    steps: int | None
    batch_size: int
    gradient_accumulation: int
    max_length: int | None
    seed: int
    dtype: str | None
    chat: bool | None
    gradient_checkpointing: bool | None
    checkpoint_every: int


@dataclass(frozen=True)
class Recipe:
    """All experts of a file, in its order; `out` is the folder that gets a folder for each, or None if not said."""

    path: Path
    out: str | None
    experts: tuple[ExpertRecipe, ...]


def read_training_recipe(path: Path) -> Recipe:
    """The recipe in a YAML or JSON file.

    A base or a source that is a relative path is taken from the working directory if it is there, else from beside the
    recipe.

    Raises UserError for a file that is none: the place, what it holds and what it should.
    """
    fields = Fields(str(path), read_mapping_file(path, "a recipe"), _KEYS)
    defaults = fields.raw("defaults") if "defaults" in fields else {}
    _expert_fields(f"{path}: defaults", defaults, _SETTINGS)
    listed = fields.raw("experts")
    if not isinstance(listed, list) or not listed:
        raise fields.wrong("experts", "a list of experts, at least one")
    experts = tuple(_expert(path, number, entry, defaults) for number, entry in enumerate(listed))
    names = [expert.name for expert in experts]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{path}: two experts are called {name}; wanted a name for each: rename one")
    return Recipe(path, fields.maybe_text("out"), experts)


def _expert_fields(place: str, content: Any, known: tuple[str, ...]) -> Fields:
    fields = Fields(place, content, known)
    if "epochs" in fields and "steps" in fields:
        raise UserError(f"{place} has epochs and steps, wanted one of them: drop the other")
    return fields


def _expert(path: Path, number: int, entry: Any, defaults: Mapping[str, Any]) -> ExpertRecipe:
    own = _expert_fields(f"{path}: expert {number}", entry, ("name", *_SETTINGS))
    name = own.text("name")
    if not _NAME.fullmatch(name):
        raise own.wrong("name", "letters, digits, - _ and ., a letter or digit first, as it becomes a folder's")
    place = f"{path}: expert {name}"
    said = {key: value for key, value in entry.items() if value is not None}
    replaced = ("epochs", "steps") if "epochs" in said or "steps" in said else ()
    merged = {key: value for key, value in defaults.items() if key not in replaced} | said
    fields = Fields(place, merged, ("name", *_SETTINGS))
    return ExpertRecipe(
        place,
        name,
        _resolved(path, fields.text("base")),
        fields.maybe_text("revision"),
        _sources(path, fields),
        _lora(place, defaults.get("lora") or {}, entry.get("lora") or {}),
        fields.positive("learning_rate", 2e-4),
        fields.choice("schedule", SCHEDULES, "cosine") or "cosine",
        fields.share("warmup", 0.03),
        fields.positive("epochs", 1.0),
        fields.maybe_count("steps"),
        fields.count("batch_size", 8),
        fields.count("gradient_accumulation", 1),
        fields.maybe_count("max_length"),
        fields.count("seed", 0, least=0, most=2**32 - 1),
        fields.choice("dtype", DTYPES, None),
        fields.flag("chat"),
        fields.flag("gradient_checkpointing"),
        fields.count("checkpoint_every", 200),
    )


def _lora(place: str, defaults: Any, own: Any) -> Lora:
    for each in (defaults, own):
        Fields(f"{place}: lora", each, _LORA)
    fields = Fields(f"{place}: lora", {**defaults, **own}, _LORA)
    rank = fields.count("r", 16)
    return Lora(
        rank,
        fields.count("alpha", 2 * rank),
        fields.share("dropout", 0.0),
        fields.texts("target_modules", ("q_proj", "k_proj", "v_proj", "o_proj")),
    )


def _sources(path: Path, fields: Fields) -> tuple[DataSource, ...]:
    listed = fields.raw("data")
    if not isinstance(listed, list) or not listed:
        raise fields.wrong("data", 'a list of sources, at least one, as [{source: "rows.jsonl"}]')
    return tuple(_source(path, f"{fields.place}: data {number}", entry) for number, entry in enumerate(listed))


def _source(path: Path, place: str, entry: Any) -> DataSource:
    fields = Fields(place, {"source": entry} if isinstance(entry, str) else entry, _SOURCE)
    columns = fields.raw("columns") if "columns" in fields else {}
    Fields(f"{place}: columns", columns, COLUMNS)
    for field, column in columns.items():
        if not isinstance(column, str) or not column:
            raise UserError(f"{place}: columns maps {field} to {show(column)}, wanted a column's name: mend the recipe")
    template = fields.maybe_text("template")
    if template is not None and template != NODE and template.count("{}") != 1:
        raise fields.wrong("template", f'{NODE}, or a text with one {{}} for the prompt, as "Question: {{}}"')
    separator = fields.raw("separator") if "separator" in fields else None
    if separator is not None and not isinstance(separator, str):
        raise fields.wrong("separator", 'a text, as " "')
    return DataSource(
        _resolved(path, fields.text("source")),
        fields.maybe_text("split"),
        fields.positive("share", 1.0, most=1.0),
        fields.maybe_count("limit"),
        columns,
        template,
        separator,
        fields.choice("empty", ("refuse", "skip"), "refuse") == "skip",
        fields.maybe_text("config"),
        fields.maybe_text("revision"),
        fields.maybe_text("eval"),
    )


def _resolved(recipe: Path, text: str) -> str:
    """A path from the working directory, else from beside the recipe; what is in neither place stays as it is."""
    beside = recipe.parent / text
    return str(beside) if not Path(text).exists() and beside.exists() else text
