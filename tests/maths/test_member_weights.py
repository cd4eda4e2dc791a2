"""Weights of a fusion's members: what is allowed, and CoRE's by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from swarm.maths.member_weights import (
    CONSISTENCIES,
    consistency_weights,
    explicit,
    from_perplexity,
    token_consistency,
    uniform,
)


@given(st.lists(st.floats(0, 1e300), min_size=1, max_size=6).filter(any))
def test_explicit_weights_keep_their_ratios(values):
    weights = explicit(values, len(values))
    assert weights.sum().item() == pytest.approx(1, abs=1e-6) and (weights >= 0).all()
    expected = [value / max(values) / sum(other / max(values) for other in values) for value in values]
    assert weights.tolist() == pytest.approx(expected, abs=1e-6)


def test_what_the_published_program_refused_or_ignored():
    assert explicit([1.0, 0.0], 2).tolist() == [1.0, 0.0]
    assert explicit([0.7, 0.2, 0.1], 3).sum().item() == pytest.approx(1, abs=1e-7)
    assert uniform(4).tolist() == [0.25] * 4


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0.5], "2 members need 2 weights, got 1: 0.5"),
        ([], "got 0: none"),
        ([1.5, -0.5], "at least 0, got 1.5, -0.5"),
        ([0.0, 0.0], "at least one weight must be above 0"),
        ([math.nan, 1.0], "must be numbers"),
        ([math.inf, 1.0], "must be numbers"),
    ],
)
def test_weights_that_do_not_fit_say_why(values, message):
    with pytest.raises(ValueError, match=message):
        explicit(values, 2)


def test_perplexity_counts_inversely_at_temperature_1():
    losses = torch.tensor([2.0, 4.0, 4.0]).log()
    assert from_perplexity(losses).tolist() == pytest.approx([0.5, 0.25, 0.25])
    assert from_perplexity(losses.expand(2, 3)).shape == (2, 3)
    assert from_perplexity(losses, 0.01)[0].item() == pytest.approx(1)
    with pytest.raises(ValueError, match="above 0, got 0"):
        from_perplexity(losses, 0)


def test_consistency_of_tokens_by_hand():
    distributions = torch.tensor([[0.8, 0.2, 0.0], [0.4, 0.2, 0.4]])
    delta = torch.tensor([0.2, 0.0, 0.2])
    expected = {
        "linear": 1 - delta,
        "power": (1 - delta) ** 5,
        "rbf": ((-2 * delta).exp() - math.exp(-2)) / (1 - math.exp(-2)),
        "reciprocal": torch.tensor([0.0, 1.0, 0.0]),
    }
    for kind in CONSISTENCIES:
        scores = token_consistency(distributions, kind)
        assert torch.allclose(scores[1], expected[kind], atol=1e-6)
        assert scores[0, 2] == 0  # nobody that counts thinks it possible
    with pytest.raises(ValueError, match="rbf, linear, power, reciprocal, got 'cubic'"):
        token_consistency(distributions, "cubic")


@pytest.mark.parametrize("kind", CONSISTENCIES)
def test_the_main_model_counts_at_least_as_much_as_all_others(kind):
    rng = torch.Generator().manual_seed(0)
    distributions = torch.randn(50, 4, 10, generator=rng).mul(3).softmax(-1)
    weights = consistency_weights(distributions, kind)
    assert torch.allclose(weights.sum(-1), torch.ones(50)) and (weights >= 0).all()
    assert (weights[:, 0] >= 0.5 - 1e-6).all()
    assert torch.allclose(weights[3], consistency_weights(distributions[3], kind))


def test_sure_members_that_agree_count_more():
    sure, unsure, other = [0.9, 0.1, 0.0], [0.4, 0.3, 0.3], [0.0, 0.1, 0.9]
    weights = consistency_weights(torch.tensor([sure, sure, unsure]))
    assert weights[1] > weights[2]
    weights = consistency_weights(torch.tensor([sure, sure, other]))
    assert weights[1] > weights[2]
    by_certainty = consistency_weights(torch.tensor([sure, sure, other]), by_agreement=False)
    assert by_certainty[1].item() == pytest.approx(by_certainty[2].item())


def test_certain_and_empty_members_give_numbers():
    certain = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    assert consistency_weights(certain).isfinite().all()
