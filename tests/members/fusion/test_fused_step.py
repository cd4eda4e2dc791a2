"""The fused step: candidates against the full algorithm, what it must not depend on, and what it reports."""

import math

import pytest
import torch
from fusion_worlds import FusionWorld, fusion_world

from swarm.errors import UserError
from swarm.maths.inverse import adamw, flip_bound, mix
from swarm.maths.targets import MODES, target
from swarm.members.fusion.candidates import largest, most_probable
from swarm.members.fusion.fused_step import FusedStep
from swarm.members.fusion.rows import DenseRows
from swarm.members.fusion.step_settings import StepSettings
from swarm.members.fusion.working_set import WORKING_BYTES

WORLD = fusion_world()
ROWS = WORLD.dense()
ALL = StepSettings(candidates="all")
# what the order of sums may change in a fused logit: Adam makes a part of a step of a gradient that is mostly rounding
ROUNDING = 1e-3


def fused(settings, logits, weights=None, world=WORLD, rows=None):
    return FusedStep(rows or world.dense(), world.anchors, settings)(logits, weights)


def over_vocabulary(result, size=700):
    """Fused logits (B, V), -inf for tokens that were no candidates."""
    spread = torch.full((len(result.tokens), size), -math.inf)
    return spread.scatter_reduce_(1, result.candidates, result.logits, "amax")


@pytest.mark.parametrize("mode", MODES)
def test_all_candidates_are_the_published_step(mode):
    logits, weights = WORLD.logits(3), torch.tensor([0.5, 0.3, 0.2])
    result = fused(StepSettings(mode=mode, candidates="all"), logits, weights)
    shares = torch.stack([mix(own.softmax(-1), rows.all()) for own, rows in zip(logits, ROWS, strict=True)], 1)
    expected = adamw(logits[0], ROWS[0].all(), target(mode, shares, weights), 0.15, 5)
    assert (result.logits - expected).abs().max() < ROUNDING
    assert torch.equal(result.tokens, expected.argmax(-1))
    assert (result.report.dropped == 0).all() and result.report.bypass == ""


@pytest.mark.parametrize("inverse", ["adamw", "em"])
@pytest.mark.parametrize("kind", ["dense", "lazy"])
def test_needed_candidates_choose_as_the_full_algorithm_does(inverse, kind):
    world = fusion_world((3000, 3600, 3300), 2400, 64)
    dense = world.dense()
    few = FusedStep(dense if kind == "dense" else world.lazy(), world.anchors, StepSettings(inverse=inverse))
    every = FusedStep(dense, world.anchors, StepSettings(inverse=inverse, candidates="all"))
    changed = 0
    for seed in range(5):
        logits = world.logits(8, seed)
        quick, full = few(logits), every(logits)
        assert quick.report.candidates.min() >= 20 and quick.report.dropped.max() <= 1e-3 + 1e-6
        best = full.logits.topk(2).values
        clear = best[:, 0] - best[:, 1] > 0.05
        assert torch.equal(quick.tokens[clear], full.tokens[clear])
        changed += int((full.tokens != logits[0].argmax(-1)).sum())
    assert changed > 5  # the fusion does something here


def test_a_smaller_bound_comes_closer_to_the_full_algorithm():
    logits = WORLD.logits(4)
    full = over_vocabulary(fused(ALL, logits))
    errors = []
    for bound in (0.2, 1e-3, 1e-5):
        some = fused(StepSettings(dropped=bound, least=1, most=10_000), logits)
        assert some.report.dropped.max() <= bound + 1e-6
        values = over_vocabulary(some)
        close = values > values.amax(-1, keepdim=True) - 3
        errors.append((values - full)[close].abs().max().item())
    assert errors[0] > errors[1] > errors[2] and errors[1] < 0.05 and errors[2] < 0.005


