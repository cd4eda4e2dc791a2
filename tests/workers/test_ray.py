"""A real Ray cluster of two nodes on this machine: the run of one process, whatever happens to workers and nodes."""

import os
import shutil
import signal
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from repository import ROOT
from run_stories import steps_written, story, wait_for, without_counts

from swarm.programs import front_doors
from swarm.programs.search import search_program
from swarm.workers import ray_worker
from swarm.workers.machine import package_versions
from swarm.workers.ray_actors import lost
from swarm.workers.transport import Lost

ray = pytest.importorskip("ray", reason="extra ray is not installed")

STORE = 80 * 2**20  # bytes of shared memory for each node's store, the least that Ray takes
# a node that has gone is missed at once
SOON = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 300, "health_check_failure_threshold": 3}
# these names lead every process to another folder, so that no worker finds the experts and they have to be sent
HERE = "/proc/self/cwd"
TASK = ("-e", "exact_match", "-d", "graph_tasks_small", "--data_directory", ROOT / "data/eval",
        "--graph_num", 3, "--trial_num", 3, "--seed", 5, "--no-cache")  # fmt: skip
SEARCH = (*TASK, "-i", f"{HERE}/experts", "--composites", f"{HERE}/composites",
          "--dev_limit", 12, "--test_limit", 6, "--max_iteration", 2)  # fmt: skip


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """The user's cache folder, as the workers have it."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def cluster(cache):
    """Two nodes; one more core than two workers take."""
    from ray.cluster_utils import Cluster

    set_for_nodes = {"XDG_CACHE_HOME": str(cache), "RAY_USAGE_STATS_ENABLED": "0"}
    before = {name: os.environ.get(name) for name in set_for_nodes}
    os.environ.update(set_for_nodes)
    head = {"num_cpus": 2, "object_store_memory": STORE, "include_dashboard": False, "_system_config": SOON}
    started = Cluster(initialize_head=True, head_node_args=head)
    started.add_node(num_cpus=1, object_store_memory=STORE)
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})
    yield started
    started.shutdown()


def on(cluster, *options):
    return ("--executor", "ray", "--ray-address", cluster.address, *options)


def at_work(node):
    """The workers of a node that are answering a batch; Ray's names of processes say so."""
    [raylet] = node.all_processes["raylet"]
    found = []
    for child in psutil.Process(raylet.process.pid).children():
        with suppress(psutil.Error):
            if child.cmdline()[:1] == ["ray::RayWorker.answers"]:
                found.append(child)
    return found


def test_workers_and_a_node_are_lost_in_mid_step_then_the_head_is_killed(programs, cluster, cache, tmp_path):
    """With a vote and a fusion. Resumed, the run ends as that of one process without faults."""
    shutil.copytree(ROOT / "data/embedded", tmp_path, dirs_exist_ok=True)
    code, out, err = programs.run("search", *SEARCH, "-n", "whole", cwd=tmp_path)
    assert code == 0, out + err
    undisturbed = story(tmp_path / "search" / "whole")
    head, other = cluster.head_node, next(iter(cluster.worker_nodes))
    started = programs.start("search", *SEARCH, *on(cluster), "--workers", 2, "-n", "run", cwd=tmp_path)
    run = tmp_path / "search" / "run"
    seen_at_work = []
    wait_for(lambda: (steps_written(run) >= 1 and seen_at_work.extend(at_work(head))) or seen_at_work or started.done())
    seen_at_work[0].kill()
    wait_for(lambda: at_work(other))
    cluster.remove_node(other, allow_graceful=False)
    seen = steps_written(run)
    wait_for(lambda: steps_written(run) > seen + 1 or started.done())
    started.kill(signal.SIGKILL)
    code, out, err = started.wait()
    assert code == -signal.SIGKILL, out + err
    assert "it was killed or has crashed; " in err and "are asked again" in err
    assert "it was on a machine that has left the cluster; " in err
    assert all(line.startswith("warning: worker ") for line in err.splitlines()), "nothing of Ray's own: " + err
    assert "float32 on cpu, 2 workers" in out and "(raylet)" not in out
    assert len(list((cache / "h_swarm" / "experts").iterdir())) == 2 * 6, "each expert once, and its lock"
    code, out, err = programs.run("search", "--resume", run, "--engine", "in_process", "--workers", 1, cwd=tmp_path)
    assert (code, err) == (0, ""), out + err
    assert without_counts(story(run)) == without_counts(undisturbed)


def refuse(capsys, options, *messages):
    """The program ends with code 2 and one line of error, and leaves no run behind."""
    arguments = (*TASK, "-i", ROOT / "data/embedded/experts", "--engine", "ray", *options)
    code = front_doors.guarded(lambda: search_program([str(a) for a in arguments]))
    error = capsys.readouterr().err
    assert code == 2 and error.count("\n") == 1, error
    for message in messages:
        assert message in error
    assert not Path("search").exists()
    assert not ray.is_initialized()


def test_a_cluster_that_will_not_do(cluster, capsys, tmp_path, monkeypatch):
    """The search is refused before it starts."""
    monkeypatch.chdir(tmp_path)
    refuse(capsys, on(cluster, "--workers", 9), "--workers 9 are more workers than devices", "or add nodes")
    refuse(capsys, on(cluster, "--ray_cores", 64), "no node of the Ray cluster has 64 cores")
    monkeypatch.setattr(ray_worker, "package_versions", lambda: package_versions() | {"h-swarm": "0.0.1"})
    said = ("node ", "h-swarm is ", "the search's is 0.0.1: install the same there")
    refuse(capsys, on(cluster, "--workers", 1), *said)


def test_why_an_actor_was_lost():
    """What Ray says in several ways and lines, for a person."""
    errors = ray.exceptions
    died = "The actor died unexpectedly.\nThe actor is dead because its node has died. Node Id: 3b72"
    imports = (
        "The actor with name RayWorker failed to import on the worker.\nModuleNotFoundError: No module named 'swarm'"
    )
    for error, reason in (
        (errors.OutOfMemoryError("Task was killed due to the node running low on memory."), "ran out of memory"),
        (errors.NodeDiedError("gone"), "on a machine that has left the cluster"),
        (errors.RayActorError(None, died), "on a machine that has left the cluster"),
        (errors.ActorUnavailableError("no route", None), "could not be reached any more"),
        (errors.ActorDiedError(), "was killed or has crashed"),
    ):
        said = lost(1, error)
        assert isinstance(said, Lost) and reason in said.reason and "\n" not in said.reason
        assert said.blameless == ("has left" in reason), "a batch does not make a machine leave"
    said = lost(1, errors.RayActorError(None, imports))
    assert said.cure and "cannot load h-swarm (ModuleNotFoundError: No module named 'swarm'): install" in said.message


def test_no_cluster(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        threading.Thread(target=lambda: taken.accept()[0].sendall(b"220 mail.example.org\r\n"), daemon=True).start()
        refuse(capsys, ("--ray-address", address), f"what answers at {address} is no Ray cluster", "ray start")
    refuse(capsys, ("--ray-address", address), f"no Ray cluster answers at {address} (", "`ray start --head`")
    monkeypatch.setenv("RAY_ADDRESS", address)
    refuse(capsys, (), f"no Ray cluster answers at {address} (")
    refuse(capsys, ("--ray-address", "ray://head:10001"), "wanted HOST:PORT of the head")
    refuse(capsys, ("-g", "0"), "-g names devices of this machine")
    monkeypatch.setitem(sys.modules, "ray", None)
    refuse(capsys, (), "--executor ray needs Ray (", "pip install 'h-swarm[ray]'")
