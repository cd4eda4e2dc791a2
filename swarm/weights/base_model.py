"""The base model that all experts of a pool share: found on disk or in the hub's cache, and known by its content."""

import hashlib
import json
from pathlib import Path

from huggingface_hub.errors import HFValidationError
from transformers.utils import cached_file

from swarm.errors import UserError
from swarm.weights.adapters import file_digest

TEXT_FILES = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json",
    "merges.txt", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja", "chat_template.json",
)  # fmt: skip


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


def base_model_digest(folder: Path, with_code: bool = False) -> str:
    """Hash of config, weights and tokenizer of a base model's folder, by content; call it after they were loaded.

    Only files that loading uses count, since a hub's cache fills up file by file. It names a large file by its
    SHA-256, so those are not read again. `with_code` adds the model's own Python files.
    """
    digest = hashlib.sha256()
    names = {*TEXT_FILES, *_weight_files(folder), *((path.name for path in folder.glob("*.py")) if with_code else ())}
    for path in sorted(folder / name for name in names):
        if not path.is_file():
            continue
        blob = path.resolve().name
        known = path.is_symlink() and len(blob) == 64 and all(letter in "0123456789abcdef" for letter in blob)
        digest.update(f"{path.name} {blob if known else file_digest(path)}\n".encode())
    return digest.hexdigest()


def _weight_files(folder: Path) -> set[str]:
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return {"model.safetensors"}
    return {index.name, *json.loads(index.read_text(encoding="utf8"))["weight_map"].values()}