@pytest.mark.parametrize("settings", [StepSettings(), StepSettings(inverse="em"), StepSettings(consistency="rbf"), ALL])
def test_each_row_of_a_batch_gets_what_it_gets_alone(settings, monkeypatch):
    logits = WORLD.logits(5)
    logits[1][2] *= 0.3  # one row needs many more candidates than the others
    logits[0][3] *= 2
    weights = torch.tensor([[0.4, 0.3, 0.3], [0.2, 0.4, 0.4], [0.7, 0.3, 0.0], [0.6, 0.2, 0.2], [0.1, 0.0, 0.9]])
    together = fused(settings, logits, weights)
    monkeypatch.setitem(WORKING_BYTES, "cpu", 1 << 17)
    in_parts = fused(settings, logits, weights)
    assert torch.equal(in_parts.tokens, together.tokens)
    for row in range(5):
        alone = fused(settings, [own[row : row + 1] for own in logits], weights[row])
        assert alone.tokens.item() == together.tokens[row]
        one, other = over_vocabulary(alone)[0], over_vocabulary(together)[row]
        assert torch.equal(one == -math.inf, other == -math.inf)
        assert (one - other)[one > -math.inf].abs().max() < ROUNDING
        assert torch.equal(alone.report.candidates[0], together.report.candidates[row])


def test_a_model_that_only_calls_its_tokens_otherwise_changes_nothing():
    base = fusion_world((700,), 700)
    order = torch.randperm(700, generator=torch.Generator().manual_seed(3))
    table = base.embeddings[0]
    world = FusionWorld([table, table[order]], torch.stack([torch.arange(700), order.argsort()]))
    logits = world.logits(6)[0]
    twice = FusionWorld([table, table], torch.arange(700).expand(2, -1))
    for settings in (StepSettings(), ALL):
        again = fused(settings, [logits, logits[:, order]], world=world)
        same = fused(settings, [logits, logits], world=twice)
        assert torch.equal(again.tokens, same.tokens)
        best = logits.topk(2).values
        clear = best[:, 0] - best[:, 1] > 0.1
        assert torch.equal(again.tokens[clear], logits.argmax(-1)[clear])
    em = fused(StepSettings(inverse="em", candidates="all"), [logits, logits[:, order]], world=world)
    assert (over_vocabulary(em) - logits).abs().max() < ROUNDING


def test_weight_on_the_main_model_alone_ignores_what_the_others_say():
    logits, other = WORLD.logits(4, seed=1), WORLD.logits(4, seed=2)
    alone = torch.tensor([1.0, 0.0, 0.0])
    for settings in (StepSettings(), ALL):
        one, two = fused(settings, logits, alone), fused(settings, [logits[0], *other[1:]], alone)
        assert torch.equal(one.tokens, two.tokens) and torch.equal(one.tokens, logits[0].argmax(-1))
        assert torch.equal(over_vocabulary(one), over_vocabulary(two))


def test_constants_and_the_order_of_an_assistants_vocabulary_do_not_matter():
    logits = WORLD.logits(4)
    plain = over_vocabulary(fused(StepSettings(), logits))
    shifted = fused(StepSettings(), [logits[0], logits[1] + 8, logits[2] - 4])
    there = plain > -math.inf
    assert (over_vocabulary(shifted) - plain)[there].abs().max() < 5e-3
    order = torch.randperm(900, generator=torch.Generator().manual_seed(3))
    anchors = WORLD.anchors.clone()
    anchors[1] = order.argsort()[anchors[1]]
    tables = [WORLD.embeddings[0], WORLD.embeddings[1][order], WORLD.embeddings[2]]
    moved = fused(StepSettings(), [logits[0], logits[1][:, order], logits[2]], world=FusionWorld(tables, anchors))
    assert (over_vocabulary(moved) - plain)[there].abs().max() < ROUNDING


