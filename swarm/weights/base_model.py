"""The base model that all experts of a pool share: found on disk or in the hub's cache, and known by its content."""

import hashlib
from pathlib import Path

from huggingface_hub.errors import HFValidationError
from transformers.utils import cached_file

from swarm.errors import UserError
from swarm.weights.adapters import file_digest


def base_folder(base: str, revision: str | None = None) -> Path:
    """The folder that holds the base's config: the local folder itself, or the hub's snapshot (fetched if need be).

    Raises UserError if it is neither here nor to be had.
    """
    if Path(base).is_dir():
        if not (Path(base) / "config.json").is_file():
            raise UserError(f"base model {base} has no config.json; wanted a folder as save_pretrained writes it (-b)")
        return Path(base)
    try:
        found = cached_file(base, "config.json", revision=revision)
    except (OSError, HFValidationError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"base model {base!r} is neither a local folder nor to be had from the hub ({reason}); wanted a folder or "
            "a hub id: name it with -b, check the network and HF_HUB_OFFLINE, and for a gated model run `hf auth login`"
        ) from error
    assert found is not None
    return Path(found).parent


def base_model_digest(folder: Path) -> str:
    """Hash of config, weights and tokenizer of a base model's folder, by content.

    The hub's cache names a large file by its SHA-256, so those are not read again.
    """
    digest = hashlib.sha256()
    for path in sorted([*folder.glob("*.json"), *folder.glob("*.safetensors"), *folder.glob("*.model")]):
        blob = path.resolve().name
        known = path.is_symlink() and len(blob) == 64 and all(letter in "0123456789abcdef" for letter in blob)
        digest.update(f"{path.name} {blob if known else file_digest(path)}\n".encode())
    return digest.hexdigest()
