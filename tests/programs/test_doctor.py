"""h-swarm doctor: what it says of a machine, its folders, packages and experts."""

import fcntl
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement
from packaging.version import Version
from repository import ROOT

from swarm.errors import UserError
from swarm.programs import doctor_checks
from swarm.programs.doctor import CHECKS, doctor_program, line_of
from swarm.programs.doctor_checks import EXTRAS, NEWEST_PYTHON, NEWEST_TRIED, OLDEST_PYTHON, package, what_fits
from swarm.programs.doctor_folders import Place, fault_of, lock_fault, look_at, nearest
from swarm.programs.finding import FAIL, OK, WARN, Finding, looked_at

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

needs_no_device = pytest.mark.skipif(
    torch.cuda.is_available() or any(Path("/dev").glob("nvidia[0-9]*")), reason="this machine has a device of its own"
)


@pytest.fixture
def told(tmp_path, monkeypatch, capsys):
    """A function: the exit code and the findings by name, from an empty folder."""
    monkeypatch.chdir(tmp_path)

    def tell():
        code = doctor_program(["--json"])
        record = json.loads(capsys.readouterr().out)
        assert record["search_possible"] == (code == 0)
        return code, {check["name"]: check for check in record["checks"]}

    return tell


def test_a_machine_on_which_the_tests_run_can_search(told):
    code, found = told()
    assert code == 0
    assert {"python", "packages", "extras", "device", "memory", "runs", "own cache", "hub cache"} <= set(found)
    assert "six toy models" in found["experts"]["found"]
    assert not Path("search").exists(), "nothing is made where runs will be"
    assert f"torch {version('torch')}" in found["packages"]["found"]


