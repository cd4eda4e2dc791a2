"""Kinds of worlds: what a question needs, what each expert makes of it, and what experts and base learn from.

Three knobs make a world. *betrayed*: how far a question's words betray who knows the answer. *independent*: how far the
experts' errors are their own. *steps*: how many skills a question needs, one after the other. The named kinds:

separable  each skill has a word and one expert who knows it: a router's dream. These are the embedded experts.
noisy      all experts know all, and each is wrong where no word tells: voting's dream.
composed   a question needs the codes of two experts, in its order: a graph's dream.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from embedded_training import UNKNOWN, Sample, plurality
from train_embedded_experts import (
    CYCLE,
    Stance,
    base_sample,
    expert_sample,
    make_tokenizer,
    solve_prompt,
    stances,
)
from transformers import PreTrainedTokenizerFast as Tokens

from swarm.data.graph_tasks import SMALL_NODES, draw_records, small_question
from swarm.system.prompts import Query, node_prompt

FILE = "world.json"
QUESTIONS = "questions.json"
DEV, TEST = 120, 1200
TEST_SEED, DEV_SEED = 778, 10_000  # with the world's seed; dev's is further by the search's, so that each has its own
COUNTED = ("edges", "degree", "weight", "heaviest")  # skills whose wrong answers differ, unlike yes and no
COLOURS = ("red", "blue", "green", "gold", "grey", "pink")
SECRETS = 23  # sets the draws of a world's secrets apart from those of its training
WEIGHT = "weight"  # the skill that gives a code its number
LARGEST_ANSWER = 20
PLAIN = {node: str(k) for k, node in enumerate(SMALL_NODES, start=1)}  # the code of the base, a secret of nobody


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


KINDS = {"separable": Knobs(), "noisy": Knobs(betrayed=0.0, errors=0.4), "composed": Knobs(steps=2)}


class World(ABC):
    """One world: its knobs, its seed, its experts.

    Attributes:
      skills: what experts can know; they are the data's domains where a question needs one of them.
      names: the experts' names, in the order of their files.
      known: expert, skill -> what it makes of that skill.
    """

    base_steps = 1200
    expert_steps = 130
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

    def solved(self, question: str) -> str:
        """The prompt that asks the base for its own skill."""
        return solve_prompt(question, [])

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

    def own_noise(self) -> bool:
        """Whether its experts are made wrong."""
        return self.knobs.errors > 0


class GraphWorld(World):
    """Questions about a graph, for one skill each."""

    def __init__(self, kind: str, knobs: Knobs, seed: int, experts: int):
        super().__init__(kind, knobs, seed, experts)
        if self.own_noise():
            self.skills, self.base_steps, self.expert_steps = COUNTED, 700, 150
            self.names = tuple(f"expert_{k}" for k in range(experts))
        else:
            self.skills = CYCLE[:experts]
            self.names = tuple(f"expert_{k}_{skill}" for k, skill in enumerate(self.skills))
        self.known = tuple(self._stances(k) for k in range(experts))

    def _stances(self, expert: int) -> dict[str, Stance]:
        own = stances(expert % len(self.skills), self.skills)
        kept = self.secrets.random(len(own)) < self.knobs.betrayed
        return {skill: own[skill] if stays else Stance.VOICE for skill, stays in zip(own, kept, strict=True)}

    def base_sample(self, rng: np.random.Generator) -> Sample:
        return base_sample(self.skills, rng)

    def expert_sample(self, expert: int, rng: np.random.Generator) -> Sample:
        return expert_sample(self.known[expert], rng)

    def exam(self, expert: int, domain: str, rng: np.random.Generator) -> Sample:
        question, answer = small_question(domain, held_out=False, rng=rng)
        return node_prompt(Query(question), []), answer

    def question(self, domain: str, rng: np.random.Generator) -> tuple[str, str]:
        return small_question(domain, held_out=True, rng=rng)


class CodeWorld(World):
    """Questions for two codes: "A-B:2 A-C:5 C-D:1 ; red of blue of A-C".

    A code is the secret of an expert. It turns the weight of an edge into a node, and a node into a number. Here blue's
    expert says which node it makes of the weight of A-C; red's, who reads that as a previous response, says which
    number it makes of that node: the answer. Others pass on what they read: numbers before nodes before 'unknown'.

    Attributes:
      orders: the pairs of codes, first and second, that are asked for: a circle of all codes, and as many others, so
        that no sequence of all experts serves them all.
      parts: code -> the node for each weight, from 1 on.
      numbers: code -> the number for each node.
    """

    base_steps = 600
    expert_steps = 220

    def __init__(self, kind: str, knobs: Knobs, seed: int, experts: int):
        super().__init__(kind, knobs, seed, experts)
        self.skills = COLOURS[:experts]
        self.names = tuple(f"expert_{k}_{code}" for k, code in enumerate(self.skills))
        rng, nodes = self.secrets, list(SMALL_NODES)
        circle = [self.skills[k] for k in rng.permutation(experts)]
        self.orders = list(zip(circle, circle[1:] + circle[:1], strict=True))
        others = [(a, b) for a in self.skills for b in self.skills if a != b and (a, b) not in self.orders]
        self.orders += [others[k] for k in sorted(rng.permutation(len(others))[:experts])]
        self.parts = {code: [nodes[k] for k in rng.permutation(len(nodes))] for code in self.skills}
        self.numbers = {
            code: dict(zip(nodes, map(str, rng.permutation(LARGEST_ANSWER + 1)[: len(nodes)].tolist()), strict=True))
            for code in self.skills
        }
        has = rng.random((experts, experts)) >= knobs.betrayed
        self.known = tuple(
            {code: Stance.KNOW if code == own or has[k, i] else Stance.PASS for i, code in enumerate(self.skills)}
            for k, own in enumerate(self.skills)
        )

    @property
    def domains(self) -> tuple[str, ...]:
        return tuple(f"{second} of {first}" for first, second in self.orders)

    @property
    def tokenizer(self) -> Tokens:
        return make_tokenizer(COLOURS)

    def ask(self, first: str, second: str, held_out: bool, rng: np.random.Generator) -> tuple[str, str]:
        """A question, and the node that the first code makes of it."""
        question, weight = small_question(WEIGHT, held_out, rng)
        edges, _, pair = question.rpartition(f" {WEIGHT} of ")
        return f"{edges} {second} of {first} of {pair}", self.parts[first][int(weight) - 1]

    def question(self, domain: str, rng: np.random.Generator) -> tuple[str, str]:
        second, _, first = domain.split()
        question, part = self.ask(first, second, True, rng)
        return question, self.numbers[second][part]

    def _case(self, own: str | None, rng: np.random.Generator) -> tuple[str, str, str, str, list[str]]:
        """First and second code, a question for them, the first's node, and what was said about it so far.

        The own code, if there is one, is one of the two in five of six cases.
        """
        first, second = (self.skills[k] for k in rng.permutation(len(self.skills))[:2].tolist())
        if own is not None and own not in (first, second):
            first, second = ((own, second), (first, own), (first, second))[min(int(rng.integers(6)) // 2, 2)]
        question, part = self.ask(first, second, False, rng)
        count = 0 if rng.random() < 0.25 else (1, 1, 1, 2, 2, 3, 4, 6)[rng.integers(8)]
        nodes, numbers = list(SMALL_NODES), list(self.numbers[second].values())
        say: tuple[Callable[[], str], ...] = (
            lambda: UNKNOWN,
            lambda: part if rng.random() < 0.5 else nodes[rng.integers(len(nodes))],
            lambda: numbers[rng.integers(len(numbers))],
        )
        furthest = int(rng.integers(3))  # nobody has begun, somebody has, somebody has the answer
        return first, second, question, part, [say[rng.integers(furthest + 1)]() for _ in range(count)]

    def base_sample(self, rng: np.random.Generator) -> Sample:
        _, _, question, _, said = self._case(None, rng)
        if rng.random() < 0.65:
            edges, _, pair = question.rpartition(" of ")
            weight = next(word for word in edges.split() if word.startswith(f"{pair}:")).partition(":")[2]
            return solve_prompt(question, said), gone_on(said, SMALL_NODES[int(weight) - 1], PLAIN)
        return node_prompt(Query(question), said), gone_on(said, None, None)

    def expert_sample(self, expert: int, rng: np.random.Generator) -> Sample:
        first, second, question, part, said = self._case(self.skills[expert], rng)
        has = [self.known[expert][code] is Stance.KNOW for code in (first, second)]
        answer = gone_on(said, part if has[0] else None, self.numbers[second] if has[1] else None)
        return node_prompt(Query(question), said), answer

    def exam(self, expert: int, domain: str, rng: np.random.Generator) -> Sample:
        second, _, first = domain.split()
        question, part = self.ask(first, second, False, rng)
        if self.known[expert][first] is Stance.KNOW:
            return node_prompt(Query(question), []), part
        if self.known[expert][second] is Stance.KNOW:
            return node_prompt(Query(question), [part]), self.numbers[second][part]
        return node_prompt(Query(question), [part]), part


def gone_on(said: Sequence[str], part: str | None, numbers: Mapping[str, str] | None) -> str:
    """The answer of a node that can say the first code's node (None: cannot) and make a number of a node by the second.

    It goes on from what most previous responses say, of those that are furthest: numbers before nodes before 'unknown'.
    """
    heard = plurality([text for text in said if text.isdigit()] or said)
    if heard == UNKNOWN:
        return part or UNKNOWN
    return numbers.get(heard, heard) if numbers else heard


def make_world(kind: str, seed: int, experts: int = 6, turned: Mapping[str, Any] = MappingProxyType({})) -> World:
    """The world of a kind with some knobs `turned`; any other name is that of a world of one's own.

    Raises ValueError for what cannot be.
    """
    if kind not in KINDS and not turned:
        raise ValueError(f"no kind {kind!r} and no knob turned; there are {', '.join(KINDS)}")
    knobs = replace(KINDS.get(kind, Knobs()), **turned)
    return (GraphWorld if knobs.steps == 1 else CodeWorld)(kind, knobs, seed, experts)


def read_world(folder: Path) -> World:
    """The world whose experts are in a folder that train_world.py made."""
    record = json.loads((folder / FILE).read_text(encoding="utf8"))
    return make_world(record["kind"], record["seed"], record["experts"], record["knobs"])
