"""What pyproject.toml asks for, and copies of the scripts that install and start the project."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from repository import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


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


def copied_tree(folder: Path) -> Path:
    """The folder, with what the installation looks at, and without an environment."""
    for name in ("pyproject.toml", "constraints.txt", "nlgraph.sh"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "scripts", folder / "scripts")
    (folder / "swarm").mkdir()
    shutil.copy(ROOT / "swarm" / "__init__.py", folder / "swarm")
    return folder
