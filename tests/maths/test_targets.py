"""The modes against their formulas, and where they coincide."""

import pytest
import torch

from swarm.maths.targets import MODES, target


def members(count, width=40, seed=0):
    values = torch.rand(count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).pow(6)
    return values / values.sum(-1, keepdim=True)


WEIGHTS = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)


@pytest.mark.parametrize("mode", MODES)
def test_a_target_is_a_distribution_for_any_leading_shape(mode):
    rows = members(3)
    alone = target(mode, rows, WEIGHTS)
    assert alone.shape == (40,) and alone.sum().item() == pytest.approx(1, abs=1e-12) and (alone >= 0).all()
    other = members(3, seed=1)
    both = target(mode, torch.stack([rows, other]), WEIGHTS)
    assert torch.allclose(both[0], alone, atol=1e-15)
    assert torch.allclose(both[1], target(mode, other, WEIGHTS), atol=1e-15)
    each = target(mode, torch.stack([rows, other]), torch.stack([WEIGHTS, WEIGHTS.flip(0)]))
    assert torch.allclose(each[1], target(mode, other, WEIGHTS.flip(0)), atol=1e-15)


def test_vanilla_is_the_weighted_mean():
    rows = members(3)
    assert torch.allclose(target("vanilla", rows, WEIGHTS), (WEIGHTS[:, None] * rows).sum(0), atol=1e-15)


@pytest.mark.parametrize(("mode", "reference"), [("tas", lambda rows: rows[0]), ("tas2", lambda rows: rows.mean(0))])
def test_token_agreement_is_with_the_main_model_or_with_the_mean(mode, reference):
    rows = members(3)
    factor = torch.exp(-(rows - reference(rows)).abs())
    expected = (WEIGHTS[:, None] * factor * rows).sum(0)
    assert torch.allclose(target(mode, rows, WEIGHTS), expected / expected.sum(), atol=1e-15)


def test_model_agreement_is_the_sum_of_token_agreement():
    rows = members(3)
    factor = torch.exp(-(rows - rows.mean(0)).abs())
    expected = (WEIGHTS[:, None] * factor.sum(-1, keepdim=True) * factor * rows).sum(0)
    assert torch.allclose(target("tas2+mas2", rows, WEIGHTS), expected / expected.sum(), atol=1e-15)
    assert not torch.equal(target("tas2+mas2", rows, WEIGHTS), target("tas2", rows, WEIGHTS))


def test_two_members_agree_with_their_mean_alike_so_that_the_model_factor_is_none():
    rows, weights = members(2), torch.tensor([0.7, 0.3], dtype=torch.float64)
    assert (target("tas2+mas2", rows, weights) - target("tas2", rows, weights)).abs().max() < 1e-15


def test_barycentre_weights_make_the_members_sum_most_likely():
    rows = members(3)
    factor = torch.exp(-(rows - rows[0]).abs())
    shares = WEIGHTS[:, None] * factor * rows
    shares = shares / shares.sum(-1, keepdim=True)
    found = (shares.sum(0) * target("tas+mas", rows, WEIGHTS).log()).sum()
    for other in torch.cat([torch.eye(3), torch.rand(20, 3, generator=torch.Generator().manual_seed(0))]).double():
        assert (shares.sum(0) * ((other / other.sum()) @ shares).log()).sum() <= found + 1e-6
    alike = torch.stack([rows[0], rows[0]])
    assert torch.allclose(target("tas+mas", alike, WEIGHTS[:2]), rows[0], atol=1e-12)


@pytest.mark.parametrize("mode", MODES)
def test_members_without_weight_or_with_a_single_anchor_do_no_harm(mode):
    assert target(mode, members(2), torch.tensor([1.0, 0.0])).isfinite().all()
    assert target(mode, torch.ones(2, 1), torch.tensor([0.5, 0.5])).tolist() == [1.0]
    certain = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])
    assert target(mode, certain, torch.tensor([0.5, 0.5])).isfinite().all()


def test_an_unknown_mode_names_those_there_are():
    with pytest.raises(ValueError, match=r"vanilla, tas, tas2, tas2\+mas2, tas\+mas, got 'tas3'"):
        target("tas3", members(2), torch.tensor([0.5, 0.5]))
