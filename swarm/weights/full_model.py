"""Full-weight models as `save_pretrained` writes them: read and checked, written in shards, one tensor at a time."""

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from swarm.errors import UserError
from swarm.storage.files import whole_folder
from swarm.weights.base_model import CONFIG, INDEX, TEXT_FILES, WEIGHTS, index_of, weight_files
from swarm.weights.tensors import Shape, check_finite, combined, content_digest

PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")
FORMATS = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64}
WHOLE_NUMBERS = ("BOOL", "U8", "I8", "I16", "I32", "I64")
VOCABULARY_FILES = ("tokenizer.json", "tokenizer.model", "tekken.json", "vocab.json")
SHARD_BYTES = 5 * 10**9


@dataclass(frozen=True)
class FullModel:
    """One expert that is a whole model, as it lies on disk; its tensors are mapped, not loaded.

    Attributes:
      name: the folder's name.
      folder: where it lies.
      config: the content of config.json.
      shapes: tensor name -> (shape, dtype name as safetensors writes it), sorted by name.
      digest: SHA-256 of the weight files' content, "" where only headers were read. (config.json counts with the base,
        which is asked in its stead.)
      files: tensor name -> the file of the folder that holds it.
      vocabulary: name of a tokenizer file -> hash of the tokens that it numbers.
    """

    name: str
    folder: Path
    config: dict[str, Any]
    shapes: dict[str, Shape]
    digest: str
    files: dict[str, str]
    vocabulary: dict[str, str]

    @property
    def bytes_on_disk(self) -> int:
        """Bytes of the weight files."""
        return sum((self.folder / file).stat().st_size for file in set(self.files.values()))

    def open(self) -> "OpenModel":
        """The open weight files; `get_tensor(name)` maps one tensor of them."""
        return OpenModel(self)


class OpenModel:
    """All weight files of a model behind one `get_tensor`."""

    def __init__(self, model: FullModel):
        opened = {file: safe_open(model.folder / file, framework="pt") for file in set(model.files.values())}
        self._handles = {name: opened[file] for name, file in model.files.items()}

    def get_tensor(self, name: str) -> torch.Tensor:
        """One tensor, mapped from its file."""
        tensor = self._handles[name].get_tensor(name)
        assert isinstance(tensor, torch.Tensor)
        return tensor


@dataclass(frozen=True)
class FullWeights:
    """A full model's weights at some coefficients. No tensor of them exists before it is asked for."""

    models: tuple[FullModel, ...]
    coefficients: tuple[float, ...]

    @property
    def shapes(self) -> dict[str, Shape]:
        """Tensor name -> (shape, number format of the initial models)."""
        return self.models[0].shapes

    def tensors(self, names: Iterable[str]) -> Iterator[tuple[str, torch.Tensor]]:
        """sum_j c_j W_j for each name, summed in float32 and rounded once to the number format of the initial models.

        So what is scored is what is saved. Whole numbers, which are equal in all models, are as they are.
        """
        handles = [model.open() for model in self.models]
        for name in names:
            lengths, number_format = self.shapes[name]
            if number_format in FORMATS:
                yield name, combined(handles, self.coefficients, name, lengths).to(FORMATS[number_format])
            else:
                yield name, handles[0].get_tensor(name)


def is_full_model(folder: Path) -> bool:
    """Whether a folder looks like a full model's, whole or not."""
    return any((folder / name).exists() for name in (CONFIG, WEIGHTS, INDEX, *PICKLED))


def read_full_model(folder: Path, headers_only: bool = False) -> FullModel:
    """The expert in a full model's folder; with `headers_only` no weight of it is read, so it has no digest.

    Raises UserError if config or weights are missing, no safetensors or quantised, if a shard or a tensor of the index
    is missing, or a number is not finite; the message names file and tensor.
    """
    check_full_model(folder)
    config, on_disk = read_model_config(folder), weight_files(folder)
    files: dict[str, str] = {}
    shapes: dict[str, Shape] = {}
    for file in on_disk:
        found = _read_file(folder / file, headers_only)
        shapes |= found
        files |= dict.fromkeys(found, file)
    for name, file in index_of(folder).items():
        if name not in files:
            raise UserError(f"{folder / file} lacks tensor {name}, which {INDEX} places there: fetch or save it again")
    content = [] if headers_only else [content_digest(folder / file) for file in on_disk]
    digest = hashlib.sha256("\n".join(content).encode()).hexdigest() if content else ""
    return FullModel(
        folder.name, folder, config, dict(sorted(shapes.items())), digest, files, vocabulary_digests(folder)
    )


def check_full_model(folder: Path) -> None:
    """Raises UserError if config or weight files are missing, no safetensors or quantised; no weights are read."""
    read_model_config(folder)
    files = weight_files(folder)
    if not files:
        raise UserError(_no_weights(folder))
    for file in files:
        if not (folder / file).is_file():
            raise UserError(f"{folder / file} is missing, but {INDEX} names it: fetch or save the model again")


