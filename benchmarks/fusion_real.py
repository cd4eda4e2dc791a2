"""A fused token of real models beside their own forward passes: a first run, a later one, and with all rows known.

H_SWARM_FUSION_MODELS names the models' folders, the main one first, or: python -m benchmarks.fusion_real MAIN OTHER
"""

import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch

from benchmarks.measure import Measured, Row, check_equal, floor_at_most, median_of, table, timed
from swarm.members.fusion.build import chosen_anchors, make_chooser
from swarm.members.fusion.fused_decoding import FusedDecoding
from swarm.members.fusion.fused_step import FusedStep
from swarm.members.fusion.fusion_models import FusionModel, Prompt
from swarm.members.fusion.fusion_settings import FusionSettings
from swarm.members.fusion.row_memory import LEAST, leaves_enough_free
from swarm.members.fusion.rows import LazyRows, RowSource
from swarm.members.fusion.token_choosers import RelativeChooser, TokenChooser
from swarm.members.fusion.vocabulary import read_vocabulary
from swarm.programs.deepen.models import load_fusion_models

MODELS = "H_SWARM_FUSION_MODELS"
PROMPT = """Question: What is the capital of Italy?
Answer: Rome
Question: How many wheels has a bicycle?
Answer: two
Question: Which animal says meow?
Answer: a cat
Question: What is the capital of France?
Answer:"""


@dataclass(frozen=True)
class Size:
    """How much of it: tokens of the text."""

    new_tokens: int = 100


def rows(folders: Sequence[str], size: Size, repeats: int) -> list[Row]:
    """Each run's time by token; the floor is what the models' own passes over the same tokens take, nothing between."""
    models = _recorded(load_fusion_models(folders, [(torch.device("cpu"),)] * len(folders), "float32", False))
    seconds: dict[str, list[float]] = {name: [] for name in ("first run", "later run", "warm", "floor", "made")}
    texts: dict[str, list[int]] = {}
    for _ in range(repeats):
        with _no_rows_kept():
            for way in ("first run", "later run"):
                chooser, made = _made(models)
                seconds["made"].append(made)
                seconds[way].append(made + _write(texts, way, models, chooser, size))
            seconds["warm"].append(_write(texts, "warm", models, chooser, size))
        seconds["floor"].append(timed(lambda: [model.stepper.again() for model in models]))  # type: ignore[attr-defined]
    _write(texts, "float32", models, _in_float32(models), size)
    for name, ids in texts.items():
        check_equal(ids, texts["float32"], f"tokens of a fusion, {name}, beside rows in float32")
    figures = {name: median_of(own, "ms", 1000 / size.new_tokens) for name, own in seconds.items()}
    goals = {"first run": (floor_at_most(5),), "warm": (floor_at_most(2.5),)}
    return [
        Row(f"fusion: real models, {way}", figures[way], floor=figures["floor"], goals=goals.get(way, ()), note=note)
        for way, note in _notes(models, size, median_of(seconds["made"], "s")).items()
    ]


def _notes(models: Sequence[FusionModel], size: Size, made: Measured) -> dict[str, str]:
    sizes = " and ".join(f"{model.name} (V = {len(model.embeddings):,})" for model in models)
    return {
        "first run": f"a token of {size.new_tokens}, {sizes}, float32, all common tokens; no row known, making the "
        f"fusion ({made}) counts; floor: the members' own passes; tokens are those of rows in float32; "
        f"{torch.get_num_threads()} thread(s)",
        "later run": "a fusion made anew, its rows read from the disk; all else as above",
        "warm": "the same fusion again",
    }


def _made(models: Sequence[FusionModel]) -> tuple[TokenChooser, float]:
    """A fusion that is made anew, and the seconds that it took."""
    began = time.perf_counter()
    return make_chooser(models, FusionSettings()), time.perf_counter() - began


class _Recorder:
    """A stepper that notes what it was asked since it was last opened, so that it can be asked again."""

    def __init__(self, inner: Any):
        self.inner = inner
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)
        if not callable(found):
            return found

        def call(*given: Any) -> Any:
            if name == "open":
                self.calls = []
            self.calls.append((name, given))
            return found(*given)

        return call

    def again(self) -> None:
        """Asks all of it again."""
        for name, given in self.calls:
            getattr(self.inner, name)(*given)


def _recorded(models: Sequence[FusionModel]) -> list[FusionModel]:
    """The models with recorders for steppers, and without ends: every text has as many tokens."""
    return [replace(model, stepper=_Recorder(model.stepper), ends=frozenset()) for model in models]  # type: ignore[arg-type]


def _write(
    texts: dict[str, list[int]], name: str, models: Sequence[FusionModel], chooser: TokenChooser, size: Size
) -> float:
    """Puts the tokens of a text under a name; returns the seconds that they took."""
    decoding = FusedDecoding(models, chooser, FusionSettings())
    began = time.perf_counter()
    [written] = decoding.decode([[Prompt(PROMPT, True)] for _ in models], size.new_tokens)
    texts[name] = list(written.ids)
    return time.perf_counter() - began


def _in_float32(models: Sequence[FusionModel]) -> RelativeChooser:
    """A chooser whose rows are not rounded to half precision."""
    settings, embeddings = FusionSettings(), [model.embeddings for model in models]
    ids = chosen_anchors([read_vocabulary(model.tokenizer, model.name) for model in models], embeddings, settings).ids
    sources = [RowSource(*pair) for pair in zip(embeddings, ids, strict=True)]
    return RelativeChooser(
        FusedStep([LazyRows(own, LEAST, "float32", leaves_enough_free) for own in sources], ids, settings.step)
    )


@contextmanager
def _no_rows_kept() -> Iterator[None]:
    """A cache folder of the user's that is empty at first and goes afterwards."""
    before = os.environ.get("XDG_CACHE_HOME")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        try:
            yield
        finally:
            os.environ.pop("XDG_CACHE_HOME")
            if before is not None:
                os.environ["XDG_CACHE_HOME"] = before


def named_models() -> list[str] | None:
    """The folders that the environment names; None where it names fewer than two, or what is not there."""
    folders = [name for name in os.environ.get(MODELS, "").split(os.pathsep) if name]
    return folders if len(folders) > 1 and all(os.path.isdir(name) for name in folders) else None


if __name__ == "__main__":
    print(table(rows(sys.argv[1:], Size(), 3), with_goals=True))
