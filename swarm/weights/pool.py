"""The pool: all initial experts, checked to fit together, and the experts that are combinations of them."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from swarm.errors import UserError
from swarm.storage.files import check_readable
from swarm.weights.adapters import Adapter, factor_pairs, is_adapter, read_adapter
from swarm.weights.base_model import base_folder, is_here, model_folder, names_a_folder
from swarm.weights.compatibility import check_adapters_fit, check_base_fits, check_models_fit
from swarm.weights.full_model import FullModel, is_full_model, read_full_model


@dataclass(frozen=True)
class Expert:
    """A model whose weights are a combination of the pool's initial experts: x = sum_j coefficients[j] * x_j.

    Attributes:
      name: the folder name of the initial expert that it started from.
      coefficients: one float per initial expert of the pool, in the pool's order.
      digest: hash of what decides its weights: the initial experts' content, the way of combining, and the
        coefficients; of an initial expert itself, that expert's own.
    """

    name: str
    coefficients: tuple[float, ...]
    digest: str


@dataclass(frozen=True)
class Pool:
    """The initial experts of a search, or the experts of a saved system, sorted by name.

    Attributes:
      initial: the initial experts, all adapters or all full models, checked to fit together.
      base: hub id or path of the base model; `revision` of it, if the adapters name one. For full models it gives
        architecture, tokenizer and generation settings only, and is the first of them unless another is named.
      combine: linear (tensor by tensor: of adapters A and B each, the published way), exact (ΔW, by concatenation) or
        svd (ΔW, truncated).
      rank: of svd; None keeps the adapters' own.
    """

    initial: tuple[Adapter, ...] | tuple[FullModel, ...]
    base: str
    revision: str | None = None
    combine: str = "linear"
    rank: int | None = None

    @property
    def names(self) -> list[str]:
        """The experts' folder names, in order."""
        return [expert.name for expert in self.initial]

    @property
    def models(self) -> tuple[FullModel, ...]:
        """The initial experts if they are full models, else none."""
        return tuple(expert for expert in self.initial if isinstance(expert, FullModel))

    @property
    def adapters(self) -> tuple[Adapter, ...]:
        """The initial experts if they are adapters, else none."""
        return tuple(expert for expert in self.initial if isinstance(expert, Adapter))

    @property
    def digest(self) -> str:
        """Hash of the experts' content and of how they combine; the base model has its own (`base_model_digest`)."""
        parts = [*(expert.digest for expert in self.initial), self.combine, str(self.rank)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def expert(self, name: str, coefficients: Sequence[float] | np.ndarray) -> Expert:
        """The expert at these coefficients."""
        row = np.asarray(coefficients, dtype="<f8")
        if row.shape != (len(self.initial),):
            raise ValueError(f"an expert of this pool has {len(self.initial)} coefficients, got shape {row.shape}")
        return Expert(name, tuple(row.tolist()), self._digest_at(row))

    def _digest_at(self, row: np.ndarray) -> str:
        """Linear, a coefficient of 1 alone gives that expert's tensors to the bit, whatever pool it lies in."""
        nonzero = np.flatnonzero(row)
        if self.combine == "linear" and len(nonzero) == 1 and row[nonzero[0]] == 1:
            return self.initial[nonzero[0]].digest
        return hashlib.sha256(self.digest.encode() + row.tobytes()).hexdigest()

    def experts(self, coefficients: np.ndarray | None = None) -> list[Expert]:
        """One expert per row of `coefficients`, shape (n, n); by default the initial ones."""
        rows = np.eye(len(self.initial)) if coefficients is None else coefficients
        return [self.expert(name, row) for name, row in zip(self.names, rows, strict=True)]


def expert_folders(directory: Path) -> list[Path]:
    """The sub-folders of an expert directory that hold experts, sorted by name."""
    return [folder for folder in _folders(directory) if not (folder / "node.json").exists()]


def composite_folders(directory: Path) -> list[Path]:
    """The sub-folders that hold composites (`swarm.members`), sorted by name."""
    return [folder for folder in _folders(directory) if (folder / "node.json").exists()]


def _folders(directory: Path) -> list[Path]:
    """All sub-folders; hidden ones and Python's own are passed over. Raises UserError for a pipe or the like in one."""
    if not directory.is_dir():
        return []
    folders = sorted(path for path in directory.iterdir() if path.is_dir() and path.name[0] not in "._")
    for folder in folders:
        check_readable(folder)
    return folders


def read_pool(
    directory: Path,
    base: str | None = None,
    combine: str = "linear",
    rank: int | None = None,
    preview: bool = False,
    moved: Mapping[str, str] = MappingProxyType({}),
) -> Pool:
    """The pool in a directory with one folder per expert, PEFT adapters or full models; `base` overrides their own.

    Composites that lie between them are passed over. A `preview` is for looking only: nothing is fetched, and of full
    models the headers are read and no weights, so that such a pool has no digest.

    `moved` says of bases that adapters name where they lie now.

    Raises UserError, naming folder and key, if there is no expert or if they do not fit together.
    """
    folders = expert_folders(directory)
    if not folders:
        lacks = "holds no experts" if directory.is_dir() else "is not there"
        raise UserError(
            f"{directory} {lacks}; wanted one sub-folder per PEFT LoRA adapter or full model: name such a folder with "
            "-i, or fetch the published ones with `python initial_experts/initial_experts.py` of a clone"
        )
    _check_kinds(folders)
    if not is_adapter(folders[0]):
        return _pool_of_models(folders, base, combine, preview)
    adapters = tuple(read_adapter(folder) for folder in folders)
    for adapter in adapters[1:]:
        check_adapters_fit(adapters[0], adapter)
    if combine != "linear":
        _check_combines_exactly(adapters[0], combine)
    named, revision = (base, None) if base is not None else _common_base(directory, adapters, moved)
    return Pool(adapters, named, revision, combine, rank)


def model_pool(name: str, revision: str | None = None) -> Pool:
    """The pool of one full model, a local folder or a hub id that is fetched if need be; its expert is at (1.0,).

    Raises UserError if there is none, or one that is damaged or quantised.
    """
    folder = model_folder(name, revision)
    return Pool((replace(read_full_model(folder), name=Path(name).name),), str(folder))


def _pool_of_models(folders: list[Path], base: str | None, combine: str, preview: bool) -> Pool:
    if combine != "linear":
        raise UserError(
            f"--combine {combine} is for LoRA adapters, but {folders[0]} is a full model, of which linear is exact: "
            "use --combine linear"
        )
    models = tuple(read_full_model(folder, headers_only=preview) for folder in folders)
    for model in models[1:]:
        check_models_fit(models[0], model)
    if base is None:
        return Pool(models, str(folders[0].resolve()))
    if not preview or is_here(base):
        check_base_fits(models[0], base_folder(base, local_only=preview))
    return Pool(models, base)


def _check_kinds(folders: list[Path]) -> None:
    """Raises UserError unless all folders hold adapters, or all full models."""
    for folder in folders:
        if not is_adapter(folder) and not is_full_model(folder):
            raise UserError(
                f"{folder} is no expert; wanted a PEFT LoRA adapter (adapter_config.json and its weights) or a full "
                "model (config.json and its weights). Add them or move it away"
            )
        if is_adapter(folder) != is_adapter(folders[0]):
            kinds = ["a LoRA adapter" if is_adapter(each) else "a full model" for each in (folder, folders[0])]
            raise UserError(
                f"{folder} is {kinds[0]}, but {folders[0]} {kinds[1]}; experts that are combined must be of one kind. "
                "Move one kind away, or merge each adapter into its base (PEFT's merge_and_unload)"
            )


def _common_base(directory: Path, adapters: Sequence[Adapter], moved: Mapping[str, str]) -> tuple[str, str | None]:
    bases = {adapter.name: resolve_base(adapter, moved) for adapter in adapters}
    first = adapters[0].name
    for name, base in bases.items():
        if base != bases[first]:
            raise UserError(
                f"experts of {directory} have different base models ({first}: {_named(bases[first])}, {name}: "
                f"{_named(base)}); wanted one. Separate them, or name the base with -b if they mean the same"
            )
    return bases[first]


def resolve_base(adapter: Adapter, moved: Mapping[str, str] = MappingProxyType({})) -> tuple[str, str | None]:
    """The base model that an adapter names, and its revision; a relative path counts from the adapter's folder.

    `moved` says of folders where they lie now. Raises UserError if it names none, or a folder that is not there.
    """
    named = adapter.config.get("base_model_name_or_path")
    if not isinstance(named, str) or not named:
        raise UserError(f"{adapter.folder} names no base model (base_model_name_or_path); name it with -b")
    named = moved.get(named, named)
    beside = adapter.folder / named
    if beside.is_dir():
        return str(beside.resolve()), None
    if names_a_folder(named) and not Path(named).is_dir():
        paths = dict.fromkeys(os.path.abspath(path) for path in (beside, named))
        raise UserError(
            f"{adapter.folder} names the base model {named}, and there is no folder {' and no '.join(paths)}: put the "
            "base there, or name it with -b"
        )
    return named, adapter.config.get("revision")


def _named(base: tuple[str, str | None]) -> str:
    name, revision = base
    return f"{name} at revision {revision}" if revision else name


def portable_base(base: str, folder: Path) -> str:
    """The base's name for an adapter that moves with it, written to `folder`: a local folder relative to it."""
    return relative_to(base, folder) if Path(base).is_dir() else base


def fixed_base(base: str) -> str:
    """The base's name for an adapter that moves without it: a hub id as it is, a local folder by its absolute path."""
    return os.path.abspath(base) if Path(base).is_dir() else base


def relative_to(path: str, folder: Path) -> str:
    """The way to a path from a folder, which may itself be reached through links."""
    return os.path.relpath(os.path.abspath(path), os.path.realpath(folder))


def _check_combines_exactly(adapter: Adapter, combine: str) -> None:
    if adapter.config.get("use_dora"):
        raise UserError(
            f"{adapter.folder} is a DoRA adapter (use_dora), whose ΔW is not B A, so it cannot be combined by "
            f"--combine {combine}: use --combine linear"
        )
    factors = {name for pair in factor_pairs(adapter.shapes).values() for name in pair}
    if others := sorted(set(adapter.shapes) - factors):
        raise UserError(
            f"{adapter.folder}: tensor {others[0]} is no LoRA factor of a linear layer, so it cannot be combined by "
            f"--combine {combine}: use --combine linear"
        )
