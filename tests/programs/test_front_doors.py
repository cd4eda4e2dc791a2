"""The programs as a user types them, in a copy of the repository without environment or install."""

import fcntl
import json
import os
import pty
import shutil
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from loopback_hub import Hub, serving
from repository import ROOT

SHARED = Path(os.environ.get("H_SWARM_SHARED", ROOT.parent / "shared"))
SMALL = ("--graph_num", "2", "--trial_num", "2", "--dev_limit", "4", "--test_limit", "4", "--max_iteration", "1")


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """What git would bring, without the parts that these tests do not touch."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("search.py", "evaluate.py"):
        shutil.copy(ROOT / name, folder)
    for name in ("swarm", "data"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def python(clone, *arguments, **environment):
    """The finished process of `python ...` in the clone, really started."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=clone,
        capture_output=True,
        text=True,
        env={k: v for k, v in os.environ.items() if k != "PYTHONSAFEPATH"} | environment,
    )


@pytest.fixture
def stand_ins(tmp_path):
    """The environment in which `import evaluate` and `import search` must find libraries that are called so.

    They are looked for while a front door's libraries load and at its end, which is noted in the file PROBED.
    """
    for name in ("evaluate", "search"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("THEIRS = True\n")
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, os, sys\n"
        "def probe():\n"
        "    if sys.argv[0] in ('search.py', 'evaluate.py'):\n"
        "        import evaluate, search, swarm\n"
        "        assert evaluate.THEIRS and search.THEIRS\n"
        "        open(os.environ['PROBED'], 'a').write(sys.argv[0] + '\\n')\n"
        "atexit.register(probe)\n"
        "class WhenLibrariesLoad:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name in ('numpy', 'torch', 'transformers') and sys.argv[0] in ('search.py', 'evaluate.py'):\n"
        "            import evaluate\n"
        "            assert evaluate.THEIRS, name\n"
        "sys.meta_path.insert(0, WhenLibrariesLoad())\n"
    )
    return {"PYTHONPATH": str(tmp_path), "PROBED": str(tmp_path / "probed")}


def test_search_then_evaluate(clone, programs, stand_ins):
    """A run without a name, shown as it ends; its system scored again to the same numbers."""
    done = python(clone, "search.py", "-e", "exact_match", "-d", "graph_tasks_small", *SMALL, **stand_ins)
    assert done.returncode == 0, done.stderr
    assert "six toy models" in done.stdout and "-i FOLDER" in done.stdout, "says which experts, and how to switch"
    for line in ("first graphs", "role 1/1", "weight 1/1", "found system", "best single expert (", "uniform average"):
        assert line in done.stdout
    assert done.stderr == "", "quiet where there is no terminal"
    [run] = (clone / "search").iterdir()
    assert f"run: search/{run.name}" in done.stdout
    assert {path.name for path in run.iterdir()} == {
        "args.json",
        "origin.json",
        "state.json",
        "result.json",
        "metrics.jsonl",
        "utility_scratchpad.json",
        "log.txt",
        "best",
        "graphs",
        "graph.png",
        "curves.png",
        "lock",
    }
    assert (run / "graph.png").read_bytes()[:4] == b"\x89PNG"
    assert "found system" in (run / "log.txt").read_text()
    scores = json.loads((run / "result.json").read_text())["scores"]["found"]
    words = ("evaluate.py", run, "-e", "exact_match", "-d", "graph_tasks_small", "--json", "--limit", 4)
    for again, split in (
        (python(clone, *words, "--split", "dev", **stand_ins), "dev"),
        (programs.python(*words, "--split", "test", cwd=clone), "test"),
    ):
        assert again.returncode == 0, again.stderr
        assert json.loads(again.stdout)["scores"] == scores[split]
    assert Path(stand_ins["PROBED"]).read_text().split() == ["search.py", "evaluate.py"], "each found the libraries"


