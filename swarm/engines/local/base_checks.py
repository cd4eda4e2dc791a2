"""Checks that experts fit their base model, by configs and file headers: no weight is read, none fetched."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from swarm.engines.base import GenerationParams
from swarm.engines.local.chat_template import rendered
from swarm.engines.local.device_map import devices_and_dtype, planned_map
from swarm.engines.local.pretrained import FAULTS, load_base
from swarm.engines.local.resident_model import make_resident
from swarm.errors import UserError
from swarm.weights.adapters import LoraWeights
from swarm.weights.base_model import CONFIG, base_folder, is_here, weight_files
from swarm.weights.full_model import FullWeights
from swarm.weights.pool import Pool


def check_base(
    pool: Pool,
    device: str | None,
    dtype: str | None,
    fold: bool | None,
    own_code: bool,
    device_map: Mapping[str, str] | None = None,
) -> str:
    """Raises UserError where an engine with these options would refuse base and experts, as far as is known so.

    Returns what could not be checked, as a sentence; "" if all was. `own_code` is whether the model's own may run.
    """
    base = f"base model {pool.base}"
    if not is_here(pool.base, pool.revision):
        return f"{base} is not on this machine: a search fetches it, and then it shows whether experts fit it"
    folder = base_folder(pool.base, pool.revision, local_only=True)
    if own_code and '"auto_map"' in (folder / CONFIG).read_text(encoding="utf8", errors="replace"):
        return f"{base} brings code of its own, which only a search runs: then it shows whether the experts fit it"
    model = _without_memory(pool, folder)
    if model is None:
        return f"{base} is on this machine in part: a search fetches the rest, and then it shows whether experts fit it"
    devices, number_format = devices_and_dtype(device, dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries, about what an engine does on purpose, too
        model = model.to(number_format)
        if len(devices) > 1:
            planned_map(base, model, devices, device_map)
        make_resident(model.eval(), _without_numbers(pool), pool.base, fold)
    return ""


def check_template(pool: Pool, params: GenerationParams) -> None:
    """Puts a question into the base's chat template by these parameters; UserError where that cannot be.

    Does nothing where the tokenizer is not on this machine, or brings code of its own, as `check_base` says.
    """
    from transformers import AutoTokenizer

    if not params.chat:
        return
    try:
        tokenizer = AutoTokenizer.from_pretrained(pool.base, revision=pool.revision, local_files_only=True)
    except FAULTS:
        return
    rendered(tokenizer, ["what is asked"], params)


def _without_memory(pool: Pool, folder: Path) -> Any:
    """The base model on torch's meta device; None where it is a hub's, of which some files are still to be fetched."""
    fetched = not Path(pool.base).is_dir()
    files = weight_files(folder)
    if fetched and not (files and all((folder / file).is_file() for file in files)):
        return None
    try:
        options = {"revision": pool.revision, "local_files_only": True, "device_map": "meta"}
        return load_base(pool.base, "with -b", "auto", **options)[1]
    except UserError:
        if fetched:
            return None
        raise


def _without_numbers(pool: Pool) -> LoraWeights | FullWeights:
    """The first expert's tensors by name and shape, all of them views of one zero."""
    if pool.models:
        return FullWeights(pool.models, pool.experts()[0].coefficients)
    adapter = pool.adapters[0]
    tensors = {name: torch.zeros(()).expand(shape) for name, (shape, _) in adapter.shapes.items()}
    return LoraWeights(tensors, adapter.config)
