"""Routers fitted again in mid-search, on what their members have just answered: labels at no further generation.

Members move at every weight step, and a classifier goes on choosing by what they were good at when it was fitted. The
weight step itself has asked them, at their new weights, most of what is needed: its random assignments put everybody
everywhere, so that the nodes which listen to nobody ask nearly all members nearly all questions.

A router learns from the different prompts that any node of the step's graphs was asked, on dev: its own node is only
one of those where the next assignment may put it. A prompt counts where every one of its members has answered it at its
present weights (a composite member by what those whom it asks have answered); the label is the eval's score of these
texts for the question behind the prompt. A prompt that some members were not asked is left out, because who was asked
is chance, and a missing answer would be taken for a bad one. Prompts that hold earlier answers are seldom put to
everybody in the same words, so most that count are the bare questions, of which `h-swarm route fit` makes the first
router, too.

Nothing is cross-fitted: a classifier learns from every labelled prompt (only its temperature and threshold are chosen
on folds apart), and the next steps judge systems with it on the same dev questions. So dev flatters them: this is said.

Only the step's own answers count, whatever else a cache on disk may know: so a resumed run fits the same routers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from swarm.data.example import Dataset
from swarm.errors import UserError
from swarm.evals.eval import Eval
from swarm.evolution.config import SearchConfig
from swarm.evolution.fitness import Fitness
from swarm.evolution.state import Refresh, SearchState
from swarm.members.composite import Composite
from swarm.members.members import Members
from swarm.members.routing.fit import RouterSettings, fit_router, fitted_settings, less_cost
from swarm.members.routing.router import Router
from swarm.members.routing.router_artefact import load_router, read_router_facts
from swarm.members.routing.router_node import Routed, RouterNode, routers_of
from swarm.members.routing.router_store import RouterStore
from swarm.members.routing.soft_labels import one_class
from swarm.system.system import System
from swarm.system.trace import Trace, TracedNode

LEAST_SHARE = 0.5  # of the dev questions must be behind the labels, or the router stays as it is


def check_refresh(config: SearchConfig, evaluation: Eval, dataset: Dataset, composites: Sequence[Composite]) -> None:
    """Raises UserError if routers are to be fitted again and cannot be: none there, or no score without asking."""
    if not config.refresh_routers:
        return
    given = f"--refresh_routers is {config.refresh_routers}"
    if not routers_of(composites):
        raise UserError(f"{given}, but no member is a router; add one with --composites, or leave the option out")
    if evaluation.judge_calls or evaluation.passes > 1:
        why = "asks a judge" if evaluation.judge_calls else "asks a system more than once about an example"
        raise UserError(
            f"{given}, but eval {evaluation.name} {why}, so that answers cannot be scored without asking; wanted an "
            "eval such as exact_match, or no --refresh_routers"
        )
    if len(next(evaluation.judge(dataset, dataset.dev))) != len(dataset.dev):
        raise UserError(
            f"{given}, but eval {evaluation.name} asks several questions about an example; leave the option out"
        )


@dataclass(frozen=True, eq=False)
class Labelled:
    """Prompts with the scores of all of a router's members.

    Attributes:
      prompts: P texts.
      scores: (P, M) float64, without gaps.
      digests: of the M members as they answered.
      questions: how many dev examples are behind the prompts.
      asked: how many prompts there were, answered by all members or not.
      texts: of the questions behind the P prompts.
    """

    prompts: list[str]
    scores: np.ndarray
    digests: list[str]
    questions: int
    asked: int
    texts: list[str]


def refresh(
    state: SearchState, members: Members, systems: Sequence[System], fitness: Fitness, router_store: RouterStore | None
) -> SearchState:
    """The state with routers fitted again on what `systems` of `members` have just answered, where that is enough.

    They are in the store before the state that names them is written.
    """
    assert router_store is not None
    rng, routers, refreshed = state.generator("routers"), dict(state.routers), []
    trace, queries = Trace(fitness.scheduler.cache), fitness.queries()
    for system in systems:
        trace.walk(system, queries, fitness.params)
    placed = {member.name: member for member in systems[0].members}
    for node in routers_of(members.composites):
        routed = placed[node.name]
        assert isinstance(routed, Routed)
        router, came_of_it = _fit_again(node, _labelled(trace, routed, fitness), fitness, router_store, rng)
        refreshed.append(came_of_it)
        if router is not None:
            routers[node.name] = router_store.put(node.name, router)
    return state.after({"routers": rng}, routers=routers, refreshed=tuple(refreshed))


def _fit_again(
    node: RouterNode, labelled: Labelled, fitness: Fitness, router_store: RouterStore, generator: np.random.Generator
) -> tuple[Router | None, Refresh]:
    """The router of a composite with labels by its present members' answers; None where too few are known."""
    came_of_it = Refresh(node.name, labelled.asked, len(labelled.prompts), labelled.questions)
    reader = router_store.language_model() if read_router_facts(node.classifier)["features"] == "hidden" else None
    settings = fitted_settings(load_router(node.classifier, language_model=reader))
    if kept := _reason_to_keep(labelled, settings, len(fitness.dataset.dev)):
        return None, replace(came_of_it, kept=kept)
    router = fit_router(
        labelled.prompts, labelled.scores, node.names, settings, generator, labelled.digests, reader, labelled.texts
    )
    return router, came_of_it


def _labelled(trace: Trace, routed: Routed, fitness: Fitness) -> Labelled:
    answered: list[tuple[TracedNode, list[str]]] = []
    for node_prompt in trace.prompts:
        texts = [trace.answer(member, node_prompt) for member in routed.members]
        there = [text for text in texts if text is not None]
        if len(there) == len(texts):
            answered.append((node_prompt, there))
    dev, queries = fitness.dataset.dev, fitness.queries()
    examples = [dev[node_prompt.index] for node_prompt, _ in answered]
    scores = np.zeros((len(answered), len(routed.members)))
    for node in range(len(routed.members) if answered else 0):
        scores[:, node] = fitness.score_texts([texts[node] for _, texts in answered], examples)
    return Labelled(
        prompts=[node_prompt.prompt for node_prompt, _ in answered],
        scores=scores,
        digests=[member.digest for member in routed.members],
        questions=len({node_prompt.index for node_prompt, _ in answered}),
        asked=len(trace.prompts),
        texts=[queries[node_prompt.index].text for node_prompt, _ in answered],
    )


def _reason_to_keep(labelled: Labelled, settings: RouterSettings, dev_size: int) -> str:
    """Why nothing can be learnt from so little; "" if something can."""
    if labelled.questions < LEAST_SHARE * dev_size or len(set(labelled.prompts)) < settings.folds:
        return "too few"
    if one_class(less_cost(labelled.scores, settings), settings.tolerance):
        return "one member is the best for all of them"
    return ""
