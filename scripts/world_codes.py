"""Worlds whose questions need two experts, one after the other."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from embedded_training import UNKNOWN, Sample, plurality
from train_embedded_experts import Stance, make_tokenizer, solve_prompt
from transformers import PreTrainedTokenizerFast as Tokens
from world_base import Knobs, World

from swarm.data.graph_tasks import SMALL_NODES, small_question
from swarm.system.prompts import Query, node_prompt

COLOURS = ("red", "blue", "green", "gold", "grey", "pink")
WEIGHT = "weight"  # the skill that gives a code its number
LARGEST_ANSWER = 20
PLAIN = {node: str(k) for k, node in enumerate(SMALL_NODES, start=1)}  # the code of the base, a secret of nobody


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
    trained_until = 0.97

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
