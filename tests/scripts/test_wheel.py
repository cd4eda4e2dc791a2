"""What is built: a wheel and an sdist with the embedded experts, and what the container file copies."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from repository import ROOT

import swarm

QUESTIONS = "data/eval/graph_tasks_small.json"
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
    assert f"experts: {site}/swarm/embedded/experts" in lines
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
        "here = {root, *(root / name for name in names)}; "  # and not a library's that lies below, in .venv
        "ours = [s.name for s in specs if s and s.origin and Path(s.origin).parent in here]; "
        "print(ours, str(root) in sys.path)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", look], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout == "[] False\n", done.stderr
