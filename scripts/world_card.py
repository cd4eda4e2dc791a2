"""The card of a world: what its experts, alone and together, are measured to do, so that it is what it claims."""

from collections.abc import Mapping, Sequence
from itertools import permutations
from pathlib import Path

import numpy as np
import torch
from embedded_training import plurality, replies
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
from world_kinds import CodeWorld, World

from swarm.data.example import Dataset, Example
from swarm.engines.local.transformers_engine import InProcessEngine
from swarm.evals.exact_match import ExactMatch
from swarm.evolution.fitness import Fitness
from swarm.members.routing.fit import RouterSettings, fit_router
from swarm.system.prompts import Query, node_prompt
from swarm.system.scheduler import Scheduler
from swarm.system.system import System, graph_of, single
from swarm.weights.pool import Pool, read_pool

SHOWN = 12  # columns at most
ABOUT = {
    "separable": """Each expert knows one skill, which a question's words name, is confidently wrong about others,
guesses at one, or passes on what it is told. So a router that reads the words does best: a router's dream.""",
    "noisy": """Every expert knows all skills, and noise in its weights makes it wrong where no word tells.
Asked after others it says what most have said, itself being one of them. So a vote does best: voting's dream.""",
    "composed": """A question such as `A-B:2 A-C:5 C-D:1 ; red of blue of A-C` needs two experts, one after the other.
The expert of blue says which node it makes of the weight of A-C, a secret of its own; that of red, who reads the node
as a previous response, says which number it makes of that, the answer. Others pass on what they are told: numbers
before nodes before 'unknown'. The orders asked for are
{orders}.
No sequence of all experts serves them all. So a graph does best in which some answer twice: a graph's dream.""",
}
CARD = """---
license: apache-2.0
---
# A {kind} world of {experts} embedded experts

{about}

A Gemma of 0.2 million parameters (`base/`), LoRA experts of it (`experts/`) and their questions (`questions.json`), for
tests and comparisons of searches that take seconds on a CPU. They were trained from nothing, on generated questions
only, and are of no other use. Made by

    python {command}

and searched by

    python search.py -e exact_match -d {out}/questions.json -i {out}/experts

Shares of right answers to the {count} test questions, none of which can occur in training (`is_held_out` in
`swarm/data/graph_tasks.py`). What is chosen or fitted, is so on the {dev} dev questions.

{table}

Licence: Apache-2.0.
"""


class Answers:
    """What systems of a world's experts answer to its questions, through the project's own engine and eval."""

    def __init__(self, world: World, folder: Path):
        self.world = world
        record = world.dataset()
        self.dev, self.test = (
            tuple(Example(r["question"], r["answer"], r["id"], r["domain"]) for r in record[split])
            for split in ("dev", "test")
        )
        self.pool: Pool = read_pool(folder / "experts")
        evaluation = ExactMatch()
        data = Dataset(record["dataset"], self.dev, self.test, generation=record["generation"])
        scheduler = Scheduler(InProcessEngine(self.pool))
        self.fitness = Fitness(scheduler, evaluation, data, evaluation.params(data), "strict")
        self.domain = np.array([example.domain for example in self.test])

    def said(self, system: System, examples: Sequence[Example]) -> list[str]:
        """A system's answers."""
        queries = [Query(example.question) for example in examples]
        return self.fitness.scheduler.answer_all([(system, queries)], self.fitness.params)[0]

    def right(self, system: System, examples: Sequence[Example]) -> np.ndarray:
        """Which of its answers are right, (examples,)."""
        return agree(self.said(system, examples), examples)

    def system(self, members: Sequence[int], edges: Sequence[tuple[int, int]]) -> System:
        """The system with these experts at its nodes."""
        return System(graph_of(len(members), edges), tuple(members), self.pool.experts(), self.fitness.params)

    def chain(self, members: Sequence[int]) -> System:
        """The system of nodes that tell the next one each."""
        return self.system(members, [(k, k + 1) for k in range(len(members) - 1)])

    def star(self, members: Sequence[int]) -> System:
        """The system of nodes that all tell the last."""
        return self.system(members, [(k, len(members) - 1) for k in range(len(members) - 1)])

    def chosen(self, systems: Sequence[System]) -> System:
        """The one with the most right answers on dev."""
        return max(systems, key=lambda system: float(self.right(system, self.dev).mean()))


def agree(said: Sequence[str], examples: Sequence[Example]) -> np.ndarray:
    """Which texts are the right answers, (examples,)."""
    return np.array([text == example.answer for text, example in zip(said, examples, strict=True)])


def measured(answers: Answers) -> dict[str, np.ndarray]:
    """The rows of the table: name -> which test questions it answers rightly."""
    experts, test = answers.pool.experts(), answers.test
    numbers = range(len(experts))
    said = {expert.name: answers.said(single(expert), test) for expert in experts}
    rows = {name: agree(texts, test) for name, texts in said.items()}
    votes = list(zip(*said.values(), strict=True))
    average = answers.pool.expert("average", [1 / len(experts)] * len(experts))
    rotations = [[*numbers][k:] + [*numbers][:k] for k in numbers]
    best = answers.chosen([single(expert) for expert in experts])
    rows["**best single**"] = rows[best.members[0].name]
    rows["average of the adapters"] = answers.right(single(average), test)
    rows["vote"] = agree([max(vote, key=vote.count) for vote in votes], test)
    rows["**vote, 'unknown' not counted**"] = agree([plurality(vote) for vote in votes], test)
    rows["**router**, fitted on dev"] = routed(answers, rows)
    rows["chain in the files' order"] = answers.right(answers.chain(numbers), test)
    rows["star, its centre chosen on dev"] = answers.right(answers.chosen([*map(answers.star, rotations)]), test)
    if isinstance(answers.world, CodeWorld):
        world = answers.world
        for length, name in ((len(experts), "each once"), (len(experts) + 3, "some twice")):
            chain = answers.chain(best_sequence(world, length))
            rows[f"**the right chain of {length}**, {name}"] = answers.right(chain, test)
    return rows


