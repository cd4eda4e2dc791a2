"""wandb: which mode is chosen, the published keys, and that its failures stop nothing. The real library, offline."""

import json

import pytest
from worlds import problem

from swarm.errors import UserError
from swarm.evolution.numbers import numbers
from swarm.evolution.state import first_state
from swarm.evolution.steps import STEPS
from swarm.reports.tracking import TrackedRun, check_tracker, choose_mode, make_tracker


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


def wandb(mode, folder):
    return make_tracker("wandb", mode, TrackedRun("search", "mine", {"seed": 1}, folder))


def test_offline_writes_a_run(tmp_path):
    pytest.importorskip("wandb")
    tracker = wandb("offline", tmp_path)
    tracker.log({"graph_g": 0.5}, 1)
    tracker.finish()
    assert list((tmp_path / "wandb").glob("offline-run-*/run-*.wandb"))
    first = (tmp_path / "wandb_id").read_text()
    wandb("offline", tmp_path).finish()
    assert (tmp_path / "wandb_id").read_text() == first, "a resumed run is the same run"


def test_a_failure_is_said_once_and_ends_the_tracking(tmp_path, caplog):
    class Broken:
        def log(self, record, step):
            raise RuntimeError("the network\nis gone")

        def finish(self):
            raise AssertionError("it was switched off")

    tracker = wandb("disabled", tmp_path)
    assert tracker.tracker is None
    tracker.tracker = Broken()
    for step in range(3):
        tracker.log({}, step)
    tracker.finish()
    said = [record.message for record in caplog.records]
    assert said == ["wandb failed and is switched off for this run: RuntimeError: the network is gone"]


def test_nothing_secret_reaches_the_folder(tmp_path, monkeypatch):
    """Keys live in the environment only."""
    monkeypatch.setenv("WANDB_API_KEY", "secret" * 7)
    tracker = wandb("offline", tmp_path)
    tracker.finish()
    found = [path for path in tmp_path.rglob("*") if path.is_file() and b"secretsecret" in path.read_bytes()]
    assert not found, json.dumps([str(path) for path in found])


OWN = """
import json
from swarm.plugins import register

@register("trackers", "lines")
class Lines:
    def __init__(self, run):
        self.file = open(run.folder / "numbers", "a")
        print(run.project, run.name, json.dumps(run.config), file=self.file)

    def log(self, record, step):
        print(step, json.dumps(record), file=self.file)

    def finish(self):
        self.file.close()
"""


def test_a_plugin_gets_the_numbers_in_wandb_s_place(tmp_path, use_plugin):
    use_plugin(OWN)
    run = TrackedRun("search", "mine", {"seed": 1}, tmp_path)
    tracker = make_tracker("lines", "offline", run)
    tracker.log({"graph_g": 0.5}, 1)
    tracker.finish()
    assert (tmp_path / "numbers").read_text() == 'search mine {"seed": 1}\n1 {"graph_g": 0.5}\n'
    assert not (tmp_path / "wandb").exists()


@pytest.mark.parametrize(
    ("old", "failing"), [("open(run.folder /", "open(1 / 0 /"), ("        print(step,", "        print(1 / 0,")]
)
def test_a_plugin_that_fails_stops_nothing(tmp_path, use_plugin, caplog, old, failing):
    use_plugin(OWN.replace(old, failing))
    tracker = make_tracker("lines", "auto", TrackedRun("search", "mine", {}, tmp_path))
    for step in range(3):
        tracker.log({}, step)
    tracker.finish()
    said = [record.message for record in caplog.records]
    assert said == ["lines failed and is switched off for this run: ZeroDivisionError: division by zero"]


def test_which_trackers_there_are_is_said_before_anything_starts(use_plugin):
    use_plugin(OWN + "register('trackers', 'seven')(7)\n")
    check_tracker("lines")
    check_tracker("wandb")
    with pytest.raises(UserError, match="--tracker is 'mlflow'; wanted one of: wandb, lines, seven; a plugin's needs"):
        check_tracker("mlflow")
    wanted = "tracker 'seven' of .*own_plugin.py, line 16 is int; wanted a class or function"
    with pytest.raises(UserError, match=wanted):
        check_tracker("seven")
