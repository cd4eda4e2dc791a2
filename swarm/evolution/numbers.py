"""A state's numbers under the keys of the published program, for trackers and utility_scratchpad.json."""

from typing import Any

from swarm.evolution.state import SearchState


def numbers(state: SearchState) -> dict[str, float]:
    """A state's scores under the keys that the published program logs."""
    record: dict[str, float] = {}
    for kind, swarm in (("graph", state.graphs), ("model", state.experts)):
        if swarm is not None:
            record |= {f"{kind}_g": swarm.global_best_score, f"{kind}_g_worst": swarm.global_worst_score}
            record |= {f"{kind}_{i}_now": history[-1] for i, history in enumerate(swarm.histories)}
    if state.experts is not None:
        first = len(state.experts.histories)
        record |= {f"model_{first + i}_now": credit for i, credit in enumerate(state.composite_credits)}
    if state.best is not None:
        record["all_time_best_dev"] = state.best.score
    if state.by_candidates:
        record |= {"candidates": state.tried, "calls": state.charged[1], "tokens": state.charged[2]}
    for one in state.refreshed:
        about = {"prompts": one.prompts, "labelled": one.labelled, "questions": one.questions, "kept": bool(one.kept)}
        record |= {f"router_{one.name}_{name}": value for name, value in about.items()}
    return record


def scratchpad(state: SearchState) -> dict[str, Any]:
    """The numbers with their history, under the published program's keys (utility_scratchpad.json)."""
    record: dict[str, Any] = dict(numbers(state))
    for kind, swarm in (("graph", state.graphs), ("model", state.experts)):
        if swarm is not None:
            record[f"{kind}_g_history"] = list(swarm.best_history)
            for i, history in enumerate(swarm.histories):
                record |= {f"{kind}_{i}_best": max(history), f"{kind}_{i}_history": list(history)}
    return record