def write_full_model(folder: Path, weights: FullWeights, described_by: Path, shard_bytes: int = SHARD_BYTES) -> None:
    """Writes a folder that `from_pretrained` loads, whole or not at all, in the number formats of the initial models.

    Config, tokenizer and generation settings are those of the folder `described_by`. Only one shard of at most
    `shard_bytes` is in memory at a time.
    """
    shards = _cut(weights.shapes, shard_bytes)
    files = [f"model-{number:05}-of-{len(shards):05}.safetensors" for number in range(1, len(shards) + 1)]
    files = files if len(shards) > 1 else [WEIGHTS]
    with whole_folder(folder) as waiting:
        for path in [*(described_by / name for name in TEXT_FILES), *described_by.glob("*.py")]:
            if path.is_file():
                shutil.copyfile(path, waiting / path.name)
        for file, names in zip(files, shards, strict=True):
            tensors = {name: tensor.contiguous() for name, tensor in weights.tensors(names)}
            save_file(tensors, waiting / file, {"format": "pt"})
            shutil.copymode(waiting / CONFIG, waiting / file)  # safetensors writes for the owner only
        if len(shards) > 1:
            total = sum((waiting / file).stat().st_size for file in files)
            weight_map = {name: file for file, names in zip(files, shards, strict=True) for name in names}
            index = {"metadata": {"total_size": total}, "weight_map": weight_map}
            (waiting / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf8")


def read_model_config(folder: Path) -> dict[str, Any]:
    """The content of a model's config.json. Raises UserError if it is none, or one of a quantised model."""
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf8"))
    except OSError as error:
        reason = error.strerror
        raise UserError(f"{folder}: no {CONFIG} can be read ({reason}): put that of its model there") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid JSON ({error}): fetch or save the model again") from error
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise UserError(f"{path} names no model_type; wanted a config as save_pretrained writes it: save it again")
    if config.get("quantization_config"):
        raise UserError(
            f"{path} has a quantization_config; wanted weights that are plain numbers, since quantised ones cannot be "
            "combined: use the model that it was made from, or dequantize() and save it again"
        )
    return config


def _no_weights(folder: Path) -> str:
    if any((folder / name).exists() for name in PICKLED):
        return (
            f"{folder} holds {PICKLED[0]}, which can run code when it is read; wanted {WEIGHTS}. Convert it: "
            f"python -c \"from transformers import AutoModelForCausalLM as M; M.from_pretrained('{folder}', "
            f"dtype='auto', use_safetensors=False).save_pretrained('{folder}')\""
        )
    return f"{folder} has a {CONFIG} but no {WEIGHTS}, in one file or in shards with {INDEX}: fetch or save it again"


def _read_file(path: Path, headers_only: bool) -> dict[str, Shape]:
    """The shapes in one weight file, whose every tensor was looked at, unless only the headers are wanted."""
    shapes: dict[str, Shape] = {}
    try:
        with safe_open(path, framework="pt") as handle:
            for name in handle.keys():  # noqa: SIM118 (a handle is no mapping)
                part = handle.get_slice(name)
                shapes[name] = tuple(part.get_shape()), str(part.get_dtype())
                if shapes[name][1] not in (*FORMATS, *WHOLE_NUMBERS):
                    raise UserError(
                        f"{path}: tensor {name} has number format {shapes[name][1]}, wanted {', '.join(FORMATS)}: use "
                        "a model that is not quantised"
                    )
                if not headers_only:
                    check_finite(path, name, handle.get_tensor(name))
    except SafetensorError as error:
        raise UserError(f"{path} is no readable safetensors file ({error}): fetch or save the model again") from error
    if not shapes:
        raise UserError(f"{path} holds no tensors: fetch or save the model again")
    return shapes


def vocabulary_digests(folder: Path) -> dict[str, str]:
    """Per tokenizer file a hash of its tokens; of tokenizer.json only those count, the rest differs by version."""
    found = {name: content_digest(folder / name) for name in VOCABULARY_FILES if (folder / name).is_file()}
    path = folder / VOCABULARY_FILES[0]
    if path.is_file():
        try:
            content = json.loads(path.read_text(encoding="utf8"))
            tokens, added = content["model"]["vocab"], content["added_tokens"]
            numbered = dict(tokens) if isinstance(tokens, dict) else {token: i for i, (token, _) in enumerate(tokens)}
            numbered |= {token["content"]: token["id"] for token in added}
        except (ValueError, KeyError, TypeError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise UserError(f"{path} is no tokenizer ({reason}): fetch or save the model again") from error
        found[path.name] = hashlib.sha256(json.dumps(numbered, sort_keys=True).encode()).hexdigest()
    return found


def _cut(shapes: Mapping[str, Shape], shard_bytes: int) -> list[list[str]]:
    """The tensors' names in shards, each of at most `shard_bytes` or of one tensor."""
    shards: list[list[str]] = []
    room = 0
    for name, (lengths, number_format) in shapes.items():
        size = prod(lengths) * FORMATS.get(number_format, torch.int64).itemsize
        if not shards or size > room:
            shards.append([])
            room = shard_bytes
        shards[-1].append(name)
        room -= size
    return shards
