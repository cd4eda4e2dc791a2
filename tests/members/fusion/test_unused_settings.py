"""Settings that change nothing are known to change nothing, and those that are not named change something."""

import json

import pytest
import torch
from fusing import three_models
from tiny import make_pool

from swarm.errors import UserError
from swarm.maths.member_weights import explicit, uniform
from swarm.members.fusion.build import make_chooser
from swarm.members.fusion.fusion_settings import read_settings
from swarm.members.fusion.unused_settings import check_not_contradicting, listed, without_effect
from swarm.members.members import read_composite

OTHERS = {
    "mode": {"mode": "tas2"},
    "learning_rate": {"learning_rate": 0.1},
    "updates": {"updates": 2},
    "candidates": {"candidates": "all"},
    "dropped": {"dropped": 0.2},
    "least": {"least": 150},
    "most": {"most": 21},
    "consistency": {"consistency": "linear"},
    "weights": {"weights": [0.8, 0.2]},
    "top": {"top": 1},
    "keys": {"keys": "published"},
    "anchors": {"anchors": "random", "anchor_count": 50},
    "anchor_count": {"anchor_count": 40},
    "anchor_seed": {"anchor_seed": 3},
    "normalise": {"normalise": False},
    "centre": {"centre": True},
    "rows": {"rows": "lazy"},
}
WAYS = [
    {},
    {"mode": "tas+mas"},
    {"consistency": "rbf"},
    {"candidates": "all"},
    {"inverse": "em"},
    {"inverse": "none"},
    {"anchors": "random", "anchor_count": 60},
    {"anchors": "consistency", "anchor_count": 60},
    {"space": "union"},
    {"space": "union", "consistency": "rbf"},
    {"space": "mapped"},
]


@pytest.fixture(scope="module")
def fusion_models():
    return three_models()[:2]


def outcome(fusion_models, record):
    """Tokens, and scores of some of them."""
    settings = read_settings("here", record, 2)
    rng = torch.Generator().manual_seed(0)
    logits = [6 * torch.randn(6, len(one.embeddings), generator=rng) for one in fusion_models]
    chooser = make_chooser(fusion_models, settings)
    weights = uniform(2) if settings.weights == "uniform" else explicit(settings.weights, 2)
    asked = logits[0].topk(60).indices[:, ::10]
    return chooser(logits, weights).tokens, chooser.scores(logits, weights, asked)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_what_has_no_effect(fusion_models, way):
    record = {"learning_rate": 0.5, "dropped": 1e-6} | way
    tokens, scores = outcome(fusion_models, record)
    reasons = without_effect(read_settings("here", record, 2))
    for name, other in OTHERS.items():
        if name == "anchor_count" and "anchors" not in way:
            continue  # which is an error on all anchors
        if record.items() >= other.items() or (name == "rows" and "candidates" in way):
            continue  # the same again, or what changes memory only
        other = {**other, "anchor_count": 50} if name == "anchors" and "anchors" in way else other
        if name in reasons:
            # weights have a say in which improbable tokens are looked at, and in nothing else
            whole = {"candidates": "all"} if name == "weights" else {}
            one, two = (outcome(fusion_models, {**own, **whole}) for own in (record, {**record, **other}))
            assert two[0].equal(one[0]) and torch.allclose(two[1], one[1], atol=1e-3), name
        else:
            others = outcome(fusion_models, {**record, **other})
            assert not (others[0].equal(tokens) and others[1].equal(scores)), name


def test_of_weights_rows_and_the_gate():
    def names(**record):
        return set(without_effect(read_settings("here", record, 2)))

    assert "temperature" in names() and "temperature" not in names(weights="perplexity")
    assert "temperature" in names(weights="perplexity", consistency="rbf"), "which takes the place of weights"
    assert "row_memory" in names(rows="dense") and "row_memory" not in names()
    assert "gate" in names() and "gate" not in names(gate=0.9)
    assert "weights" not in names(mode="tas+mas", weights=[1, 0]), "a member of weight 0 stays out"


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"space": "union", "mode": "tas"}, "mode is 'tas', which has no effect where space is union"),
        ({"space": "mapped", "inverse": "em"}, "inverse is 'em', which has no effect where space is mapped"),
        ({"space": "mapped", "consistency": "rbf"}, "consistency is 'rbf', which has no effect where space is mapped"),
        ({"inverse": "none", "mode": "tas2"}, "mode is 'tas2', which has no effect where inverse is none"),
        ({"mode": "tas+mas", "consistency": "rbf"}, "consistency is 'rbf', which has no effect where mode is tas+mas"),
    ],
)
def test_two_ways_at_once_are_refused(record, said):
    with pytest.raises(UserError) as error:
        check_not_contradicting("here", read_settings("here", record, 2))
    assert str(error.value).startswith(f"here: {said}") and "\n" not in str(error.value)


def test_names_are_listed_by_their_reasons():
    reasons = {"top": "a", "rows": "b", "most": "a", "least": "c"}
    assert listed(reasons, ["top", "rows", "most"]) == "top, most (a); rows (b)"


def test_a_node_says_what_it_ignores(tmp_path, caplog):
    folder = make_pool(tmp_path) / "fused"
    folder.mkdir()
    node = {"type": "fusion", "members": ["expert_0", "expert_1"]}

    def read(**fields):
        caplog.clear()
        (folder / "node.json").write_text(json.dumps(node | fields))
        read_composite(folder)
        return [record.getMessage() for record in caplog.records]

    assert read() == read(learning_rate=0.2, gate=0.9, rows="lazy") == []
    assert read(top=5, anchor_seed=1) == [
        f"{folder}/node.json: without effect here: top (space is relative); anchor_seed (anchors are all, not random)"
    ]
    [said] = read(space="union", learning_rate=0.3, rows="lazy", top=5)
    assert said.endswith("without effect here: learning_rate, rows (space is union)")
    with pytest.raises(UserError, match="node.json: inverse is 'em', which has no effect where space is union"):
        read(space="union", inverse="em")
