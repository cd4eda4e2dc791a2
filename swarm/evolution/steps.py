"""The search, step by step: each takes a state and returns the next (arXiv 2502.04510, algorithms 1 to 3)."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from swarm.errors import BudgetReached, UserError
from swarm.evolution.exchange import exchange_instructions
from swarm.evolution.problem import Problem
from swarm.evolution.refresh import refresh
from swarm.evolution.state import Best, Decoded, SearchState
from swarm.maths import pso
from swarm.maths.credit import draw_assignments, jfk_scores
from swarm.maths.decode import decode
from swarm.system.system import System


def start_role(problem: Problem, state: SearchState) -> SearchState:
    """Draws the first graphs and scores them with the identity assignment; scores every member alone."""
    config, n = problem.config, problem.size
    rngs = {purpose: state.generator(purpose) for purpose in ("graphs", "decode")}
    positions = rngs["graphs"].uniform(size=(config.graph_num, n, n)) * (1 - np.eye(n))
    decoded = _decode_all(problem, positions, rngs["decode"])
    experts, instructions = problem.starting_experts, problem.instructions.start(n)
    systems = [problem.system(one, range(n), experts, instructions=instructions) for one in decoded]
    alone = [problem.single(member) for member in problem.members.initial()]
    judgements = problem.fitness.judge_dev([*systems, *alone])
    scores = [problem.fitness.utility(judgement) for judgement in judgements]
    scores, singles = scores[: len(systems)], scores[len(systems) :]
    velocities = pso.starting_velocities(config.starting_velocity_mode, positions, scores, rngs["graphs"])
    first = int(np.argmax(scores))
    return state.after(
        rngs,
        next_step="start_weight",
        graphs=pso.start_swarm(positions, scores, velocities, config.step_length),
        best_graph=decoded[first],
        iteration_graph=decoded[first],
        best=Best(scores[first], decoded[first], tuple(range(n)), experts, state.title, instructions=instructions),
        singles=tuple(singles),
        solved=problem.fitness.solved_by(judgements[len(systems) :]),
    )


def start_weight(problem: Problem, state: SearchState) -> SearchState:
    """Credits the initial experts on the best initial graph.

    The published program throws away the best assignment that it meets here; otherwise it is kept like any other.
    """
    assert state.iteration_graph is not None
    rngs = {purpose: state.generator(purpose) for purpose in ("experts", "assignments")}
    config, positions = problem.config, problem.starting_experts
    systems = _draw_systems(problem, state, state.iteration_graph, positions, rngs["assignments"])
    credits, best = _credit(problem, state, state.iteration_graph, systems, positions)
    credits, composite_credits = credits[: len(positions)], credits[len(positions) :]
    velocities = pso.starting_velocities(config.starting_velocity_mode, positions, credits, rngs["experts"])
    step_length = config.step_length if config.weight_step_length is None else config.weight_step_length
    swarm = pso.start_swarm(positions, credits, velocities, step_length)
    kept = state.best if config.paper_code else exchange_instructions(problem, best, state.title)
    state = state.after(rngs, experts=swarm, best=kept, composite_credits=tuple(composite_credits.tolist()))
    return _end_iteration(problem, state)


def role_step(problem: Problem, state: SearchState) -> SearchState:
    """Moves the graphs and scores them, with the identity assignment and the experts of the last weight step."""
    assert state.graphs is not None and state.experts is not None and state.best is not None
    rngs, graphs, decoded = _moved_graphs(problem, state, state.graphs)
    coefficients, nodes, instructions = state.experts.positions, range(problem.size), state.best.instructions
    systems = [problem.system(one, nodes, coefficients, state.routers, instructions) for one in decoded]
    kept = _keep_last_scores(problem, len(systems), rngs["graphs"])
    asked = [i for i in range(len(systems)) if i not in kept]
    found = dict(zip(asked, problem.fitness.utilities([systems[i] for i in asked]), strict=True))
    scores = [found.get(i, graphs.histories[i][-1]) for i in range(len(systems))]
    first = int(np.argmax(scores))
    best = state.best
    if first in found and scores[first] > best.score:
        best = Best(scores[first], decoded[first], tuple(nodes), coefficients, state.title, state.routers, instructions)
    return state.after(
        rngs,
        next_step="weight",
        refreshed=(),
        graphs=pso.remember_scores(graphs, scores),
        best_graph=decoded[first] if scores[first] > graphs.global_best_score else state.best_graph,
        iteration_graph=decoded[first],
        best=best,
    )


def weight_step(problem: Problem, state: SearchState) -> SearchState:
    """Moves the experts and credits them by random assignments on one graph; fits routers again where that is due."""
    assert state.graphs is not None and state.experts is not None
    config, due = problem.config, _refresh_is_due(problem, state)
    rngs = {purpose: state.generator(purpose) for purpose in ("experts", "assignments")}
    experts = state.experts
    if config.move_experts:
        ages = None
        if config.paper_code:
            # the published program takes the last graph's age, as it was before this iteration's scores
            ages = [pso.age_of_best(state.graphs.histories[-1][:-1])] * len(experts.positions)
        experts = pso.move_all(experts, config.move_coefficients, config.restart_rule, rngs["experts"], ages)
    graph = state.iteration_graph if config.credit_graph == "iteration" else state.best_graph
    assert graph is not None
    systems = _draw_systems(problem, state, graph, experts.positions, rngs["assignments"])
    last = np.array([*(history[-1] for history in experts.histories), *state.composite_credits])
    kept = _keep_last_scores(problem, len(experts.positions), rngs["experts"])
    credits, best = last, state.best
    if len(kept) < len(experts.positions):
        credits, best = _credit(problem, state, graph, systems, experts.positions)
        credits[list(kept)] = last[list(kept)]
    assert best is not None
    best = exchange_instructions(problem, best, state.title)
    moving = len(experts.positions)
    moved, still = pso.remember_scores(experts, credits[:moving]), tuple(credits[moving:].tolist())
    state = _end_iteration(problem, state.after(rngs, experts=moved, best=best, composite_credits=still))
    if not due or state.next_step == "final":  # after the last iteration nobody would be asked by these routers
        return state
    return refresh(state, problem.members_with(state.routers), systems, problem.fitness, problem.router_store)


STEPS: dict[str, Callable[[Problem, SearchState], SearchState]] = {
    "start_role": start_role,
    "start_weight": start_weight,
    "role": role_step,
    "weight": weight_step,
}


def _keep_last_scores(problem: Problem, particles: int, rng: np.random.Generator) -> set[int]:
    """The particles that keep their last score in this step, as in Model Swarms (2410.11163): all with chance `dropK`,
    each with chance `dropN`. Nothing is drawn where both are 0.
    """
    config = problem.config
    if config.dropK > 0 and rng.uniform() < config.dropK:
        return set(range(particles))
    drawn = rng.uniform(size=particles) < config.dropN if config.dropN > 0 else ()
    return set(np.flatnonzero(drawn).tolist())


def _decode_all(problem: Problem, positions: np.ndarray, rng: np.random.Generator) -> list[Decoded]:
    rule = problem.config.decode_rule
    try:
        graphs = [decode(position, rng=rng, rule=rule) for position in positions]
    except ValueError as error:
        raise UserError(f"a graph cannot be decoded ({error}): leave out --compat, or use another --seed") from error
    return [
        Decoded(position, tuple(sorted((int(u), int(v)) for u, v in graph.edges)))
        for position, graph in zip(positions, graphs, strict=True)
    ]


def _moved_graphs(
    problem: Problem, state: SearchState, graphs: pso.Swarm
) -> tuple[dict[str, np.random.Generator], pso.Swarm, list[Decoded]]:
    """A role step's graphs, moved and decoded, and the generators after that."""
    rngs, config = {purpose: state.generator(purpose) for purpose in ("graphs", "decode")}, problem.config
    if config.move_graphs:
        graphs = pso.move_all(graphs, config.move_coefficients, config.restart_rule, rngs["graphs"])
    return rngs, graphs, _decode_all(problem, graphs.positions, rngs["decode"])


