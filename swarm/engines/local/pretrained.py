"""Loading of pretrained models and tokenizers: errors become UserErrors, and no prompt is truncated."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from safetensors import SafetensorError

from swarm.errors import UserError

# what transformers raises for files that are missing, damaged or not a model's
FAULTS = (OSError, ValueError, ImportError, SafetensorError, LookupError, AttributeError, ArithmeticError)


@contextmanager
def loading(what: str, named: str) -> Iterator[None]:
    """A context manager in which loading errors become UserErrors about `what`; `named` says where to name another."""
    try:
        yield
    except FAULTS as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{what} cannot be loaded ({reason}): fetch it again, or name another {named}") from error


def load_base(base: str, named: str, dtype: Any, **options: Any) -> tuple[Any, Any]:
    """The tokenizer and the causal model of a base, a folder or a hub id; `options` are from_pretrained's.

    With device_map="meta" the model has shapes and no numbers: only the headers of its weight files are read.
    Raises UserError if they cannot be had, or if the tokenizer is not the model's; `named` says where to name another.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = {name: value for name, value in options.items() if name != "device_map"}
    with loading(f"base model {base}", named):
        tokenizer = AutoTokenizer.from_pretrained(base, padding_side="left", **where)
        model = AutoModelForCausalLM.from_pretrained(base, dtype=dtype, use_safetensors=True, **options)
    known, wanted = len(tokenizer), model.config.get_text_config().vocab_size
    if known < wanted / 2:
        # without its files, transformers makes up a tokenizer that knows next to nothing
        raise UserError(
            f"the tokenizer of base model {base} knows {known} tokens, the model {wanted}: its tokenizer files are "
            "missing or another model's; put them into its folder"
        )
    read_whole(tokenizer)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer, model


def padding_of(tokenizer: Any, model: Any) -> int:
    """A token that rows are filled up with, which the model has a row for; what it is does not matter to an answer."""
    rows = model.get_input_embeddings().weight.shape[0]
    ends = model.generation_config.eos_token_id
    usual = (tokenizer.pad_token_id, model.generation_config.pad_token_id, ends[0] if isinstance(ends, list) else ends)
    return next((token for token in usual if isinstance(token, int) and 0 <= token < rows), 0)


def read_whole(tokenizer: Any) -> None:
    """Turns off a tokenizer's truncation and padding, which its file may bring along."""
    if tokenizer.is_fast:
        tokenizer.backend_tokenizer.no_truncation()
        tokenizer.backend_tokenizer.no_padding()