@pytest.mark.parametrize("factor", [0.95, 1.05])
def test_a_sure_assistant_wins_within_the_bound_and_never_beyond(factor):
    settings = StepSettings(learning_rate=0.15)
    for seed in range(10):
        logits = [torch.full((1, len(table)), -8.0) for table in WORLD.embeddings]
        first, second = torch.randperm(500, generator=torch.Generator().manual_seed(seed))[:2].tolist()
        logits[0][0, WORLD.anchors[0, first]] = 5.0
        logits[0][0, WORLD.anchors[0, second]] = 5.0 - factor * flip_bound(0.15, 5)
        for own, ids in zip(logits[1:], WORLD.anchors[1:], strict=True):
            own[0, ids[second]] = 20.0
        winner = second if factor < 1 else first
        for chosen in (settings, ALL):
            assert fused(chosen, logits, rows=ROWS).tokens.item() == WORLD.anchors[0, winner]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (StepSettings(learning_rate=0.0), "learning rate 0 turns the fusion off"),
        (StepSettings(updates=0), "0 updates turn the fusion off"),
        (StepSettings(inverse="em", updates=0), "0 updates turn the fusion off"),
    ],
)
def test_a_fusion_that_is_off_says_so_and_leaves_the_main_model(settings, reason):
    logits = WORLD.logits(4)
    result = fused(settings, logits)
    assert torch.equal(result.tokens, logits[0].argmax(-1)) and result.report.bypass == reason
    assert result.report.candidates[:, 0].min() >= 20 and (result.report.candidates[:, 1:] == 0).all()


def test_members_may_be_missing_but_not_the_main_model():
    logits, weights = WORLD.logits(4), torch.tensor([0.5, 0.2, 0.3])
    without = fused(StepSettings(), [logits[0], None, logits[2]], weights)
    pair = FusionWorld([WORLD.embeddings[0], WORLD.embeddings[2]], WORLD.anchors[[0, 2]])
    expected = fused(StepSettings(), [logits[0], logits[2]], torch.tensor([0.625, 0.375]), pair)
    assert torch.equal(without.tokens, expected.tokens)
    assert without.report.dropped[:, 1].isnan().all() and (without.report.candidates[:, 1] == 0).all()
    assert fused(StepSettings(), [logits[0], None, None]).report.bypass == "no other model took part"
    with pytest.raises(ValueError, match="main model"):
        fused(StepSettings(), [None, *logits[1:]])


def test_the_plain_mean_averages_on_common_tokens():
    logits, weights = WORLD.logits(4), torch.tensor([0.5, 0.3, 0.2])
    result = fused(StepSettings(inverse="none"), logits, weights)
    expected = 0.5 * logits[0].softmax(-1)
    for index in (1, 2):
        expected[:, WORLD.anchors[0]] += weights[index] * logits[index].softmax(-1)[:, WORLD.anchors[index]]
    assert torch.equal(result.tokens, expected.argmax(-1))
    best = result.logits[:, 0].exp()
    assert torch.allclose(best, expected.amax(-1), atol=1e-5)
    lost = 1 - logits[1].softmax(-1)[:, WORLD.anchors[1]].sum(-1)
    assert torch.allclose(result.report.dropped[:, 1], lost, atol=1e-5)


def test_masked_certain_and_few_stay_numbers():
    logits = WORLD.logits(4)
    logits[0][0, :650] = -math.inf  # all but 50 tokens are forbidden
    logits[0][1, 5] = 500.0  # one-hot
    logits[1][2] = 0.0  # flat
    logits[2][3, 1:] = -math.inf  # one token only
    few = FusionWorld(WORLD.embeddings, WORLD.anchors[:, :2])
    for world in (WORLD, few):
        for settings in (StepSettings(), ALL, StepSettings(inverse="em"), StepSettings(consistency="power")):
            result = fused(settings, logits, world=world)
            assert not result.logits.isnan().any() and not result.report.dropped.isnan().any()
            assert result.tokens[0] >= 650 and result.tokens[1] == 5


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_logits_that_are_no_numbers_are_refused(bad):
    logits = WORLD.logits(2)
    logits[1][1, 3] = bad
    with pytest.raises(ValueError, match="not numbers"):
        fused(StepSettings(), logits)


