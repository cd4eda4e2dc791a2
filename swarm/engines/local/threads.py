"""The number of CPU threads of a forward pass."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

SMALL_MODEL = 10_000_000  # parameters, below which threads wait for each other longer than they compute


class Threads:
    """One thread for the passes of a small model on the CPU; all else is left as it is.

    Two threads read long chunks of such a model faster on an idle machine, but where another process has one of the
    cores, every pass waits for it many times over.
    """

    def __init__(self, model: Any):
        parameters = list(model.parameters())
        self._small = parameters[0].device.type == "cpu" and sum(p.numel() for p in parameters) < SMALL_MODEL

    @contextmanager
    def of_a_pass(self) -> Iterator[None]:
        """A context manager that sets the threads of a forward pass; afterwards as many as before."""
        if not self._small:
            yield
            return
        with one_thread():
            yield


@contextmanager
def one_thread() -> Iterator[None]:
    """torch with one thread on the CPU, so that sums come out the same to the bit on every machine of a kind."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
