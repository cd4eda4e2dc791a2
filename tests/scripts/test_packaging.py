"""What is installed, from where, at which versions, and what the scripts that install and start it say."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from repository import ROOT

import swarm

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

QUESTIONS = "data/eval/graph_tasks_small.json"
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")


def project() -> dict[str, Any]:
    """pyproject.toml's [project]."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]


def needed(*extras: str) -> list[Requirement]:
    """The dependencies of the core and of some extras."""
    about = project()
    texts = about["dependencies"] + [text for extra in extras for text in about["optional-dependencies"][extra]]
    return [Requirement(text) for text in texts]


def pins(python: str) -> dict[str, str]:
    """constraints.txt as Linux with this Python reads it: name -> version."""
    here = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"}
    found: dict[str, str] = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf8").splitlines():
        if not line or line.startswith("#"):
            continue
        pin = Requirement(line)
        if pin.marker is None or pin.marker.evaluate(here):
            assert pin.name not in found, f"two pins for {pin.name} under Python {python}"
            found[pin.name] = re.fullmatch(r"==([^,*]+)", str(pin.specifier))[1]  # type: ignore[index]
    return found


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


TOP = "pyproject.toml setup.py MANIFEST.in README.md LICENSE CHANGELOG.md constraints.txt search.py evaluate.py".split()
EMBEDDED = ("base", "composites", "experts", "second")  # folders of data/embedded


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository, so that what a build leaves behind is not in it."""
    pytest.importorskip("setuptools", reason="the wheel is built by the setuptools of this environment: extra dev")
    copy = tmp_path_factory.mktemp("source")
    for name in TOP:
        shutil.copy(ROOT / name, copy)
    for name in ("swarm", "scripts", "tests", "data/embedded"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "data" / "eval").mkdir()
    shutil.copy(ROOT / QUESTIONS, copy / QUESTIONS)
    (copy / "data" / "eval" / "mine.json").write_text("{}")
    (copy / "search" / "some_run").mkdir(parents=True)
    (copy / "search" / "some_run" / "args.json").write_text("{}")
    return copy


@pytest.fixture(scope="module")
def built(source: Path) -> Path:
    """The wheel."""
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", "out", "."]
    done = subprocess.run(build, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = (source / "out").glob("*.whl")
    assert wheel.name == f"h_swarm-{swarm.__version__}-py3-none-any.whl"
    return wheel


def files_of(folder: Path) -> dict[str, Path]:
    """The embedded experts and questions: their names in an installed package -> where they lie in a clone."""
    files = {"swarm/embedded/eval/graph_tasks_small.json": folder / QUESTIONS}
    for part in EMBEDDED:
        for path in (folder / "data/embedded" / part).rglob("*"):
            if path.is_file():
                files[f"swarm/embedded/{path.relative_to(folder / 'data/embedded').as_posix()}"] = path
    return files


def test_the_wheel_holds_the_package_and_nothing_else(built: Path) -> None:
    about = f"h_swarm-{swarm.__version__}.dist-info"
    with zipfile.ZipFile(built) as archive:
        wheel = archive.namelist()
        for name, path in files_of(ROOT).items():
            assert archive.read(name) == path.read_bytes(), name
    assert {name for name in wheel if name.startswith("swarm/embedded/")} == set(files_of(ROOT))
    assert {name.partition("/")[0] for name in wheel} == {"swarm", about}
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "swarm").rglob("*.py")}
    assert {name for name in wheel if name.endswith(".py")} == modules
    assert "swarm/py.typed" in wheel
    assert f"{about}/licenses/LICENSE" in wheel


def test_the_sdist_holds_what_the_wheel_is_built_from(source: Path) -> None:
    build = "from setuptools.build_meta import build_sdist; build_sdist('sdist')"
    done = subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = (source / "sdist").glob("*.tar.gz")
    with tarfile.open(built) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {path.relative_to(ROOT).as_posix() for path in files_of(ROOT).values()} <= names
    assert {"setup.py", "constraints.txt", "CHANGELOG.md", "swarm/py.typed"} <= names
    assert not {"data/eval/mine.json", "search/some_run/args.json"} & names


def test_without_the_embedded_experts_no_wheel_is_built(source: Path, tmp_path: Path) -> None:
    """It would be one whose demo fails at the user's."""
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(source / name, tmp_path)
    shutil.copytree(source / "swarm", tmp_path / "swarm")
    build = [sys.executable, "setup.py", "-q", "build_py"]
    done = subprocess.run(build, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "data/embedded/base has no files: build from a whole clone or an sdist" in done.stderr


def test_installed_in_an_empty_folder_the_demo_runs(built: Path, tmp_path: Path) -> None:
    """Far from any clone, and from the one that this environment has installed."""
    site, here = tmp_path / "site", tmp_path / "here"
    here.mkdir()
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", site, built]
    subprocess.run(list(map(str, install)), check=True, capture_output=True)
    code = "import sys; from swarm.programs.demo import demo_program; sys.exit(demo_program(sys.argv[1:]))"
    words = "-m 0 --graph_num 2 --trial_num 2 --dev_limit 12 --test_limit 12".split()
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=here,
        env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("h-swarm demo: searches for a system of six toy experts")
    assert lines[2] == f"experts: {site}/swarm/embedded/experts"
    (run,) = (here / "search").iterdir()
    assert f"  h-swarm evaluate search/{run.name}" in lines
    assert set(json.loads((run / "result.json").read_text())["scores"]["found"]) >= {"dev", "test"}


def test_the_container_is_made_of_what_the_wheel_is_and_of_nothing_private() -> None:
    """The Dockerfile copies only what .dockerignore lets through, and that is all that a build reads."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf8").splitlines()
    assert lines[1] == "*", "what is not named stays out"
    let_through = {line[1:] for line in lines if line.startswith("!")}
    text = (ROOT / "Dockerfile").read_text(encoding="utf8")
    copied = {word for line in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE) for word in line.split()}
    assert {name.partition("/")[0] for name in let_through} == copied
    assert {"setup.py", "pyproject.toml", "constraints.txt", "swarm", "data/embedded", QUESTIONS} <= let_through
    assert all((ROOT / name).exists() for name in let_through)
    assert re.search(r"^USER (?!root)", text, re.MULTILINE) and 'ENTRYPOINT ["h-swarm"]' in text


def test_installed_the_repository_is_not_on_the_path(tmp_path: Path) -> None:
    """`import swarm` works from anywhere, and a library's `import evaluate` does not find our evaluate.py."""
    look = (
        "import importlib.util, sys, swarm; from pathlib import Path; root = Path(swarm.__file__).parents[1]; "
        "names = ('search', 'evaluate', 'tests', 'scripts'); specs = map(importlib.util.find_spec, names); "
        "ours = [s.name for s in specs if s and s.origin and root in Path(s.origin).parents]; "
        "print(ours, str(root) in sys.path)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", look], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout == "[] False\n", done.stderr


def shell(folder: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a shell script of a copied tree; no environment is active unless one is given."""
    surroundings = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "CONDA_PREFIX")}
    return subprocess.run(
        ["bash", *command], cwd=folder, env=surroundings | environment, capture_output=True, text=True, check=False
    )


def executable(path: Path, text: str) -> Path:
    """A program of a few lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """What the installation looks at, without an environment."""
    for name in ("pyproject.toml", "constraints.txt", "nlgraph.sh"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    (tmp_path / "swarm").mkdir()
    shutil.copy(ROOT / "swarm" / "__init__.py", tmp_path / "swarm")
    return tmp_path


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


@pytest.fixture
def front_door(tree: Path) -> Path:
    """A tree in which nlgraph.sh starts a stand-in that prints its arguments and ends as $CODE says."""
    executable(tree / "scripts" / "environment.sh", "exit 0\n")
    executable(tree / ".venv" / "bin" / "python", '#!/bin/sh\necho "ran $*"\nexit ${CODE:-0}\n')
    (tree / "data" / "eval").mkdir(parents=True)
    return tree


def runs(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The commands that nlgraph.sh started."""
    return [line.removeprefix("ran ") for line in done.stdout.splitlines() if line.startswith("ran ")]


def test_nlgraph_takes_the_published_experts_if_there_are_any(front_door: Path) -> None:
    (small,) = runs(shell(front_door, "nlgraph.sh"))
    assert "-d graph_tasks_small -i data/embedded/experts" in small and "--max_iteration 10" in small
    assert "initial_experts.py" in shell(front_door, "nlgraph.sh").stdout  # how to get the others
    (front_door / "initial_experts" / "cot").mkdir(parents=True)
    (front_door / "initial_experts" / "cot" / "adapter_config.json").write_text("{}")
    made, large = runs(shell(front_door, "nlgraph.sh"))
    assert made == "scripts/make_graph_data.py --style large --out data/eval/graph_tasks.json"
    assert "-d graph_tasks -i initial_experts" in large and "--max_iteration 20" in large
    assert "-i data/embedded/experts" in runs(shell(front_door, "nlgraph.sh", "--embedded"))[0]
    (front_door / "data" / "eval" / "nlgraph.json").write_text("{}")
    assert "-d nlgraph -i initial_experts" in runs(shell(front_door, "nlgraph.sh"))[0]
    (own,) = runs(shell(front_door, "nlgraph.sh", "-i", "mine", "--dataset=x", "-g", "1"))
    assert own.endswith("--seed 0 -i mine --dataset=x -g 1") and own.count("-i ") == 1 and "-d " not in own


def test_nlgraph_repeats_until_something_is_wrong(front_door: Path) -> None:
    three = runs(shell(front_door, "nlgraph.sh", "--trials", "3", "--seed=4"))
    assert [re.search(r"--seed (\d+)", line)[1] for line in three] == ["4", "5", "6"]  # type: ignore[index]
    assert len(runs(shell(front_door, "nlgraph.sh", "--trials", "2", CODE="3"))) == 2  # a limit is no fault
    for code in ("2", "130"):
        done = shell(front_door, "nlgraph.sh", "--sweep", CODE=code)
        assert done.returncode == int(code) and len(runs(done)) == 1
    drawn = runs(shell(front_door, "nlgraph.sh", "--sweep", "--trials", "20"))
    assert len({re.sub(r"--seed \d+", "", line) for line in drawn}) > 10
    for words, said in (
        (["--trials", "0"], "--trials is 0"),
        (["--trials", "2", "-n", "a"], "-n names one run"),
        (["--embedded", "-i", "x"], "wanted one"),
        (["--seed"], "--seed is ''"),
    ):
        done = shell(front_door, "nlgraph.sh", *words)
        assert done.returncode == 2 and said in done.stderr and not runs(done)


@pytest.fixture
def active(front_door: Path) -> Path:
    """An environment that looks as if all dependencies were there at the lowest versions, and swarm were not."""
    made = front_door / "active"
    venv.create(made, with_pip=False)
    (packages,) = made.glob("lib/python*/site-packages")
    for requirement in needed("report"):
        about = packages / f"{requirement.name}-1.dist-info"
        about.mkdir()
        lowest = next(iter(requirement.specifier)).version
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {requirement.name}\nVersion: {lowest}\n")
    (front_door / "search.py").write_text("import sys\nprint('ran', sys.prefix, *sys.argv)\n")
    executable(front_door / "scripts" / "environment.sh", "touch asked_for_venv\n")
    return made


@pytest.mark.parametrize("variable", ["VIRTUAL_ENV", "CONDA_PREFIX"])
def test_nlgraph_takes_an_active_environment_that_has_what_it_needs(
    front_door: Path, active: Path, variable: str
) -> None:
    done = shell(front_door, "nlgraph.sh", **{variable: str(active)})
    assert done.returncode == 0, done.stderr
    assert runs(done)[0].startswith(f"{active} search.py -e exact_match")
    assert done.stdout.startswith(f"nlgraph: environment: {active}, which is active and has what is needed\n")
    assert not (front_door / "asked_for_venv").exists()


def test_nlgraph_says_why_an_active_environment_does_not_do(front_door: Path, active: Path) -> None:
    (packages,) = active.glob("lib/python*/site-packages")

    def said(**environment: str) -> str:
        """The first line, if .venv was made or brought up to date, and used."""
        (front_door / "asked_for_venv").unlink(missing_ok=True)
        done = shell(front_door, "nlgraph.sh", VIRTUAL_ENV=str(active), **environment)
        assert (front_door / "asked_for_venv").exists() and runs(done)[0].startswith("search.py "), done.stdout
        return done.stdout.splitlines()[0]

    lacks = f"nlgraph: environment: .venv, since the active one, {active}, lacks"
    (packages / "swarm.py").write_text("")
    assert said() == f"{lacks} h-swarm from this clone (has {packages})"
    (packages / "swarm.py").unlink()
    shutil.rmtree(packages / "peft-1.dist-info")
    about = packages / "torch-1.dist-info" / "METADATA"
    about.write_text(about.read_text().replace("Version: 2.6", "Version: 2.5.1+cu124"))
    assert said() == f"{lacks} torch>=2.6 (has 2.5.1+cu124), peft"
    assert said(H_SWARM_TORCH="cpu").startswith("nlgraph: experts:"), "what .venv is to be made with"
    (active / "bin" / "python").unlink()
    assert said() == f"{lacks} a Python that works"
    shutil.rmtree(active)
    assert said() == f"{lacks} a Python that works"


def test_nlgraph_does_not_look_at_its_own_environment(front_door: Path) -> None:
    done = shell(front_door, "nlgraph.sh", VIRTUAL_ENV=str(front_door / ".venv"))
    assert done.stdout.startswith("nlgraph: experts:") and runs(done)
