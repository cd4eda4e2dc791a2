"""What is installed, at which versions, and what the script that installs it says."""

import sys
from pathlib import Path

import pytest
import yaml
from installing import copied_tree, executable, needed, pins, project, shell
from repository import ROOT

import swarm

PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")


@pytest.mark.parametrize("python", PYTHONS)
def test_constraints_pin_every_dependency_within_its_bounds(python: str) -> None:
    pinned = pins(python)
    for requirement in needed(*project()["optional-dependencies"]):
        if requirement.marker is None or requirement.marker.evaluate({"python_version": python}):
            name = requirement.name.lower().replace("_", "-")
            assert requirement.specifier.contains(pinned[name]), requirement
    assert pinned["torch"] == "2.13.0"  # no +cpu: a local version would tie the file to one build
    assert pinned["protobuf"].startswith("5.29.")


def test_the_conda_environment_has_the_same_pins() -> None:
    packages = yaml.safe_load((ROOT / "h_swarm.yml").read_text(encoding="utf8"))["dependencies"]
    python = next(text for text in packages if isinstance(text, str) and text.startswith("python=")).partition("=")[2]
    lines = next(entry["pip"] for entry in packages if isinstance(entry, dict))
    given = dict(line.split("==") for line in lines if not line.startswith("--"))
    wanted = {requirement.name for requirement in needed("report", "judge", "gemini")}
    assert given == {name: version for name, version in pins(python).items() if name in wanted}
    assert "--constraint constraints.txt" in lines  # for what these bring with them


def test_the_papers_are_named_and_versions_agree() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf8"))
    assert citation["version"] == swarm.__version__
    assert citation["license"] == project()["license"] == "Apache-2.0"
    assert [entry["url"][-10:] for entry in citation["references"]] == ["2502.04510", "2404.12715"]
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf8")[:200]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf8")
    assert "## [Unreleased]" in changelog or f"## [{swarm.__version__}]" in changelog


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """What the installation looks at, without an environment."""
    return copied_tree(tmp_path)


def test_an_environment_that_cannot_be_made_says_why_in_one_line(tree: Path) -> None:
    old = executable(tree / "old-python", '#!/bin/sh\n[ "$1" = -V ] && echo Python 3.9.1\nexit 1\n')
    for arguments, environment, said in (
        (["nosuch"], {}, "'nosuch' is no extra"),
        ([], {"PYTHON": str(old)}, "is Python 3.9.1: Python 3.10 or newer is needed"),
        ([], {"PYTHON": "no-such-python"}, "no no-such-python found"),
        ([], {"H_SWARM_TORCH": "gpu"}, "H_SWARM_TORCH is 'gpu'"),
        ([], {"H_SWARM_TORCH": "cu12.6"}, "wanted cpu, ordinary or a CUDA version such as cu126"),
    ):
        done = shell(tree, "scripts/environment.sh", *arguments, **environment)
        assert done.returncode == 1 and said in done.stderr
        assert done.stderr.count("\n") == 1


def fake_environment(tree: Path) -> Path:
    """A .venv whose pip writes down its arguments; returns where to."""
    asked = tree / "asked"
    (tree / ".venv" / "bin").mkdir(parents=True)
    (tree / ".venv" / "bin" / "activate").write_text(f"VIRTUAL_ENV={tree}/.venv\n")
    pip = f'#!/usr/bin/env bash\ncase "$*" in (*"pip install"*) echo "$*" >>{asked}; exit "${{PIP_FAILS:-0}}" ;; esac\n'
    executable(tree / ".venv" / "bin" / "python", pip)
    return asked