def _systems_ahead(problem: Problem, state: SearchState, coefficients: np.ndarray) -> list[System]:
    """The systems of the next role step, if they are to be asked during this weight step.

    It is known: its graphs follow from the last role step, its experts are those of the running step. Nothing is asked
    that the search might not come to: not if it ends after this step unless this step finds something better, nor
    before routers are fitted again.
    """
    assert state.graphs is not None
    asks = problem.config.ask_ahead and not problem.instructions.candidates  # which may change before that step
    if not asks or _stop_reason(problem, state) or _refresh_is_due(problem, state):
        return []
    try:
        _, _, decoded = _moved_graphs(problem, state, _shortened(problem, state, state.graphs))
        instructions = state.best.instructions if state.best else ()
        return [problem.system(one, range(problem.size), coefficients, state.routers, instructions) for one in decoded]
    except (BudgetReached, UserError):  # a graph that cannot be read ends the role step, and not the one before it
        return []


def _draw_systems(
    problem: Problem, state: SearchState, graph: Decoded, coefficients: np.ndarray, rng: np.random.Generator
) -> list[System]:
    """Random assignments on a graph."""
    assert state.best is not None
    n = problem.size
    # the graph is known to be good with this assignment: that of the best system if it is its graph, else the identity
    around = state.best.assignment if state.best.decoded.edges == graph.edges else tuple(range(n))
    assignments = draw_assignments(problem.config.trial_num, n, n, rng, around, problem.config.assignment_spread)
    instructions = state.best.instructions
    return [problem.system(graph, row.tolist(), coefficients, state.routers, instructions) for row in assignments]


