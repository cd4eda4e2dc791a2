"""Reward models as evals: `reward:MODEL` for a sequence classifier on this machine, by folder or hub id."""

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch

from swarm.data.example import Dataset, Example
from swarm.engines.base import GenerationParams
from swarm.engines.local.devices import usual_device
from swarm.engines.local.side_models import SideModel, load_side_model, read_hub_config
from swarm.errors import UserError
from swarm.evals.eval import USUAL, Eval, Judging, query_of
from swarm.evals.metric_eval import said
from swarm.evals.score_store import ScoreStore, scores_path
from swarm.values import kind_and_options

REWARD = "reward"
_ROWS = 16  # of equal length, that are scored together


class RewardEval(Eval):
    """The mean reward of a question and its answer, thoughts aside; right answers are not looked at.

    A model with one output gives it as it is, without bounds. Of a classifier with several the option `output` names
    one, and its probability counts: `reward:MODEL:output=1`, by index or label.
    """

    def __init__(self, name: str):
        """`name` is the model's, perhaps with the option. Raises UserError for any other option."""
        self.name = f"{REWARD}:{name}"
        self._model, options = kind_and_options(f"-e {REWARD}", name)
        self._output: Any = options.pop("output", None)
        if options or not self._model:
            given = f"the option {next(iter(options))!r}" if options else "no model"
            raise UserError(f"-e {self.name} has {given}; wanted {REWARD}:MODEL or {REWARD}:MODEL:output=LABEL")
        self.lowest, self.highest = (-math.inf, math.inf) if self._output is None else (0.0, 1.0)
        self._index = 0

    def check(self, dataset: Dataset) -> None:
        """Raises UserError if there is no such model, or it has several outputs of which none is named."""
        config = read_hub_config(self.name, self._model)
        found = config.get("id2label") or {str(index): "" for index in range(config.get("num_labels") or 2)}
        labels = {int(index): str(label) for index, label in found.items()}
        shown = ", ".join(f"{index} ({label})" if label else str(index) for index, label in sorted(labels.items()))
        wanted = str(self._output)
        named = [index for index, label in labels.items() if wanted in (str(index), label)]
        if self._output is None and len(labels) > 1:
            raise UserError(
                f"{self.name}: the model has {len(labels)} outputs, {shown}; wanted a reward model with one, or name "
                f"which counts: {self.name}:output={max(labels)}"
            )
        if self._output is not None and len(named) != 1:
            raise UserError(f"{self.name}: the model has no output {wanted!r}, only {shown}; name one of these")
        if self._output is not None and len(labels) == 1:
            raise UserError(f"{self.name}: the model has one output, whose value counts; leave output= out")
        self._index = named[0] if self._output is not None else 0

    def prepare(self) -> None:
        """Loads the model. Raises UserError if it cannot be had, or is no sequence classifier."""
        self.code = f"{self._loaded.digest} {self._index}"

    def params(self, dataset: Dataset) -> GenerationParams:
        """The usual generation parameters; the dataset's own settings come first."""
        return dataset.settings(USUAL)

    def judge(self, dataset: Dataset, examples: Sequence[Example]) -> Judging:
        """Asks every question once; each answer is scored with its question."""
        questions = [dataset.headed(example.question) for example in examples]
        replies = yield [query_of(dataset, example) for example in examples]
        rows = [(question, said(reply)) for question, reply in zip(questions, replies, strict=True)]
        return {"strict": np.array(self._store.of(self._settings(), rows, self._scores))}

    def ballot(self, reply: str, example: Example) -> str | None:
        """None: free texts are never equal, so there is nothing to vote on."""
        return None

    def readable(self, reply: str, example: Example) -> bool:
        """Whether there is a text, which can be rated."""
        return bool(said(reply))

    @cached_property
    def _loaded(self) -> SideModel:
        device = usual_device()
        return load_side_model(self.name, self._model, "AutoModelForSequenceClassification", device)

    @cached_property
    def _store(self) -> ScoreStore:
        return ScoreStore(scores_path())

    def _settings(self) -> dict[str, Any]:
        """What decides a reward beside the texts."""
        return {"digest": self._loaded.digest, "output": self._output and self._index, "dtype": "float32"}

    def _scores(self, rows: Sequence[tuple[str, ...]]) -> list[float]:
        encoded = [self._encoded(question, answer) for question, answer in rows]
        by_length: dict[int, list[int]] = {}
        for index, row in enumerate(encoded):
            by_length.setdefault(len(row["input_ids"]), []).append(index)
        scores = [0.0] * len(rows)
        for alike in by_length.values():
            for start in range(0, len(alike), _ROWS):
                some = alike[start : start + _ROWS]
                for index, value in zip(some, self._rewards([encoded[one] for one in some]), strict=True):
                    scores[index] = value
        return scores

    def _encoded(self, question: str, answer: str) -> dict[str, list[int]]:
        """Token ids of a question and its answer: a conversation where the model has a template, else a pair.

        What is longer than the window loses its beginning.
        """
        tokenizer, window = self._loaded.tokenizer, self._loaded.window
        if tokenizer.chat_template:
            turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            text = tokenizer.apply_chat_template(turns, tokenize=False)
            encoded = tokenizer(text, add_special_tokens=False)
            return {key: values[-window:] if window else values for key, values in encoded.items()}
        cut = {"truncation": "longest_first", "max_length": window} if window else {}
        return dict(tokenizer(question, answer, truncation_side="left", **cut))

    def _rewards(self, rows: Sequence[dict[str, list[int]]]) -> list[float]:
        """The rewards of rows of one length, so that nothing is filled up."""
        model, device = self._loaded.model, self._loaded.device
        if model.config.pad_token_id is None:
            model.config.pad_token_id = -1  # so that the last token is found, which without padding is the last one
        inputs = {key: torch.tensor([row[key] for row in rows], device=device) for key in rows[0]}
        with torch.inference_mode():
            logits = model(**inputs).logits.double()
        values = logits[:, 0] if self._output is None else logits.softmax(-1)[:, self._index]
        return [float(value) for value in values]