def test_an_environment_is_installed_once_and_again_when_the_pins_change(tree: Path) -> None:
    asked = fake_environment(tree)

    def installs(*extras: str, **environment: str) -> list[str]:
        asked.write_text("")
        done = shell(tree, "scripts/environment.sh", *extras, **environment)
        assert (done.returncode == 0) == ("PIP_FAILS" not in environment), done.stderr
        assert (done.stderr == "") == (asked.read_text() == "")
        return [line.rpartition("/")[2].rpartition("[")[2] for line in asked.read_text().splitlines()]

    assert installs("report") == ["report]"]
    assert installs("report") == installs() == []
    assert installs("dev") == ["dev,report]"]  # what was there stays there
    assert installs("report", "dev") == []
    with (tree / "constraints.txt").open("a") as file:
        file.write("# changed\n")
    assert installs("report", PIP_FAILS="1") == ["report,dev]"]
    assert installs("report") == ["report]"]  # a failed installation is repeated
    half = tree / ".venv" / "lib" / "python3.11" / "site-packages" / "numpy-2.0.dist-info"
    half.mkdir(parents=True)
    (tree / ".venv" / ".h_swarm_environment").unlink()
    assert installs("report") == ["report]"]
    assert not half.exists()  # pip would have taken it for installed


# pip as far as builds of PyTorch are concerned: of CUDA 12.8 there is an older version only
PIP = """#!/usr/bin/env bash
[[ "$*" == *"pip install"* ]] || exit 0
echo "$*" >>{asked}
case "$*" in
    *torch==2.13.0+cu128*) exit 1 ;;
    *--no-deps*/cu128*) build=2.11.0+cu128 ;;
    *--no-deps*/cu126*) build=2.13.0+cu126 ;;
    *--no-deps*/cpu*) build=2.13.0+cpu ;;
    *--no-deps*) build=2.13.0 ;;
    *) exit 0 ;;
esac
cd {packages} && rm -rf torch-*.dist-info && mkdir torch-$build.dist-info && echo x >torch-$build.dist-info/RECORD
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is one build of PyTorch")
def test_another_build_of_pytorch_takes_the_place_of_the_one_there_and_stays(tree: Path) -> None:
    asked, packages = fake_environment(tree), tree / ".venv" / "lib" / "python3.11" / "site-packages"
    executable(tree / ".venv" / "bin" / "python", PIP.format(asked=asked, packages=packages))
    made = packages / "torch-2.13.0+cpu.dist-info"
    made.mkdir(parents=True)
    (made / "RECORD").write_text("x")

    def builds(**environment: str) -> list[str]:
        """What is there after an installation; `asked` has what pip was asked."""
        asked.write_text("")
        done = shell(tree, "scripts/environment.sh", "report", **environment)
        assert done.returncode == 0, done.stderr
        return [path.name.removesuffix(".dist-info").removeprefix("torch-") for path in packages.glob("torch-*")]

    assert builds() == ["2.13.0+cpu"]
    assert builds(H_SWARM_TORCH="cpu") == ["2.13.0+cpu"] and asked.read_text() == "", "there already"
    assert builds(H_SWARM_TORCH="cu126") == ["2.13.0+cu126"]
    index = "https://download.pytorch.org/whl/cu126"
    assert f"--no-deps --force-reinstall --index-url {index} torch==2.13.0+cu126\n" in asked.read_text()
    assert builds(H_SWARM_TORCH="cu126") == ["2.13.0+cu126"] and asked.read_text() == ""
    with (tree / "constraints.txt").open("a") as file:
        file.write("# changed\n")
    assert builds() == ["2.13.0+cu126"], "remembered"
    assert "torch==2.13.0 " not in asked.read_text()
    kept = (tree / ".venv" / "constraints.txt").read_text().splitlines()
    assert kept[0] == "torch==2.13.0+cu126"
    assert not [line for line in kept if line.startswith(("nvidia-", "cuda-", "triton"))], "it brings its own"
    assert f"peft=={pins('3.11')['peft']}" in kept, "all else is ours"
    assert builds(H_SWARM_TORCH="cu128") == ["2.11.0+cu128"], "the newest of that CUDA"
    assert builds(H_SWARM_TORCH="ordinary") == ["2.13.0"]
    assert builds(H_SWARM_TORCH="cpu") == ["2.13.0+cpu"]
