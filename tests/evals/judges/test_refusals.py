"""What becomes of questions that a judge refuses."""

from typing import get_args

from swarm.evals.judges.refusals import RefusalPolicy
from swarm.evolution.config import settings


def test_the_option_has_every_policy():
    assert settings()["judge_refusal"].choices == get_args(RefusalPolicy)