def test_logits_wider_than_the_embeddings_are_cut():
    logits = WORLD.logits(2)
    wider = [torch.cat([own, torch.full((2, 64), 50.0)], 1) for own in logits]
    assert torch.equal(fused(StepSettings(), wider).tokens, fused(StepSettings(), logits).tokens)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"mode": "tas3"}, r"mode 'tas3' is none of vanilla, tas, tas2, tas2\+mas2, tas\+mas"),
        ({"inverse": "sgd"}, "inverse 'sgd' is none of adamw, em, none"),
        ({"candidates": "few"}, "candidates 'few' is none of needed, all"),
        ({"consistency": "cubic"}, "none of '', rbf, linear, power, reciprocal"),
        ({"learning_rate": -0.1}, "learning_rate must be between 0 and inf, got -0.1"),
        ({"learning_rate": math.nan}, "learning_rate must be"),
        ({"updates": -1}, "updates must be between 0"),
        ({"dropped": 0.0}, "dropped must be between 1e-06 and 0.5, got 0.0"),
        ({"least": 30, "most": 20}, "least must be between 1 and 20, got 30"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong, message):
    with pytest.raises(UserError, match=message):
        StepSettings(**wrong)


def test_the_largest_values_are_those_of_topk():
    rng = torch.Generator().manual_seed(0)
    for size, count in [(50_257, 64), (128, 3), (20_000, 20), (1000, 1000)]:
        values = torch.randn(3, size, generator=rng)
        values[1, : size // 2] = -math.inf
        found, ids = largest(values, count)
        assert torch.equal(found, values.topk(count).values)
        assert torch.equal(values.gather(1, ids), found)


def test_candidates_hold_what_they_must():
    logits = torch.tensor([[5.0, 4.0, 3.9, 0.0, -1.0, -50.0], [9.0, -9.0, -9.0, -9.0, -9.0, -9.0]])
    chosen = most_probable(logits, 0.1, 1, 6)
    assert chosen.counts.tolist() == [3, 1]
    assert chosen.ids.tolist() == [[0, 1, 2], [0, 0, 0]]
    assert chosen.logits[1].tolist() == [9.0, -math.inf, -math.inf]
    held = logits.double().softmax(-1).topk(3).values.mul(chosen.logits.isfinite()).sum(-1)
    assert torch.allclose(chosen.dropped.double(), 1 - held, atol=1e-6)  # 1 minus a float32
    assert most_probable(logits, 0.5, 1, 6, within=5.5).counts.tolist() == [4, 1]
    assert most_probable(logits, 1e-6, 2, 4).counts.tolist() == [4, 4], "of equals all, but for the most"
    assert most_probable(logits, 1e-6, 2, 6).counts.tolist() == [5, 6]


def test_equal_logits_do_not_make_rows_depend_on_each_other():
    """As models in half precision have them: which of them are looked at must not depend on what others need."""
    logits = [(4 * own).round() / 4 for own in WORLD.logits(8, seed=1)]
    logits[1][2] *= 0.3
    logits[0][3] *= 0.3
    together = fused(StepSettings(), logits)
    for row in range(8):
        alone = fused(StepSettings(), [own[row : row + 1] for own in logits])
        one, other = over_vocabulary(alone)[0], over_vocabulary(together)[row]
        assert torch.equal(one == -math.inf, other == -math.inf)
        assert (one - other)[one > -math.inf].abs().max() < ROUNDING


def test_rows_worked_out_before_serve_as_well():
    logits = WORLD.logits(3)
    given = [DenseRows.of(rows.all()) for rows in ROWS]
    assert torch.equal(fused(StepSettings(), logits, rows=given).tokens, fused(StepSettings(), logits).tokens)
