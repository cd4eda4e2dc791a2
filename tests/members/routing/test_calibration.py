"""Temperature and threshold, against worlds whose answers are known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.maths.routing import calibration_error
from swarm.members.routing.calibration import NEVER, temperature_of, threshold_of
from swarm.members.routing.interfaces import cross_entropy, folds_of, softmax


def test_a_known_temperature_is_found_and_calibrates():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1.5, (4000, 3))
    drawn = (softmax(logits).cumsum(axis=1) < rng.uniform(size=(4000, 1))).sum(axis=1)
    boasting = 3 * logits
    found = temperature_of(boasting, np.eye(3)[drawn], np.ones(4000))
    assert found == pytest.approx(3, rel=0.08)
    right = boasting.argmax(axis=1) == drawn
    before, after = (calibration_error(softmax(boasting / t).max(axis=1), right) for t in (1, found))
    assert after < 0.03 < before


@given(st.integers(0, 999))
def test_no_other_temperature_is_better(seed):
    rng = np.random.default_rng(seed)
    logits, labels, weights = rng.normal(size=(8, 3)), rng.dirichlet(np.ones(3), 8), rng.uniform(0.1, 1, 8)
    found = cross_entropy(softmax(logits / temperature_of(logits, labels, weights)), labels, weights)
    assert all(found <= cross_entropy(softmax(logits / t), labels, weights) + 1e-9 for t in np.geomspace(1e-3, 1e3, 60))


def test_without_weight_nothing_is_scaled():
    assert temperature_of(np.ones((2, 2)), np.full((2, 2), 0.5), np.zeros(2)) == 1.0


def test_threshold_by_hand():
    confidence = np.array([0.9, 0.4, 0.6, 0.4])
    routed, single = np.array([1.0, 0.0, 1.0, 0.0]), np.array([0.0, 1.0, 0.0, 0.0])
    assert threshold_of(confidence, routed, single) == 0.6
    assert threshold_of(confidence, single, single) == 0.0, "of equals the one that routes most"
    assert threshold_of(confidence, single - 1, single) == NEVER
    assert threshold_of(confidence, routed, np.zeros(4)) == 0.0


@given(st.integers(0, 9999), st.integers(1, 12))
def test_no_other_threshold_is_better(seed, size):
    rng = np.random.default_rng(seed)
    confidence = rng.integers(1, 5, size) / 5
    routed, single = rng.integers(0, 2, size).astype(float), rng.integers(0, 2, size).astype(float)

    def value(threshold):
        return np.where(confidence < threshold, single, routed).mean()

    found = threshold_of(confidence, routed, single)
    assert all(value(found) >= value(other) - 1e-12 for other in [0.0, *confidence, NEVER])
    assert all(value(found) > value(other) for other in [0.0, *confidence] if other < found and found == NEVER)


@given(st.integers(0, 99), st.integers(2, 6))
def test_equal_prompts_share_a_fold_and_folds_are_about_equal(seed, count):
    keys = [f"prompt {index % 17}" for index in range(50)]
    folds = folds_of(keys, count, np.random.default_rng(seed))
    assert len({(key, fold) for key, fold in zip(keys, folds, strict=True)}) == 17
    assert set(folds) == set(range(count))
    sizes = np.bincount([folds[index] for index in range(17)], minlength=count)
    assert np.ptp(sizes) <= 1
