"""Kinds of worlds: what a question needs, what each expert makes of it, and what experts and base learn from.

Three knobs make a world. *betrayed*: how far a question's words betray who knows the answer. *independent*: how far the
experts' errors are their own. *steps*: how many skills a question needs, one after the other. The named kinds:

separable  each skill has a word and one expert who knows it: a router's dream. These are the embedded experts.
noisy      all experts know all, and each is wrong where no word tells: voting's dream.
composed   a question needs the codes of two experts, in its order: a graph's dream.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from embedded_training import Sample
from train_embedded_experts import CYCLE, Stance, base_sample, expert_sample, stances
from world_base import Knobs, World
from world_codes import CodeWorld

from swarm.data.graph_tasks import small_question
from swarm.system.prompts import Query, node_prompt

FILE = "world.json"
QUESTIONS = "questions.json"
COUNTED = ("edges", "degree", "weight", "heaviest")  # skills whose wrong answers differ, unlike yes and no
KINDS = {"separable": Knobs(), "noisy": Knobs(betrayed=0.0, errors=0.4), "composed": Knobs(steps=2)}


class GraphWorld(World):
    """Questions about a graph, for one skill each."""

    def __init__(self, kind: str, knobs: Knobs, seed: int, experts: int):
        super().__init__(kind, knobs, seed, experts)
        if knobs.errors:
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
