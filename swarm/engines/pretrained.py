"""Models and tokenizers as transformers loads them: what goes wrong is told, and no prompt is cut."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from safetensors import SafetensorError

from swarm.errors import UserError

# what transformers raises for files that are missing, damaged or not a model's
FAULTS = (OSError, ValueError, ImportError, SafetensorError, LookupError, AttributeError, ArithmeticError)


@contextmanager
def loading(what: str, named: str) -> Iterator[None]:
    """What goes wrong in the block is a UserError about `what`; `named` says where to name another one."""
    try:
        yield
    except FAULTS as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{what} cannot be loaded ({reason}): fetch it again, or name another {named}") from error


def read_whole(tokenizer: Any) -> None:
    """Has a tokenizer neither cut nor fill up what it reads, which its file may bring along."""
    if tokenizer.is_fast:
        tokenizer.backend_tokenizer.no_truncation()
        tokenizer.backend_tokenizer.no_padding()
