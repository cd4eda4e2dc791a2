"""The algorithm, step by step, on a world where every answer is scripted."""

import json
from dataclasses import replace
from itertools import pairwise

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import CountWords, chaotic, problem, questions

from swarm.engines.cache.completion_cache import CompletionCache
from swarm.engines.metered import Budget, Metered
from swarm.engines.scripted import ScriptedEngine
from swarm.errors import BudgetReached, UserError
from swarm.evolution.checked_config import make_config
from swarm.evolution.loop import Watcher, search
from swarm.evolution.state import first_state, state_from_json, state_to_json
from swarm.evolution.steps import STEPS
from swarm.maths import pso
from swarm.maths.credit import jfk_scores
from swarm.maths.decode import DecodeRule, decode, decode_again
from swarm.system.prompts import Query
from swarm.system.scheduler import Scheduler
from swarm.system.system import single

OPTIONS = [
    {},
    {"restart_stray_particles": True, "restart_patience": 0.2, "repel_term": True},
    {"top_p": 0.8},
    {"edges": "bernoulli"},
    {"compat": "paper-code", "max_iteration": 4},
    {"starting_velocity_mode": "zero"},
    {"starting_velocity_mode": "best"},
    {"credit_graph": "iteration"},
    {"step_length_factor": 0.5, "weight_step_length": 0.3},
    {"move_graphs": False},
    {"move_experts": False},
]


class Forgetful(CompletionCache):
    def get_many(self, keys):
        return {}


def states_of(world, seed=0, state=None):
    """Every state of a search, the first one too."""
    state = state or first_state(seed)
    states = [state]
    while state.next_step != "final":
        state = STEPS[state.next_step](world, state)
        states.append(state)
    return states


def shown(state):
    return json.dumps(state_to_json(state), sort_keys=True)


@pytest.mark.parametrize("options", OPTIONS)
def test_from_any_state_on_disk_the_same_search_follows(options):
    """Each state goes to text and back; what follows is equal bit for bit."""
    world = problem(**options)
    states = states_of(world)
    assert len(states) == 1 + 2 * 5
    for i, state in enumerate(states):
        again = state_from_json(json.loads(shown(state)))
        assert shown(again) == shown(state)
        assert again.steps_done == i
        assert shown(states_of(world, state=again)[-1]) == shown(states[-1])


@pytest.mark.parametrize("options", OPTIONS)
def test_histories_and_bests_add_up(options):
    states = states_of(problem(**options))
    end = states[-1]
    for swarm in (end.graphs, end.experts):
        assert all(len(history) == 5 for history in swarm.histories)
        assert len(swarm.best_history) == 5
        assert swarm.best_history[-1] == max(max(history) for history in swarm.histories) == swarm.global_best_score
        assert swarm.worst_history[-1] == min(min(history) for history in swarm.histories) == swarm.global_worst_score
    assert len(end.best_history) == 5
    assert list(end.best_history) == sorted(end.best_history), "the best never gets worse"
    assert end.best.score == end.best_history[-1] >= end.graphs.global_best_score
    assert np.all(np.diagonal(end.graphs.positions, axis1=1, axis2=2) == 0)


@pytest.mark.parametrize("options", [{"repel_term": True}, {"top_p": 0.9}, {"edges": "bernoulli"}])
@pytest.mark.parametrize("seed", range(6))
def test_the_best_system_really_has_its_score(options, seed):
    """With drawn graphs too: the DAG that was scored is the one that is kept."""
    world = problem(**options)
    for state in states_of(world, seed)[1:]:
        assert world.fitness.utilities([world.best_system(state.best)]) == [state.best.score]
        if state.next_step.endswith("weight"):
            coefficients = np.eye(4) if state.experts is None else state.experts.positions
            system = world.system(state.iteration_graph, range(4), coefficients)
            best_now = max(history[-1] for history in state.graphs.histories)
            assert world.fitness.utilities([system]) == [best_now], "scored with the experts of the last weight step"


