"""The inverse step: against torch's own optimiser, its bounds, its symmetries, and numbers at the edge.

What must be equal is compared in float64. In float32 a gradient that is nearly 0 is mostly rounding, of which Adam,
which divides by its size, makes a part of a whole step: how large a part differs from processor to processor.
"""

import math
from functools import partial
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.maths.inverse import adamw, divergence, em, flip_bound, freezing_point, mix, schedule, total_decay
from swarm.maths.relative import relative_rows


def world(vocabulary=200, anchors=150, width=24, seed=0, scale=2.5, dtype=torch.float64):
    """Logits of two models (1, V), their rows (V, d), and the target of their mean."""
    rng = torch.Generator().manual_seed(seed)
    rows, logits = [], []
    for _ in range(2):
        table = torch.randn(vocabulary, width, generator=rng)
        rows.append(relative_rows(table, table[:anchors]).to(dtype))
        logits.append((scale * torch.randn(1, vocabulary, generator=rng)).to(dtype))
    target = (mix(logits[0].softmax(-1), rows[0]) + mix(logits[1].softmax(-1), rows[1])) / 2
    return logits, rows, target


def by_torch(logits, rows, target, learning_rate, updates):
    """The published step: autograd, AdamW, KLDivLoss over the elements' mean, a cosine schedule."""
    variable = logits[0].clone().requires_grad_()
    optimiser = torch.optim.AdamW([variable], lr=learning_rate)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=10, eta_min=learning_rate / 4)
    loss = torch.nn.KLDivLoss(reduction="mean")
    for _ in range(updates):
        optimiser.zero_grad()
        loss((variable.softmax(-1) @ rows).log(), target[0]).backward()
        optimiser.step()
        rate.step()
    return variable.detach()[None]


@pytest.mark.parametrize(
    ("learning_rate", "updates"), [(0.15, 5), (0.15, 10), (0.05, 1), (0.5, 5), (0.15, 15), (0.15, 25)]
)
@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")
def test_adamw_equals_torchs_optimiser_with_its_schedule(learning_rate, updates):
    for seed in range(3):
        logits, rows, target = world(seed=seed)
        ours = adamw(logits[0], rows[0], target, learning_rate, updates)
        theirs = by_torch(logits[0], rows[0], target, learning_rate, updates)
        assert (ours - theirs).abs().max() <= 1e-10
        assert ours.argmax() == theirs.argmax()
        assert (ours - logits[0]).abs().max() > learning_rate / 2  # not because nothing moved


@pytest.mark.parametrize(("learning_rate", "updates"), [(0.15, 5), (0.15, 10), (0.5, 5)])
def test_float32_is_a_small_part_of_a_step_away(learning_rate, updates):
    for seed in range(3):
        logits, rows, target = world(seed=seed)
        exact = adamw(logits[0], rows[0], target, learning_rate, updates)
        found = adamw(logits[0].float(), rows[0].float(), target.float(), learning_rate, updates)
        assert found.dtype == torch.float32 and (found - exact).abs().max() < learning_rate / 100
        assert found.argmax() == exact.argmax()


def test_schedule_and_decay_have_the_published_values():
    factors = [schedule(update) for update in range(5)]
    assert factors == pytest.approx([1, 0.98165, 0.92838, 0.84542, 0.74088], abs=5e-6)  # as they are rounded there
    assert schedule(10) == 0.25 and schedule(20) == 1
    assert total_decay(0.15, 5) == pytest.approx(0.9932736, abs=1e-7)


def test_flip_bound_is_worked_out():
    assert flip_bound(0.15, 5) == pytest.approx(9.09 * 0.15, abs=1e-3)
    assert flip_bound(0.15, 10) == pytest.approx(13.82 * 0.15, abs=1e-3)
    assert flip_bound(0.15, 0) == 0
    assert flip_bound(0.15, 1) == pytest.approx(0.3)


