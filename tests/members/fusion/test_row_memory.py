"""What relative rows may take: what was asked for, else what the machine and whoever bounds this process have left."""

import psutil
import pytest
import torch
from fusing import PROMPTS, alone, three_models, written

from swarm.members.fusion import build
from swarm.members.fusion import row_memory as memory
from swarm.members.fusion.fusion_settings import FusionSettings
from swarm.members.fusion.row_memory import LEAST, group_limits, leaves_enough_free, never, row_memory

CPU, CUDA = torch.device("cpu"), torch.device("cuda:0")
GIGABYTE = 10**9


def machine(monkeypatch, available, total=16 * GIGABYTE, groups=()):
    facts = type("Memory", (), {"available": available, "total": total})
    monkeypatch.setattr(psutil, "virtual_memory", lambda: facts)
    monkeypatch.setattr(memory, "group_limits", lambda: list(groups))


def test_what_was_asked_for_wins(monkeypatch):
    machine(monkeypatch, 0)
    for device in (CPU, CUDA):
        assert row_memory(6000, device, 2) == memory.RowMemory(6 * GIGABYTE, never)


def test_beside_a_processor_it_grows_while_a_quarter_of_the_machine_stays_free(monkeypatch):
    machine(monkeypatch, 5 * GIGABYTE)
    found = row_memory(None, CPU, 2)
    assert found.capacity == LEAST and found.may_grow is leaves_enough_free
    assert found.may_grow(GIGABYTE) and not found.may_grow(GIGABYTE + 1)
    machine(monkeypatch, 4 * GIGABYTE)  # other models, other workers or other programs have taken some
    assert not found.may_grow(1)
    assert row_memory(None, CPU, 9).capacity == LEAST, "small machines work as ever"


def test_a_control_group_counts_where_it_leaves_less(monkeypatch):
    machine(monkeypatch, 12 * GIGABYTE, groups=[(3 * GIGABYTE, 4 * GIGABYTE), (10**15, 10**15)])
    assert leaves_enough_free(2 * GIGABYTE) and not leaves_enough_free(2 * GIGABYTE + 1)


@pytest.mark.parametrize(("free", "models", "capacity"), [(64, 2, 1.6), (64, 4, 0.8), (8, 2, 0.256), (0, 1, 0.256)])
def test_a_devices_models_share_a_twentieth_of_what_it_has_free(monkeypatch, free, models, capacity):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free * GIGABYTE, 80 * GIGABYTE))
    assert row_memory(None, CUDA, models) == memory.RowMemory(int(capacity * GIGABYTE), never)


def group(folder, limit, usage, cached, first=False):
    """A control group's files, of the first or second version."""
    folder.mkdir(parents=True, exist_ok=True)
    names = (
        ("limit_in_bytes", "usage_in_bytes", "total_inactive_file") if first else ("max", "current", "inactive_file")
    )
    (folder / f"memory.{names[0]}").write_text(f"{limit}\n")
    (folder / f"memory.{names[1]}").write_text(f"{usage}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{names[2]} {cached}\n")


def test_limits_of_all_groups_above_a_process_are_found(tmp_path):
    own, root = tmp_path / "self", tmp_path / "groups"
    own.write_text("0::/slurm/job_7/step\n")
    group(root / "slurm/job_7/step", "max", 900, 0)
    group(root / "slurm/job_7", 1000, 900, 150)
    group(root / "slurm", 5000, 4000, 0)
    assert group_limits(root, own) == [(250, 1000), (1000, 5000)]


def test_limits_of_the_first_version_and_inside_a_container_are_found(tmp_path):
    own, root = tmp_path / "self", tmp_path / "groups"
    own.write_text("9:name=systemd:/\n5:devices:/x\n4:cpu,memory:/docker/abc\n0::/\n")
    group(root / "memory", 2000, 500, 100, first=True)  # a container sees its own group as the first one
    assert group_limits(root, own) == [(1600, 2000)]
    own.write_text("0::/\n")
    group(root, 3000, 500, 0)
    assert group_limits(root, own) == [(2500, 3000)]


def test_a_machine_without_groups_has_no_limits(tmp_path):
    assert group_limits(tmp_path, tmp_path / "none") == []
    (tmp_path / "self").write_text("0::/user.slice\n")
    assert group_limits(tmp_path, tmp_path / "self") == []


@pytest.mark.parametrize("small", [True, False])
def test_texts_do_not_depend_on_it(monkeypatch, small):
    """Kilobytes in the place of megabytes: from room for one row to room for all, in both formats that rows have."""
    if not small:
        monkeypatch.setattr(build, "SMALL", 0)
    fusion_models, some = three_models()[:2], {"prompts": PROMPTS[:2], "most": 6, "learning_rate": 0.5}
    texts = written(fusion_models, **some)
    assert texts != alone(fusion_models[0], PROMPTS[:2], 6), "the others have a say"
    monkeypatch.setattr(memory, "MEGABYTE", 1000)
    monkeypatch.setattr(memory, "LEAST", 100_000)
    kinds = set()
    for room in (60, 500, None, 10_000):
        table = build.make_rows(
            fusion_models[0].embeddings, torch.arange(300), FusionSettings(row_memory=room), True, False
        )
        kinds.add((type(table).__name__, getattr(table, "slots", None)))
        assert written(fusion_models, **some, **({} if room is None else {"row_memory": room})) == texts, room
    assert len(kinds) == 3 and (("DenseRows", None) in kinds) == small