def test_a_seed_is_the_whole_of_the_chance():
    world = problem()
    assert shown(states_of(world, 3)[-1]) == shown(states_of(world, 3)[-1])
    assert shown(states_of(world, 3)[-1]) != shown(states_of(world, 4)[-1])


def test_turning_one_swarm_off_does_not_change_the_other_s_draws():
    """Each purpose has its own generator: ablations are paired."""
    both, still = states_of(problem())[1], states_of(problem(move_experts=False))[1]
    assert np.array_equal(both.graphs.positions, still.graphs.positions)
    assert np.array_equal(states_of(problem(move_experts=False))[-1].experts.positions, np.eye(4))
    end = states_of(problem(move_graphs=False))
    assert np.array_equal(end[-1].graphs.positions, end[1].graphs.positions)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000))
def test_remembering_answers_changes_no_search(seed):
    plain = states_of(problem(), seed)[-1]
    asked = []
    forgetful = Scheduler(ScriptedEngine(lambda request: asked.append(1) or chaotic(request)), Forgetful({}))
    assert shown(states_of(problem(forgetful), seed)[-1]) == shown(plain)
    remembering = Scheduler(ScriptedEngine(chaotic))
    assert shown(states_of(problem(remembering), seed)[-1]) == shown(plain)
    assert remembering.asked - remembering.shared < len(asked) < forgetful.asked == remembering.asked


def test_the_start_scores_what_it_says():
    world = problem()
    start, after_role, after_weight = states_of(world)[:3]
    assert start.title == "first graphs"
    graphs = after_role.graphs
    assert graphs.positions.min() >= 0 and graphs.positions.max() < 1
    systems = [world.system(after_role.best_graph, range(4), np.eye(4))]
    assert world.fitness.utilities(systems) == [graphs.global_best_score]
    assert list(after_role.best_graph.edges) == sorted(decode(graphs.global_best).edges)
    assert after_role.best.assignment == (0, 1, 2, 3)
    assert len(after_role.singles) == 4
    assert np.array_equal(after_weight.experts.positions, np.eye(4))
    others = after_weight.experts.positions + after_weight.experts.velocities
    assert all(row.tolist() in np.eye(4).tolist() for row in others), "the first velocity leads to another expert"


def test_credit_is_the_hand_count():
    """An expert that answers right is credited with the mean score of the assignments that it sits in."""
    world = problem(trial_num=5)
    seen = {}
    state = STEPS["start_role"](world, first_state(0))
    utilities = world.fitness.utilities

    def recording(systems, ahead=()):
        seen["assignments"] = [system.assignment for system in systems]
        seen["scores"] = utilities(systems, ahead)
        return seen["scores"]

    object.__setattr__(world.fitness, "utilities", recording)
    after = STEPS["start_weight"](world, state)
    credits = jfk_scores(seen["assignments"], seen["scores"], 4)
    assert [history[0] for history in after.experts.histories] == pytest.approx(credits)


def test_which_graph_experts_are_credited_on():
    ever, iteration = states_of(problem()), states_of(problem(credit_graph="iteration"))
    assert any(s.best_graph.edges != s.iteration_graph.edges for s in ever[3:]), "the seed must tell them apart"
    for states, field in ((ever, "best_graph"), (iteration, "iteration_graph")):
        for before, after in pairwise(states):
            if before.next_step == "weight" and after.best is not before.best:
                assert after.best.decoded.edges == getattr(before, field).edges
    best = [s for s in ever if s.next_step == "weight"]
    assert all(s.graphs.global_best_score == max(map(max, s.graphs.histories)) for s in best)


def test_an_equal_score_replaces_no_best():
    class Same(CountWords):
        def judge(self, dataset, examples):
            yield []
            return {"strict": np.ones(len(examples)), "compat": np.ones(len(examples))}

    states = states_of(problem(evaluation=Same(), max_iteration=3))
    assert states[-1].best.found == "first graphs"
    assert all(s.best_graph.edges == states[1].best_graph.edges for s in states[1:])


