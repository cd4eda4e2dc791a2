"""A search by candidates as the settings have it: its budget, its stopping rule in words, its steps."""

from dataclasses import replace

from swarm.data.example import Dataset
from swarm.errors import UserError
from swarm.evals.eval import Eval
from swarm.evolution.config import SearchConfig
from swarm.evolution.ledger import Ledger
from swarm.evolution.optimizers.table import make_optimizer
from swarm.evolution.problem import Problem
from swarm.evolution.racing import RULE
from swarm.evolution.rounds import IDLE, Rounds
from swarm.evolution.state import SearchState

CALLS_EACH = 50  # for each member, dev question and pass: the budget where none is given


def start_calls(experts: int, evaluation: Eval, dataset: Dataset) -> int:
    """The calls that every expert takes alone on dev, from which a search by candidates begins."""
    return experts * len(dataset.dev) * evaluation.passes


def default_calls(members: int, evaluation: Eval, dataset: Dataset) -> int:
    """The calls after which a search by candidates ends where the user gives no limit."""
    return CALLS_EACH * start_calls(members, evaluation, dataset)


def check_budget(config: SearchConfig, experts: int, evaluation: Eval, dataset: Dataset) -> None:
    """Raises UserError for a limit of calls that cannot pay the start and a candidate."""
    most, alone = config.max_generations, start_calls(experts, evaluation, dataset)
    one = len(dataset.dev) * evaluation.passes
    if config.by_candidates and most is not None and most < alone:
        raise UserError(
            f"--max_calls is {most}, and a candidate of one node takes {one} calls on dev; wanted at least {alone}, "
            f"which the {experts} experts take alone, or fewer questions (--dev_limit)"
        )


def own_calls(problem: Problem) -> int | None:
    """The calls after which the search ends by its own rule; None where the user gives a limit of work."""
    config, fitness = problem.config, problem.fitness
    if config.max_generations is not None:
        return None
    return default_calls(len(problem.space.initial), fitness.evaluation, fitness.dataset)


def make_rounds(problem: Problem) -> Rounds:
    """The steps of a search by candidates. Raises UserError for an optimizer that there is not."""
    config = problem.config
    ledger = Ledger(config.max_generations, config.max_tokens)
    return Rounds(problem, make_optimizer(config), ledger, own_calls(problem))


def stopping_rule(problem: Problem) -> str:
    """When the search will end, in words, and how candidates race."""
    config, calls = problem.config, own_calls(problem)
    limits = {"tokens": config.max_tokens, "seconds": config.max_time}
    ends = [f"{limit:,g} {name}" for name, limit in limits.items() if limit is not None]
    given = f"{config.max_generations:,}" if calls is None else f"{calls:,}"
    ends.insert(0, f"{given} calls{'' if calls is None else f' ({CALLS_EACH} for each member and dev question)'}")
    race = f"; {RULE}" if config.racing else "; no racing"
    return f"{config.optimizer} ends after {' or '.join(ends)}, or {IDLE} candidates in a row that cost nothing{race}"


def with_more(state: SearchState) -> SearchState:
    """The state of a finished search by candidates, to go on from under another budget."""
    return replace(state, next_step="round", stop_reason="", idle=0)
