"""The card of a world: what its experts, alone and together, are measured to do, so that it is what it claims."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np
import torch
from embedded_training import plurality, replies
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
from world_base import DEV, TEST, World
from world_codes import CodeWorld

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


@dataclass(frozen=True)
class Row:
    """What somebody gets right: questions of dev (questions,) and of test (questions,); and nodes asked a question."""

    dev: np.ndarray
    test: np.ndarray
    calls: int = 1


class Answers:
    """What systems of a world's experts answer to its questions, through the project's own engine and eval.

    Attributes:
      dev, test: the questions; dev are those of a search with this seed.
      said: what each expert says alone, for dev and test.
    """

    def __init__(self, world: World, folder: Path, search_seed: int = 0, dev: int = DEV, test: int = TEST):
        self.world = world
        record = world.dataset(search_seed, dev, test)
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
        self.said = [self.texts(single(expert)) for expert in self.pool.experts()]

    def texts(self, system: System) -> list[list[str]]:
        """A system's answers to dev, and to test."""
        tasks = [(system, [Query(example.question) for example in part]) for part in (self.dev, self.test)]
        return self.fitness.scheduler.answer_all(tasks, self.fitness.params)

    def marked(self, texts: Sequence[Sequence[str]], calls: int) -> Row:
        """The row of answers to dev and test."""
        right = [np.array([t == e.answer for t, e in zip(said, part, strict=True)])
                 for said, part in zip(texts, (self.dev, self.test), strict=True)]  # fmt: skip
        return Row(right[0], right[1], calls)

    def row(self, system: System) -> Row:
        """What a system gets right."""
        return self.marked(self.texts(system), len(system.assignment))

    def system(self, members: Sequence[int], edges: Sequence[tuple[int, int]]) -> System:
        """The system with these experts at its nodes."""
        return System(graph_of(len(members), edges), tuple(members), self.pool.experts(), self.fitness.params)

    def chain(self, members: Sequence[int]) -> Row:
        """Nodes that tell the next one each."""
        return self.row(self.system(members, [(k, k + 1) for k in range(len(members) - 1)]))

    def star(self, centre: int) -> Row:
        """All other experts tell this one."""
        members = [*(k for k in range(len(self.said)) if k != centre), centre]
        return self.row(self.system(members, [(k, len(members) - 1) for k in range(len(members) - 1)]))

    def mixed(self, experts: Sequence[int]) -> Row:
        """The uniform average of some experts' adapters."""
        share = [float(k in experts) / len(experts) for k in range(len(self.said))]
        return self.row(single(self.pool.expert("average", share)))


def best_on_dev(rows: Sequence[Row]) -> Row:
    """The row with the most right on dev, the first among equals."""
    return max(rows, key=lambda row: int(row.dev.sum()))


def experts_alone(answers: Answers) -> dict[str, Row]:
    """Each expert's row, by name."""
    return {name: answers.marked(said, 1) for name, said in zip(answers.pool.names, answers.said, strict=True)}


def baselines(answers: Answers) -> dict[str, Row]:
    """What takes no search; what is chosen or fitted, is so on dev. The last, portfolio, is the best of the rest."""
    alone, numbers = [*experts_alone(answers).values()], range(len(answers.said))
    votes = [list(zip(*(said[split] for said in answers.said), strict=True)) for split in (0, 1)]
    rows = {
        "best single": best_on_dev(alone),
        "uniform average": answers.mixed(numbers),
        "greedy soup": greedy_soup(answers, alone),
        "vote": answers.marked([[max(vote, key=vote.count) for vote in part] for part in votes], len(numbers)),
        "vote without 'unknown'": answers.marked([[plurality(vote) for vote in part] for part in votes], len(numbers)),
        "chain": answers.chain(numbers),
        "star": best_on_dev([answers.star(k) for k in numbers]),
        "router": routed(answers, alone),
    }
    return rows | {"portfolio": best_on_dev([*rows.values()])}


def greedy_soup(answers: Answers, alone: Sequence[Row]) -> Row:
    """The average of experts, the best on dev first, each kept if dev does not fall (Wortsman et al. 2022)."""
    order = sorted(range(len(alone)), key=lambda k: -int(alone[k].dev.sum()))
    kept, best = order[:1], alone[order[0]]
    for expert in order[1:]:
        tried = answers.mixed([*kept, expert])
        if tried.dev.sum() >= best.dev.sum():
            kept, best = [*kept, expert], tried
    return best


def routed(answers: Answers, alone: Sequence[Row]) -> Row:
    """The expert that the project's router chooses, fitted on dev; the best single one where dev tells none apart."""
    scores = np.stack([row.dev for row in alone], axis=1).astype(float)
    if (scores == scores[:, :1]).all():
        return best_on_dev(alone)
    prompts = [[node_prompt(Query(e.question), []) for e in part] for part in (answers.dev, answers.test)]
    router = fit_router(prompts[0], scores, answers.pool.names, RouterSettings(), np.random.default_rng(0))
    choices = [[choice.member for choice in router.choose(part)] for part in prompts]
    texts = [[answers.said[member][split][k] for k, member in enumerate(choices[split])] for split in (0, 1)]
    return answers.marked(texts, 1)


def right_chains(answers: Answers) -> dict[str, Row]:
    """Chains that serve as many orders as can be, where experts answer once each, and where some answer twice."""
    world = answers.world
    if not isinstance(world, CodeWorld):
        return {}
    lengths = ((world.experts, "each once"), (world.experts + 3, "some twice"))
    return {f"the right chain of {n}, {how}": answers.chain(best_sequence(world, n)) for n, how in lengths}


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


def table(rows: Mapping[str, Row], domain: np.ndarray, domains: Sequence[str]) -> list[str]:
    """Markdown: the share of right answers in all and by domain; of more domains than fit, the worst and the best."""
    fits = len(domains) < SHOWN
    columns = domains if fits else ("least of an order", "most of an order")
    lines = [f"| | all | {' | '.join(columns)} |", "|---" * (len(columns) + 2) + "|"]
    for name, row in rows.items():
        by = [float(row.test[domain == one].mean()) for one in domains]
        shares = [float(row.test.mean()), *(by if fits else (min(by), max(by)))]
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


def write_card(world: World, folder: Path, command: str, test: int = TEST) -> list[str]:
    """Measures, writes README.md into the world's folder, and returns its tables."""
    answers = Answers(world, folder, test=test)
    alone = experts_alone(answers)
    lines = table(alone | baselines(answers) | right_chains(answers), answers.domain, world.domains)
    if isinstance(world, CodeWorld):
        lines += ["", *code_table(world, folder)]
    else:
        right = np.array([row.test for row in alone.values()])
        apart = np.corrcoef(right)[np.triu_indices(len(right), 1)]
        lines += [
            "",
            f"Correlation of two experts' errors: {apart.mean():.2f} on average. Somebody alone is right about",
        ]
        lines += [f"{right.any(axis=0).mean():.2f} of the questions."]
    orders = ", ".join(f"`{domain}`" for domain in world.domains)
    about = ABOUT.get(world.kind, f"Knobs: {world.knobs}.").format(orders=orders)
    facts = {"kind": world.kind, "experts": world.experts, "about": about, "command": command, "out": folder}
    sizes = {"count": len(answers.test), "dev": len(answers.dev)}
    (folder / "README.md").write_text(CARD.format(**facts, **sizes, table="\n".join(lines)), encoding="utf8")
    return lines