def test_assignments_near_the_best():
    """With a spread of 0 every assignment is the one that the graph was found good with, but for who must occur."""
    world = problem(assignment_spread=0.0, trial_num=2, max_iteration=6)
    for before, after in pairwise(states_of(world, 3)):
        if before.next_step == "weight" and after.best is not before.best:
            assert after.best.assignment in (before.best.assignment, (0, 1, 2, 3))
    world, drawn = problem(assignment_spread=0.0, trial_num=2), []
    utilities = world.fitness.utilities

    def recording(systems, ahead=()):
        drawn.extend(system.assignment for system in systems)
        return utilities(systems, ahead)

    state = STEPS["start_role"](world, first_state(0))
    object.__setattr__(world.fitness, "utilities", recording)
    STEPS["start_weight"](world, state)
    assert drawn == [(0, 1, 2, 3)] * 2
    drawn.clear()
    other = replace(state, best=replace(state.best, assignment=(3, 2, 1, 0)))
    STEPS["start_weight"](world, other)
    assert drawn == [(3, 2, 1, 0)] * 2, "around the best system's own assignment, if it sits on that graph"


def test_how_graphs_are_read_is_the_users_choice():
    base = make_config({"eval_type": "e", "dataset": "d"})
    assert base.decode_rule == DecodeRule()
    changed = replace(base, top_p=0.8, edges="bernoulli", clamp_adjacency=True, end_rule="lowest")
    assert changed.decode_rule == DecodeRule(0.8, "bernoulli", "ordinary", True, "lowest", False)


def test_where_the_published_program_crashes_is_one_line():
    with pytest.raises(UserError, match=r"cannot be decoded .*leave out --compat, or use another --seed"):
        for seed in range(400):
            STEPS["start_role"](problem(n=2, compat="paper-code", graph_num=10), first_state(seed))


class AskTwice(CountWords):
    """Right where the second answer is; the second question is the first answer."""

    passes = 2

    def judge(self, dataset, examples):
        first = yield [Query(example.question) for example in examples]
        second = yield [Query(f"really {text}") for text in first]
        right = np.array([text == example.answer for text, example in zip(second, examples, strict=True)], dtype=float)
        return {"strict": right, "compat": right}


def test_the_published_program_asks_the_second_time_on_another_graph():
    """Its first decoding spoils the matrix that its second one reads."""
    asked = []

    def note(request):
        asked.append(request.prompt)
        return chaotic(request)

    def second_graph_of(**settings):
        asked.clear()
        forgetful = Scheduler(ScriptedEngine(note), Forgetful({}))
        world = problem(forgetful, n=6, evaluation=AskTwice(), max_iteration=0, **settings)
        state = STEPS["start_role"](world, first_state(1))
        asked.clear()
        system = world.best_system(state.best)
        world.fitness.judge([system], world.fitness.dataset.dev[:1])
        sources = [prompt for prompt in asked if "really" in prompt and "Previous" not in prompt]
        return system, state.best.decoded, len(sources)

    system, decoded, sources = second_graph_of(compat="paper-code")
    again = decode_again(decoded.adjacency)
    assert set(again.edges) != set(system.graph.edges)
    assert set(system.in_pass(1).graph.edges) == set(again.edges)
    assert sources == sum(again.in_degree(node) == 0 for node in again)
    system, _, sources = second_graph_of()
    assert system.later_graph is None
    assert sources == sum(system.graph.in_degree(node) == 0 for node in system.graph)
    assert problem(n=6, compat="paper-code").system(decoded, range(6), np.eye(6)).later_graph is None, "one pass only"


def test_where_the_second_decoding_crashes_is_one_line():
    with pytest.raises(BudgetReached, match=r"cannot decode a graph a second time .*without --compat"):
        for seed in range(200):
            world = problem(n=4, evaluation=AskTwice(), compat="paper-code", graph_num=4)
            STEPS["start_role"](world, first_state(seed))


