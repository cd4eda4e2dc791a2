"""An encoder with a classification head, fine-tuned on soft labels: DeBERTa, ModernBERT, whatever transformers has."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from swarm.engines.local.positions import learned_positions
from swarm.engines.local.pretrained import loading
from swarm.errors import UserError
from swarm.members.routing.interfaces import Inputs, inputs_at, softmax
from swarm.members.routing.parts import plain
from swarm.storage.files import read_text

log = logging.getLogger(__name__)

RECORD = "part.json"


@dataclass(frozen=True)
class EncoderSettings:
    """Settings of a fine-tuned encoder.

    Attributes:
      model: a folder or a hub id.
      revision: of the hub id; None for its newest.
      window: the most tokens that are read of a prompt, its last ones; None for as many as the model can read.
      epochs: how often each prompt is seen.
      batch_size: prompts per step, and per pass when it chooses.
      learning_rate: AdamW's; it rises over the first tenth of the steps and falls to zero.
      device: where it is trained and asked, as torch names it.
    """

    kind: ClassVar[str] = "encoder"
    learns: ClassVar[str] = "labels"
    reads: ClassVar[str] = "texts"
    model: str = "microsoft/deberta-v3-small"
    revision: str | None = None
    window: int | None = None
    epochs: int = 3
    batch_size: int = 16
    learning_rate: float = 3e-5
    device: str = "cpu"

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch_size, 1 if self.window is None else self.window) < 1:
            raise UserError(
                f"encoder has epochs {self.epochs}, batch_size {self.batch_size}, window {self.window}; wanted each at "
                "least 1"
            )
        if not self.learning_rate > 0:
            raise UserError(f"learning_rate is {self.learning_rate:g}, wanted more than 0")

    def fit(
        self, inputs: Inputs, targets: np.ndarray, weights: np.ndarray, generator: np.random.Generator
    ) -> "Encoder":
        """Fine-tunes all weights in float32 on the prompts that have weight.

        torch's own generators are seeded for the head and for dropout, and left as they were. Raises UserError if the
        model or the device cannot be had.
        """
        import torch

        from swarm.engines.local.side_models import named_device

        named_device("classifier encoder", self.device)
        counts = np.flatnonzero(weights > 0)
        texts = [str(text) for text in inputs_at(inputs, counts)]
        labels = torch.tensor(targets[counts], dtype=torch.float32, device=self.device)
        shares = torch.tensor(weights[counts] / weights[counts].mean(), dtype=torch.float32, device=self.device)
        with torch.random.fork_rng(), torch.enable_grad():
            torch.manual_seed(int(generator.integers(2**63)))
            encoder = Encoder(self, *_loaded(self.model, self.revision, labels.shape[1], self.device))
            self._train(encoder, encoder.tokens(texts), labels, shares, generator)
        return encoder

    def _train(self, encoder: "Encoder", rows: list[Any], labels: Any, shares: Any, generator: Any) -> None:
        import torch

        model = encoder.model.train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=self.learning_rate)
        steps = self.epochs * -(-len(rows) // self.batch_size)
        rise = max(1, steps // 10)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min((step + 1) / rise, (steps - step) / max(1, steps - rise))
        )
        for _ in range(self.epochs):
            order = generator.permutation(len(rows))
            for start in range(0, len(order), self.batch_size):
                batch = order[start : start + self.batch_size]
                logits = encoder.logits([rows[index] for index in batch])
                losses = -(labels[batch] * torch.log_softmax(logits.float(), dim=1)).sum(dim=1)
                optimizer.zero_grad()
                (shares[batch] * losses).mean().backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
        model.eval()


@dataclass(frozen=True, eq=False)
class Encoder:
    """A fine-tuned encoder and its tokenizer."""

    kind: ClassVar[str] = "encoder"
    learns: ClassVar[str] = "labels"
    chosen: EncoderSettings
    model: Any
    tokenizer: Any

    @property
    def window(self) -> int:
        """The most tokens of a prompt that are read, special ones included."""
        config = self.model.config
        limits = [
            self.chosen.window,
            learned_positions(self.model),
            getattr(config, "max_position_embeddings", None),
            self.tokenizer.model_max_length,
        ]
        return min(int(limit) for limit in limits if limit)

    def scores(self, inputs: Inputs) -> np.ndarray:
        """Probabilities (B, M) float64; the number of prompts that were truncated at their start is logged."""
        import torch

        rows = self.tokens([str(text) for text in inputs])
        found = np.zeros((len(rows), self.model.config.num_labels))
        order = sorted(range(len(rows)), key=lambda index: -len(rows[index]["input_ids"]))
        with torch.inference_mode():
            for start in range(0, len(order), self.chosen.batch_size):
                batch = order[start : start + self.chosen.batch_size]
                found[batch] = self.logits([rows[index] for index in batch]).double().cpu().numpy()
        return softmax(found)

    def tokens(self, texts: Sequence[str]) -> list[dict[str, list[int]]]:
        """The tokens of every text, truncated to the window."""
        window = self.window
        self.tokenizer.truncation_side = "left"
        cut = sum(len(self.tokenizer(text, truncation=False, verbose=False)["input_ids"]) > window for text in texts)
        if cut:
            log.warning(
                "%d of %d prompts are longer than the %d tokens that the encoder %s reads: their beginning is not seen",
                cut, len(texts), window, self.chosen.model,
            )  # fmt: skip
        return [dict(self.tokenizer(text, truncation=True, max_length=window)) for text in texts]

    def logits(self, rows: list[dict[str, list[int]]]) -> Any:
        """Logits (B, M) of rows of tokens, padded to the longest."""
        padded = self.tokenizer.pad(rows, return_tensors="pt").to(self.model.device)
        return self.model(**padded).logits

    def settings(self) -> EncoderSettings:
        """The settings that it was fitted with: none is chosen by cross-validation."""
        return self.chosen

    def write(self, folder: Path) -> None:
        """Writes model and tokenizer as transformers does, and the settings."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        (folder / RECORD).write_text(json.dumps({"settings": plain(self.chosen)}) + "\n", encoding="utf8")


def read_encoder(folder: Path) -> Encoder:
    """The encoder that `Encoder.write` has written; UserError if it cannot be loaded. Without CUDA on the CPU."""
    try:
        chosen = EncoderSettings(**json.loads(read_text(folder / RECORD))["settings"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder} is damaged ({type(error).__name__}: {error}); fit the router again") from error
    import torch

    there = chosen.device.startswith("cpu") or torch.accelerator.is_available()
    return Encoder(chosen, *_loaded(str(folder), None, None, chosen.device if there else "cpu"))


def _loaded(name: str, revision: str | None, labels: int | None, device: str) -> tuple[Any, Any]:
    """Model in float32 and tokenizer; with `labels`, a new head of that many."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    head = {} if labels is None else {"num_labels": labels, "ignore_mismatched_sizes": True}
    with loading(f"the encoder {name!r}", "folder or hub id"):
        tokenizer = AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=False)
        model = AutoModelForSequenceClassification.from_pretrained(
            name, revision=revision, dtype=torch.float32, use_safetensors=True, trust_remote_code=False, **head
        )
    if tokenizer.pad_token is None:
        raise UserError(f"the tokenizer of the encoder {name!r} has no padding token; give it one, or name another")
    return model.to(device).eval(), tokenizer
