"""Collaborative gain: questions by how many members solve them alone."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from swarm.maths.gain import Bucket, buckets


def test_by_hand():
    alone = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 1]], dtype=bool)
    assert buckets(alone, np.array([True, False, True, True])) == [
        Bucket(0, 1, 1),  # the third question, which only the system solves
        Bucket(1, 2, 1),
        Bucket(2, 0, 0),
        Bucket(3, 1, 1),
    ]


@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(1, 30))
def test_every_question_is_in_one_bucket(seed, members, questions):
    rng = np.random.default_rng(seed)
    alone, together = rng.uniform(size=(members, questions)) < 0.5, rng.uniform(size=questions) < 0.5
    found = buckets(alone, together)
    assert [bucket.members for bucket in found] == list(range(members + 1))
    assert sum(bucket.questions for bucket in found) == questions
    assert sum(bucket.solved for bucket in found) == together.sum()
    # the paper's formula: the sum over buckets is what the system scores above its members' mean
    gain = sum(bucket.solved - bucket.questions * bucket.members / members for bucket in found) / questions
    assert abs(gain - (together.mean() - alone.mean())) < 1e-9
