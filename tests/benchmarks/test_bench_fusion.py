"""The benchmarks of fusion: logits are what the notes say, wrong tokens count for nothing, all runs in small."""

import os
import re
import sys

import pytest
import torch
from deepen_world import save_models
from repository import ROOT

from swarm.members.fusion import build
from swarm.members.fusion.token_choosers import TokenChoice
from swarm.storage.user_cache import own_cache


@pytest.fixture(autouse=True)
def benchmarks_can_be_imported(monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, str(ROOT)])


def test_logits_are_as_the_note_says():
    from benchmarks.fusion_worlds import Members

    members = Members.drawn([3000, 4000], 2000, 8)
    for first, second in members.steps(3, batch=2):
        assert first.shape == (2, 3000) and second.shape == (2, 4000)
        held = [own.softmax(-1).topk(20).values.sum(-1) for own in (first, second)]
        assert all(0.993 < share < 0.995 for share in torch.cat(held).tolist())
        for row in range(2):
            likeliest = [
                set(members.anchors[k][own[row][members.anchors[k]].topk(100).indices.cpu()].tolist())
                for k, own in enumerate((first, second))
            ]
            columns = [
                {(members.anchors[k] == token).nonzero().item() for token in tokens}
                for k, tokens in enumerate(likeliest)
            ]
            assert len(columns[0] & columns[1]) > 50, "the models agree on what they share"
    again, other = members.steps(1)[0][0], members.steps(1, seed=1)[0][0]
    assert torch.equal(members.steps(1)[0][0], again) and not torch.equal(again, other)


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")
def test_steps_are_compared_with_the_reference(monkeypatch):
    from benchmarks import fusion_steps, published_fusion
    from benchmarks.fusion_worlds import Members
    from benchmarks.measure import Different

    members, size = Members.drawn([1500, 1800], 1000, 16), fusion_steps.Size(steps=2)
    rows = fusion_steps.beside_the_reference(members, size, 1)
    assert [row.name for row in rows] == [f"fusion: step, {way}" for way in ("dense", "lazy cold", "lazy warm")]
    assert all(row.reference == rows[0].reference for row in rows)
    right = published_fusion.fused_logits
    monkeypatch.setattr(published_fusion, "fused_logits", lambda *given: -right(*given))
    with pytest.raises(Different, match="tokens of the fused step, dense: 2 of 2 differ"):
        fusion_steps.beside_the_reference(members, size, 1)


def test_warm_steps_find_every_row_and_cold_ones_none(monkeypatch):
    from benchmarks import fusion_steps
    from benchmarks.fusion_worlds import Members

    made = []
    lazy = Members.lazy
    monkeypatch.setattr(Members, "lazy", lambda self, capacity: made.append(lazy(self, capacity)) or made[-1])
    world = fusion_steps.Synthetic("tiny", 3, 1500, 1000)
    rows = fusion_steps.synthetic_rows(world, fusion_steps.Size(width=16, steps=2, text=4), 2)
    assert [row.name.split(", ")[-1] for row in rows] == ["lazy cold", "lazy warm", "inverse alone", "along a text"]
    assert rows[1].floor.value < rows[1].ours.value > rows[2].ours.value
    warm, cold = made[0], made[1:-2]
    assert len(cold) == 2 * 3, "a cache for every step"
    for tables in cold:
        assert all(table.misses > 0 for table in tables)
    distinct = sum(table.misses for tables in cold[:2] for table in tables)
    assert sum(table.misses for table in warm) <= distinct, "what the first round has worked out stays"
    share = re.search(r"(\d+) % of the rows asked for were there", rows[-1].note)
    assert 0 < int(share[1]) < 100


def test_without_the_tokenizers_the_other_rows_are_there(monkeypatch, tmp_path, capsys):
    from benchmarks import fusion

    monkeypatch.setenv("H_SWARM_SHARED", str(tmp_path))
    names = [row.name for row in fusion.rows(fusion.SMALL, 1)]
    assert names[-1] == "fusion: memory" and not any("decoding" in name for name in names)
    assert "no ../shared/tokenizers" in capsys.readouterr().err


def test_real_models_are_measured_where_they_are_named(monkeypatch, tmp_path):
    from benchmarks import fusion_real
    from benchmarks.measure import Different

    monkeypatch.setattr(build, "SMALL", 0)
    models = save_models(tmp_path)
    folders = [str(models / "one"), str(models / "two")]
    monkeypatch.setenv(fusion_real.MODELS, os.pathsep.join(folders))
    assert fusion_real.named_models() == folders
    rows = fusion_real.rows(folders, fusion_real.Size(4), 1)
    assert [row.name.partition(", ")[2] for row in rows] == ["first run", "later run", "warm"]
    assert all(row.floor.value > 0 and row.ours.value > 0 for row in rows)
    assert [goal.text for row in rows for goal in row.goals] == ["≤ 5 × floor", "≤ 2.5 × floor"]
    assert not (own_cache() / "fusion_rows").exists(), "rows of a benchmark do not stay"
    wrong = lambda logits, weights: TokenChoice(logits[0].argmin(-1))  # noqa: E731
    monkeypatch.setattr(fusion_real, "_in_float32", lambda _: wrong)
    with pytest.raises(Different, match="beside rows in float32"):
        fusion_real.rows(folders, fusion_real.Size(4), 1)
    monkeypatch.setenv(fusion_real.MODELS, f"{folders[0]}{os.pathsep}{tmp_path / 'nowhere'}")
    assert fusion_real.named_models() is None
