"""The forward calls of a model behind an engine: what they cost without what the engine does around them."""

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

ATTENTION_ON_CPU = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu

Forward = Callable[..., Any]


@dataclass
class Bare:
    """Forward calls that an engine has made: how many, rows × columns that they read, and their seconds."""

    calls: int = 0
    tokens: int = 0
    seconds: float = 0.0


def bare_forwards(model: Any, run: Callable[[], object]) -> Bare:
    """Runs something, and times every forward call in it.

    In their places, not once more on copies of their inputs: copies of a cache push everything else out of the
    processor's, and the same calls then take 1.4 times as long as within the engine (measured on the embedded experts).
    """
    bare = Bare()

    def timed(forward: Forward, *arguments: Any, **named: Any) -> Any:
        begun = time.perf_counter()
        output = forward(*arguments, **named)
        bare.seconds += time.perf_counter() - begun
        bare.calls += 1
        bare.tokens += named["input_ids"].numel()
        return output

    with _every_forward(model, timed):
        run()
    if not bare.calls:
        raise RuntimeError("the engine has made no forward call of its resident model: record another model's")
    return bare


def forward_flops(model: Any, run: Callable[[], object]) -> int:
    """Floating-point operations of all matrix products in the forward calls that `run` makes."""
    total: list[int] = []

    def counted(forward: Forward, *arguments: Any, **named: Any) -> Any:
        with FlopCounterMode(display=False, custom_mapping={ATTENTION_ON_CPU: _attention_flops}) as counter:
            output = forward(*arguments, **named)
        total.append(counter.get_total_flops())
        return output

    with _every_forward(model, counted):
        run()
    return sum(total)


def _attention_flops(query: Any, key: Any, value: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    flops: int = sdpa_flop_count(query, key, value)
    return flops


@contextmanager
def _every_forward(model: Any, around: Callable[..., Any]) -> Iterator[None]:
    """Calls `around(forward, ...)` in the place of every `forward(...)` of a model."""
    forward = model.forward
    # transformers looks at its parameters
    model.forward = functools.wraps(forward)(functools.partial(around, forward))
    try:
        yield
    finally:
        del model.forward
