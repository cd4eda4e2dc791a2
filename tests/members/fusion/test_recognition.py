"""Whether tokens are told apart is measured as the step uses rows, and what is said of it is true."""

import logging

import pytest
import torch
from fusing import three_models
from repository import ROOT

from swarm.members.fusion import build
from swarm.members.fusion.anchors import common_anchors
from swarm.members.fusion.build import make_chooser
from swarm.members.fusion.fusion_settings import read_settings
from swarm.members.fusion.loading import ModelSource, load_lexicon
from swarm.members.fusion.recognition import LEAST, recognised_shares, warn_of_unrecognised
from swarm.members.fusion.rows import DenseRows, RowSource
from swarm.members.fusion.step_settings import StepSettings
from swarm.members.fusion.vocabulary import read_vocabulary

EMBEDDED = ROOT / "data" / "embedded"


def shares(tables, anchors, **step):
    rows = [DenseRows.build(RowSource(table, ids)) for table, ids in zip(tables, anchors, strict=True)]
    return recognised_shares(rows, anchors, StepSettings(**step))


def drawn(count=400, width=64, seed=0):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("inverse", ["adamw", "em"])
def test_the_embedded_models_recognise_each_other(inverse):
    lexicons = [load_lexicon(name, ModelSource(str(EMBEDDED / name))) for name in ("base", "second")]
    vocabularies = [read_vocabulary(own.tokenizer, own.name) for own in lexicons]
    anchors = common_anchors(vocabularies).ids
    for order in ([0, 1], [1, 0]):
        assert shares([lexicons[k].embeddings for k in order], anchors[order], inverse=inverse) == [1.0]


def test_each_other_model_is_judged_by_its_own_rows():
    anchors = torch.stack([torch.arange(300)] * 3)
    alike = torch.ones(400, 64)
    one, other = shares([drawn(), drawn(seed=1), alike], anchors)
    assert one == 1.0 and other < LEAST, "what says the same of all tokens is followed by chance only"
    assert shares([alike, drawn(), alike], anchors) == [0.0, 0.0], "a main model that tells nothing apart"


def test_what_counts_is_the_step_and_not_how_far_it_may_go():
    anchors = torch.stack([torch.arange(300)] * 2)
    for step in ({"learning_rate": 0.001}, {"updates": 1}, {"inverse": "em", "updates": 0}):
        assert shares([drawn(), drawn(seed=1)], anchors, **step) == [1.0]


def test_one_and_two_anchors_are_judged_too():
    for count in (1, 2, 3):
        assert shares([drawn(), drawn(seed=1)], torch.stack([torch.arange(count)] * 2)) == [1.0]


def test_rows_are_looked_at_in_blocks(monkeypatch):
    """Embeddings that share a direction: some tokens are recognised."""
    tables = [drawn(800, 64, seed) + 2 * drawn(1, 64, 9) for seed in (1, 2)]
    anchors = torch.stack([torch.arange(800)] * 2)
    [whole] = shares(tables, anchors)
    assert 0 < whole < 1
    monkeypatch.setattr("swarm.members.fusion.recognition.AT_A_TIME", 800 * 7)
    assert shares(tables, anchors) == [whole]


def test_too_few_is_said_with_its_cure(caplog):
    with caplog.at_level(logging.WARNING):
        warn_of_unrecognised("main", "two", LEAST, False)
        assert not caplog.records
        warn_of_unrecognised("main", "two", 0.26, False)
    assert "two: main recognises 0.26 of the common tokens" in caplog.text
    assert "subtract the mean embedding (centre) and, if that is not enough, take fewer anchors" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        warn_of_unrecognised("main", "two", 0.26, True)
    assert "centre" not in caplog.text and "take fewer anchors" in caplog.text


def test_nothing_is_said_of_rows_that_nobody_needs(monkeypatch):
    monkeypatch.setattr(build, "recognised_shares", lambda *_: pytest.fail("rows are worked out"))
    fusion_models = three_models()[:2]
    for record in ({"inverse": "none"}, {"space": "union"}, {"space": "mapped"}):
        make_chooser(fusion_models, read_settings("here", record, 2))
