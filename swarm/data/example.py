"""`Example`, and `Dataset`: a development and a test split of examples."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from swarm.engines.base import GenerationParams, params_of


@dataclass(frozen=True)
class Example:
    """One record of a dataset.

    Attributes:
      choices: letter -> text in file order; empty where there are none.
      chunks: parts of a context too long for one node, of which each node of a graph reads its own.
      columns: what else the record says in a few words, by name; scores can be grouped by it.
      alternatives: further right answers: whoever gives any of them is right.
    """

    question: str
    answer: str
    id: str = ""
    domain: str = ""
    choices: Mapping[str, str] = field(default_factory=dict)
    chunks: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    alternatives: tuple[str, ...] = ()

    @property
    def golds(self) -> tuple[str, ...]:
        """All right answers."""
        return (self.answer, *self.alternatives)

    def column(self, name: str) -> str:
        """The value of a column, among them id, domain and gold (the answer); "" where the record has none."""
        own = {"id": self.id, "domain": self.domain, "gold": self.answer}
        return own.get(name) or self.columns.get(name, "")


@dataclass(frozen=True)
class Dataset:
    """A development and a test split, with what the whole file says.

    Attributes:
      name: file stem, by which datasets with special treatment are known (gsm8k, knowledge_crosswords, ...).
      prefix: text that goes in front of every question (the file's `icl_prompt`), or "".
      generation: generation settings that the file itself asks for, keys of `GenerationParams`.
      digest: SHA-256 of the file's content, or of the examples where they are not as the file has them.
    """

    name: str
    dev: tuple[Example, ...]
    test: tuple[Example, ...]
    prefix: str = ""
    generation: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""

    def headed(self, text: str) -> str:
        """A question with the file's instruction in front."""
        return f"{self.prefix}\n{text}" if self.prefix else text

    def settings(self, usual: GenerationParams) -> GenerationParams:
        """The generation parameters: the file's own, else the defaults."""
        return params_of(usual.record() | dict(self.generation))
