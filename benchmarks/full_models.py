"""Experts that are whole models: read and checked, placed, and mixed, against from_pretrained and Python sums."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from benchmarks.machine import copying
from benchmarks.measure import Different, Row, interleaved, median_of
from benchmarks.parts import materialised
from swarm.engines.local.resident_model import make_resident
from swarm.weights.pool import Pool, read_pool

MIXTURE = (0.5, 0.75, -0.25)


@dataclass(frozen=True)
class Size:
    """How much of it: the models' width, layers and vocabulary (52 million parameters each by default)."""

    width: int = 512
    layers: int = 6
    vocabulary: int = 32_000


SMALL = Size(width=16, layers=1, vocabulary=50)


def rows(size: Size, repeats: int) -> list[Row]:
    """Three models in bfloat16; floors: the bytes that each must read and write, copied in memory."""
    with tempfile.TemporaryDirectory() as folder:
        folders = [Path(folder) / f"model_{index}" for index in range(len(MIXTURE))]
        parameters = _write_models(folders, size)
        pool = read_pool(Path(folder))
        ours = _Resident(pool)
        theirs = AutoModelForCausalLM.from_pretrained(folders[0], dtype=torch.bfloat16)
        ways: dict[str, Callable[[], object]] = {
            "read": partial(read_pool, Path(folder)),
            "one": partial(ours.load, (0.0, 1.0, 0.0)),
            "one, reference": partial(_load_mixture, theirs, folders, (0.0, 1.0, 0.0)),
            "mixture": partial(ours.load, MIXTURE),
            "mixture, reference": partial(_load_mixture, theirs, folders, MIXTURE),
            "copy": copying(2 * parameters),
        }
        seconds = interleaved(ways, repeats)
        ours.load(MIXTURE)
        _load_mixture(theirs, folders, MIXTURE)
        _check_equal(ours.model, theirs)
    figures = {name: median_of(values, "s") for name, values in seconds.items()}
    about = f"3 Llamas of {parameters / 1e6:,.1f} M parameters, bfloat16, {torch.get_num_threads()} thread(s)"
    copied = figures["copy"]
    return [
        Row(
            "full_models: read and check",
            figures["read"],
            note=f"{about}; digests and a look at every number included",
        ),
        Row(
            "full_models: place one",
            figures["one"],
            figures["one, reference"],
            copied,
            note=f"{about}; reference: from_pretrained, load_state_dict; floor: one model copied in memory",
        ),
        Row(
            "full_models: place a mixture",
            figures["mixture"],
            figures["mixture, reference"],
            copied.times((len(MIXTURE) + 1) / 2),
            note=f"{about}; reference: three from_pretrained, summed in Python; floor: three read and one written",
        ),
    ]


class _Resident:
    """The model that an engine keeps, with the experts loaded into it."""

    def __init__(self, pool: Pool):
        self.pool = pool
        self.model = AutoModelForCausalLM.from_pretrained(pool.base, dtype=torch.bfloat16)
        self.resident = make_resident(self.model, self._weights((1.0, 0.0, 0.0)), pool.base)

    def _weights(self, coefficients: tuple[float, ...]) -> Any:
        return materialised(self.pool, np.array([coefficients]))[0]

    def load(self, coefficients: tuple[float, ...]) -> None:
        self.resident.load(self._weights(coefficients))


def _write_models(folders: list[Path], size: Size) -> int:
    """Models of random numbers; how many parameters each has."""
    config = LlamaConfig(
        vocab_size=size.vocabulary,
        hidden_size=size.width,
        intermediate_size=size.width * 11 // 4,
        num_hidden_layers=size.layers,
        num_attention_heads=8,
        num_key_value_heads=8,
    )
    words = Tokenizer(WordLevel({f"w{number}": number for number in range(size.vocabulary)}, unk_token="w0"))
    parameters = 0
    for seed, folder in enumerate(folders):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config).to(torch.bfloat16)
        model.save_pretrained(folder)
        PreTrainedTokenizerFast(tokenizer_object=words, unk_token="w0").save_pretrained(folder)
        parameters = model.num_parameters()
    return parameters


def _load_mixture(model: Any, folders: list[Path], coefficients: tuple[float, ...]) -> None:
    """The plain way: every model that takes part loaded, the sum made in float32 name by name, and loaded again."""
    parts = [
        (AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).state_dict(), coefficient)
        for folder, coefficient in zip(folders, coefficients, strict=True)
        if coefficient
    ]
    mixed = {}
    for name, tensor in parts[0][0].items():
        terms = [state[name].float() * coefficient for state, coefficient in parts]
        mixed[name] = sum(terms[1:], terms[0]).to(tensor.dtype)
    model.load_state_dict(mixed)


def _check_equal(ours: Any, theirs: Any) -> None:
    """Raises Different unless both models hold the same numbers, but for one rounding to bfloat16."""
    others = theirs.state_dict()
    for name, tensor in ours.state_dict().items():
        if not torch.allclose(tensor.float(), others[name].float(), rtol=2**-7, atol=1e-6):
            raise Different(f"mixture of full models: tensor {name} differs")
