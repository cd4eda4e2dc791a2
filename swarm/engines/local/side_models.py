"""Models beside the experts, for metrics and rankers: from a folder or the hub, safetensors only, with their window.

A hub id may name a revision: NAME@REVISION.
"""

import json
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from swarm.engines.local.positions import LEARNED, learned_positions
from swarm.engines.local.pretrained import loading
from swarm.errors import UserError
from swarm.weights.base_model import CONFIG, base_folder, base_model_digest, model_folder, weight_files

NO_WINDOW = 1 << 20  # tokenizers without a limit name a number far above this

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SideModel:
    """A model in evaluation mode with its tokenizer.

    Attributes:
      what: as messages begin with, such as "metric bertscore".
      name: the folder or hub id it was asked for by.
      digest: of its config, tokenizer and weights.
      window: the most tokens that it reads, None where there is no limit.
    """

    what: str
    name: str
    model: Any
    tokenizer: Any
    digest: str
    window: int | None
    device: torch.device

    def settings(self) -> dict[str, Any]:
        """The model's name and digest, as JSON can hold them."""
        return {
            "model": self.name,
            "digest": self.digest,
            "window": self.window,
            "dtype": str(self.model.dtype).removeprefix("torch."),
        }

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of texts with the tokenizer's special tokens, cut to the window; how many were cut is logged."""
        if not texts:
            return []
        whole: list[list[int]] = self.tokenizer(list(texts), truncation=False, verbose=False)["input_ids"]
        cut = [index for index, row in enumerate(whole) if self.window is not None and len(row) > self.window]
        if cut:
            log.warning("%s: %d of %d texts are longer than %d tokens and are cut to them", self.what, len(cut),
                        len(texts), self.window)  # fmt: skip
            shorter = self.tokenizer([texts[index] for index in cut], truncation=True, max_length=self.window)
            for index, row in zip(cut, shorter["input_ids"], strict=True):
                whole[index] = row
        empty = next((index for index, row in enumerate(whole) if not row), None)
        if empty is not None:
            raise UserError(f"{self.what}: text {empty} is {texts[empty][:40]!r}, of which {self.name} makes no "
                            "tokens; fill it in or drop its row")  # fmt: skip
        return whole

    def padded(self, rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids (rows, longest) with right padding, and an attention mask that is 0 on the padding."""
        longest = max(map(len, rows))
        ids = torch.full((len(rows), longest), self.pad, dtype=torch.long)
        mask = torch.zeros((len(rows), longest), dtype=torch.long)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = torch.tensor(row)
            mask[index, : len(row)] = 1
        return ids.to(self.device), mask.to(self.device)

    @property
    def pad(self) -> int:
        """The id that rows are filled up with; masked, so that any will do where the model names none."""
        pad = self.tokenizer.pad_token_id
        pad = self.model.config.pad_token_id if pad is None else pad
        return 0 if pad is None else int(pad)


def located(name: str) -> tuple[str, str | None]:
    """The folder or hub id, and the revision that stands behind an @ of the latter."""
    if Path(name).is_dir():
        return name, None
    model, _, revision = name.partition("@")
    return model, revision or None


def fetched(what: str, name: str) -> Path:
    """The folder of a model with weights and tokenizer; UserError, which begins with `what`, if it cannot be had."""
    with speaking_of(what):
        return model_folder(*located(name), named_in=f"for {what}")


def read_hub_config(what: str, name: str) -> dict[str, Any]:
    """The content of a model's config.json, its weights not fetched. Raises UserError if it cannot be had or read."""
    with speaking_of(what):
        path = base_folder(*located(name), named_in=f"for {what}") / CONFIG
        try:
            config = json.loads(path.read_text(encoding="utf-8-sig"))
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"{path}: not valid JSON ({error}); fetch the model again, or name another") from error
        if not isinstance(config, dict):
            raise UserError(f"{path}: not a model's config; fetch the model again, or name another")
    return config


def load_side_model(
    what: str, name: str, loader: str, device: str = "cpu", dtype: torch.dtype = torch.float32, **options: Any
) -> SideModel:
    """The model that `name` (a folder or hub id) means, by default in float32.

    `loader` is transformers' class for it, such as "AutoModel". Pickled weights are not read and no code that comes
    with a model is run.

    Raises UserError, which begins with `what`, if the model cannot be had, is damaged or lacks weights.
    """
    import transformers

    quieten()
    there = named_device(what, device)
    folder = fetched(what, name)
    with speaking_of(what):
        if not weight_files(folder):
            raise UserError(
                f"{name} has no safetensors weights; save it once with save_pretrained, which writes them, and name "
                "that folder"
            )
        with loading(f"model {name!r}", "model"):
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
            model, found = getattr(transformers, loader).from_pretrained(
                folder, use_safetensors=True, trust_remote_code=False, dtype=dtype, output_loading_info=True,
                **options,
            )  # fmt: skip
        lacking = sorted(key for key in found["missing_keys"] if "pooler" not in key)
        if lacking:
            raise UserError(f"{name} lacks the weights {', '.join(lacking[:3])}, which {loader} needs; name a model of "
                            "that kind")  # fmt: skip
    return SideModel(
        what, name, model.to(there).eval(), tokenizer, base_model_digest(folder), window(model, tokenizer), there
    )


def named_device(what: str, device: str) -> torch.device:
    """The device of that name. Raises UserError, which begins with `what`, for none that torch knows and has here."""
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # the second where torch has no CUDA
        raise UserError(f"{what}: device is {device!r}, which there is not here; name cpu or cuda:0") from error


def quieten() -> None:
    """No progress bars of transformers where nobody watches them."""
    import transformers

    if not sys.stderr.isatty():
        transformers.utils.logging.disable_progress_bar()


@contextmanager
def speaking_of(what: str) -> Iterator[None]:
    """A UserError of the block begins with `what`."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{what}: {error}") from error


def window(model: nn.Module, tokenizer: Any) -> int | None:
    """The most tokens that a model reads, by its positions and its tokenizer; None for no limit."""
    named = getattr(tokenizer, "model_max_length", None)
    limits = [named] if named is not None and named < NO_WINDOW else []
    learned = learned_positions(model)
    if learned is not None:
        limits.append(learned - _left_to_padding(model))
    return min(limits, default=None)


def _left_to_padding(model: nn.Module) -> int:
    """The number of learned positions that RoBERTa's kind never gives to a token: those up to the padding's own."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding) and name.rpartition(".")[2] in LEARNED and module.padding_idx is not None:
            return module.padding_idx + 1
    return 0


def in_batches(rows: Sequence[Sequence[int]], size: int) -> Iterator[list[int]]:
    """Batches of row indices, `size` at a time, rows of similar length together so that little is padded."""
    order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
    for start in range(0, len(order), size):
        yield order[start : start + size]


def check_weights(path: Path, what: str) -> None:
    """Raises UserError for what is no safetensors file, with the conversion, or is not there."""
    if path.suffix != ".safetensors":
        raise UserError(
            f"{what}: {path} is no safetensors file, and others can run code when they are read. Convert it: python -c "
            f"\"import torch, safetensors.torch as s; s.save_file({{k: v.clone() for k, v in torch.load('{path}', "
            f"weights_only=True).items()}}, '{path.with_suffix('.safetensors')}')\""
        )
    if not path.is_file():
        raise UserError(f"{what}: {path} is not there; name the safetensors file that holds the weights")
