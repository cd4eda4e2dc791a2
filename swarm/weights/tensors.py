"""Named tensors in safetensors files of adapters and full models: mapped, checked and combined."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from swarm.errors import UserError
from swarm.storage.files import file_digest

Shape = tuple[tuple[int, ...], str]  # of one tensor: its lengths, and its number format as safetensors writes it


def content_digest(path: Path) -> str:
    """`file_digest`; of a large file in a hub's cache, which names it by that digest, without reading it."""
    target = path.resolve()
    blob = target.name
    in_cache = path.is_symlink() and target.parent.name == "blobs"
    known = in_cache and len(blob) == 64 and all(letter in "0123456789abcdef" for letter in blob)
    return blob if known else file_digest(path)


def check_finite(path: Path, name: str, tensor: torch.Tensor) -> None:
    """Raises UserError if a number of the tensor is NaN or infinite."""
    if not torch.isfinite(tensor).all():
        raise UserError(f"{path}: tensor {name} holds NaN or infinity: the expert is broken, train or fetch it again")


def combined(handles: Sequence[Any], coefficients: Sequence[float], name: str, lengths: Sequence[int]) -> torch.Tensor:
    """sum_j c_j W_j of the tensor `name` over open experts, in float32 (float64 where the experts are).

    A single coefficient of 1 gives that W to the bit. Experts with coefficient 0 are not read.
    """
    total = torch.full(tuple(lengths), -0.0)  # unlike 0.0, this keeps -0.0 what it is
    for coefficient, handle in zip(coefficients, handles, strict=True):
        if coefficient:
            tensor = handle.get_tensor(name)
            total = total.to(torch.promote_types(total.dtype, tensor.dtype)).add_(tensor, alpha=coefficient)
    return total
