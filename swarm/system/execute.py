"""Answers of systems to queries, by a scheduler of their own."""

from collections.abc import Sequence

from swarm.engines.base import Engine, GenerationParams
from swarm.engines.executor import Executor
from swarm.system.prompts import Query
from swarm.system.scheduler import Scheduler, Task
from swarm.system.system import System


def answer(
    engine: Engine, system: System, queries: Sequence[Query | str], params: GenerationParams | None = None
) -> list[str]:
    """One system's answers, in the order of the queries; `params` overrides those that it was found with.

    Raises ValueError if neither says how to generate.
    """
    params = params or system.params
    if params is None:
        raise ValueError("this system was not saved with generation parameters: hand in params")
    return answer_all(engine, [(system, [Query(q) if isinstance(q, str) else q for q in queries])], params)[0]


def answer_all(engine: Engine | Executor, tasks: Sequence[Task], params: GenerationParams) -> list[list[str]]:
    """Every task's answers, in the order of its queries, with no memory of earlier ones."""
    return Scheduler(engine).answer_all(tasks, params)
