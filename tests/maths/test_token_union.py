"""Means over a union of tokens, and masses carried by a map."""

import torch

from swarm.maths.token_union import mapped, top_union, union_mean


def test_the_mean_over_a_union_is_a_distribution():
    probabilities = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.2, 0.8]])
    mean = union_mean(probabilities, torch.tensor([0.75, 0.25]))
    assert torch.allclose(mean, torch.tensor([0.375, 0.425, 0.2]))
    batch = union_mean(torch.stack([probabilities, probabilities]), torch.tensor([[0.75, 0.25], [1.0, 0.0]]))
    assert torch.allclose(batch[0], mean) and torch.allclose(batch[1], probabilities[0])
    assert union_mean(torch.zeros(2, 3), torch.tensor([0.5, 0.5])).tolist() == [0, 0, 0]


def test_a_members_softmax_runs_over_the_union_only():
    logits = torch.tensor([[1.0, 2.0, 3.0, 9.0]])
    shares = top_union(logits, torch.tensor([[2, 0, -1]]))
    assert torch.allclose(shares[0, :2], torch.tensor([3.0, 1.0]).softmax(-1)) and shares[0, 2] == 0
    assert top_union(logits, torch.tensor([[-1, -1]])).tolist() == [[0.0, 0.0]]


def test_mapped_masses_add_up_and_the_unmapped_is_lost():
    probabilities = torch.tensor([[0.1, 0.2, 0.3, 0.4], [1.0, 0.0, 0.0, 0.0]])
    carried = mapped(probabilities, torch.tensor([2, 0, 2, -1]), 3)
    assert torch.allclose(carried, torch.tensor([[0.2, 0.0, 0.4], [0.0, 0.0, 1.0]]))
