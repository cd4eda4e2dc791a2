"""The pool: all initial experts, checked to fit together, and the experts that are combinations of them."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from swarm.errors import UserError
from swarm.weights.adapters import SCALE_FIELDS, Adapter, factor_pairs, read_adapter

COMBINE = ("linear", "exact", "svd")


@dataclass(frozen=True)
class Expert:
    """A model whose weights are a combination of the pool's initial experts: x = sum_j coefficients[j] * x_j.

    Attributes:
      name: the folder name of the initial expert that it started from.
      coefficients: one float per initial expert of the pool, in the pool's order.
      digest: hash of the initial experts' content, the way of combining, and the coefficients.
    """

    name: str
    coefficients: tuple[float, ...]
    digest: str


@dataclass(frozen=True)
class Pool:
    """The initial experts of a search, or the experts of a saved system, sorted by name.

    Attributes:
      adapters: one per expert; same base, keys, shapes, number formats and scale.
      base: hub id or path of the base model; `revision` of it, if the adapters name one.
      combine: linear (A and B each, the published way), exact (ΔW, by concatenation) or svd (ΔW, truncated).
      rank: of svd; None keeps the adapters' own.
    """

    adapters: tuple[Adapter, ...]
    base: str
    revision: str | None = None
    combine: str = "linear"
    rank: int | None = None

    @property
    def names(self) -> list[str]:
        """The experts' folder names, in order."""
        return [adapter.name for adapter in self.adapters]

    @property
    def digest(self) -> str:
        """Hash of the experts' content and of how they combine; the base model has its own (`base_model_digest`)."""
        parts = [*(adapter.digest for adapter in self.adapters), self.combine, str(self.rank)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def expert(self, name: str, coefficients: Sequence[float] | np.ndarray) -> Expert:
        """The expert at these coefficients."""
        row = np.asarray(coefficients, dtype="<f8")
        if row.shape != (len(self.adapters),):
            raise ValueError(f"an expert of this pool has {len(self.adapters)} coefficients, got shape {row.shape}")
        digest = hashlib.sha256(self.digest.encode() + row.tobytes()).hexdigest()
        return Expert(name, tuple(row.tolist()), digest)

    def experts(self, coefficients: np.ndarray | None = None) -> list[Expert]:
        """One expert per row of `coefficients`, shape (n, n); by default the initial ones."""
        rows = np.eye(len(self.adapters)) if coefficients is None else coefficients
        return [self.expert(name, row) for name, row in zip(self.names, rows, strict=True)]


def expert_folders(directory: Path) -> list[Path]:
    """The sub-folders of an expert directory, sorted by name; hidden ones and Python's own are passed over."""
    if not directory.is_dir():
        return []
    return sorted(path for path in directory.iterdir() if path.is_dir() and path.name[0] not in "._")


def read_pool(directory: Path, base: str | None = None, combine: str = "linear", rank: int | None = None) -> Pool:
    """The pool in a directory with one PEFT folder per expert; `base` overrides the adapters' base model.

    Raises UserError, naming folder and key, if there is no expert or if they do not fit together.
    """
    folders = expert_folders(directory)
    if not folders:
        raise UserError(
            f"{directory} holds no experts; wanted one sub-folder per PEFT LoRA adapter. Fetch the published ones with "
            "`python initial_experts/initial_experts.py`, or name another folder with -i"
        )
    for folder in folders:
        if (folder / "node.json").exists():
            raise UserError(f"{folder} is a composite member (node.json); this version places experts only")
    adapters = [read_adapter(folder) for folder in folders]
    for adapter in adapters[1:]:
        _check_fit(adapters[0], adapter)
    if combine != "linear":
        _check_combines_exactly(adapters[0], combine)
    if base is not None:
        return Pool(tuple(adapters), base, None, combine, rank)
    bases = {adapter.name: resolve_base(adapter) for adapter in adapters}
    if len(set(bases.values())) > 1:
        first, other = adapters[0].name, next(name for name in bases if bases[name] != bases[adapters[0].name])
        raise UserError(
            f"experts of {directory} have different base models ({first}: {_named(bases[first])}, {other}: "
            f"{_named(bases[other])}); "
            "wanted one. Separate them, or name the base with -b if they mean the same"
        )
    name, revision = bases[adapters[0].name]
    return Pool(tuple(adapters), name, revision, combine, rank)


def resolve_base(adapter: Adapter) -> tuple[str, str | None]:
    """The base model that an adapter names, and its revision; a relative path counts from the adapter's folder."""
    named = adapter.config.get("base_model_name_or_path")
    if not isinstance(named, str) or not named:
        raise UserError(f"{adapter.folder} names no base model (base_model_name_or_path); name it with -b")
    beside = adapter.folder / named
    return (str(beside.resolve()), None) if beside.is_dir() else (named, adapter.config.get("revision"))


def _named(base: tuple[str, str | None]) -> str:
    name, revision = base
    return f"{name} at revision {revision}" if revision else name


def portable_base(base: str, folder: Path) -> str:
    """How an adapter written to `folder` names its base: a hub id as it is, a local folder relative to it."""
    return os.path.relpath(base, folder) if Path(base).is_dir() else base


def _check_combines_exactly(adapter: Adapter, combine: str) -> None:
    factors = {name for pair in factor_pairs(adapter.shapes).values() for name in pair}
    if others := sorted(set(adapter.shapes) - factors):
        raise UserError(
            f"{adapter.folder}: tensor {others[0]} is no LoRA factor of a linear layer, so it cannot be combined by "
            f"--combine {combine}: use --combine linear"
        )


def _check_fit(first: Adapter, other: Adapter) -> None:
    """Raises UserError naming the first way in which two adapters cannot be combined."""
    for field in SCALE_FIELDS:
        mine, theirs = (adapter.config.get(field) or None for adapter in (first, other))
        if mine != theirs:
            raise UserError(
                f"{other.folder}: {field} is {theirs}, but {mine} in {first.folder}; experts that are combined must "
                "agree in it. Remove one or train it again"
            )
    for name in sorted(set(first.shapes) ^ set(other.shapes)):
        lacking, having = (first, other) if name in other.shapes else (other, first)
        raise UserError(f"{lacking.folder} lacks tensor {name}, which {having.folder} has; experts must have the same")
    for name, (shape, dtype) in first.shapes.items():
        if other.shapes[name] != (shape, dtype):
            theirs_shape, theirs_dtype = other.shapes[name]
            raise UserError(
                f"{other.folder}: tensor {name} is {theirs_dtype}{list(theirs_shape)}, but {dtype}{list(shape)} in "
                f"{first.folder}; experts must have the same ranks, shapes and number formats"
            )