def _credit(
    problem: Problem, state: SearchState, graph: Decoded, systems: Sequence[System], coefficients: np.ndarray
) -> tuple[np.ndarray, Best]:
    """Every member's JFK-score on a graph, and the best system after the assignments that were tried."""
    assert state.best is not None
    assignments = np.array([system.assignment for system in systems])
    scores = problem.fitness.utilities(systems, _systems_ahead(problem, state, coefficients))
    first, best = int(np.argmax(scores)), state.best
    if scores[first] > best.score:
        assignment, routers = systems[first].assignment, state.routers
        best = Best(scores[first], graph, assignment, coefficients, state.title, routers, best.instructions)
    return jfk_scores(assignments, scores, problem.size), best


def _end_iteration(problem: Problem, state: SearchState) -> SearchState:
    """The state at the start of the next iteration, or at the end if patience or iterations are used up."""
    assert state.graphs is not None and state.experts is not None and state.best is not None
    reason = _stop_reason(problem, state)
    return replace(
        state,
        next_step="final" if reason else "role",
        iteration=state.iteration if reason else state.iteration + 1,
        graphs=_shortened(problem, state, state.graphs),
        experts=_shortened(problem, state, state.experts),
        best_history=(*state.best_history, state.best.score),
        first=state.best if state.iteration == 0 else state.first,
        stop_reason=reason,
    )


def _stop_reason(problem: Problem, state: SearchState) -> str:
    """The reason why the search ends with this iteration; "" if it does not."""
    assert state.graphs is not None and state.best is not None
    config = problem.config
    history = (*state.best_history, state.best.score)
    if pso.stagnated(state.graphs.best_history if config.patience_on == "graph" else history, config.patience):
        return f"no better {'graph' if config.patience_on == 'graph' else 'system'} for {config.patience} iterations"
    return f"{config.max_iteration} iterations done" if state.iteration >= config.max_iteration else ""


def _refresh_is_due(problem: Problem, state: SearchState) -> bool:
    """Whether routers are fitted again at the end of this iteration, should another one follow."""
    every = problem.config.refresh_routers
    return state.iteration > 0 and every > 0 and state.iteration % every == 0


def _shortened(problem: Problem, state: SearchState, swarm: pso.Swarm) -> pso.Swarm:
    """The swarm with its step length decayed; the start shortens no step."""
    config = problem.config
    return pso.shorten_step(swarm, config.decay, config.minimum_step_length) if state.iteration > 0 else swarm
