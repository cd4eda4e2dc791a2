"""Instructions as candidates: a node's is exchanged for another of the user's file where the system gets better."""

from dataclasses import replace

from swarm.evolution.problem import Problem
from swarm.evolution.state import Best


def exchange_instructions(problem: Problem, best: Best, found: str) -> Best:
    """The best system after one pass over its nodes, each of which tries every other candidate; `found` is the step.

    A node keeps the first of those with the best score, if that is better than all before. Only the nodes behind it
    are asked anew: what the others answer is remembered.
    """
    candidates = problem.instructions.candidates
    if not candidates:
        return best
    for node in range(problem.size):
        now = best.instructions or ("default",) * problem.size
        tried = [(*now[:node], name, *now[node + 1 :]) for name in candidates if name != now[node]]
        scores = problem.fitness.utilities([problem.best_system(replace(best, instructions=names)) for names in tried])
        first = max(range(len(tried)), key=scores.__getitem__)
        if scores[first] > best.score:
            best = replace(best, score=scores[first], instructions=tried[first], found=found)
    return best
