"""Relative representations against a float64 reference, and what they must not depend on."""

import pytest
import torch
from fusion_worlds import row_error

from swarm.maths.inverse import em
from swarm.maths.relative import (
    anchor_embeddings,
    anchor_norms,
    embedding_mean,
    recognised,
    relative_rows,
    relative_rows_of,
    rows_from_cosines,
    self_mass,
    unit_rows,
)


def embeddings(count=300, width=48, seed=0):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def reference(tokens, anchors):
    tokens, anchors = tokens.double(), anchors.double()
    cosines = torch.nn.functional.cosine_similarity(tokens[:, None], anchors[None], dim=-1)
    return (100 * torch.nn.functional.normalize(cosines, dim=-1)).softmax(-1)


def test_rows_are_distributions_and_equal_the_float64_reference():
    tokens, anchors = embeddings(300, 32), embeddings(1200, 32)
    rows = relative_rows(tokens, anchors)
    assert rows.shape == (300, 1200) and rows.dtype == torch.float32
    assert (rows >= 0).all() and torch.allclose(rows.sum(-1), torch.ones(300), atol=1e-6)
    assert (rows - reference(tokens, anchors)).abs().max() < row_error(32, 1200)


def test_rotation_and_scale_of_all_embeddings_change_nothing():
    tokens = embeddings()
    rotation = torch.linalg.qr(embeddings(48, 48, seed=1)).Q
    moved = 7.3 * tokens @ rotation
    error = (relative_rows(moved, moved[:120]) - relative_rows(tokens, tokens[:120])).abs().max()
    assert error < 2 * row_error(48, 120), "turning is a product like a cosine, and rounded like it"


def test_a_zero_embedding_has_the_uniform_row():
    tokens = embeddings()
    tokens[3] = 0
    rows = relative_rows(tokens, tokens[:50])
    assert torch.allclose(rows[3], torch.full((50,), 1 / 50))
    assert rows.isfinite().all()
    assert relative_rows(torch.zeros(1, 4), torch.zeros(2, 4)).tolist() == [[0.5, 0.5]]


def test_without_normalisation_cosines_go_straight_into_the_softmax():
    tokens = embeddings(20)
    expected = (100 * unit_rows(tokens) @ unit_rows(tokens).T).softmax(-1)
    assert (relative_rows(tokens, tokens, normalise=False) - expected).abs().max() < row_error(48, 20, False)


def test_half_precision_embeddings_are_worked_with_in_float32():
    tokens, anchors = embeddings(300, 32).bfloat16(), embeddings(1200, 32).bfloat16()
    assert (relative_rows(tokens, anchors) - reference(tokens, anchors)).abs().max() < row_error(32, 1200)


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("centred", [True, False])
def test_rows_by_id_in_small_blocks_equal_rows_at_once(monkeypatch, normalise, centred):
    monkeypatch.setattr("swarm.maths.relative.BLOCK_BYTES", 4 * 48 * 7)
    table = embeddings().half()
    ids, anchors = torch.tensor([5, 0, 299, 5]), torch.randperm(300, generator=torch.Generator().manual_seed(2))[:101]
    centre = embedding_mean(table) if centred else None
    norms = anchor_norms(table, anchors, centre)
    rows = relative_rows_of(table, ids, anchors, norms, normalise, centre)
    expected = relative_rows(table[ids], table[anchors], normalise, centre)
    assert (rows - expected).abs().max() < row_error(48, 101, normalise)


def test_anchors_of_random_embeddings_lie_on_themselves():
    table = embeddings(400, 256)
    anchors = torch.arange(0, 400, 2)
    whole = relative_rows(table[anchors], table[anchors]).diagonal().double().mean().item()
    assert self_mass(table, anchors, sample=200) == pytest.approx(whole, abs=row_error(256, 200))
    assert self_mass(table, anchors, sample=20) > 0.99


def test_a_shared_direction_spoils_the_self_mass_and_centring_cures_it():
    table = embeddings(3000, 256) + 1.2 * embeddings(1, 256, seed=5)
    anchors = torch.arange(3000)
    assert self_mass(table, anchors, sample=64) < 0.5
    assert self_mass(table, anchors, sample=64, centre=embedding_mean(table)) > 0.99


def test_a_few_anchors_and_extreme_cosines_stay_finite():
    rows = rows_from_cosines(torch.tensor([[1.0, -1.0], [0.0, 0.0], [1e-30, 1e-30]]))
    assert rows.isfinite().all() and torch.allclose(rows.sum(-1), torch.ones(3))


def exact_products(count=300, width=64, seed=0):
    """Embeddings whose products and norms float32 holds exactly, in whatever order they are summed."""
    return embeddings(count, width, seed).sign()


@pytest.mark.parametrize("centred", [True, False])
def test_a_row_is_the_same_to_the_bit_whatever_is_worked_out_beside_it(monkeypatch, centred):
    monkeypatch.setattr("swarm.maths.relative.SPAN", 1)
    table, anchors = exact_products(), torch.arange(0, 300, 2)
    centre = torch.ones(64) if centred else None
    norms, at_hand = anchor_norms(table, anchors, centre), anchor_embeddings(table, anchors, centre)
    whole = relative_rows_of(table, torch.arange(300), anchors, norms, centre=centre)
    assert (whole - relative_rows(table, table[anchors], centre=centre)).abs().max() < row_error(64, 150)
    for ids in ([7], [299, 0], list(range(40))):
        for known in (None, at_hand):
            rows = relative_rows_of(table, torch.tensor(ids), anchors, norms, centre=centre, at_hand=known)
            assert torch.equal(rows, whole[ids])
    assert relative_rows_of(table, torch.tensor([], dtype=torch.long), anchors, norms).shape == (0, 150)


def test_tokens_are_recognised_where_rows_tell_them_apart():
    own, other = relative_rows(embeddings(), embeddings()), relative_rows(embeddings(seed=1), embeddings(seed=1))
    assert recognised(own, own.roll(7, 0), other).all(), "models have nothing but the anchors in common"
    for inverse in (lambda *step: em(*step, updates=5), lambda *step: em(*step, updates=1)):
        assert recognised(own, own.roll(7, 0), other, inverse).all()


def test_tokens_are_not_recognised_where_rows_are_flat_or_say_something_else():
    own = relative_rows(embeddings(), embeddings())
    flat = torch.full_like(own, 1 / 300)
    assert not recognised(flat, flat, own).any()
    assert not recognised(own, own.roll(7, 0), own.roll(7, 0)).any(), "the other model is certain of the rivals"
    # differences that vanish in the epsilon of AdamW, which the exact fixed point would follow
    faint = (flat + 1e-9 * own) / (1 + 1e-9)
    assert not recognised(faint, faint.roll(7, 0), faint).any()
