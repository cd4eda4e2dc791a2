"""Relative representations kept on the disk from run to run, known by what they were worked out from."""

import hashlib
import json
import logging
import os
import secrets
import shutil
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from swarm.errors import UserError
from swarm.members.fusion.fusion_artefact import embedding_digest
from swarm.members.fusion.row_memory import MEGABYTE
from swarm.members.fusion.row_table import stored_width
from swarm.storage.files import write_whole
from swarm.storage.user_cache import own_cache

FOLDER, FORMAT = "fusion_rows", 1
FIRST = 64  # rows that are worked out before any are written
PART_BYTES = 1 << 26  # of rows that are written at a time, in a file of their own
OF_OTHERS = 1 / 2  # of the limit: what other models' rows may go on taking
KEPT_FREE = 1 / 20  # of a disk
SUM_ERROR = 0.01  # more than a row's sum can be off 1 for its rounding to bfloat16: 2^-8

log = logging.getLogger(__name__)


class KeptRows:
    """One model's rows (n, stored width) in files that are each written whole, and mapped into memory to be read.

    Several processes can use one folder: each reads what was there when it began, and what it has added itself.

    Attributes:
      read: rows that were read so far.
    """

    def __init__(self, folder: Path, count: int, width: int, dtype: torch.dtype, limit: int):
        """`folder` is that of a model with `count` tokens and `width` anchors; it is made when it is needed.

        Nothing is added where all that lies beside and in it would take more than `limit` bytes.
        """
        self.read = 0
        self._folder, self._limit, self._dtype = folder, limit, dtype
        self._columns = stored_width(width)
        self._rows: list[Tensor] = []
        self._new: list[Tensor] = []  # token ids whose rows have not been written
        self._noted = 0
        self._file_of = torch.full((count,), -1, dtype=torch.int32)
        self._place_in = torch.zeros(count, dtype=torch.int32)
        for path in sorted(folder.glob("*.safetensors")):
            self._open(path)
        if self._rows:
            os.utime(folder)  # those used least lately go first

    def take(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Which of the token ids (K,) have been kept, as a mask, and the rows of those as they are stored."""
        files, places = self._file_of[ids], self._place_in[ids]
        kept = files >= 0
        rows = torch.empty(int(kept.sum()), self._columns, dtype=self._dtype)
        order = kept.cumsum(0) - 1
        for file in files[kept].unique().tolist():
            here = files == file
            rows[order[here]] = self._rows[file][places[here]]
        # a file whose content has not reached the disk in a power cut has rows of zeros
        whole = (rows.sum(-1, dtype=torch.float32) - 1).abs() < SUM_ERROR
        if not whole.all():
            log.warning("%s: %d rows are damaged and are worked out again", self._folder, int((~whole).sum()))
            self._file_of[ids[kept][~whole]] = -1
            kept[kept.clone()] = whole
            rows = rows[whole]
        self.read += len(rows)
        return kept, rows

    def note(self, new: Tensor, rows_of: Callable[[Tensor], tuple[Tensor, Tensor]]) -> None:
        """Notes token ids (K,) whose rows were worked out, and writes rows: a file when there are enough for one.

        The first of them are few, and each has about as many as all before, so that a process which is killed at any
        time has kept half of what it worked out. `rows_of` gives, of token ids, those whose rows are still at hand, and
        the rows as they are stored.
        """
        a_file = max(PART_BYTES // (self._columns * self._dtype.itemsize), 1)
        self._new.append(new)
        self._noted += len(new)
        if sum(map(len, self._new)) >= min(max(self._noted // 2, FIRST), a_file):
            for ids in torch.cat(self._new).split(a_file):
                self._add(*rows_of(ids))
            self._new = []

    def _add(self, ids: Tensor, rows: Tensor) -> None:
        """Writes rows into a file of their own where there is room; says so where that fails."""
        size = rows.numel() * rows.element_size()
        try:
            if _bytes_below(self._folder.parent) + size > self._limit:
                return
            self._folder.mkdir(parents=True, exist_ok=True)
            disk = shutil.disk_usage(self._folder)
            if disk.free - size < KEPT_FREE * disk.total:
                return
            path = self._folder / f"{secrets.token_hex(8)}.safetensors"
            write_whole(path, save({"ids": ids.int(), "rows": rows}), flush=False)
            self._open(path)  # what has to go from memory is read from there
        except (OSError, UserError) as error:
            self._limit = 0
            log.warning("relative rows are not kept for later runs: %s", error)

    def _open(self, path: Path) -> None:
        try:
            with safe_open(path, "pt") as file:
                ids, rows = file.get_tensor("ids").long(), file.get_tensor("rows")  # whose content is read when needed
        except (OSError, SafetensorError) as error:
            log.warning("%s cannot be read (%s): its rows are worked out again", path, error)
            return
        if rows.shape != (len(ids), self._columns) or rows.dtype != self._dtype:
            log.warning("%s holds other rows than its folder says: they are worked out again", path)
            return
        self._file_of[ids] = len(self._rows)
        self._place_in[ids] = torch.arange(len(ids), dtype=torch.int32)
        self._rows.append(rows)


def open_kept_rows(
    models: Sequence[tuple[Tensor, Tensor] | None], normalise: bool, centre: bool, megabytes: int
) -> list[KeptRows | None]:
    """The kept rows of a fusion's models, each given by its embeddings (V, D) and its anchors' ids (d,).

    None for a model that is none, and for all where no megabytes of disk may be taken or there is no cache folder to
    write to, which is said. Of what other models have there, those used least lately go where they leave too little.
    """
    limit, dtype = megabytes * MEGABYTE, torch.bfloat16
    if not limit or not any(models):
        return [None] * len(models)
    keys = [model and _key(*model, normalise, centre, dtype) for model in models]
    try:
        folder = own_cache() / FOLDER
        _make_room(folder, [key for key in keys if key], OF_OTHERS * limit)
    except (OSError, UserError) as error:
        log.warning("relative rows are not kept for later runs: %s", error)
        return [None] * len(models)
    return [
        model and KeptRows(folder / str(key), len(model[0]), len(model[1]), dtype, limit)
        for model, key in zip(models, keys, strict=True)
    ]


def _key(embeddings: Tensor, anchors: Tensor, normalise: bool, centre: bool, dtype: torch.dtype) -> str:
    """SHA-256 of all that a model's rows depend on."""
    facts = {
        "format": FORMAT,
        "embeddings": embedding_digest(embeddings),
        "anchors": hashlib.sha256(anchors.cpu().long().numpy().tobytes()).hexdigest(),
        "normalise": normalise,
        "centre": centre,
        "dtype": str(dtype),
        "torch": torch.__version__,  # whose products may be summed in another order
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _make_room(root: Path, keys: Collection[str], limit: float) -> None:
    """Removes the folders below `root` that were used least lately until all but those of `keys` take the limit."""
    others = [folder for folder in root.glob("*") if folder.is_dir() and folder.name not in keys]
    sizes = {folder: _bytes_below(folder) for folder in others}
    for folder in sorted(others, key=lambda folder: folder.stat().st_mtime):
        if sum(sizes.values()) <= limit:
            break
        shutil.rmtree(folder, ignore_errors=True)  # another process may be about it, too
        del sizes[folder]


def _bytes_below(folder: Path) -> int:
    found = 0
    for path in folder.rglob("*.safetensors"):
        try:
            found += path.stat().st_size
        except FileNotFoundError:  # another process has made room
            continue
    return found
