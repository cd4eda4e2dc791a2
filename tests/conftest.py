"""No test reaches the network, a tracker, or the user's own caches."""

import gc
import logging
import os
import signal

import pytest
from preloaded import Preloaded

from swarm.plugins import use_plugin_files

gc.disable()  # until all modules are there
LONG = {"benchmarks", "programs", "repository_docs", "scripts", "workers"}  # folders of tests

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "disabled"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the models are tiny, and tests run side by side
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def pytest_collection_modifyitems(items):
    """Whole programs first: their files take longest, and none of them should be what the last process is left with."""
    items.sort(key=lambda item: LONG.isdisjoint(item.path.parts))


@pytest.fixture(scope="session", autouse=True)
def interruptions():
    """Ctrl-C interrupts what tests start: a shell's background jobs, and all their children, ignore it otherwise."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def no_device_that_torch_cannot_use():
    """It would be an error everywhere, on a machine that has one and a PyTorch built without CUDA."""
    import torch

    if not torch.cuda.is_available():
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


@pytest.fixture(scope="session", autouse=True)
def modules_that_stay():
    """All tests and the libraries that they need are imported by now: no collection of garbage looks through them."""
    gc.enable()
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_session(tmp_path_factory):
    """For what fixtures of a whole file do; and one list of the machine's fonts, which takes matplotlib a second."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    os.environ["MPLCONFIGDIR"] = str(tmp_path_factory.mktemp("matplotlib"))


@pytest.fixture(scope="session")
def programs(tmp_path_factory):
    """Programs that start in no time: `run` a search or an evaluation, or what `python` would."""
    started = Preloaded(tmp_path_factory.mktemp("programs"))
    yield started
    started.close()


@pytest.fixture(autouse=True)
def own_cache_folder(tmp_path_factory, monkeypatch):
    """No test is answered by what another one has asked."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(autouse=True)
def own_logging():
    """A program that sets up logging, in the test or in what was prepared for its whole file, does so for itself."""
    ours = logging.getLogger("swarm")
    ours.handlers, ours.propagate = [], True
    ours.setLevel(logging.NOTSET)


@pytest.fixture(autouse=True)
def own_plugins():
    """What a test's plugin files have registered is there for itself only."""
    yield
    use_plugin_files(None)


@pytest.fixture
def use_plugin(tmp_path):
    """Puts code into a plugin file of the test's own and uses it; gives the file."""

    def use(code):
        path = tmp_path / "own_plugin.py"
        path.write_text(code)
        use_plugin_files(str(path))
        return path

    return use
