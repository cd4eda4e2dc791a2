"""wandb: which mode is chosen, the published keys, and that its failures stop nothing. The real library, offline."""

import json

import pytest
from worlds import problem

from swarm.evolution.numbers import numbers
from swarm.evolution.state import first_state
from swarm.evolution.steps import STEPS
from swarm.reports.tracking import Tracker, choose_mode


@pytest.fixture(autouse=True)
def no_login(monkeypatch, tmp_path):
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def test_the_mode_never_leads_to_a_question(monkeypatch, tmp_path, caplog):
    assert choose_mode("auto") == "disabled"
    assert choose_mode("offline") == "offline"
    assert choose_mode("online") == "disabled" and "no wandb login is known" in caplog.text
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert choose_mode("auto") == "offline" and choose_mode("disabled") == "disabled"
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    assert choose_mode("auto") == "online"
    monkeypatch.delenv("WANDB_API_KEY")
    (tmp_path / ".netrc").write_text("machine api.wandb.ai login user password key\n")
    (tmp_path / ".netrc").chmod(0o600)
    assert choose_mode("auto") == "online"
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert choose_mode("auto") == "disabled", "a login for another server is none"


def test_published_keys():
    state, world = first_state(0), problem(max_iteration=1)
    while state.next_step != "final":
        state = STEPS[state.next_step](world, state)
    expected = {"graph_g", "graph_g_worst", "model_g", "model_g_worst", "all_time_best_dev"}
    expected |= {f"graph_{k}_now" for k in range(3)} | {f"model_{i}_now" for i in range(4)}
    assert set(numbers(state)) == expected


def test_offline_writes_a_run(tmp_path):
    pytest.importorskip("wandb")
    tracker = Tracker("offline", "search", "mine", {"seed": 1}, tmp_path)
    tracker.log({"graph_g": 0.5}, 1)
    tracker.finish()
    assert list((tmp_path / "wandb").glob("offline-run-*/run-*.wandb"))
    first = (tmp_path / "wandb_id").read_text()
    Tracker("offline", "search", "mine", {}, tmp_path).finish()
    assert (tmp_path / "wandb_id").read_text() == first, "a resumed run is the same run"


def test_a_failure_is_said_once_and_ends_the_tracking(tmp_path, caplog):
    class Broken:
        def log(self, record, step):
            raise RuntimeError("the network\nis gone")

        def finish(self):
            raise AssertionError("it was switched off")

    tracker = Tracker("disabled", "search", "mine", {}, tmp_path)
    tracker._run = Broken()
    for step in range(3):
        tracker.log({}, step)
    tracker.finish()
    said = [record.message for record in caplog.records]
    assert said == ["wandb failed and is switched off for this run: the network is gone"]


def test_nothing_secret_reaches_the_folder(tmp_path, monkeypatch):
    """Keys live in the environment only."""
    monkeypatch.setenv("WANDB_API_KEY", "secret" * 7)
    tracker = Tracker("offline", "search", "mine", {"seed": 1}, tmp_path)
    tracker.finish()
    found = [path for path in tmp_path.rglob("*") if path.is_file() and b"secretsecret" in path.read_bytes()]
    assert not found, json.dumps([str(path) for path in found])