def test_children_find_a_library_named_like_a_front_door(clone, stand_ins, tmp_path):
    """A child made by spawn inherits the path and runs the front door's file again as __mp_main__."""
    (clone / "parent.py").write_text(
        "import multiprocessing, runpy, sys\n"
        "def child():\n    import evaluate; assert evaluate.THEIRS\n    open(sys.argv[1], 'a').write('child\\n')\n"
        "if __name__ == '__main__':\n"
        "    from swarm.workers.import_path import leave_script_folder\n"
        "    leave_script_folder(__file__)\n"
        "    process = multiprocessing.get_context('spawn').Process(target=child)\n"
        "    process.start(); process.join(); sys.exit(process.exitcode)\n"
    )
    done = python(clone, "parent.py", tmp_path / "probed", **stand_ins)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "probed").read_text() == "child\n"


def test_tests_do_not_see_the_front_doors_either():
    import importlib.util

    found = importlib.util.find_spec("evaluate")
    assert found is None or Path(found.origin).parent != ROOT


@pytest.mark.parametrize("arguments", [("-e", "exact_match", "-d", "gsm8k"), ("-e", "multiple_choice", "-d", "mmlu")])
def test_real_data_with_long_prompts(clone, programs, arguments):
    """The published data through the toy experts: scores near zero, but everything runs."""
    source = SHARED / "data" / "eval" / f"{arguments[-1]}.json"
    if not source.exists():
        pytest.skip(f"needs the published {source.name} (set H_SWARM_SHARED)")
    shutil.copy(source, clone / "data" / "eval")
    code, _, errors = programs.run("search", *arguments, *SMALL, "-n", arguments[-1], cwd=clone)
    assert code == 0, errors
    scores = json.loads((clone / "search" / arguments[-1] / "result.json").read_text())["scores"]
    assert scores["found"]["test"]["strict"]["size"] == 4


def test_a_reader_that_goes_away_does_not_end_it(clone, programs, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    words = ("search.py", "-e", "exact_match", "-d", "graph_tasks_small", *SMALL, "-n", "piped")
    started = programs.start_python(*words, cwd=clone, out=tmp_path / "pipe")
    with (tmp_path / "pipe").open() as reader:
        assert reader.readline()
    code, _, errors = started.wait()
    assert (code, errors) == (0, "")
    assert (clone / "search" / "piped" / "result.json").exists()


def test_a_base_from_the_hub(clone, tmp_path):
    """Fetched into an empty cache by the first sitting, found there by the second, which goes on."""
    files = {path.name: path.read_bytes() for path in (clone / "data/embedded/base").iterdir()}
    with serving(Hub({"some/base": files})) as hub:
        environment = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0", "no_proxy": "127.0.0.1"}
        environment["HF_HUB_DISABLE_XET"] = "1"
        task = ("-e", "exact_match", "-d", "graph_tasks_small", "-b", "some/base", "-n", "hub")
        done = python(clone, "search.py", *task, *SMALL, "--max_generations", "100", **environment)
        assert done.returncode == 0 and "--max_generations 100 reached" in done.stdout, done.stderr
        assert "some/base/model.safetensors" in hub.fetched
    done = python(clone, "search.py", "--resume", "search/hub", **(environment | {"HF_HUB_OFFLINE": "1"}))
    assert done.returncode == 0, done.stderr
    adapters = (clone / "search/hub/best/experts").glob("*/adapter_config.json")
    assert {json.loads(path.read_text())["base_model_name_or_path"] for path in adapters} == {"some/base"}


def test_a_terminal_sees_a_bar(clone, programs):
    """Under a pseudo-terminal the bar appears; without one it does not (see above)."""
    main, worker = pty.openpty()
    fcntl.ioctl(worker, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    words = ("search.py", "-e", "exact_match", "-d", "graph_tasks_small", *SMALL, "-n", "seen")
    started = programs.start_python(*words, cwd=clone, out=os.ttyname(worker), err=os.ttyname(worker))
    shown = os.read(main, 4096)
    os.close(worker)  # it has opened it by now
    while True:
        try:
            part = os.read(main, 4096)
        except OSError:
            break
        if not part:
            break
        shown += part
    assert started.wait()[0] == 0
    assert b"req/s" in shown and b"best 0." in shown
