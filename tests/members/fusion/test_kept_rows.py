"""Rows kept on the disk: a later run works none out anew, whatever was killed, damaged, full or changed in between."""

import logging
import os

import pytest
import torch
from fusion_worlds import fusion_world
from safetensors.torch import load_file, save_file

from swarm.members.fusion import kept_rows
from swarm.members.fusion.kept_rows import open_kept_rows
from swarm.members.fusion.rows import LazyRows, RowSource
from swarm.storage.user_cache import own_cache

WORLD = fusion_world()
SOURCE = WORLD.sources()[0]
A_ROW = 512 * 2  # bytes that a bfloat16 row of 500 anchors is kept in
IDS = torch.randperm(700, generator=torch.Generator().manual_seed(1))[:300]


def opened(source=SOURCE, megabytes=1, normalise=True, centre=False):
    [kept] = open_kept_rows([(source.embeddings, source.anchors)], normalise, centre, megabytes)
    return kept


def worked_out(rows, kept):
    return rows.misses - kept.read


def files():
    return sorted(own_cache().glob("fusion_rows/*/*.safetensors"))


@pytest.fixture
def known():
    """What a first run has written: the rows of `IDS` as it had them."""
    rows = LazyRows(SOURCE, kept=opened())
    return rows.take(IDS)


def test_a_second_run_works_nothing_out_and_has_the_same_bits(known):
    kept = opened()
    rows = LazyRows(SOURCE, kept=kept)
    shares = torch.rand(1, 300, generator=torch.Generator().manual_seed(2))
    assert torch.equal(rows.take(IDS), known)
    assert torch.equal(rows.project(IDS[None], shares), LazyRows(SOURCE).project(IDS[None], shares))
    assert (rows.misses, kept.read, len(files())) == (300, 300, 1)


def test_rows_are_added_to_those_that_are_there(known):
    more = torch.arange(700)
    LazyRows(SOURCE, kept=opened()).take(more)
    kept = opened()
    rows = LazyRows(SOURCE, kept=kept)
    assert torch.equal(rows.take(more), LazyRows(SOURCE).take(more)) and worked_out(rows, kept) == 0


def test_a_run_that_is_killed_has_kept_half_of_its_rows_at_any_time():
    rows = LazyRows(SOURCE, kept=opened())
    for number, token in enumerate(IDS.split(1), 1):
        rows.take(token)
        found = int(opened().take(IDS)[0].sum())
        assert found <= number and (found >= number // 2 or number < kept_rows.FIRST)


def test_what_has_to_go_from_memory_is_read_again():
    kept = opened()
    rows = LazyRows(SOURCE, 200 * A_ROW, kept=kept)
    for _ in range(3):
        for some in IDS.split(75):
            assert torch.equal(rows.take(some), LazyRows(SOURCE).take(some))
    assert rows.misses == 900 and worked_out(rows, kept) == 300, "the first time only"


@pytest.mark.parametrize("change", ["embeddings", "anchors", "normalise", "centre"])
def test_rows_of_something_else_are_not_taken(known, change):
    table = SOURCE.embeddings.clone()
    table[5, 5] += change == "embeddings"
    anchors = SOURCE.anchors.flip(0) if change == "anchors" else SOURCE.anchors
    settings = {change: change == "centre"} if change in ("normalise", "centre") else {}
    assert not opened(RowSource(table, anchors), **settings).take(IDS)[0].any()
    assert opened().take(IDS)[0].all()


def cut_off(path):
    path.write_bytes(path.read_bytes()[:-100])


def of_zeros(path):
    tensors = load_file(path)
    tensors["rows"][10:20] = 0
    save_file(tensors, path)


def of_another_width(path):
    tensors = load_file(path)
    save_file(tensors | {"rows": tensors["rows"][:, :100].contiguous()}, path)


@pytest.mark.parametrize(("damage", "lost"), [(cut_off, 300), (of_zeros, 10), (of_another_width, 300)])
def test_damaged_rows_are_worked_out_again_and_it_is_said(known, caplog, damage, lost):
    [path] = files()
    damage(path)
    kept = opened()
    rows = LazyRows(SOURCE, kept=kept)
    assert torch.equal(rows.take(IDS), known) and worked_out(rows, kept) == lost
    assert "worked out again" in caplog.text
    again = opened()
    assert again.take(IDS)[0].sum() >= 300 - lost


def test_no_more_is_kept_than_the_limit(monkeypatch):
    monkeypatch.setattr(kept_rows, "MEGABYTE", 100 * A_ROW)
    rows = LazyRows(SOURCE, kept=opened())
    for token in range(700):
        rows.take(torch.tensor([token]))
    assert 0 < sum(path.stat().st_size for path in files()) <= 100 * A_ROW
    assert opened(megabytes=0) is None, "none at all"


def test_a_full_disk_is_left_alone(monkeypatch):
    full = type(kept_rows.shutil.disk_usage("/"))(1000, 990, 10)
    monkeypatch.setattr(kept_rows.shutil, "disk_usage", lambda _: full)
    LazyRows(SOURCE, kept=opened()).take(IDS)
    assert not files()


def test_rows_of_models_used_least_lately_make_room(monkeypatch):
    for seed, age in ((1, 300), (2, 100), (3, 200)):
        source = fusion_world(seed=seed).sources()[0]
        LazyRows(source, kept=opened(source)).take(IDS)
        [new] = [path for path in files() if path.parent.stat().st_mtime > 1e6]
        os.utime(new.parent, (age, age))
    monkeypatch.setattr(kept_rows, "MEGABYTE", 2 * 310 * A_ROW)  # half of it for one other model
    assert opened().take(IDS)[0].sum() == 0
    assert [int(path.parent.stat().st_mtime) for path in files()] == [300]
    source = fusion_world(seed=1).sources()[0]
    assert opened(source).take(IDS)[0].all() and files()[0].parent.stat().st_mtime > 1e6, "it has been used"


def test_a_cache_folder_that_cannot_be_written_stops_nothing(monkeypatch, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert opened() is None and "not kept for later runs" in caplog.text


def test_a_file_that_cannot_be_written_stops_nothing(caplog):
    caplog.set_level(logging.WARNING)
    kept = opened()
    (own_cache() / "fusion_rows").write_text("in the way")
    rows = LazyRows(SOURCE, kept=kept)
    assert torch.equal(rows.take(IDS), LazyRows(SOURCE).take(IDS))
    rows.take(torch.arange(700))
    assert caplog.text.count("not kept for later runs") == 1
