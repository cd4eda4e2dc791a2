"""`Overrides`: settings of generation that a user or a file gives, which go before the usual ones."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from swarm.engines.sampling import Sampling, sampling_of, sampling_record
from swarm.errors import UserError

Argument = str | int | float | bool
"""A value that a chat template is given by name."""

# what transformers itself gives to a template, or takes for its own options
_RESERVED = frozenset(
    """conversation messages tools documents chat_template add_generation_prompt continue_final_message tokenize padding
    truncation max_length return_tensors return_dict return_assistant_tokens_mask tokenizer_kwargs strftime_now
    raise_exception""".split()
)


@dataclass(frozen=True)
class Overrides:
    """Settings under their names in `GenerationParams`; what is None is left as it is.

    Attributes:
      sampling: how answers are drawn.
      stop_strings: texts behind which an answer is over; none of them where this is empty.
      system_message: what the chat template is told before the first question; may be empty, where a template would
        say something of its own.
      chat_template_kwargs: what else the chat template is given, such as enable_thinking, sorted by name.
    """

    sampling: Sampling | None = None
    stop_strings: tuple[str, ...] | None = None
    system_message: str | None = None
    chat_template_kwargs: tuple[tuple[str, Argument], ...] | None = None

    def given(self) -> dict[str, Any]:
        """Those that are not None, by name."""
        return {name: value for name in NAMES if (value := getattr(self, name)) is not None}

    def record(self) -> dict[str, Any]:
        """Those that are not None, as JSON has them."""
        as_json: dict[str, Callable[[Any], Any]] = {
            "sampling": sampling_record, "stop_strings": list, "system_message": str, "chat_template_kwargs": dict
        }  # fmt: skip
        return {name: as_json[name](value) for name, value in self.given().items()}


NAMES = tuple(field.name for field in fields(Overrides))
OF_THE_TEMPLATE = ("system_message", "chat_template_kwargs")


def overrides_of(before: str, given: Mapping[str, Any]) -> Overrides:
    """The overrides of such settings by name, as JSON has them; null is for one that is not given.

    `before` stands before a setting's name in messages: a file and a colon, say. Raises UserError for a name that is
    none of them, or a value that cannot be.
    """
    for name in given:
        if name not in NAMES:
            raise UserError(f"{before}{name} is no setting, wanted of {', '.join(NAMES)}: rename or drop it")
    found = {name: _READERS[name](f"{before}{name}", given[name]) for name in NAMES if given.get(name) is not None}
    return Overrides(**found)


def stop_strings_of_text(option: str, text: str) -> list[Any]:
    """The stop strings in an option's value: one text as it is, or a JSON list of them. Raises UserError."""
    if not text.startswith("["):
        return [text]
    try:
        found: list[Any] = json.loads(text)
    except ValueError:
        raise UserError(
            f'{option} is {text!r}, which begins as a JSON list and is none; write it as ["\\n\\n", "Question:"]'
        ) from None
    return found


def _sampling(where: str, given: Any) -> Sampling:
    if not isinstance(given, Mapping):
        raise UserError(f'{where} is {given!r}; wanted an object, such as {{"temperature": 0.7}}')
    return sampling_of(where, given)


def _stop_strings(where: str, given: Any) -> tuple[str, ...]:
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise UserError(f'{where} is {given!r}; wanted a text or a list of texts, such as ["\\n\\n"]')
    if "" in texts:
        raise UserError(f"{where} has an empty text, at which every answer would end; drop it")
    return tuple(dict.fromkeys(texts))


def _system_message(where: str, given: Any) -> str:
    if not isinstance(given, str):
        raise UserError(f"{where} is {given!r}; wanted a text")
    return given


def _chat_template_kwargs(where: str, given: Any) -> tuple[tuple[str, Argument], ...]:
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise UserError(f'{where} is {given!r}; wanted an object, such as {{"enable_thinking": false}}')
    for name, value in given.items():
        if name in _RESERVED or not name.isidentifier():
            cure = " (a system message is --system_message)" if name == "messages" else ""
            raise UserError(f"{where} has {name!r}, which is not the user's to give{cure}; drop it")
        if not isinstance(value, Argument) or (isinstance(value, float) and not math.isfinite(value)):
            raise UserError(f"{where}: {name} is {value!r}; wanted a text, a number, true or false")
    return tuple(sorted(given.items()))


_READERS: dict[str, Callable[[str, Any], Any]] = {
    "sampling": _sampling,
    "stop_strings": _stop_strings,
    "system_message": _system_message,
    "chat_template_kwargs": _chat_template_kwargs,
}
