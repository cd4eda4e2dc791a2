"""What every kind of world has: knobs, a seed, experts, lessons for them, and questions."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
from embedded_training import Sample
from train_embedded_experts import Stance, make_tokenizer
from transformers import PreTrainedTokenizerFast as Tokens

from swarm.data.graph_tasks import draw_records

DEV, TEST = 120, 1200
TEST_SEED, DEV_SEED = 778, 10_000  # with the world's seed; dev's is further by the search's, so that each has its own
SECRETS = 23  # sets the draws of a world's secrets apart from those of its training


@dataclass(frozen=True)
class Knobs:
    """What makes a world.

    Attributes:
      betrayed: chance that a skill which an expert has not is betrayed by its word; else the expert has it too.
      errors: share of wrong answers to what an expert knows; 0 leaves experts as good as they get.
      independent: share of what makes experts wrong that is an expert's own; the rest is the same for all.
      steps: skills that a question needs one after the other, 1 or 2.
    """

    betrayed: float = 1.0
    errors: float = 0.0
    independent: float = 1.0
    steps: int = 1

    def __post_init__(self) -> None:
        for name in ("betrayed", "independent"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}, wanted 0 to 1")
        if not 0 <= self.errors < 1:
            raise ValueError(f"errors is {self.errors}, wanted at least 0 and below 1")
        if self.steps not in (1, 2):
            raise ValueError(f"steps is {self.steps}, wanted 1 or 2")


class World(ABC):
    """One world: its knobs, its seed, its experts.

    Attributes:
      skills: what experts can know; they are the data's domains where a question needs one of them.
      names: the experts' names, in the order of their files.
      known: expert, skill -> what it makes of that skill.
      base_steps, expert_steps: of training.
      trained_until: share of right answers to what it learns from up to which an expert is trained again; 0: once.
    """

    base_steps = 1200
    expert_steps = 130
    trained_until = 0.0
    skills: tuple[str, ...]
    names: tuple[str, ...]
    known: tuple[dict[str, Stance], ...]

    def __init__(self, kind: str, knobs: Knobs, seed: int, experts: int):
        if experts not in (4, 6):
            raise ValueError(f"{experts} experts, wanted 4 or 6")
        self.kind, self.knobs, self.seed, self.experts = kind, knobs, seed, experts
        self.secrets = np.random.default_rng([seed, SECRETS])

    @property
    def domains(self) -> tuple[str, ...]:
        """The kinds of its questions."""
        return self.skills

    @property
    def tokenizer(self) -> Tokens:
        """Its base's."""
        return make_tokenizer()

    @abstractmethod
    def base_sample(self, rng: np.random.Generator) -> Sample:
        """What the base learns from."""

    @abstractmethod
    def expert_sample(self, expert: int, rng: np.random.Generator) -> Sample:
        """What an expert learns from."""

    @abstractmethod
    def exam(self, expert: int, domain: str, rng: np.random.Generator) -> Sample:
        """A prompt by which an expert's errors are measured, and what it should say to it."""

    @abstractmethod
    def question(self, domain: str, rng: np.random.Generator) -> tuple[str, str]:
        """A question of a domain, and its answer, that no training draws."""

    def dataset(self, search_seed: int = 0, dev: int = DEV, test: int = TEST) -> dict[str, Any]:
        """The questions of a search: test the same for all, dev the search's own; in the form of data files."""
        seen: set[str] = set()
        draw: Callable[..., tuple[str, str]] = self.question
        test_rng = np.random.default_rng([TEST_SEED, self.seed])
        dev_rng = np.random.default_rng([DEV_SEED + search_seed, self.seed])
        of_test = draw_records("test", test, self.domains, partial(draw, rng=test_rng), seen)
        of_dev = draw_records("dev", dev, self.domains, partial(draw, rng=dev_rng), seen)
        record = {"dataset": f"{self.kind}_{self.seed}", "generation": {"max_new_tokens": 4}}
        return record | {"dev": of_dev, "test": of_test}

    def record(self) -> dict[str, Any]:
        """All that makes it, as JSON."""
        about = {"kind": self.kind, "seed": self.seed, "experts": self.experts}
        return about | {"knobs": asdict(self.knobs)}
