"""What `h-swarm doctor` looks at beside folders: Python and packages, devices, memory, the hub's token, experts.

Each check imports for itself what it needs, since a package that is missing is what the other ones have to tell.
"""

import os
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING

import swarm
from swarm.programs.finding import FAIL, OK, WARN, Finding

if TYPE_CHECKING:
    from packaging.requirements import Requirement

GIB = 2**30
OLDEST_PYTHON, NEWEST_PYTHON = (3, 10), (3, 14)  # those that constraints.txt has pins for
# the newest versions tried, of packages whose changes have bitten; constraints.txt has all (a test holds these to it)
NEWEST_TRIED = {
    "torch": "2.13.0",
    "transformers": "5.23.0",
    "peft": "0.21.2",
    "networkx": "3.7",
    "wandb": "0.31.0",
    "datasets": "5.2.0",
    "numpy": "2.5.5",
}
EXTRAS = {
    "report": "pictures of graphs and curves",
    "judge": "judges with OpenAI's interface",
    "genai": "Gemini as a judge",
    "gemini": "Gemini as a judge, by Google's earlier client",
    "routing": "routers and metrics",
    "finetune": "training of experts",
    "ray": "a cluster",
    "embeddings": "routers on sentence embeddings",
    "maths": "answers equal in value (maths_match)",
    "harness": "tasks of lm-evaluation-harness (lm_eval)",
}
SHARE_FOR_WEIGHTS = 0.7  # of the free memory; the rest is for experts, keys and values, activations
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


def versions() -> Iterator[Finding]:
    """Of Python and of h-swarm."""
    found = f"Python {platform.python_version()}, h-swarm {swarm.__version__} in {Path(swarm.__file__).parent}"
    here = sys.version_info[:2]
    oldest, newest = (".".join(map(str, each)) for each in (OLDEST_PYTHON, NEWEST_PYTHON))
    if here < OLDEST_PYTHON:
        yield Finding("python", FAIL, found, f"install Python {oldest} or newer")
    elif here > NEWEST_PYTHON:
        yield Finding("python", WARN, found, f"has no pins; if packages are missing or fail, take {newest}")
    else:
        yield Finding("python", OK, found)


def packages() -> Iterator[Finding]:
    """The required ones, against the versions that h-swarm asks for and those it was tried with."""
    from packaging.requirements import Requirement

    try:
        needed = [Requirement(text) for text in requires("h-swarm") or []]
    except PackageNotFoundError:
        yield Finding("packages", WARN, "h-swarm is not installed here, only run from its folder", "pip install -e .")
        needed = [Requirement(name) for name in NEWEST_TRIED]
    fine = []
    for requirement in needed:
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        finding = package(requirement)
        if finding is None:
            fine.append(f"{requirement.name} {version(requirement.name)}")
        else:
            yield finding
    yield Finding("packages", OK, ", ".join(fine))


def package(requirement: "Requirement") -> Finding | None:
    """What is wrong with a required package; None if nothing is."""
    from packaging.version import Version

    name, cure = requirement.name, f"pip install '{requirement}'"
    try:
        there = Version(version(name))
    except PackageNotFoundError:
        return Finding(name, FAIL, f"{name} is not installed", cure)
    if not requirement.specifier.contains(there, prereleases=True):
        return Finding(name, FAIL, f"{name} is {there}, and h-swarm needs {requirement.specifier}", cure)
    newest = NEWEST_TRIED.get(name)
    if newest and Version(there.base_version) > Version(newest):
        cure = f"if something fails, pip install '{name}=={newest}'"
        return Finding(name, WARN, f"{name} {there} is newer than {newest}, the newest tried", cure)
    return None


def extras() -> Iterator[Finding]:
    """Which optional extras are there, and what each is for."""
    from packaging.requirements import Requirement

    wanted: dict[str, list[Requirement]] = {name: [] for name in EXTRAS}
    for requirement in map(Requirement, requires("h-swarm") or []):
        for name, parts in wanted.items():
            if requirement.marker is not None and requirement.marker.evaluate({"extra": name}):
                parts.append(requirement)
    there = [name for name, parts in wanted.items() if parts and not any(map(_lacks, parts))]
    here, not_here = (
        ", ".join(f"{name} ({EXTRAS[name]})" for name in EXTRAS if (name in there) == present)
        for present in (True, False)
    )
    found = f"optional, here: {here or 'none'}"
    if not_here:
        found += f"; not here: {not_here}"
    yield Finding("extras", OK, found, "pip install 'h-swarm[NAME]' for one that you need" if not_here else "")


