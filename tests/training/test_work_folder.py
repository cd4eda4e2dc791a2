"""A training that was stopped is gone on with, and a folder that came from somebody else leads nothing elsewhere."""

import os

import pytest

from swarm.errors import UserError
from swarm.training.work_folder import begin_work, check_work, mark_whole, newest_state

FACTS = {"seed": 0, "lora": {"r": 4}}


@pytest.fixture
def work(tmp_path):
    """With a whole state."""
    folder = tmp_path / "out" / ".one.work"
    begin_work(folder, FACTS)
    (folder / "checkpoint-8").mkdir()
    mark_whole(folder, 8)
    return folder


def test_what_was_begun_with_the_same_facts_is_gone_on_with(work, tmp_path):
    check_work(work, FACTS)
    begin_work(work, FACTS)
    assert newest_state(work) == work / "checkpoint-8"
    check_work(tmp_path / "out" / ".two.work", FACTS)
    with pytest.raises(UserError, match=r"recipe \(dtype was null and is now .x., seed was 0 and is now 7\)"):
        check_work(work, {"dtype": "x"} | FACTS | {"seed": 7})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "one.work is there and holds no facts.json"),
        ("{", "facts.json is damaged .JSON"),
        ("{}", "facts.json is damaged .facts missing."),
        ('{"facts": []}', r"facts.json is damaged .facts is \[\]."),
    ],
)
def test_a_record_that_cannot_be_taken(work, content, said):
    (work / "facts.json").unlink() if content is None else (work / "facts.json").write_text(content)
    with pytest.raises(UserError, match=f"{said}.*; remove the folder to begin again"):
        check_work(work, FACTS)


@pytest.mark.parametrize("name", [".", "facts.json", "checkpoint-8/whole", "trained", "checkpoint-16/optimizer.pt"])
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_nothing_in_it_may_lead_elsewhere(work, tmp_path, name, kind):
    path = work / name
    if name == ".":
        path.rename(tmp_path / "mine")
    path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(tmp_path / "mine") if kind == "link" else os.mkfifo(path)
    with pytest.raises(UserError, match="is a (symbolic link|named pipe); wanted ") as refused:
        check_work(work, FACTS)
    assert str(path) in str(refused.value)
    with pytest.raises(UserError):
        begin_work(work, FACTS)


def test_a_tracker_s_own_links_may_stay(work):
    (work / "wandb" / "run-1").mkdir(parents=True)
    (work / "wandb" / "latest-run").symlink_to("run-1")
    check_work(work, FACTS)
    begin_work(work, FACTS)


def test_what_a_killed_process_has_left_is_removed(work):
    """Of this expert, and not of one that another process may be writing."""
    out = work.parent
    for path in (out / ".abc.tmp" / "one", out / ".def.tmp" / "two", work / ".ghi.tmp"):
        path.mkdir(parents=True)
    check_work(work, FACTS)
    begin_work(work, FACTS)
    assert sorted(path.name for path in out.iterdir()) == [".def.tmp", ".one.work"]
    assert sorted(path.name for path in work.iterdir()) == ["checkpoint-8", "facts.json"]
