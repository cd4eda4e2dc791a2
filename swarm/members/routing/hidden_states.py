"""Features by the base model: a prompt's last hidden states, pooled. Needs no download and no other model."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from swarm.engines.local.chat_template import check_not_empty
from swarm.engines.local.positions import learned_positions, scaled_by_length
from swarm.engines.local.pretrained import read_whole
from swarm.engines.local.threads import Threads
from swarm.errors import UserError
from swarm.members.routing.interfaces import Encoded, LanguageModel
from swarm.members.routing.parts import plain, read_part, write_part
from swarm.members.routing.standardise import Standard, standard_from, standard_of

log = logging.getLogger(__name__)

POOLINGS = ("mean", "last", "both")


@dataclass(frozen=True)
class HiddenSettings:
    """Settings of pooled hidden states.

    Attributes:
      window: the most tokens of a prompt that are read, its last ones; None for as many as the model can read.
      batch_tokens: the most tokens, with padding, in one pass.
      pooling: "mean" of all tokens' states, "last", the state of the last token, which has seen all others, or "both"
        side by side.
    """

    kind: ClassVar[str] = "hidden"
    window: int | None = None
    batch_tokens: int = 8192
    pooling: str = "both"

    def __post_init__(self) -> None:
        if self.pooling not in POOLINGS:
            raise UserError(f"pooling is {self.pooling!r}, wanted one of {', '.join(POOLINGS)}")
        if (self.window is not None and self.window < 1) or self.batch_tokens < 1:
            raise UserError(f"window is {self.window} and batch_tokens {self.batch_tokens}, wanted each at least 1")

    def fit(self, prompts: Sequence[str], language_model: LanguageModel | None) -> tuple["Hidden", Encoded]:
        """Fits mean and standard deviation; returns the features and the encoded prompts. UserError without a model."""
        reader = _needed(language_model)
        states = pooled_states(self, reader, prompts)
        standard = standard_of(states.values)
        return Hidden(self, reader, standard), Encoded(standard(states.values), states.cut)


@dataclass(frozen=True, eq=False)
class Hidden:
    """Last hidden states, pooled and standardised."""

    kind: ClassVar[str] = "hidden"
    settings: HiddenSettings
    reader: LanguageModel
    standard: Standard

    def encode(self, prompts: Sequence[str]) -> Encoded:
        """Features (B, hidden size) float32; the number of prompts that were truncated at their start is logged."""
        states = pooled_states(self.settings, self.reader, prompts)
        return Encoded(self.standard(states.values), states.cut)

    def refit(self, prompts: Sequence[str]) -> "Hidden":
        """Returns itself: only mean and standard deviation depend on the prompts."""
        return self

    def write(self, folder: Path) -> None:
        """Writes mean, standard deviation and the model's digest, not the model."""
        record = {"settings": plain(self.settings), "model": self.reader.digest}
        write_part(folder, record, self.standard.tensors())


def read_hidden(folder: Path, language_model: LanguageModel | None) -> Hidden:
    """The features that `Hidden.write` has written. Raises UserError if no model, or another one, is given."""
    reader = _needed(language_model)
    record, tensors = read_part(folder)
    if record["model"] != reader.digest:
        raise UserError(
            f"the router was fitted on the states of another model ({record['model'][:12]}) than {reader.name} "
            f"({reader.digest[:12]}); name that model, or fit the router again"
        )
    return Hidden(HiddenSettings(**record["settings"]), reader, standard_from(tensors))


def pooled_states(settings: HiddenSettings, reader: LanguageModel, prompts: Sequence[str]) -> Encoded:
    """Every prompt's last hidden states, pooled: float32 (B, F), each as if it were read alone; F is the hidden size.

    Prompts of like length share a pass; padding stands behind them, where a causal model does not look. Raises
    UserError for a prompt without a token. With pooling both, F is twice the hidden size.
    """
    read_whole(reader.tokenizer)
    rows: list[list[int]] = reader.tokenizer(list(prompts))["input_ids"] if prompts else []
    check_not_empty(reader.name, map(len, rows))
    window = _window(settings, reader)
    cut = sum(len(row) > window for row in rows)
    if cut:
        log.warning(
            "%d of %d prompts are longer than the %d tokens that %s reads for routing: their beginning is not seen",
            cut, len(rows), window, reader.name,
        )  # fmt: skip
    rows = [row[-window:] for row in rows]
    alone = scaled_by_length(reader.model) is not None  # positions may look at the longest row of a batch
    width = reader.model.config.get_text_config().hidden_size * (2 if settings.pooling == "both" else 1)
    values = np.zeros((len(rows), width), dtype=np.float32)
    order = sorted(range(len(rows)), key=lambda index: -len(rows[index]))
    while order:
        size = 1 if alone else max(1, settings.batch_tokens // len(rows[order[0]]))
        taken, order = order[:size], order[size:]
        values[taken] = _pass(reader, [rows[index] for index in taken], settings.pooling)
    return Encoded(values, cut)


def _pass(reader: LanguageModel, rows: list[list[int]], pooling: str) -> np.ndarray:
    import torch

    model = reader.model
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows], device=model.device)
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=model.device)
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode(), Threads(model).of_a_pass():
            # the decoder alone: logits over a vocabulary would cost more than the states
            states = model.get_decoder()(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
            states = states.to(mask.device)  # its last layer may lie on another one
    finally:
        model.train(was_training)
    lengths = mask.sum(dim=1)
    mean = (states.float() * mask[..., None]).sum(dim=1) / lengths[:, None]
    last = states[torch.arange(len(rows), device=lengths.device), lengths - 1].float()
    pooled: np.ndarray = torch.cat({"mean": [mean], "last": [last], "both": [mean, last]}[pooling], dim=1).cpu().numpy()
    return pooled


def _window(settings: HiddenSettings, reader: LanguageModel) -> int:
    """The window in tokens: the least of the settings', the model's and the tokenizer's."""
    config: Any = reader.model.config.get_text_config()
    limits = [
        settings.window,
        learned_positions(reader.model),
        getattr(config, "max_position_embeddings", None),
        reader.tokenizer.model_max_length,  # a huge number where the tokenizer does not know
    ]
    return min(int(limit) for limit in limits if limit)


def _needed(language_model: LanguageModel | None) -> LanguageModel:
    if language_model is None:
        raise UserError("features of kind hidden need the base model, and none was given; hand it in, or use tfidf")
    return language_model
