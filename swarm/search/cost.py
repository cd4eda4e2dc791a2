"""What a search will cost, before anything is loaded; and how fast this machine answers, once measured."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from swarm.engines.base import GenerationParams
from swarm.errors import UserError
from swarm.evals.base import Dataset, Eval, Example
from swarm.files import write_json
from swarm.own_cache import own_cache
from swarm.search.config import SearchConfig
from swarm.system.messages import LATER_HEADER, Query, context_at, node_prompt

LETTERS_PER_TOKEN = 4  # English text under the usual tokenizers
USUALLY_SAVED = 0.4  # share of requests that equal another one, on random graphs (measured on graph structure)


@dataclass(frozen=True)
class Cost:
    """Upper bounds: every request generated, every answer of full length, no early end.

    Attributes:
      node_evaluations: places asked about the whole dev split.
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
        """So many of these."""
        return Cost(*(value * factor for value in vars(self).values()))

    def asked(self, times: float) -> "Cost":
        """The same nodes where each takes so many answers of models."""
        generations, read, written = (
            math.ceil(times * value) for value in (self.generations, self.prompt_tokens, self.new_tokens)
        )
        return Cost(self.node_evaluations, generations, read, written, self.judge_calls)


@dataclass(frozen=True)
class Forecast:
    """The parts of a search: `start` once, `iteration` up to `iterations` times, `end` once."""

    start: Cost
    iteration: Cost
    iterations: int
    end: Cost

    @property
    def total(self) -> Cost:
        """All of it, if patience never ends it early."""
        return self.start + self.iteration.times(self.iterations) + self.end


def forecast(
    config: SearchConfig,
    experts: int,
    dataset: Dataset,
    evaluation: Eval,
    params: GenerationParams,
    composites: Sequence[float] = (),
) -> Forecast:
    """What this search costs at most, with `experts` experts in the pool, from which more may be bred.

    `composites` says how many answers of models one answer of each composite takes; they are reckoned as if every
    member spoke equally often.
    """
    alone, places = experts + len(composites), config.population(experts) + len(composites)
    each = (places - len(composites) + sum(composites)) / places  # answers of models that a node's answer takes
    dev, test = (
        _cost_of(_passes(evaluation, dataset, split), params, len(split) * evaluation.judge_calls)
        for split in (dataset.dev, dataset.test)
    )
    edges = places - 1 if config.edges == "tree" else places * (places - 1) // 2
    graph, single = dev(places, edges).asked(each), dev(1, 0).asked(each)
    iteration = graph.times(config.graph_num + config.trial_num)
    singles = 3 if composites else 2
    end = graph + test(places, edges).asked(each) + (single + test(1, 0).asked(each)).times(singles)
    return Forecast(iteration + single.times(alone), iteration, config.max_iteration, end)


def describe(plan: Forecast, tokens_per_second: float | None) -> list[str]:
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
    if tokens_per_second:
        tokens = plan.total.prompt_tokens + plan.total.new_tokens
        seconds = tokens * (1 - USUALLY_SAVED) / tokens_per_second
        lines.append(f"At the {tokens_per_second:,.0f} tokens/s measured here: about {duration(seconds)} at most.")
    else:
        lines.append("For a time, measure this machine once: the same command with --calibrate.")
    return lines


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def remember_speed(engine: str, tokens_per_second: float) -> None:
    """Keeps a measured speed for later forecasts."""
    speeds = _speeds() | {engine: tokens_per_second}
    write_json(_speeds_file(), speeds)


def known_speed(engine: str) -> float | None:
    """The speed measured for this engine, in tokens read and written per second."""
    return _speeds().get(engine)


def _speeds_file() -> Path:
    return own_cache() / "speed.json"


def _speeds() -> dict[str, float]:
    try:
        speeds = json.loads(_speeds_file().read_text(encoding="utf8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise UserError(f"{_speeds_file()} is damaged ({error}): delete it and measure again (--calibrate)") from error
    assert isinstance(speeds, dict)
    return speeds


def _passes(evaluation: Eval, dataset: Dataset, examples: Sequence[Example]) -> list[list[Query]]:
    """What one system is asked, pass by pass, as far as it can be known without answers."""
    first = next(evaluation.judge(dataset, examples))
    later = evaluation.later_queries(dataset, examples)
    return [first, *later, *[first] * (evaluation.passes - 1 - len(later))]


def _cost_of(
    passes: Sequence[Sequence[Query]], params: GenerationParams, judge_calls: int
) -> Callable[[int, int], Cost]:
    """(places, edges) -> the cost of one system with so many of them."""
    queries = [query for asked in passes for query in asked]
    letters = sum(len(node_prompt(replace(query, chunks=("",) if query.chunks else ()), [])) for query in queries)
    written = sum(query.max_new_tokens or params.max_new_tokens for query in queries)
    response = len(LATER_HEADER) + len("Previous response 1: \n")

    def cost(places: int, edges: int) -> Cost:
        context = sum(
            len(context_at(query.chunks, position, places))
            for query in queries
            if query.chunks
            for position in range(places)
        )
        answers = edges * (len(queries) * response + written * LETTERS_PER_TOKEN)
        read = letters * places + context + answers
        read //= LETTERS_PER_TOKEN
        return Cost(places * len(passes), places * len(queries), read, written * places, judge_calls)

    return cost
