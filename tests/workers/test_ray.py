"""A real Ray cluster of two nodes on this machine: the run of one process, whatever happens to workers and nodes."""

import os
import shutil
import signal
from pathlib import Path

import psutil
import pytest
from preloaded import Preloaded
from run_stories import steps_written, story, wait_for, without_counts

ray = pytest.importorskip("ray", reason="extra ray is not installed")

ROOT = Path(__file__).resolve().parents[2]
STORE = 80 * 2**20  # bytes of shared memory for each node's store, the least that Ray takes
# a node that has gone is missed at once
SOON = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 300, "health_check_failure_threshold": 3}
# this name leads every process to another folder, so that no worker finds the experts and they have to be sent
EXPERTS = "/proc/self/cwd/experts"
TASK = ("-e", "exact_match", "-d", "graph_tasks_small", "--data_directory", ROOT / "data/eval",
        "--graph_num", 3, "--trial_num", 3, "--seed", 5)  # fmt: skip
PLAIN = (*TASK, "-i", EXPERTS, "--dev_limit", 24, "--test_limit", 24, "--max_iteration", 2)
FUSED = (*TASK, "-i", ROOT / "data/embedded/experts", "--composites", ROOT / "data/embedded/composites",
         "--dev_limit", 6, "--test_limit", 6, "--max_iteration", 0)  # fmt: skip


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


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    started = Preloaded(tmp_path_factory.mktemp("programs"))
    yield started
    started.close()


@pytest.fixture
def place(tmp_path):
    """A working folder with experts that lie nowhere else under that name."""
    shutil.copytree(ROOT / "data/embedded", tmp_path, dirs_exist_ok=True)
    return tmp_path


def on(cluster, *options):
    return ("--engine", "ray", "--ray-address", cluster.address, *options)


def of_one_process(programs, folder, options):
    code, out, err = programs.run("search", *options, "--no-cache", "-n", "whole", cwd=folder)
    assert code == 0, out + err
    return story(folder / "search" / "whole")


def at_work(node):
    """The workers of a node that are answering a batch; Ray's names of processes say so."""
    [raylet] = node.all_processes["raylet"]
    found = []
    for child in psutil.Process(raylet.process.pid).children():
        try:
            if child.cmdline()[:1] == ["ray::RayWorker.answers"]:
                found.append(child)
        except psutil.Error:
            continue
    return found


def test_workers_and_a_node_are_lost_in_mid_step_then_the_head_is_killed(cluster, programs, place, cache):
    """And the run ends as that of one process without faults."""
    undisturbed = of_one_process(programs, place, PLAIN)
    head, other = cluster.head_node, next(iter(cluster.worker_nodes))
    started = programs.start("search", *PLAIN, *on(cluster), "--workers", 2, "--no-cache", "-n", "run", cwd=place)
    run = place / "search" / "run"
    wait_for(lambda: steps_written(run) >= 1 or started.done())
    wait_for(lambda: at_work(head))
    at_work(head)[0].kill()
    wait_for(lambda: at_work(other))
    cluster.remove_node(other, allow_graceful=False)
    seen = steps_written(run)
    wait_for(lambda: steps_written(run) > seen + 1 or started.done())
    started.kill(signal.SIGKILL)
    code, out, err = started.wait()
    assert code == -signal.SIGKILL, out + err
    assert "it was killed or has crashed; " in err and "are asked again" in err
    assert "it was on a machine that has left the cluster; " in err
    assert all(line.startswith("warning: worker ") for line in err.splitlines()), err
    assert "(raylet)" not in out
    assert len(list((cache / "h_swarm" / "experts").iterdir())) == 2 * 6, "each expert once, and its lock"
    code, out, err = programs.run("search", "--resume", run, *on(cluster), "--workers", 1, cwd=place)
    assert (code, err) == (0, ""), out + err
    assert without_counts(story(run)) == without_counts(undisturbed)


def test_composites_answer_where_the_models_are(cluster, programs, tmp_path):
    """A vote and a fusion of two families: the same numbers and texts, counts included."""
    undisturbed = of_one_process(programs, tmp_path, FUSED)
    code, out, err = programs.run("search", *FUSED, *on(cluster), "--no-cache", "-n", "run", cwd=tmp_path)
    assert (code, err) == (0, ""), out + err
    assert "float32 on cpu, " in out and out.count("\n") < 40, "nothing of Ray's own"
    assert story(tmp_path / "search" / "run") == undisturbed
