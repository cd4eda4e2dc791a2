"""Pairwise rankers: models that compare two answers to a prompt.

PairRM's layout (arXiv 2306.02561; the hub's llm-blender/PairRM-hf) was put together from its published config.json and
its authors' program, and checked here on random weights only, not on the published ones: the encoder's tensors begin
with `pretrained_model.`; the head is a linear layer 2h -> h (`head_layer.1`), tanh, and a linear layer h -> tasks
(`head_layer.4`). A row is the prompt and the two answers, each encoded by itself with the special tokens at its ends
and opened by a mark of its own: <|source|>, <|candidate1|>, <|candidate2|>. The head reads the last hidden states at
the prompt's and one answer's mark; the logit is the mean over tasks of what it gives for the first less the second.

Any other folder is taken for a cross-encoder as AutoModelForSequenceClassification loads it, over [CLS] prompt [SEP]
first [SEP] second [SEP]: with one label, its logit speaks for the first answer; with two, label 0 does and label 1
speaks for the second.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from swarm.engines.local.pretrained import loading
from swarm.engines.local.side_models import SideModel, fetched, in_batches, load_side_model, quieten, read_hub_config
from swarm.errors import UserError
from swarm.members.blending.usual import PAIRRM
from swarm.weights.base_model import base_model_digest, weight_files

MARKS = {"source_prefix_id": "<|source|>", "cand1_prefix_id": "<|candidate1|>", "cand2_prefix_id": "<|candidate2|>"}
SOURCE_TOKENS, ALL_TOKENS = 1224, 2048  # of a prompt, and of a prompt with two answers, as the model's card says
WHAT = "pairwise ranking"
Triple = tuple[str, str, str]
_BLOCK = 2048  # triples whose tokens are held at a time

log = logging.getLogger(__name__)


class PairModel(Protocol):
    """The interface of a model that compares two answers.

    Attributes:
      asked: comparisons made so far, each order of a pair counting as one.
    """

    asked: int

    def settings(self) -> dict[str, Any]:
        """The facts that decide a comparison, as JSON can hold them."""
        ...

    def compare(self, triples: Sequence[Triple]) -> np.ndarray:
        """(n,) float64 logits for (prompt, first answer, second answer): over 0 where the first is better."""
        ...


def load_pair_model(name: str = PAIRRM, batch: int = 8, device: str = "cpu") -> PairModel:
    """The model that `name` (a folder or hub id) means, in float32; no pickled weights, no code that comes with it.

    Raises UserError if it cannot be had, is damaged, or is no model that compares.
    """
    quieten()
    if MARKS.keys() <= read_hub_config(WHAT, name).keys():
        return PairRM(name, fetched(WHAT, name), batch, device)
    return CrossEncoder(name, batch, device)


Encoded = tuple[list[int], list[int]]  # the ids of a prompt and two answers, and where each of the three begins


class _Batched(ABC):
    """The base class of both: rows are encoded block by block, and run in batches of similar length."""

    def __init__(self, loaded: SideModel, batch: int):
        self._loaded = loaded
        self._batch = batch
        self._cut: set[str] = set()
        self._warned = False
        self.asked = 0

    def compare(self, triples: Sequence[Triple]) -> np.ndarray:
        """See `PairModel`; a triple's neighbours change its logit by rounding only (float32).

        Texts for which a row has no room are cut, and it is logged how many, the first time that there are any.
        """
        self.asked += len(triples)
        self._cut.clear()
        logits = np.zeros(len(triples))
        for start in range(0, len(triples), _BLOCK):
            block = triples[start : start + _BLOCK]
            made = {triple: self._encode(triple) for triple in dict.fromkeys(block)}
            rows = [made[triple] for triple in block]
            for indices in in_batches([ids for ids, _ in rows], self._batch):
                ids, mask = self._loaded.padded([rows[index][0] for index in indices])
                positions = torch.tensor([rows[index][1] for index in indices], device=ids.device)  # (rows, 3)
                with torch.inference_mode():
                    found = self._logits(ids, mask, positions)
                logits[[start + index for index in indices]] = found.double().cpu().numpy()
        if self._cut and not self._warned:
            self._warned = True
            log.warning("%s: %d texts are longer than %s has room for and are cut", WHAT, len(self._cut),
                        self._loaded.name)  # fmt: skip
        return logits

    def settings(self) -> dict[str, Any]:
        """See `PairModel`."""
        return self._loaded.settings() | {"transformers": version("transformers")} | self._kind()

    @abstractmethod
    def _kind(self) -> dict[str, Any]:
        """The settings beside the model that decide a comparison."""

    @abstractmethod
    def _encode(self, triple: Triple) -> Encoded:
        """The tokens of a prompt and two answers; a text that is truncated goes into `_cut`."""

    @abstractmethod
    def _logits(self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """(rows,) logits for ids and mask (rows, tokens)."""


class PairRM(_Batched):
    """A DeBERTa encoder with PairRM's head; see the top of this file."""

    def __init__(self, name: str, folder: Path, batch: int, device: str):
        from transformers import AutoConfig, AutoTokenizer
        from transformers.models.deberta_v2.modeling_deberta_v2 import DebertaV2Model

        if not weight_files(folder):
            raise UserError(f"{WHAT}: {name} has no safetensors weights; name a model that has, such as {PAIRRM}")
        with loading(f"{WHAT}: model {name!r}", "model"):
            config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
            encoder = DebertaV2Model(config).float()
            head = _head(config.hidden_size, getattr(config, "n_tasks", 1))
        self._marks = {field: int(getattr(config, field)) for field in MARKS}
        for field, mark in MARKS.items():
            own = tokenizer.convert_tokens_to_ids(mark)
            if own != self._marks[field]:
                raise UserError(f"{WHAT}: {name}: {mark} is token {own} of its tokenizer, wanted {self._marks[field]} "
                                "as config.json says; fetch both again")  # fmt: skip
        _fill(name, folder, encoder, head)
        on_device = torch.device(device)
        digest = base_model_digest(folder)
        super().__init__(SideModel(WHAT, name, encoder.to(on_device).eval(), tokenizer, digest, None, on_device), batch)
        self._head = head.to(on_device).eval()

    def _kind(self) -> dict[str, Any]:
        return {"kind": "pairrm", "source_tokens": SOURCE_TOKENS, "all_tokens": ALL_TOKENS}

    def _logits(self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        states = self._loaded.model(input_ids=ids, attention_mask=mask).last_hidden_state
        marked = states[torch.arange(len(ids), device=ids.device)[:, None], positions]  # (rows, 3, h)
        source, first, second = marked.unbind(1)
        left, right = (self._head(torch.cat([source, answer], -1)) for answer in (first, second))
        logits: torch.Tensor = (left - right).mean(-1)
        return logits

    def _encode(self, triple: Triple) -> Encoded:
        room = SOURCE_TOKENS
        ids: list[int] = []
        positions: list[int] = []
        for (field, mark), text in zip(MARKS.items(), triple, strict=True):
            part = self._loaded.tokenizer(mark + text, truncation=True, max_length=room)["input_ids"]
            if len(part) == room and len(self._loaded.tokenizer(mark + text, verbose=False)["input_ids"]) > room:
                self._cut.add(text)
            # a text may hold a mark too, so it is not looked for in the whole row
            positions.append(len(ids) + part.index(self._marks[field]))
            ids += part
            room = (ALL_TOKENS - len(ids)) // 2 if len(positions) == 1 else room
        return ids, positions


class CrossEncoder(_Batched):
    """A sequence classifier over a prompt and two answers; see the top of this file."""

    def __init__(self, name: str, batch: int, device: str):
        super().__init__(load_side_model(WHAT, name, "AutoModelForSequenceClassification", device), batch)
        tokenizer = self._loaded.tokenizer
        self._labels = int(self._loaded.model.config.num_labels)
        if self._labels not in (1, 2):
            raise UserError(f"{WHAT}: {name} has {self._labels} labels, wanted 1 (first better) or 2 (first, second); "
                            "name a model that compares two answers")  # fmt: skip
        first, last = tokenizer.cls_token_id, tokenizer.sep_token_id
        self._opening = [] if first is None else [first]
        last = tokenizer.eos_token_id if last is None else last
        if last is None:
            raise UserError(f"{WHAT}: {name} has neither a separator nor an end of text; name a model that compares")
        self._separator = [last]

    def _kind(self) -> dict[str, Any]:
        return {"kind": "cross-encoder", "labels": self._labels}

    def _logits(self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self._loaded.model(input_ids=ids, attention_mask=mask).logits
        return found[:, 0] if self._labels == 1 else found[:, 0] - found[:, 1]

    def _encode(self, triple: Triple) -> Encoded:
        """A prompt has at most half the window, an answer half of what is left."""
        tokenizer, window = self._loaded.tokenizer, self._loaded.window
        ids = list(self._opening)
        positions = []
        for index, text in enumerate(triple):
            part = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
            if window is not None:
                room = (window - len(ids)) // (2 if index < 2 else 1) - 1
                if len(part) > room:
                    self._cut.add(text)
                part = part[:room]
            positions.append(len(ids))
            ids += [*part, *self._separator]
        return ids, positions


def _head(hidden: int, tasks: int) -> nn.Sequential:
    # as the published tensors are numbered: dropout, which does nothing here, stands at 0 and 3
    return nn.Sequential(
        nn.Identity(), nn.Linear(2 * hidden, hidden), nn.Tanh(), nn.Identity(), nn.Linear(hidden, tasks)
    )


def _fill(name: str, folder: Path, encoder: nn.Module, head: nn.Module) -> None:
    """Loads the folder's tensors into encoder and head, whose names must match exactly. Raises UserError."""
    from safetensors.torch import load_file

    tensors: dict[str, torch.Tensor] = {}
    with loading(f"{WHAT}: model {name!r}", "model"):
        for file in weight_files(folder):
            tensors |= load_file(folder / file)
        for part, prefix in ((encoder, "pretrained_model."), (head, "head_layer.")):
            own = {key.removeprefix(prefix): tensors[key] for key in tensors if key.startswith(prefix)}
            own.pop("embeddings.position_ids", None)  # an index that older versions wrote along
            try:
                part.load_state_dict(own)
            except RuntimeError as error:
                raise ValueError(f"its tensors under {prefix} are not those of PairRM: {error}") from error
