"""PEFT LoRA folders: read, checked, written. One folder is `adapter_config.json` and `adapter_model.safetensors`."""

import hashlib
import json
import math
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from swarm.errors import UserError
from swarm.storage.files import file_digest, whole_folder
from swarm.weights.tensors import Shape, check_finite

CONFIG, WEIGHTS, PICKLED = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
SCALE_FIELDS = ("r", "lora_alpha", "use_rslora", "use_dora", "fan_in_fan_out", "rank_pattern", "alpha_pattern")

UNSUPPORTED = (
    "layer_replication", "alora_invocation_tokens", "lora_bias", "trainable_token_indices", "target_parameters",
    "use_qalora", "arrow_config",
)  # fmt: skip
CHANGE_THE_BASE = ("pissa", "olora", "corda", "loftq")  # values of init_lora_weights

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Adapter:
    """One LoRA expert as it lies on disk; its tensors are mapped, not loaded.

    Attributes:
      name: the folder's name.
      folder: where it lies.
      config: the content of adapter_config.json.
      shapes: tensor name -> (shape, dtype name as safetensors writes it), sorted by name.
      digest: SHA-256 of the tensors' file and of what in the config decides ΔW.
    """

    name: str
    folder: Path
    config: dict[str, Any]
    shapes: dict[str, Shape]
    digest: str

    def open(self) -> Any:
        """The safetensors handle; `get_tensor(name)` maps one tensor of it."""
        return safe_open(self.folder / WEIGHTS, framework="pt")


@dataclass(frozen=True)
class LoraWeights:
    """LoRA tensors in memory with the config that gives them their scale; what PEFT loads and saves."""

    tensors: Tensors
    config: dict[str, Any]


def is_adapter(folder: Path) -> bool:
    """Whether a folder looks like a PEFT adapter's, whole or not."""
    return any((folder / name).exists() for name in (CONFIG, WEIGHTS, PICKLED))


def read_adapter(folder: Path) -> Adapter:
    """The expert in a PEFT folder.

    Raises UserError if it has no config or no safetensors weights, is not plain LoRA, or holds a number that is not
    finite; the message names folder and tensor.
    """
    config = _read_config(folder)
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise UserError(_no_weights(folder))
    try:
        with safe_open(weights, framework="pt") as handle:
            names = sorted(handle.keys())
            slices = {name: handle.get_slice(name) for name in names}
            shapes = {name: (tuple(part.get_shape()), str(part.get_dtype())) for name, part in slices.items()}
            for name in names:
                _check_tensor(folder, name, handle.get_tensor(name))
    except SafetensorError as error:
        raise UserError(f"{weights} is no readable safetensors file ({error}): download or export it again") from error
    if not names:
        raise UserError(f"{weights} holds no tensors: download or export it again")
    _check_names(folder, names)
    return Adapter(folder.name, folder, config, shapes, _digest(config, weights))


def adapter_digest(folder: Path) -> str:
    """The digest of the expert in a PEFT folder; raises UserError if its config cannot be read."""
    return _digest(_read_config(folder), folder / WEIGHTS)


def _digest(config: dict[str, Any], weights: Path) -> str:
    decisive = json.dumps({field: config.get(field) for field in SCALE_FIELDS}, sort_keys=True)
    return hashlib.sha256((decisive + file_digest(weights)).encode()).hexdigest()


def scaling(config: dict[str, Any], module: str, rank: int) -> float:
    """s in ΔW = s · B A for one module, as PEFT computes it (rslora divides by the root of the rank)."""
    alpha = config["lora_alpha"]
    for pattern, value in (config.get("alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            alpha = value
            break
    return float(alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank)


def factor_pairs(tensors: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Module path in the base model -> names of its A and its B tensor, for LoRA on linear layers."""
    pairs = {}
    for name in tensors:
        if name.endswith(".lora_A.weight"):
            stem = name.removesuffix(".lora_A.weight")
            pairs[stem.removeprefix("base_model.model.")] = (name, f"{stem}.lora_B.weight")
    return pairs


def write_adapter(folder: Path, weights: LoraWeights, base: str, revision: str | None) -> None:
    """Writes a plain PEFT folder, whole or not at all. `base` is what the config names as the base model."""
    config = weights.config | {"base_model_name_or_path": base, "revision": revision, "inference_mode": True}
    with whole_folder(folder) as waiting:
        save_file({k: v.contiguous() for k, v in weights.tensors.items()}, waiting / WEIGHTS, {"format": "pt"})
        (waiting / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf8")
        shutil.copymode(waiting / CONFIG, waiting / WEIGHTS)  # safetensors writes for the owner only


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf8"))
    except FileNotFoundError:
        raise UserError(_no_weights(folder)) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid JSON ({error}): export the adapter again") from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        given = config.get("peft_type") if isinstance(config, dict) else type(config).__name__
        raise UserError(f"{path}: peft_type is {given!r}, wanted 'LORA': only LoRA adapters can be experts")
    if config.get("modules_to_save"):
        raise UserError(
            f"{path}: modules_to_save is {config['modules_to_save']}, wanted none: an expert is LoRA factors only, "
            "so train it without full copies of modules"
        )
    if config.get("bias", "none") != "none":
        raise UserError(f"{path}: bias is {config['bias']!r}, wanted 'none': train the adapter without biases")
    for field in UNSUPPORTED:
        if config.get(field):
            raise UserError(
                f"{path}: {field} is {config[field]!r}, wanted none: experts are plain LoRA, train without it"
            )
    if str(config.get("init_lora_weights")).lower().startswith(CHANGE_THE_BASE):
        raise UserError(
            f"{path}: init_lora_weights is {config['init_lora_weights']!r}, which changes the base model too; "
            "wanted plain LoRA: convert it with PEFT (path_initial_model_for_weight_conversion)"
        )
    for field in ("r", "lora_alpha"):
        if not isinstance(config.get(field), int | float) or config[field] <= 0:
            raise UserError(f"{path}: {field} is {config.get(field)!r}, wanted a positive number: export it again")
    return config


def _no_weights(folder: Path) -> str:
    if (folder / PICKLED).exists():
        return (
            f"{folder} holds {PICKLED}, which can run code when it is read; wanted {WEIGHTS}. Convert it: "
            f"python -c \"import torch, safetensors.torch as s; s.save_file(torch.load('{folder / PICKLED}', "
            f"weights_only=True), '{folder / WEIGHTS}')\""
        )
    missing = [name for name in (CONFIG, WEIGHTS) if not (folder / name).exists()]
    return f"{folder} is no expert: {' and '.join(missing)} missing; wanted a PEFT LoRA folder. Add it or move it away"


def _check_names(folder: Path, names: list[str]) -> None:
    """Every tensor as PEFT names it, and every A with its B."""
    for name in names:
        partner = name.replace(".lora_A.", ".lora_B.") if ".lora_A." in name else name.replace(".lora_B.", ".lora_A.")
        if partner not in names:
            raise UserError(f"{folder}: tensor {name} stands without {partner}: the adapter is broken, export it again")
        if not name.startswith("base_model.model."):
            raise UserError(
                f"{folder}: tensor {name} is not named as PEFT does (base_model.model....): export it again"
            )


def _check_tensor(folder: Path, name: str, tensor: torch.Tensor) -> None:
    if not tensor.is_floating_point():
        raise UserError(f"{folder}: tensor {name} has type {tensor.dtype}, wanted floating point: export it again")
    check_finite(folder, name, tensor)
