"""The JSON configs of the published program (arXiv 2404.12715), read unchanged.

Of `run_parameter` that program reads `max_new_tokens` only; whatever it or this one ignores is named in a log line.
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import Any

from swarm.data.tables import as_text, parse_json, read_data_file, show
from swarm.errors import UserError

MAIN = "main_model_path"
LANGUAGES = "target_language"  # a section that the published program does not have
_MODEL_KEY = re.compile(r"main_model_path|assist_model(\d+)_path")
_SECTIONS = (
    "model_path", "probability_transfer_matrix_path", "file_path", "prompt_template", "run_parameter",
    "result_process_parameter", LANGUAGES,
)  # fmt: skip
_KNOWN = {
    "file_path": ("dev_file_path", "test_file_path", "demon_file_path"),
    "prompt_template": ("instruction", "instruction_parameter", "demon_parameter"),
    "prompt_template.instruction_parameter": ("key", "template"),
    "prompt_template.demon_parameter": ("key", "template"),
    "run_parameter": ("max_new_tokens",),
    "result_process_parameter": ("early_stop_string_list", "split_key_before", "split_key_behind"),
}  # fmt: skip

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelEntry:
    """One model of a config.

    Attributes:
      path: its folder, or its id at the hub.
      matrix: where the published program keeps its matrix; None where the config names none.
      template: what its prompts are put into, with one {}.
      language: the target language of an encoder-decoder, as its tokenizer calls it ("deu_Latn"); "" for none.
    """

    path: str
    matrix: Path | None
    template: str
    language: str = ""


@dataclass(frozen=True)
class Template:
    """Fields of a record, and the text with a {} for each of them, in their order."""

    fields: tuple[str, ...]
    text: str


@dataclass(frozen=True)
class Cutting:
    """How the answer is cut out of a text.

    Attributes:
      before: up to two strings; the answer stands behind them.
      behind: strings that end it.
    """

    before: tuple[str, ...]
    behind: tuple[str, ...]


@dataclass(frozen=True)
class DeepenConfig:
    """A config of the published program.

    Attributes:
      path: of the config itself.
      models: the main model first, then the assistants by their number.
      dev, test, demos: data files; None where the config leaves one empty.
      instruction: what every prompt begins with.
      task, demo: how a question, and an example with its answer, are written.
      max_new_tokens: the longest answer.
      stop: strings that end an answer.
      cutting: what of the text is the answer.
    """

    path: Path
    models: tuple[ModelEntry, ...]
    dev: Path | None
    test: Path | None
    demos: Path | None
    instruction: str
    task: Template
    demo: Template
    max_new_tokens: int
    stop: tuple[str, ...]
    cutting: Cutting

    def data(self, split: str) -> Path:
        """The file of "dev" or "test"; raises UserError where the config names none."""
        path = self.dev if split == "dev" else self.test
        if path is None:
            raise UserError(f"{self.path}: file_path.{split}_file_path is empty; name the questions' file there")
        return path


def read_published_config(path: Path) -> DeepenConfig:
    """A config as the published program has them.

    A relative path in it is taken from the working directory if it is there, else from beside the config.

    Raises UserError for a file that is no such config: the field, what it holds and what it should.
    """
    if not path.is_file():
        raise UserError(
            f"{path}: there is no such config; name one with --config, a JSON file as the published program has"
        )
    content = parse_json(path, as_text(path, read_data_file(path)))
    reader = _FieldReader(path, content)
    files = {name: reader.text("file_path", f"{name}_file_path", default="") for name in ("dev", "test", "demon")}
    found = {name: Path(_resolved(path, text)) if text else None for name, text in files.items()}
    config = DeepenConfig(
        path,
        reader.models(),
        found["dev"],
        found["test"],
        found["demon"],
        reader.text("prompt_template", "instruction", default=""),
        reader.template("instruction_parameter"),
        reader.template("demon_parameter"),
        reader.count("run_parameter", "max_new_tokens"),
        reader.texts("result_process_parameter", "early_stop_string_list", ()),
        Cutting(
            reader.texts("result_process_parameter", "split_key_before"),
            reader.texts("result_process_parameter", "split_key_behind"),
        ),
    )
    if not {"question", "answer"} <= set(config.demo.fields):
        raise reader.wrong("prompt_template.demon_parameter.key", list(config.demo.fields), "question and answer in it")
    if len(config.cutting.before) > 2:
        raise reader.wrong("result_process_parameter.split_key_before", config.cutting.before, "one or two strings")
    reader.name_what_is_ignored()
    return config


def _resolved(config: Path, text: str) -> str:
    """A path from the working directory, else from beside the config; what is in neither place stays as it is."""
    beside = config.parent / text
    return str(beside) if not Path(text).exists() and beside.exists() else text


class _FieldReader:
    """Fields of a config by their place, checked."""

    def __init__(self, path: Path, content: Any) -> None:
        self._path, self._content = path, content
        if not isinstance(content, Mapping):
            raise UserError(f"{path}: wanted a JSON object with {', '.join(_SECTIONS)}; got {show(content)}")

    def wrong(self, place: str, value: Any, wanted: str) -> UserError:
        """The error for a field that holds something else than wanted."""
        return UserError(f"{self._path}: {place} is {show(value)}; wanted {wanted}: mend it in the config")

    def section(self, name: str) -> Mapping[str, Any]:
        """An object by its place ("prompt_template.demon_parameter")."""
        value: Any = self._content
        for depth, part in enumerate(name.split("."), start=1):
            place = ".".join(name.split(".")[:depth])
            if part not in value:
                raise UserError(f"{self._path}: {place} is missing; there are {', '.join(map(str, value)) or 'none'}")
            value = value[part]
            if not isinstance(value, Mapping):
                raise self.wrong(place, value, "an object")
        section: Mapping[str, Any] = value
        return section

    def value(self, section: str, name: str) -> Any:
        """A field; raises UserError that lists what there is where it is missing."""
        fields = self.section(section)
        if name not in fields:
            there = ", ".join(map(str, fields)) or "none"
            raise UserError(f"{self._path}: {section}.{name} is missing; there are {there}: add it to the config")
        return fields[name]

    def text(self, section: str, name: str, default: str | None = None) -> str:
        """A field that is a string."""
        if default is not None and name not in self.section(section):
            return default
        value = self.value(section, name)
        if not isinstance(value, str):
            raise self.wrong(f"{section}.{name}", value, "a string")
        return value

    def texts(self, section: str, name: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """A field that is a list of strings, none of them empty."""
        if default is not None and name not in self.section(section):
            return default
        value = self.value(section, name)
        if not isinstance(value, list) or not all(isinstance(text, str) and text for text in value):
            raise self.wrong(f"{section}.{name}", value, "a list of strings that are not empty")
        return tuple(value)

    def count(self, section: str, name: str) -> int:
        """A field that is a whole number from 1 on."""
        value = self.value(section, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self.wrong(f"{section}.{name}", value, "a whole number from 1 on")
        return value

    def template(self, name: str) -> Template:
        """One of the two templates; fields beyond its {} are not written, which is logged."""
        place = f"prompt_template.{name}"
        fields, text = self.texts(place, "key"), self.text(place, "template")
        gaps = placeholders(text)
        if not 1 <= gaps <= len(fields):
            raise self.wrong(f"{place}.template", text, f"one {{}} for each of {', '.join(fields) or 'its fields'}")
        if gaps < len(fields):
            log.info("%s: %s.template has no {} for %s", self._path, place, ", ".join(fields[gaps:]))
        return Template(fields, text)

    def models(self) -> tuple[ModelEntry, ...]:
        """All models, the main one first."""
        paths = self.section("model_path")
        numbers = {key: int(found[1] or 0) for key in paths if (found := _MODEL_KEY.fullmatch(key))}
        unknown = [key for key in paths if key not in numbers]
        if MAIN not in numbers or unknown:
            wanted = f"{MAIN} and, for further models, assist_model1_path, assist_model2_path, ..."
            raise UserError(f"{self._path}: model_path has {', '.join(paths) or 'nothing'}; wanted {wanted}")
        place = "probability_transfer_matrix_path"
        matrices = self.section(place) if place in self._content else {}
        return tuple(self._model(key, matrices) for key in sorted(numbers, key=lambda key: numbers[key]))

    def _model(self, key: str, matrices: Mapping[str, Any]) -> ModelEntry:
        name = f"{key.removesuffix('_path')}_system_template"
        template = self.text("prompt_template", name)
        if placeholders(template) != 1:
            raise self.wrong(f"prompt_template.{name}", template, 'a text with one {} for the prompt, as "<s>{}"')
        matrix = self.text("probability_transfer_matrix_path", key) if matrices.get(key) else ""
        path = self.text("model_path", key)
        if not path:
            raise self.wrong(f"model_path.{key}", path, "a model's folder, or its id at the hub")
        folder = Path(_resolved(self._path, matrix)) if matrix else None
        language = self.text(LANGUAGES, key.removesuffix("_path"), default="") if LANGUAGES in self._content else ""
        return ModelEntry(_resolved(self._path, path), folder, template, language)

    def name_what_is_ignored(self) -> None:
        """Logs one line with all fields that have no effect."""
        names = [key.removesuffix("_path") for key in self._content["model_path"]]
        of_models = {
            "probability_transfer_matrix_path": [f"{name}_path" for name in names],
            "prompt_template": [f"{name}_system_template" for name in names],
            LANGUAGES: names,
        }
        ignored = [key for key in self._content if key not in _SECTIONS]
        for place in (*_KNOWN, "probability_transfer_matrix_path", LANGUAGES):
            known = {*_KNOWN.get(place, ()), *of_models.get(place, ())}
            there = self.section(place) if place.partition(".")[0] in self._content else {}
            ignored += [f"{place}.{key}" for key in there if key not in known]
        if ignored:
            log.info("%s: without effect on these %d models: %s", self._path, len(names), ", ".join(ignored))


def model_keys(paths: Mapping[str, Any]) -> list[str]:
    """The models of a config's `model_path` by name, the main one first: main_model, assist_model1, ..."""
    numbers = {key: int(found[1] or 0) for key in paths if (found := _MODEL_KEY.fullmatch(key))}
    return [key.removesuffix("_path") for key in sorted(numbers, key=lambda key: numbers[key])]


def placeholders(text: str) -> int:
    """How many {} a template has; -1 where it has others ("{name}", "{0}") or a brace that is not closed."""
    try:
        fields = [field for _, field, _, _ in Formatter().parse(text) if field is not None]
    except ValueError:
        return -1
    return -1 if any(fields) else len(fields)