def test_the_published_program_throws_the_first_assignments_away():
    worlds = [
        states_of(problem(seed=s, compat=c, max_iteration=0), s)[-1] for s in range(30) for c in ("paper-code", None)
    ]
    assert all(old.best.found == "first graphs" for old in worlds[::2])
    assert any(new.best.found == "first experts" for new in worlds[1::2])


def test_the_published_program_restarts_all_experts_by_the_last_graph_s_age():
    options = {"restart_stray_particles": True, "restart_patience": 0.3, "max_iteration": 8, "patience": 10}
    old = states_of(problem(compat="paper-code", **options))
    together = [s.experts.cooldowns for s in old if s.experts is not None]
    assert all(len(set(cooldowns)) == 1 for cooldowns in together)
    assert any(cooldowns[0] > 0 for cooldowns in together)
    for before, after in pairwise(old):
        if before.next_step == "weight":
            age = pso.age_of_best(before.graphs.histories[-1][:-1])
            resting = before.experts.cooldowns[0]
            assert (after.experts.cooldowns[0] == 3) == (age >= 3 and resting == 0)
    new = states_of(problem(**options))
    assert any(len(set(s.experts.cooldowns)) > 1 for s in new if s.experts is not None)


def test_step_lengths_decay_only_outside_the_published_program():
    options = {"step_length_factor": 0.5, "minimum_step_length": 0.3, "weight_step_length": 0.4}
    states = states_of(problem(**options))
    assert [s.graphs.step_length for s in states[2::2]] == [1.0, 0.5, 0.3, 0.3, 0.3], "the start is no move"
    assert [s.experts.step_length for s in states[2::2]] == [0.4, 0.3, 0.3, 0.3, 0.3]
    end = states_of(problem(compat="paper-code", max_iteration=4, **options))[-1]
    assert (end.graphs.step_length, end.experts.step_length) == (1.0, 0.4)


def test_patience_watches_what_it_is_told_to():
    """An eval for which every system is equally good: patience ends the search at once."""

    class Same(CountWords):
        def judge(self, dataset, examples):
            yield []
            return {"strict": np.ones(len(examples)), "compat": np.ones(len(examples))}

    end = states_of(problem(evaluation=Same(), max_iteration=50, patience=3))[-1]
    assert end.stop_reason == "no better system for 3 iterations"
    assert len(end.best_history) == 4, "the history must be longer than the patience"
    end = states_of(problem(evaluation=Same(), max_iteration=50, patience=3, patience_on="graph"))[-1]
    assert end.stop_reason == "no better graph for 3 iterations"
    assert states_of(problem(max_iteration=0))[-1].stop_reason == "0 iterations done"


def test_drawn_graphs_are_scored_as_drawn():
    """With top_p > 0 the DAG that was scored is the one that is kept; reading the matrix again gives another."""
    end = states_of(problem(top_p=0.9, n=6))[-1]
    assert list(nx.DiGraph(end.best.decoded.edges).edges)
    rng = np.random.default_rng(0)
    others = {tuple(sorted(decode(end.best.decoded.adjacency, 0.9, rng).edges)) for _ in range(20)}
    assert len(others) > 1


@pytest.mark.parametrize("scale", [-7.0, 1000.0])
def test_utilities_may_lie_anywhere(scale):
    class Scaled(CountWords):
        lowest, highest = min(scale, 0), max(scale, 0)

        def judge(self, dataset, examples):
            judgement = yield from super().judge(dataset, examples)
            return {name: scores * scale for name, scores in judgement.items()}

    end = states_of(problem(evaluation=Scaled()))[-1]
    assert min(scale, 0) <= end.graphs.global_worst_score <= end.best.score <= max(scale, 0)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (lambda n: {"strict": np.full(n, np.nan)}, "example 0 the strict score nan; wanted a number from 0 to 1"),
        (lambda n: {"strict": np.full(n, 2.0)}, "score 2.0; wanted a number from 0 to 1"),
        (lambda n: {"strict": np.ones(n - 1)}, r"scores of shape \(11,\), wanted \(12,\)"),
        (lambda n: {"compat": np.ones(n)}, "gives the scores compat, not strict: name one"),
    ],
)
def test_scores_that_are_none_stop_the_step(scores, message):
    class Broken(CountWords):
        def judge(self, dataset, examples):
            yield []
            return scores(len(examples))

    with pytest.raises(UserError, match=message):
        states_of(problem(evaluation=Broken()))


