"""Tokens and logits of every step in all four modes, as they were frozen once (tests/support/golden_fusion.py)."""

import json

import pytest
import torch
from fusing import written
from golden_fusion import GOLDEN, MODES, ORDERS, PROMPTS, RATE, golden_models, plainly

from swarm.members.fusion.build import make_chooser
from swarm.members.fusion.fused_decoding import FusedDecoding
from swarm.members.fusion.fusion_settings import read_settings
from swarm.members.fusion.token_choosers import TokenChoice

RECORDS = json.loads(GOLDEN.read_text())["records"]


@pytest.fixture(scope="module")
def fusion_models():
    return golden_models()


class Noting:
    """Chooses by a fused step, of which it keeps the logits."""

    def __init__(self, step):
        self._step, self.logits = step, []

    def __call__(self, logits, weights):
        result = self._step(logits, weights)
        self.logits.append(
            torch.full((len(logits[0][0]),), -torch.inf).index_put((result.candidates[0],), result.logits[0])
        )
        return TokenChoice(result.tokens)


def test_all_modes_are_there():
    there = {(record["models"], record["mode"], record["prompt"]) for record in RECORDS}
    assert there == {(name, mode, prompt) for name in ORDERS for mode in MODES for prompt in PROMPTS}
    for name in ORDERS:
        by_mode = {mode: [r["logits"] for r in RECORDS if (r["models"], r["mode"]) == (name, mode)] for mode in MODES}
        same = [(one, other) for one in MODES for other in MODES if one < other and by_mode[one] == by_mode[other]]
        # of two models both are equally far from their mean: weighing them changes nothing
        assert same == ([("tas2", "tas2+mas2")] if name == "two" else []), name


@pytest.mark.parametrize("candidates", ["all", "needed"])
@pytest.mark.parametrize(
    "record", RECORDS, ids=lambda record: f"{record['models']}-{record['mode']}-{record['prompt']}"
)
def test_ours_are_the_frozen_ones(fusion_models, record, candidates):
    some = [fusion_models[index] for index in ORDERS[record["models"]]]
    given = {"mode": record["mode"], "learning_rate": RATE, "candidates": candidates, "dropped": 1e-6}
    settings = read_settings("here", given, len(some))
    noting = Noting(make_chooser(some, settings).step)
    [(tokens, _)] = written(some, [record["prompt"]], 6, decoding=FusedDecoding(some, noting, settings))
    assert tokens == record["tokens"]
    steps = zip(noting.logits, record["likeliest"], record["logits"], strict=True)
    for step, (ours, ids, logits) in enumerate(steps):
        torch.testing.assert_close(ours[ids], torch.tensor(logits), atol=1e-3, rtol=0, msg=f"step {step}")


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")
def test_the_plain_procedure_still_gives_them(fusion_models):
    for record in RECORDS[::5]:
        tokens, steps = plainly(fusion_models, ORDERS[record["models"]], record["mode"], record["prompt"])
        assert tokens == record["tokens"]
        for step, logits in zip(steps, record["logits"], strict=True):
            assert step.values.tolist() == pytest.approx(logits, abs=1e-5)
