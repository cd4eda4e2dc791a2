"""What an eval is: examples become queries, a system's texts become scores."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from swarm.engines.base import GenerationParams
from swarm.system.messages import Query

Judgement = dict[str, np.ndarray]
"""Scorer name -> one score per example, shape (examples,), higher is better. Every eval fills "strict" and "compat"."""

Judging = Generator[list[Query], list[str], Judgement]
"""A conversation with a system: yields a list of queries, is sent the list of its texts, returns the judgement.

An eval with one pass yields once. Written this way, the queries of many systems under evaluation can be answered
side by side, whatever number of passes the eval needs.
"""


@dataclass(frozen=True)
class Example:
    """One record of a dataset; `choices` maps letter to text in file order and is empty where there are none."""

    question: str
    answer: str
    id: str = ""
    domain: str = ""
    choices: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Dataset:
    """A development and a test split, with what the whole file says.

    Attributes:
      name: file stem, by which datasets with special treatment are known (gsm8k, knowledge_crosswords, ...).
      prefix: text that goes in front of every question (the file's `icl_prompt`), or "".
      generation: generation settings that the file itself asks for, keys of `GenerationParams`.
      digest: SHA-256 of the file's content.
    """

    name: str
    dev: tuple[Example, ...]
    test: tuple[Example, ...]
    prefix: str = ""
    generation: Mapping[str, int | bool] = field(default_factory=dict)
    digest: str = ""


class Eval(Protocol):
    """How good an answer is."""

    @property
    def name(self) -> str:
        """Under which it is asked for."""
        ...

    @property
    def lowest(self) -> float:
        """The least score that an example can get; higher is better."""
        ...

    @property
    def highest(self) -> float:
        """The highest score that an example can get."""
        ...

    def params(self, dataset: Dataset) -> GenerationParams:
        """How the published program generates for this dataset; the dataset's own settings come first."""
        ...

    def judge(self, dataset: Dataset, examples: Sequence[Example]) -> Judging:
        """Asks about every example and scores the answers."""
        ...