def test_a_crash_is_no_score():
    def crashing(request):
        raise RuntimeError("the engine broke")

    with pytest.raises(RuntimeError, match="the engine broke"):
        states_of(problem(ScriptedEngine(crashing)))


def test_a_budget_leaves_the_state_before_the_step():
    meter = Metered(ScriptedEngine(chaotic))
    world, kept = problem(meter), []

    class Keeping(Watcher):
        def after(self, before, state):
            kept.append(shown(state))

    state = search(world, first_state(0), meter, Keeping(), Budget(generations=400))
    assert state.stop_reason == "--max_generations 400 reached"
    assert state.next_step != "final"
    assert meter.budget is None, "the final scores are not held to it"
    reference = [shown(s) for s in states_of(problem())]
    without_usage = [json.dumps({k: v for k, v in json.loads(s).items() if k != "usage"}) for s in kept]
    assert without_usage == [
        json.dumps({k: v for k, v in json.loads(s).items() if k != "usage"}) for s in reference[1 : len(kept) + 1]
    ]


def test_dev_and_test_are_kept_apart():
    asked = []

    def listening(request):
        asked.append(request.prompt)
        return chaotic(request)

    dataset = replace(questions(), test=tuple(replace(e, question="secret") for e in questions().test))
    world = problem(ScriptedEngine(listening))
    world = replace(world, fitness=replace(world.fitness, dataset=dataset))
    end = states_of(world)[-1]
    assert not any("secret" in prompt for prompt in asked)
    from swarm.evolution.final_scores import final_scores

    scores = final_scores(world, end).table
    assert any("secret" in prompt for prompt in asked)
    assert scores["found"]["dev"]["strict"]["mean"] == end.best.score == scores["found"]["score_in_search"]
    assert scores["best_single"]["dev"]["strict"]["mean"] == max(end.singles)
    assert set(scores) == {"found", "best_single", "uniform_average"}
    average = single(world.pool.expert("average", [0.25] * 4))
    judged = world.fitness.judge([average], dataset.dev)[0]["strict"]
    assert scores["uniform_average"]["dev"]["strict"]["mean"] == judged.mean()
    assert scores["best_single"]["name"] == f"expert_{int(np.argmax(end.singles))}"


def test_dropk_keeps_the_last_scores_of_a_step_and_asks_nothing():
    asked = []
    scripted = ScriptedEngine(lambda request: asked.append(request) or chaotic(request))
    own = problem(scripted, dropK=1.0)
    state = STEPS["start_weight"](own, STEPS["start_role"](own, first_state(0)))
    before = len(asked)
    role = STEPS["role"](own, state)
    weight = STEPS["weight"](own, role)
    assert len(asked) == before
    assert all(history[-1] == history[-2] for history in role.graphs.histories + weight.experts.histories)
    assert role.best == state.best or role.best.score == state.best.score
    assert not np.array_equal(role.graphs.positions, state.graphs.positions), "particles move all the same"


def test_dropn_keeps_the_last_score_of_some_particles():
    own = problem(dropN=0.5, graph_num=10, seed=3)
    state = STEPS["start_weight"](own, STEPS["start_role"](own, first_state(3)))
    after = STEPS["role"](own, state)
    measured = STEPS["role"](problem(graph_num=10, seed=3), state)
    pairs = zip(after.graphs.histories, measured.graphs.histories, strict=True)
    kept = [own[-1] == own[-2] and own[-1] != other[-1] for own, other in pairs]
    assert 0 < sum(kept) < 10
    for own, other, dropped in zip(after.graphs.histories, measured.graphs.histories, kept, strict=True):
        assert dropped or own[-1] in (other[-1], own[-2])
