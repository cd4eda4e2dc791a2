"""Checks of a worker's machine: the same packages, the models, and enough memory."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import peft
import psutil
import tokenizers
import torch
import transformers

import swarm
from swarm.engines.local.devices import usual_device_and_dtype
from swarm.errors import UserError
from swarm.members.members import Members
from swarm.storage.files import file_digest
from swarm.weights.base_model import CONFIG, model_files, model_folder, parameter_count, weight_files
from swarm.workers.sent_folders import SentFolder, describe_folder, differing

SHARE = 0.95  # of the free memory that weights may take
ON_CORES = "--ray_cores"  # with which workers compute on processors


@dataclass(frozen=True)
class Model:
    """A model that every machine must have on its own disk.

    Attributes:
      name: its folder, which is the same on every machine, or its hub id.
      revision: of a hub id.
      content: as the head has it; None if the head does not.
    """

    name: str
    revision: str | None
    content: SentFolder | None


def models_of(members: Members, with_code: bool) -> tuple[Model, ...]:
    """The base and the other models of fusions, those apart that are members themselves."""
    pool = members.pool
    own = {str(model.folder.resolve()) for model in pool.models}
    named: list[tuple[str, str | None, bool]] = []
    if pool.base not in own:
        named.append((pool.base, pool.revision, not pool.models))
    named += [(model, revision, True) for one in members.composites for model, revision in one.models]
    return tuple(
        Model(_from_anywhere(name), revision, _content(name, revision, with_code, weights))
        for name, revision, weights in dict.fromkeys(named)
    )


def check_packages(wanted: Mapping[str, str]) -> None:
    """Raises UserError if this machine's packages are not those of the head."""
    found = package_versions()
    for name, version in wanted.items():
        if found[name] != version:
            raise UserError(
                f"{name} is {found[name]}, the search's is {version}: install the same there, then start Ray anew "
                "(`ray stop`, `ray start`)"
            )


@cache
def package_versions() -> dict[str, str]:
    """Versions of what decides a text; of this package also a hash of its code, which may change between versions."""
    folder = Path(swarm.__file__).parent
    code = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        code.update(f"{path.relative_to(folder).as_posix()} ".encode() + path.read_bytes())
    found = {"h-swarm": f"{swarm.__version__} (code {code.hexdigest()[:12]})"}
    return found | {package.__name__: package.__version__ for package in (torch, transformers, tokenizers, peft)}


def model_folders(models: Sequence[Model], with_code: bool) -> list[Path]:
    """The folders of the models on this machine.

    Raises UserError if one is missing and cannot be fetched, or has another content than the head's.
    """
    folders = []
    for model in models:
        try:
            folder = model_folder(model.name, model.revision)
        except UserError as error:
            raise UserError(
                f"it lacks model {model.name}, which is not sent ({error}): put it there, in the same place"
            ) from None
        if model.content is not None:
            # a hub's cache fills up file by file: what one machine lacks need not be used, unless these
            needed = {file.name for file in model.content.files if file.name == CONFIG or ".safetensors" in file.name}
            other = [name for name in differing(model.content, folder) if name in needed or (folder / name).is_file()]
            if other:
                path = folder / other[0]
                found = file_digest(path)[:12] if path.is_file() else "none"
                [wanted] = [file.digest[:12] for file in model.content.files if file.name == other[0]]
                raise UserError(
                    f"it has another model {model.name}: {path.name} has digest {found}, the search's {wanted}; put "
                    "the same there"
                )
        folders.append(folder)
    return folders


def check_memory(folders: Iterable[Path], device: str, number_format: str | None) -> None:
    """Raises UserError if the weights in these models' folders do not fit into what the device has free.

    Also if torch cannot use what Ray counts as a GPU, or if that lacks the number format.
    """
    _, dtype = usual_device_and_dtype(device, number_format, ON_CORES)
    name, size = str(dtype).removeprefix("torch."), dtype.itemsize
    needed = size * sum(map(parameter_count, folders))
    if device.startswith("cuda"):
        free, whole = torch.cuda.mem_get_info(device)
        what = f"{device} ({torch.cuda.get_device_name(device)}, {whole / 2**30:.1f} GiB)"
    else:
        free, what = psutil.virtual_memory().available, "its memory"
    if needed > SHARE * free:
        raise UserError(
            f"the models take {needed / 2**30:.1f} GiB in {name}, and {what} has {free / 2**30:.1f} GiB free; what "
            f"fits are {SHARE * free / size / 1e9:.1f} billion parameters in {name}: use smaller models, fewer workers "
            "on a machine or a smaller --dtype, or free the memory"
        )


def _from_anywhere(name: str) -> str:
    return str(Path(name).absolute()) if Path(name).is_dir() else name


def _content(name: str, revision: str | None, with_code: bool, with_weights: bool) -> SentFolder | None:
    """Digest of a model on this machine, without fetching anything."""
    folder = Path(name)
    if not folder.is_dir():
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(name, CONFIG, revision=revision)
        if not isinstance(found, str):
            return None
        folder = Path(found).parent
    if with_weights and not all((folder / file).is_file() for file in weight_files(folder) or ["-"]):
        return None
    return describe_folder(folder, model_files(folder, with_code, with_weights))