@given(gap=st.floats(0.2, 3.0), learning_rate=st.sampled_from([0.05, 0.15, 0.3]), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_only_tokens_within_the_bound_can_win_and_well_within_it_they_do(gap, learning_rate, seed):
    rng = torch.Generator().manual_seed(seed)
    table = torch.randn(60, 64, generator=rng)
    rows = relative_rows(table, table)
    logits = torch.full((1, 60), -6.0)
    logits[0, 7], logits[0, 9] = 4.0, 4.0 - gap
    target = (mix(logits.softmax(-1), rows) + rows[9]) / 2
    winner = adamw(logits, rows, target, learning_rate, 5).argmax().item()
    if gap > flip_bound(learning_rate, 5):
        assert winner == 7
    if gap < 8.7 * learning_rate:
        assert winner == 9


def test_the_same_model_twice_keeps_its_choice():
    # with a few hundred anchors epsilon is so small that weight decay alone can turn gaps of 0.05, in float64 too
    for seed in range(20):
        logits, rows, _ = world(1200, 900, 64, seed, 3.0)
        order = logits[0].argsort(descending=True)[0]
        for gap in (0.01, 0.3):
            own = logits[0].clone()
            own[0, order[1]] = own[0, order[0]] - gap
            target = mix(own.softmax(-1), rows[0])
            assert adamw(own, rows[0], target, 0.15, 5).argmax() == own.argmax()
            assert (em(own, rows[0], target, 3) - own).abs().max() < 1e-4


def test_adding_a_constant_to_the_logits_changes_nothing():
    logits, rows, target = world()
    rest = logits[0].logsumexp(-1) - 3
    for moved in (
        lambda own, left: adamw(own, rows[0], target, 0.15, 5, left).softmax(-1),
        lambda own, left: em(own, rows[0], target, 5, left).softmax(-1),
    ):
        for left in (None, rest):
            shifted = None if left is None else left + 8
            assert (moved(logits[0] + 8, shifted) - moved(logits[0], left)).abs().max() < 1e-10


def test_order_of_tokens_and_of_anchors_does_not_matter():
    logits, rows, target = world()
    tokens = torch.randperm(200, generator=torch.Generator().manual_seed(1))
    anchors = torch.randperm(150, generator=torch.Generator().manual_seed(2))
    for step in (partial(adamw, learning_rate=0.15, updates=5), partial(em, updates=5)):
        plain = step(logits[0], rows[0], target)
        assert (step(logits[0][:, tokens], rows[0][tokens], target) - plain[:, tokens]).abs().max() < 1e-10
        assert (step(logits[0], rows[0][:, anchors], target[:, anchors]) - plain).abs().max() < 1e-10
        # anchors in another order in one matrix only are another algorithm, which an artefact's digest must prevent
        assert (step(logits[0], rows[0][:, anchors], target) - plain).abs().max() > 0.3


def test_no_updates_or_no_learning_rate_leave_the_logits():
    logits, rows, target = world()
    assert torch.equal(adamw(logits[0], rows[0], target, 0.0, 5), logits[0])
    assert torch.equal(adamw(logits[0], rows[0], target, 0.15, 0), logits[0])
    assert torch.equal(em(logits[0], rows[0], target, 0), logits[0])


def test_em_with_the_unit_matrix_is_the_target_after_one_update():
    logits, _, _ = world()
    target = (logits[0].softmax(-1) + logits[1].softmax(-1)) / 2
    fused = em(logits[0], torch.eye(200, dtype=torch.float64), target, 1).softmax(-1)
    assert (fused - target).abs().max() < 1e-12
    assert fused.argmax() == target.argmax()


@given(seed=st.integers(0, 500))
@settings(max_examples=25, deadline=None)
def test_em_never_raises_the_divergence_and_adamw_lowers_it(seed):
    logits, rows, target = world(60, 50, 12, seed)
    before = divergence(logits[0], rows[0], target).item()
    passed = [divergence(em(logits[0], rows[0], target, updates), rows[0], target).item() for updates in range(12)]
    assert passed[0] == before
    assert all(later <= earlier + 1e-12 for earlier, later in pairwise(passed))
    assert divergence(adamw(logits[0], rows[0], target, 0.15, 5), rows[0], target).item() < before


def test_adams_epsilon_freezes_improbable_tokens():
    logits, rows, target = world(400, 300, 24, scale=4.0)
    improbable = logits[0].softmax(-1) < freezing_point(300) / 3
    moved = adamw(logits[0], rows[0], target, 0.15, 5)
    # a target d times as large is what a sum instead of a mean over d would do
    scaled = adamw(logits[0], rows[0], target * 300, 0.15, 5)
    assert improbable.sum() > 20
    assert ((moved - scaled).abs()[improbable].mean() > 0.2).item()


def test_each_row_of_a_batch_gets_what_it_gets_alone():
    rng = torch.Generator().manual_seed(4)
    counts, anchors = [3, 9, 1, 6], torch.randn(5000, 64, generator=rng)
    rows = relative_rows(anchors[:36], anchors).view(4, 9, -1).double()
    logits = 2 * torch.randn(4, 9, generator=rng).double()
    target = mix(torch.randn(4, 9, generator=rng).double().softmax(-1), rows)
    rest = torch.tensor([-math.inf, -2.0, -3.0, -math.inf])
    for row, count in enumerate(counts):
        logits[row, count:] = -math.inf
    for step in (lambda *a: adamw(*a[:3], 0.15, 5, a[3]), lambda *a: em(*a[:3], 5, a[3])):
        together = step(logits, rows, target, rest)
        for row, count in enumerate(counts):
            one = slice(row, row + 1)
            alone = step(logits[one, :count], rows[one, :count], target[one], rest[one])
            assert (together[one, :count] - alone).abs().max() < 1e-10
            assert (together[row, count:] == -math.inf).all()
    shared = adamw(logits, rows[0], target, 0.15, 5, rest)
    assert (shared - adamw(logits, rows[:1].expand(4, -1, -1), target, 0.15, 5, rest))[logits > -9].abs().max() < 1e-10


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_spans_of_columns_and_threads_do_not_change_the_result(monkeypatch, threads):
    rng = torch.Generator().manual_seed(4)
    anchors = torch.randn(10_007, 64, generator=rng)
    rows, logits = relative_rows(anchors[:6], anchors)[None].double(), torch.randn(1, 6, generator=rng).double()
    target = mix(torch.randn(1, 6, generator=rng).double().softmax(-1), rows)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        plain, mixed = adamw(logits, rows, target, 0.15, 5), em(logits, rows, target, 5)
        monkeypatch.setattr("swarm.maths.inverse.SPAN_BYTES", rows.element_size() * 6 * 3500)
        torch.set_num_threads(threads)
        assert (adamw(logits, rows, target, 0.15, 5) - plain).abs().max() < 1e-10
        assert (em(logits, rows, target, 5) - mixed).abs().max() < 1e-10
    finally:
        torch.set_num_threads(before)


def test_a_frozen_token_only_decays_and_stands_for_many():
    logits, rows, target = world(scale=4.0)
    frozen = torch.zeros(1, 200, dtype=torch.bool)
    tail = logits[0] < logits[0].max() - 12
    frozen[tail] = True
    one_by_one = adamw(logits[0], rows[0], target, 0.15, 5, frozen=frozen)
    assert torch.allclose(one_by_one[tail], logits[0][tail] * total_decay(0.15, 5), rtol=1e-12)
    shares = logits[0][:, tail[0]].softmax(-1)
    lumped_logits = torch.cat([logits[0][:, ~tail[0]], logits[0][:, tail[0]].logsumexp(-1, keepdim=True)], 1)
    lumped_rows = torch.cat([rows[0][~tail[0]], shares @ rows[0][tail[0]]])
    lumped_frozen = torch.zeros_like(lumped_logits, dtype=torch.bool)
    lumped_frozen[:, -1] = True
    lumped = adamw(lumped_logits, lumped_rows, target, 0.15, 5, frozen=lumped_frozen)
    assert (lumped[:, :-1] - one_by_one[:, ~tail[0]]).abs().max() < 3e-3


def test_numbers_at_the_edge_stay_finite():
    few = torch.eye(3)[:, :2].repeat(2, 1)  # exact zeros, and tokens that only they reach
    logits = torch.tensor([[-math.inf, 3.0, -math.inf, 0.0, -math.inf, -200.0]])
    for target in (torch.tensor([[1.0, 0.0]]), torch.tensor([[0.5, 0.5]]), torch.tensor([[0.0, 0.0]])):
        for own in (logits, torch.tensor([[0.0, -1e4, -1e4, -1e4, -1e4, -1e4]])):
            for fused in (adamw(own, few, target, 0.15, 5), em(own, few, target, 5)):
                assert not fused.isnan().any() and (fused < math.inf).all()
                assert (fused[own == -math.inf] == -math.inf).all()
                assert fused.max() > -math.inf