def test_lines_are_for_people_and_coloured_only_for_them(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert doctor_program([]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert all(re.match(r"(ok|warn) +[a-z ]+ .+", line) for line in lines)
    assert last.startswith("a search can run here")
    assert "\x1b" not in "".join(lines)
    assert line_of(Finding("disk", FAIL, "is full", "empty it")) == "FAIL disk          is full: empty it"
    assert line_of(Finding("disk", OK, "fine"), colour=True).startswith("\x1b[32mok   \x1b[0mdisk")


def test_no_colour_against_the_user_s_wish():
    """At a real terminal."""
    code = (
        "import os, pty, sys; from swarm.programs.doctor import _in_colour; "
        "os.dup2(pty.openpty()[1], 1); sys.exit(10 + _in_colour())"
    )
    surroundings = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | {"TERM": "xterm"}
    for more, coloured in (({}, 11), ({"NO_COLOR": "1"}, 10), ({"TERM": "dumb"}, 10)):
        done = subprocess.run([sys.executable, "-c", code], env=surroundings | more, check=False)
        assert done.returncode == coloured, more


@needs_no_device
@pytest.mark.skipif(torch.version.cuda is not None, reason="the line is of a build without CUDA")
def test_a_device_that_torch_cannot_use_is_a_failure_with_its_cure(told, tmp_path, monkeypatch):
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    listed = "GPU 0: NVIDIA A100 (UUID: GPU-8f2c)"
    program.write_text(f'#!/bin/sh\ncase "$1" in -L) echo "{listed}" ;; *) echo 535.104 ;; esac\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    code, found = told()
    assert (code, found["device"]["mark"]) == (1, FAIL)
    for part in ("NVIDIA A100, driver 535.104", "built without CUDA", "H_SWARM_TORCH=cu126 bash"):
        assert part in found["device"]["found"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    code, found = told()
    assert (code, found["device"]["mark"]) == (0, OK)
    assert "CUDA_VISIBLE_DEVICES hides any other" in found["device"]["found"]


def unwritable(tmp_path):
    """A folder in which nobody makes a file, root neither."""
    if os.geteuid():
        (tmp_path / "closed").mkdir(mode=0o555)
        return tmp_path / "closed"
    if not Path("/proc/self").is_dir():
        pytest.skip("root may write anywhere here")
    return Path("/proc/self")


def test_a_folder_that_cannot_be_written_to(tmp_path, told, monkeypatch):
    closed = unwritable(tmp_path)
    assert fault_of(closed).startswith("cannot be written to (")
    monkeypatch.setenv("XDG_CACHE_HOME", str(closed))
    code, found = told()
    assert (code, found["folders"]["mark"]) == (1, FAIL)
    assert "set XDG_CACHE_HOME to one that can" in found["folders"]["found"], "in a search's words"
    assert found["runs"]["mark"] == OK, "what was looked at before is said all the same"
    monkeypatch.chdir(closed)
    finding = look_at(Place("runs", Path("search"), "go elsewhere", (1, "x")))
    assert finding.mark == FAIL and finding.cure == "go elsewhere"


def test_a_file_where_a_folder_should_be(tmp_path):
    (tmp_path / "search").write_text("")
    assert nearest(tmp_path / "search" / "run") == tmp_path / "search"
    assert look_at(Place("runs", tmp_path / "search" / "run", "", (1, "x"))).mark == FAIL


def test_little_room_is_a_warning(tmp_path):
    finding = look_at(Place("hub cache", tmp_path / "not" / "yet", "set HF_HOME", (1e18, "everything")))
    assert finding.mark == WARN and finding.cure == "set HF_HOME" and "(everything)" in finding.found
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


def test_locks_that_do_not_work_are_told_from_those_that_do(tmp_path, monkeypatch):
    path = tmp_path / "lock"
    assert lock_fault(path) == ""
    with path.open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert "locks that do not work" in lock_fault(path)
    real = fcntl.flock
    monkeypatch.setattr(fcntl, "flock", lambda file, how: None)  # a file system that says yes to everybody
    assert "same lock twice" in lock_fault(path)

    def refused(file, how):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refused)
    assert "no working file locks (No locks available)" in lock_fault(path)
    monkeypatch.setattr(fcntl, "flock", real)
    monkeypatch.setattr(fcntl, "lockf", refused)  # SQLite's kind
    assert "no working file locks" in lock_fault(path)


def test_packages_are_held_to_what_is_asked_for_and_was_tried(monkeypatch):
    there = {"peft": "0.17.1", "torch": "2.99.0+cpu", "numpy": NEWEST_TRIED["numpy"]}

    def version(name):
        try:
            return there[name]
        except KeyError:
            raise doctor_checks.PackageNotFoundError(name) from None

    monkeypatch.setattr(doctor_checks, "version", version)
    found = {name: package(Requirement(f"{name}>={bound}")) for name, bound in
             (("peft", "0.18"), ("torch", "2.6"), ("numpy", "2.0"), ("wandb", "0.20"))}  # fmt: skip
    assert found["numpy"] is None
    assert str(found["peft"]) == "peft is 0.17.1, and h-swarm needs >=0.18: pip install 'peft>=0.18'"
    assert found["peft"].mark == found["wandb"].mark == FAIL and "not installed" in str(found["wandb"])
    assert found["torch"].mark == WARN and f"torch=={NEWEST_TRIED['torch']}" in found["torch"].cure


def test_what_was_tried_is_what_the_project_says():
    pinned = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf8").splitlines():
        name, _, rest = line.partition("==")
        pinned.setdefault(name, []).append(rest.partition(" ")[0])
    assert {name: max(pinned[name], key=Version) for name in NEWEST_TRIED} == NEWEST_TRIED
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
    assert set(EXTRAS) == set(project["optional-dependencies"]) - {"dev", "docs"}
    assert project["requires-python"] == ">={}.{}".format(*OLDEST_PYTHON)
    first = (ROOT / "constraints.txt").read_text(encoding="utf8").splitlines()[0]
    assert "for Python {}.{} to {}.{},".format(*OLDEST_PYTHON, *NEWEST_PYTHON) in first


def test_the_token_is_told_of_and_never_shown(told, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    code, found = told()
    assert code == 0 and found["hub token"]["mark"] == OK and "in HF_TOKEN" in found["hub token"]["found"]
    assert "hf_secret" not in json.dumps(found)
    assert found["hub"]["mark"] == WARN, "the tests are offline"


def test_experts_that_a_search_would_take(told, tmp_path):
    one = ROOT / "data/embedded/experts/expert_0_edges"
    for count, mark in ((1, WARN), (2, OK)):
        shutil.copytree(one, tmp_path / "initial_experts" / f"e{count}")
        code, found = told()
        assert (code, found["experts"]["mark"]) == (0, mark)
        assert "initial_experts" in found["experts"]["found"]


def test_a_check_that_cannot_be_made_hides_no_other():
    def broken():
        yield Finding("a", OK, "fine")
        raise ZeroDivisionError("odd\nmachine")

    def refused():
        raise UserError("no: do this")
        yield

    assert looked_at("b", broken) == [
        Finding("a", OK, "fine"),
        Finding("b", WARN, "could not be looked at (ZeroDivisionError: odd machine)"),
    ]
    assert looked_at("c", refused) == [Finding("c", FAIL, "no: do this")]
    assert len(CHECKS) == len(set(CHECKS.values()))


def test_how_large_a_base_may_be():
    assert what_fits(24 * 2**30, "float32") == (
        "room for a base of about 4.5 B parameters in float32, 9.0 B parameters in bfloat16"
    )
    assert what_fits(141e9, "bfloat16").startswith("room for a base of about 49.4 B parameters in bfloat16")


def test_it_needs_no_package_to_say_which_are_missing(tmp_path):
    """Nothing heavy is imported before the checks."""
    code = (
        "import sys; sys.modules['torch'] = None; from swarm.programs.doctor import doctor_program; "
        "sys.exit(doctor_program([]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert re.search(r"FAIL device +PyTorch cannot be imported", done.stdout)
