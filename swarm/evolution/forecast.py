"""Cost forecast of a search, before anything is loaded."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from swarm.data.example import Dataset, Example
from swarm.engines.base import GenerationParams
from swarm.evals.eval import Eval
from swarm.evolution.config import SearchConfig
from swarm.evolution.instruction_file import PUBLISHED_INSTRUCTIONS, Instructions
from swarm.evolution.speed import FEW, USUAL, Lengths, Speed
from swarm.system.instructions import Instruction
from swarm.system.prompts import Query, context_at

USUALLY_SAVED = 0.4  # share of requests that equal another one, on random graphs (measured on graph structure)


@dataclass(frozen=True)
class Cost:
    """Upper bounds of cost: every request generated, every answer of full length, no early end.

    Attributes:
      node_evaluations: nodes asked about the whole dev split.
      generations: single prompts.
      prompt_tokens, new_tokens: estimated from letters; and at most.
      judge_calls: questions to a judge.
    """

    node_evaluations: int
    generations: int
    prompt_tokens: int
    new_tokens: int
    judge_calls: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(*(mine + its for mine, its in zip(vars(self).values(), vars(other).values(), strict=True)))

    def times(self, factor: int) -> "Cost":
        """The cost of so many of these."""
        return Cost(*(value * factor for value in vars(self).values()))

    def asked(self, times: float) -> "Cost":
        """The cost where each node takes so many calls of models."""
        generations, read, written = (
            math.ceil(times * value) for value in (self.generations, self.prompt_tokens, self.new_tokens)
        )
        return Cost(self.node_evaluations, generations, read, written, self.judge_calls)


@dataclass(frozen=True)
class Forecast:
    """The forecast by parts of a search: `start` once, `iteration` up to `iterations` times, `end` once."""

    start: Cost
    iteration: Cost
    iterations: int
    end: Cost

    @property
    def total(self) -> Cost:
        """The whole search, if patience never ends it early."""
        return self.start + self.iteration.times(self.iterations) + self.end


def forecast(
    config: SearchConfig,
    experts: int,
    dataset: Dataset,
    evaluation: Eval,
    params: GenerationParams,
    composites: Sequence[float] = (),
    lengths: Lengths = USUAL,
    instructions: Instructions = PUBLISHED_INSTRUCTIONS,
) -> Forecast:
    """The forecast of a search with `experts` experts in the pool, from which more may be bred.

    `composites` says how many answers of models one answer of each composite takes; they are reckoned as if every
    member spoke equally often. `lengths` are those of all texts, as if every node had the default instruction.
    """
    usual = instructions.named["default"]
    alone, nodes = experts + len(composites), config.population(experts) + len(composites)
    each = (nodes - len(composites) + sum(composites)) / nodes  # answers of models that a node's answer takes
    dev, test = (
        _cost_of(_passes(evaluation, dataset, split), params, len(split) * evaluation.judge_calls, lengths, usual)
        for split in (dataset.dev, dataset.test)
    )
    edges = nodes - 1 if config.edges == "tree" else nodes * (nodes - 1) // 2
    graph, single = dev(nodes, edges).asked(each), dev(1, 0).asked(each)
    exchanged = nodes * (len(instructions.candidates) - 1) if instructions.candidates else 0
    iteration = graph.times(config.graph_num + config.trial_num + exchanged)
    singles = 3 if composites else 2
    end = graph + test(nodes, edges).asked(each) + (single + test(1, 0).asked(each)).times(singles)
    return Forecast(iteration + single.times(alone), iteration, config.max_iteration, end)


def forecast_lines(plan: Forecast) -> list[str]:
    """The forecast as lines for a person."""
    lines = [f"{'':<22}{'node evaluations':>17}{'generations':>14}{'tokens read':>14}{'tokens written':>16}"]
    for name, cost in (
        ("start", plan.start),
        ("each iteration", plan.iteration),
        ("final scores", plan.end),
        (f"all, {plan.iterations} iterations", plan.total),
    ):
        lines.append(
            f"{name:<22}{cost.node_evaluations:>17,}{cost.generations:>14,}{cost.prompt_tokens:>14,}{cost.new_tokens:>16,}"
        )
    lines.append(
        "These are upper bounds (tokens read: estimated from letters). Equal requests are asked once, which saves "
        f"about {USUALLY_SAVED:.0%} on random graphs; patience may end the search early."
    )
    if plan.total.judge_calls:
        lines.append(
            f"The judge has {plan.total.judge_calls:,} questions at most ({plan.iteration.judge_calls:,} in each "
            "iteration); equal ones are asked once, replies that cannot be read or are lost once more."
        )
    return lines


def small_limits(config: SearchConfig, plan: Forecast) -> list[str]:
    """A line for each limit that may end the search before anything is found."""
    start = plan.start
    limits = (
        ("max_generations", config.max_generations, start.generations),
        ("max_tokens", config.max_tokens, start.prompt_tokens + start.new_tokens),
    )
    return [
        f"--{name} {limit} is less than the start alone may take ({needed})"
        for name, limit, needed in limits
        if limit is not None and limit < needed
    ]


def describe_time(most: Forecast, likely: Forecast, speed: Speed) -> str:
    """The time of generation in words: where all answers are of full length, and as long as measured."""
    all_full, as_measured = (
        (1 - USUALLY_SAVED) * speed.seconds(plan.total.prompt_tokens, plan.total.new_tokens) for plan in (most, likely)
    )
    full = f"about {duration(all_full)} if every answer is of full length"
    lengths = f"about {duration(as_measured)} if answers are as long as those were, " if likely != most else ""
    more = (
        f" It was measured on {speed.rows} at a time; a search asks more, which can be several times as fast."
        if speed.rows < FEW
        else ""
    )
    return (
        f"At the speed measured here: {lengths}{full}. That is for all iterations, with {USUALLY_SAVED:.0%} saved; "
        f"making new experts and judging come on top.{more}"
    )


def duration(seconds: float) -> str:
    """A duration in words."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _passes(evaluation: Eval, dataset: Dataset, examples: Sequence[Example]) -> list[list[Query]]:
    """The queries of one system per pass, as far as they are known without answers."""
    first = next(evaluation.judge(dataset, examples))
    later = evaluation.later_queries(dataset, examples)
    return [first, *later, *[first] * (evaluation.passes - 1 - len(later))]


def _cost_of(
    passes: Sequence[Sequence[Query]],
    params: GenerationParams,
    judge_calls: int,
    lengths: Lengths,
    instruction: Instruction,
) -> Callable[[int, int], Cost]:
    """A function (nodes, edges) -> the cost of one system."""
    queries = [query for asked in passes for query in asked]
    first = [replace(query, chunks=("",) if query.chunks else ()) for query in queries]
    letters = sum(len(instruction.prompt(query, [])) for query in first)
    written = math.ceil(lengths.answer * sum(query.max_new_tokens or params.max_new_tokens for query in queries))
    response = max(len(instruction.prompt(first[0], [""])) - len(instruction.prompt(first[0], [])), 0)

    def cost(nodes: int, edges: int) -> Cost:
        context = sum(
            len(context_at(query.chunks, position, nodes))
            for query in queries
            if query.chunks
            for position in range(nodes)
        )
        answers = edges * (len(queries) * response + written * lengths.letters)
        read = int((letters * nodes + context + answers) // lengths.letters)
        return Cost(nodes * len(passes), nodes * len(queries), read, written * nodes, judge_calls)

    return cost
