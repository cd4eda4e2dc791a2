"""One fitted part of a router on disk: plain values as JSON, arrays as safetensors, nothing that can run."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from swarm.errors import UserError
from swarm.storage.files import read_text

RECORD, TENSORS = "part.json", "part.safetensors"


def write_part(folder: Path, record: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> None:
    """Writes a part into a folder, which is made; whoever writes the whole router sees to it that it is whole."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(record, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
    (folder / RECORD).write_text(text + "\n", encoding="utf8")
    save_file({name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)}, folder / TENSORS)


def read_part(folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A part's values and arrays, as `write_part` has written them; raises UserError if they cannot be read."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        record = json.loads(read_text(folder / RECORD))
        return record, load_file(folder / TENSORS)
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"{folder} is damaged ({type(error).__name__}: {error}); fit the router again") from error


def plain(settings: Any) -> dict[str, Any]:
    """A frozen dataclass of plain values as JSON takes it."""
    from dataclasses import asdict

    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(settings).items()}