def _lacks(requirement: "Requirement") -> bool:
    try:
        return not requirement.specifier.contains(version(requirement.name), prereleases=True)
    except PackageNotFoundError:
        return True


def devices() -> Iterator[Finding]:
    """What a search would compute on. Raises UserError in a search's words for a device that torch cannot use."""
    try:
        import torch

        from swarm.engines.local.devices import card_at, usual_device_and_dtype
    except (ImportError, OSError) as error:  # a library of CUDA's that is not there is an OSError
        yield Finding("device", FAIL, f"PyTorch cannot be imported ({error})", "install it anew: pip install torch")
        return
    built = f"PyTorch {torch.__version__}, " + (f"for CUDA {torch.version.cuda}" if torch.version.cuda else "for CPUs")
    device, dtype = usual_device_and_dtype(None, None)
    format = str(dtype).removeprefix("torch.")
    if device.type == "cpu":
        hidden = " (CUDA_VISIBLE_DEVICES hides any other)" if "CUDA_VISIBLE_DEVICES" in os.environ else ""
        text = f"cpu{hidden}, {torch.get_num_threads()} threads, {format}; {built}"
        yield Finding("device", OK, f"{text}; enough for small models, for billions of parameters take a GPU")
        return
    for number in range(torch.cuda.device_count()):
        place, format_there = usual_device_and_dtype(f"cuda:{number}", None)
        name = card_at(place) or torch.cuda.get_device_name(place)
        yield Finding("device", OK, f"{name}, {str(format_there).removeprefix('torch.')}; {built}")


def memory() -> Iterator[Finding]:
    """Free memory, of the machine (or this process's share of it) and of each device, and what fits there."""
    import psutil
    import torch

    from swarm.members.fusion.row_memory import group_limits

    machine = psutil.virtual_memory()
    free, whole = min([(machine.available, machine.total), *group_limits()])
    room = Finding("memory", OK, f"{free / GIB:.1f} of {whole / GIB:.1f} GiB free, {what_fits(free, 'float32')}")
    cure = "end other programs, or give this container or job more"
    yield room if free >= GIB else Finding(room.name, WARN, room.found, cure)
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        free, whole = torch.cuda.mem_get_info(number)
        found = f"cuda:{number} has {free / GIB:.1f} of {whole / GIB:.1f} GiB free, {what_fits(free, 'bfloat16')}"
        taken = free < whole / 2
        yield Finding("memory", WARN if taken else OK, found, "end what else is on it (nvidia-smi)" if taken else "")


def what_fits(free: float, usual: str) -> str:
    """Roughly the largest base model that so many bytes have room for, in the usual number format first."""
    formats = [usual, *(name for name in ("bfloat16", "float32") if name != usual)]
    sizes = [f"{free * SHARE_FOR_WEIGHTS / BYTES[name] / 1e9:.1f} B parameters in {name}" for name in formats]
    return f"room for a base of about {', '.join(sizes)}"


def hub() -> Iterator[Finding]:
    """Whether there is a token for gated models, which is neither shown nor tried, and whether the hub is off."""
    from huggingface_hub import constants, get_token

    named = [name for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN") if os.environ.get(name)]
    token = named[0] if named else f"the file {constants.HF_TOKEN_PATH}"
    if get_token():
        yield Finding("hub token", OK, f"in {token} (not tried), for gated models such as google/gemma-7b")
    else:
        found = "none in HF_TOKEN or a file; gated models such as google/gemma-7b need one"
        yield Finding("hub token", WARN, found, "accept the model's licence on its page, then `hf auth login`")
    if constants.HF_HUB_OFFLINE:
        found = "HF_HUB_OFFLINE is set, so that models and data sets must be on this machine already"
        yield Finding("hub", WARN, found, "unset it to have them fetched")


def experts() -> Iterator[Finding]:
    """Those that a search without -i takes."""
    from swarm.programs.front_doors import PUBLISHED_EXPERTS, expert_directory
    from swarm.weights.pool import expert_folders

    directory, line = expert_directory(None)
    names = [folder.name for folder in expert_folders(directory)]
    if not names:
        found = f"none in {PUBLISHED_EXPERTS}, and the embedded ones are not there either"
        yield Finding("experts", WARN, found, "name yours with -i FOLDER, or install h-swarm with its data")
    elif len(names) == 1:
        cure = "add another folder, move it away for the embedded ones, or name others with -i FOLDER"
        yield Finding("experts", WARN, f"{directory} holds one ({names[0]}), and a search needs two", cure)
    else:
        yield Finding("experts", OK, f"{len(names)}, {line.removeprefix('experts: ')}")