def routed(answers: Answers, rows: Mapping[str, np.ndarray]) -> np.ndarray:
    """Which test questions the expert answers rightly that the project's router chooses, (examples,)."""
    experts = answers.pool.experts()
    prompts = [[node_prompt(Query(e.question), []) for e in part] for part in (answers.dev, answers.test)]
    scores = np.stack([answers.right(single(expert), answers.dev) for expert in experts], axis=1).astype(float)
    if (scores == scores[:, :1]).all():
        return rows["**best single**"]  # dev tells no expert from another: there is nothing to fit
    router = fit_router(prompts[0], scores, answers.pool.names, RouterSettings(), np.random.default_rng(0))
    each = [rows[name] for name in answers.pool.names]
    return np.array([each[choice.member][k] for k, choice in enumerate(router.choose(prompts[1]))])


def best_sequence(world: CodeWorld, length: int) -> tuple[int, ...]:
    """A sequence of experts that serves the most orders; of n each comes once, of more some come twice or more.

    What is better than the best of n is looked for by exchanging one expert or two, from many beginnings.
    """
    asked = [(world.skills.index(first), world.skills.index(second)) for first, second in world.orders]

    def served(sequence: Sequence[int]) -> int:
        first = {expert: sequence.index(expert) for expert in sequence}
        last = {expert: k for k, expert in enumerate(sequence)}
        return sum(a in first and b in last and first[a] < last[b] for a, b in asked)

    best = max(permutations(range(world.experts)), key=served)
    if length == world.experts:
        return best
    rng, found = np.random.default_rng(0), []
    for _ in range(20):
        now = [*best, *rng.integers(world.experts, size=length - len(best)).tolist()]
        for _ in range(500):
            changed = [*now]
            a, b = rng.integers(length, size=2)
            changed[a], changed[b] = changed[b], changed[a]
            changed[rng.integers(length)] = int(rng.integers(world.experts))
            now = changed if served(changed) >= served(now) else now
        found.append(tuple(now))
    return max(found, key=served)


def table(rows: Mapping[str, np.ndarray], domain: np.ndarray, domains: Sequence[str]) -> list[str]:
    """Markdown: the share of right answers in all and by domain; of more domains than fit, the worst and the best."""
    columns = domains if len(domains) < SHOWN else ("least of an order", "most of an order")
    lines = [f"| | all | {' | '.join(columns)} |", "|---" * (len(columns) + 2) + "|"]
    for name, right in rows.items():
        by = [float(right[domain == one].mean()) for one in domains]
        shares = [float(right.mean()), *(by if len(domains) < SHOWN else (min(by), max(by)))]
        lines.append(f"| {name} | {' | '.join(f'{share:.2f}' for share in shares)} |")
    return lines


def code_table(world: CodeWorld, folder: Path) -> list[str]:
    """Markdown: each expert on each code, alone as the first, and as the second where it is told the right node."""
    tokenizer = AutoTokenizer.from_pretrained(folder / "base")
    lines = [f"| node alone / number where told | {' | '.join(world.skills)} |", "|---" * (world.experts + 1) + "|"]
    for name in world.names:
        base = AutoModelForCausalLM.from_pretrained(folder / "base", dtype=torch.float32)
        model = PeftModel.from_pretrained(base, folder / "experts" / name).get_base_model()
        cells = []
        for code in world.skills:
            rng = np.random.default_rng(1)
            others = [other for other in world.skills if other != code]
            cases = [(*world.ask(code, other, True, rng), world.ask(other, code, True, rng)) for other in others * 20]
            alone = [(node_prompt(Query(question), []), part) for question, part, _ in cases]
            told = [(node_prompt(Query(q), [part]), world.numbers[code][part]) for *_, (q, part) in cases]
            shares = []
            for asked in (alone, told):
                said = replies(model, tokenizer, [prompt for prompt, _ in asked])
                shares.append(np.mean([text == answer for text, (_, answer) in zip(said, asked, strict=True)]))
            cells.append(" / ".join(f"{share:.2f}" for share in shares))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def write_card(world: World, folder: Path, command: str) -> list[str]:
    """Measures, writes README.md into the world's folder, and returns its tables."""
    answers = Answers(world, folder)
    rows = measured(answers)
    lines = table(rows, answers.domain, world.domains)
    wrong = np.corrcoef([rows[name] for name in world.names]) if not isinstance(world, CodeWorld) else None
    if wrong is not None:
        apart = wrong[np.triu_indices(len(wrong), 1)]
        somebody = np.any([rows[name] for name in world.names], axis=0).mean()
        lines += [
            "",
            f"Correlation of two experts' errors: {apart.mean():.2f} on average. Somebody alone is right about",
        ]
        lines += [f"{somebody:.2f} of the questions."]
    else:
        assert isinstance(world, CodeWorld)
        lines += ["", *code_table(world, folder)]
    orders = ", ".join(f"`{domain}`" for domain in world.domains)
    about = ABOUT.get(world.kind, f"Knobs: {world.knobs}.").format(orders=orders)
    facts = {"kind": world.kind, "experts": world.experts, "about": about, "command": command, "out": folder}
    sizes = {"count": len(answers.test), "dev": len(answers.dev)}
    (folder / "README.md").write_text(CARD.format(**facts, **sizes, table="\n".join(lines)), encoding="utf8")
    return lines
