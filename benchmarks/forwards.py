"""The bare forward calls of a model behind an engine: what they cost without anything around them."""

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

ATTENTION_ON_CPU = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


@dataclass
class Bare:
    """Forward calls that an engine has made: how many, rows × columns that they read, and their seconds alone."""

    calls: int = 0
    tokens: int = 0
    seconds: float = 0.0


def bare_forwards(model: Any, run: Callable[[], object]) -> Bare:
    """Runs something, and says what the forward calls in it took of the time."""
    bare = Bare()

    def act(forward: Callable[..., Any], named: dict[str, Any]) -> Any:
        begun = time.perf_counter()
        output = forward(**named)
        bare.seconds += time.perf_counter() - begun
        bare.calls += 1
        bare.tokens += named["input_ids"].numel()
        return output

    with _each_forward(model, act):
        run()
    if not bare.calls:
        raise RuntimeError("the engine has made no forward call of its resident model: record another model's")
    return bare


def forward_flops(model: Any, run: Callable[[], object]) -> int:
    """Floating-point operations of all matrix products in the forward calls that `run` makes."""
    counter = _counter()
    total: list[int] = []

    def act(forward: Callable[..., Any], named: dict[str, Any]) -> Any:
        with counter:
            output = forward(**named)
        total.append(counter.get_total_flops())
        return output

    with _each_forward(model, act):
        run()
    return sum(total)


def all_flops(run: Callable[[], object]) -> int:
    """Floating-point operations of all matrix products that `run` makes in torch, in whichever models."""
    with _counter() as counter:
        run()
    return int(counter.get_total_flops())


def _counter() -> FlopCounterMode:
    return FlopCounterMode(display=False, custom_mapping={ATTENTION_ON_CPU: _attention_flops})


def _attention_flops(query: Any, key: Any, value: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    flops: int = sdpa_flop_count(query, key, value)
    return flops


@contextmanager
def _each_forward(model: Any, act: Callable[[Callable[..., Any], dict[str, Any]], Any]) -> Iterator[None]:
    """Has `act` make every forward call, which is given in named arguments."""
    forward = model.forward

    @functools.wraps(forward)  # transformers looks at its parameters
    def watched(**named: Any) -> Any:
        return act(forward, named)

    model.forward = watched
    try:
        yield
    finally:
        del model.forward
