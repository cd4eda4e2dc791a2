"""What the tables of scripts/route.py say about choices: counted by hand, and whatever the scores."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from routed_prompts import NAMES, routed_prompts

from swarm.maths.routing import calibration_error
from swarm.members.routing.fit import RouterSettings, fit_router
from swarm.members.routing.logistic import LogisticSettings
from swarm.members.routing.quality import QualitySettings
from swarm.programs.route.quality_table import Ways, table
from swarm.programs.route.router_figures import figures_of, figures_text, tried

SCORES = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0], [0.5, 0.25, 0.0], [0.0, 0.0, 1.0]])
SEEDS, SIZES = st.integers(0, 10_000), st.integers(1, 12)
COSTS = (1.0, 2.0, 4.0)


def random_scores(seed, size):
    rng = np.random.default_rng(seed)
    return rng, rng.integers(0, 4, (size, 3)) / 3


def test_a_line_counted_by_hand():
    ways = Ways(SCORES, "abc", 2, COSTS, 0)
    line = ways.line("router", np.array([0, 2, 1, 0]))
    assert (line.quality.mean, line.gain.mean, line.regret.mean) == (2.25 / 4, 0.25 / 4, 1.25 / 4)
    assert line.accuracy.mean == 0.5, "the second prompt has two best members"
    assert (line.asked, line.cost) == (1, 2.0)
    oracle = ways.line("oracle", SCORES.argmax(axis=1), 3)
    assert (oracle.quality.mean, oracle.regret.mean, oracle.accuracy.mean) == (3.5 / 4, 0, 1)
    assert oracle.cost == 7, "who chooses perfectly has asked all"
    assert ways.random().accuracy.mean == pytest.approx((1 + 2 + 1 + 1) / 12)
    assert [cell.count("[") for cell in table([line], "c")[1:]] == [4]


@given(SEEDS, SIZES)
def test_bounds(seed, size):
    rng, scores = random_scores(seed, size)
    best = int(rng.integers(3))
    ways = Ways(scores, "abc", best, (), 0)
    line, oracle = ways.line("router", rng.integers(0, 3, size)), ways.line("oracle", scores.argmax(axis=1))
    assert 0 <= line.regret.low <= line.regret.mean
    assert line.quality.mean + line.regret.mean == pytest.approx(oracle.quality.mean)
    assert line.quality.mean - line.gain.mean == pytest.approx(scores[:, best].mean())
    assert line.gain.mean <= oracle.gain.mean + 1e-12
    assert (line.regret.mean == 0) == (line.accuracy.mean == 1)
    assert line.cost is None


@given(SEEDS, SIZES)
def test_members_and_prompts_have_no_order(seed, size):
    rng, scores = random_scores(seed, size)
    choices, rows, members = rng.integers(0, 3, size), rng.permutation(size), rng.permutation(3)
    order = np.argsort(members)
    plain = Ways(scores, "abc", 0, COSTS, 0).line("router", choices)
    costs = tuple(np.array(COSTS)[members])
    turned = Ways(scores[rows][:, members], "abc", int(order[0]), costs, 0).line("router", order[choices[rows]])
    for name in ("quality", "gain", "regret", "accuracy"):
        assert getattr(plain, name).mean == pytest.approx(getattr(turned, name).mean)
    assert plain.cost == pytest.approx(turned.cost)


@pytest.fixture(scope="module")
def learnt():
    """Labelled prompts, whose painter is the best single member, and the others that a router is tried on."""
    prompts, scores, sorts = routed_prompts(240, noise=0.02)
    kept = np.flatnonzero((sorts == 2) | (np.arange(240) % 2 == 0))
    return [prompts[row] for row in kept], scores[kept], routed_prompts(120, seed=1, noise=0.02)[:2]


def fitted(learnt, **settings):
    return fit_router(*learnt[:2], NAMES, RouterSettings(**settings), np.random.default_rng(0))


def test_figures_of_a_router(learnt):
    prompts, scores = learnt[2]
    result = tried(fitted(learnt), prompts, scores, learnt[1], 0)
    figures = figures_of(result)
    assert figures["strong"] == "painter" and figures["weak"] == NAMES[int(learnt[1].mean(axis=0).argmin())]
    share = np.mean(scores[np.arange(120), result.picked] == scores.max(axis=1))
    assert figures["accuracy"]["mean"] == share > 0.9
    assert "aiq" not in figures, "all cost the same"
    for name in ("accuracy", "fell_back", "calibration_error"):
        assert figures[name]["low"] <= figures[name]["mean"] <= figures[name]["high"] and figures[name]["size"] == 120
    again = figures_of(tried(fitted(learnt), prompts, scores, learnt[1], 0))
    assert figures == again, "the same seed, the same intervals"
    assert "picks one of the best members for" in figures_text(figures)[0]


def test_confidence_is_judged_by_what_was_learnt_costs_included(learnt):
    """The dear painter is hardly ever worth its cost; a label without costs would call most sure choices wrong."""
    prompts, scores = learnt[2]
    router = fitted(learnt, costs=(0.0, 0.0, 1.0), cost_weight=2.0, classifier=LogisticSettings((10.0,)))
    result = tried(router, prompts, scores, learnt[1], 0)
    probabilities = result.probabilities
    worth = scores - 2.0 * np.array([0.0, 0.0, 1.0])
    best = worth == worth.max(axis=1, keepdims=True)
    share = (best / best.sum(axis=1, keepdims=True))[np.arange(120), probabilities.argmax(axis=1)]
    error = figures_of(result)["calibration_error"]["mean"]
    assert error == pytest.approx(calibration_error(probabilities.max(axis=1), share)) and error < 0.15


def test_who_knows_for_whom_a_prompt_is_recovers_more_than_chance(learnt):
    """Painter against speller on colour and spelling: the preference tells them apart, so the best of both is had."""
    prompts, scores = learnt[2]
    scores = scores + np.where(np.arange(3) == 2, 0.2, 0.0)  # a lead, for which painter must answer what is not its own
    figures = figures_of(tried(fitted(learnt), prompts, scores, learnt[1], 0))
    assert figures["apgr"]["low"] > 0.5 and figures["calls_for_half"]["high"] < 0.5
    assert "APGR" in figures_text(figures)[1]
    level = figures_of(tried(fitted(learnt), prompts, np.ones((120, 3)), learnt[1], 0))
    assert level["apgr"] is None and "no APGR" in figures_text(level)[1]


def test_a_router_of_expected_quality_has_a_knob(learnt):
    prompts, scores = learnt[2]
    router = fitted(learnt, classifier=QualitySettings(), costs=COSTS)
    result = tried(router, prompts, scores, learnt[1], 0)
    costs, quality = zip(*result.knob_points(), strict=True)
    assert list(costs) == sorted(costs, reverse=True) and costs[-1] == COSTS[0], "in the end the cheapest is asked"
    assert quality[0] == pytest.approx(scores[np.arange(120), result.picked].mean(), abs=0.05)
    figures = figures_of(result)
    assert figures["weak"] == NAMES[0], "the cheapest"
    assert figures["aiq"]["mean"] > figures["aiq_of_members_alone"]["high"]
    assert "AIQ" in figures_text(figures)[-1]
    plain = tried(replace(fitted(learnt), costs=COSTS), prompts, scores, learnt[1], 0)
    assert not plain.knob_points() and figures_of(plain)["aiq"]["mean"] > figures["aiq_of_members_alone"]["mean"]
