"""The base model that all experts of a pool share: found on disk or in the hub's cache, and known by its content."""

import hashlib
import json
from collections.abc import Iterable
from contextlib import suppress
from math import prod
from pathlib import Path

from safetensors import SafetensorError, safe_open

from swarm.errors import UserError
from swarm.storage.files import check_readable
from swarm.weights.tensors import content_digest

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
TEXT_FILES = (
    CONFIG, "generation_config.json", "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "tekken.json",
    "vocab.json", "merges.txt", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja",
    "chat_template.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model", "sentencepiece.model", "spm.model",
    "spm_char.model", "bpe.codes", "dict.txt", "tiktoken.model", "tokenizer.tiktoken", "qwen.tiktoken",
)  # fmt: skip

MORE_TEMPLATES = "additional_chat_templates/*.jinja"


def base_folder(base: str, revision: str | None = None, named_in: str = "with -b", local_only: bool = False) -> Path:
    """The folder that holds the base's config: the local folder itself, or the hub's snapshot.

    That is fetched if need be, but with `local_only` nobody is asked. `named_in` says in messages where it was named.
    Raises UserError if it is neither here nor to be had.
    """
    if Path(base).is_dir():
        if not (Path(base) / "config.json").is_file():
            raise UserError(
                f"base model {base} has no config.json; wanted a folder as save_pretrained writes it, named {named_in}"
            )
        check_readable(Path(base))
        return Path(base)
    from huggingface_hub.errors import HFValidationError
    from transformers.utils import cached_file

    try:
        found = cached_file(base, "config.json", revision=revision, local_files_only=local_only)
    except (OSError, HFValidationError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"base model {base!r} is neither a local folder nor to be had from the hub ({reason}); wanted a folder or "
            f"a hub id: name it {named_in}, check the network and HF_HUB_OFFLINE, and for a gated model run "
            "`hf auth login`"
        ) from error
    assert found is not None
    return Path(found).parent


def names_a_folder(model: str) -> bool:
    """Whether a model's name is a path rather than a hub id."""
    return Path(model).is_absolute() or model.startswith((".", "~")) or model.partition("@")[0].count("/") > 1


def is_here(model: str, revision: str | None = None) -> bool:
    """Whether this machine has a model's config: its folder, or the hub's cache. Makes no request.

    What can be no hub id counts as here: `base_folder` says what is wrong with it.
    """
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        return Path(model).is_dir() or isinstance(try_to_load_from_cache(model, CONFIG, revision=revision), str)
    except HFValidationError:
        return True


def model_folder(name: str, revision: str | None = None, named_in: str = "with -b") -> Path:
    """`base_folder` with the weights and the tokenizer, which are fetched too if need be."""
    folder = base_folder(name, revision, named_in)
    if Path(name).is_dir():
        return folder
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined] # of the HTTP library that it uses

    wanted = [*TEXT_FILES, WEIGHTS, INDEX, "model-*.safetensors", "*.py"]
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=wanted))
    except (OSError, HTTPError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"model {name!r} cannot be fetched from the hub ({reason}): check network and disk, and try again"
        ) from error


def base_model_digest(
    folder: Path, with_code: bool = False, with_weights: bool = True, tokenizer_files: Iterable[str] = ()
) -> str:
    """Hash of config, weights and tokenizer of a base model's folder, by content; call it after they were loaded.

    Only files that loading uses count, since a hub's cache fills up file by file. `with_code` adds the model's own
    Python files; without `with_weights` the weights do not count, since a full model's are all exchanged.
    `tokenizer_files` are names of files that the tokenizer's class reads beside the usual ones.
    """
    digest = hashlib.sha256()
    for path in model_files(folder, with_code, with_weights, tokenizer_files):
        digest.update(f"{path.name} {content_digest(path)}\n".encode())
    return digest.hexdigest()


def model_files(
    folder: Path, with_code: bool = False, with_weights: bool = True, tokenizer_files: Iterable[str] = ()
) -> list[Path]:
    """The files of a model's folder that loading uses, sorted; the arguments are those of `base_model_digest`."""
    names = {*TEXT_FILES, *tokenizer_files, *((path.name for path in folder.glob("*.py")) if with_code else ())}
    if with_weights:
        names |= {*weight_files(folder), *([INDEX] if index_of(folder) else [])}
    paths = {*(folder / name for name in names), *folder.glob(MORE_TEMPLATES)}
    return [path for path in sorted(paths) if path.is_file()]


def weight_files(folder: Path) -> list[str]:
    """The weight files that transformers reads in a model's folder: the one, or else the shards of its index."""
    if (folder / WEIGHTS).is_file():
        return [WEIGHTS]
    return sorted(set(index_of(folder).values()))


def parameter_count(folder: Path) -> int:
    """Numbers in the weight files that are there, as their headers say; files that cannot be read count nothing.

    Loading says what is wrong with those.
    """
    count = 0
    for path in (folder / name for name in weight_files(folder)):
        if path.is_file():
            with suppress(SafetensorError), safe_open(path, framework="pt") as handle:
                count += sum(prod(handle.get_slice(name).get_shape()) for name in handle.keys())  # noqa: SIM118
    return count


def index_of(folder: Path) -> dict[str, str]:
    """Tensor name -> shard as the index says, which a single weight file overrides; empty without an index.

    Raises UserError if the index cannot be read.
    """
    path = folder / INDEX
    if (folder / WEIGHTS).is_file() or not path.is_file():
        return {}
    try:
        weight_map = dict(json.loads(path.read_text(encoding="utf8"))["weight_map"])
    except (ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"{path} is no index of shards ({reason}): fetch or save the model again") from error
    for file in weight_map.values():
        if not isinstance(file, str) or Path(file).name != file or file in ("", ".."):
            raise UserError(f"{path} names the shard {file!r}, wanted a file beside it: fetch or save the model again")
    return weight_map
