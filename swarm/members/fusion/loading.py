"""Loading of a fusion's models: whole, or only tokenizer and input embeddings."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from swarm.engines.local.device_map import named, planned_map, spread, spread_stepper
from swarm.engines.local.pretrained import loading, read_whole
from swarm.engines.local.stepper import Stepper, make_stepper
from swarm.errors import UserError
from swarm.weights.base_model import index_of, model_folder, weight_files


@dataclass(frozen=True)
class ModelSource:
    """The source of a model: folder or hub id, revision, and whether its own code may run.

    Attributes:
      model: its folder or hub id.
      revision: of a hub id.
      trusted: whether Python code that comes with it is run.
      named_in: where it was named, as messages say it: "in node.json".
      language: in which an encoder-decoder is to write, as its tokenizer calls it; "" leaves it to the model.
    """

    model: str
    revision: str | None = None
    trusted: bool = False
    named_in: str = "in node.json"
    language: str = ""


@dataclass(frozen=True)
class LoadedModel:
    """A loaded model with its tokenizer and stepper."""

    model: Any
    tokenizer: Any
    stepper: Stepper


@dataclass(frozen=True)
class Lexicon:
    """A model's name, tokenizer and input embeddings, (V, D)."""

    name: str
    tokenizer: Any
    embeddings: torch.Tensor


def load_stepped_model(source: ModelSource, devices: Sequence[torch.device], dtype: torch.dtype) -> LoadedModel:
    """A causal model or an encoder-decoder, ready to be stepped, its layers divided among several devices.

    Raises UserError if it cannot be had, or has no room there.
    """
    folder = model_folder(source.model, source.revision, source.named_in)
    with loading(f"model {source.model} of a fusion", source.named_in):
        kind, config = _kind(folder, source)
        options = {"trust_remote_code": source.trusted, "dtype": dtype, "use_safetensors": True}
        tokenizer = _tokenizer(folder, source)
        load = partial(kind.from_pretrained, folder, config=config, **options)
        if len(devices) > 1:
            placed = planned_map(f"model {source.model} of a fusion", load(device_map="meta"), devices)
            model = load(device_map=named(placed)).eval()
            spread(model, placed)
        else:
            model = load().to(devices[0]).eval()
    forced = language_token(tokenizer, source) if source.language else None
    make = make_stepper if len(devices) == 1 else spread_stepper
    return LoadedModel(model, tokenizer, make(model, forced_bos_token_id=forced))


def language_token(tokenizer: Any, source: ModelSource) -> int:
    """The token with which a text in the source's language begins: "deu_Latn" (NLLB), "de_DE" (mBART), "de" (M2M100).

    Raises UserError for a language that the tokenizer does not know.
    """
    known = set(tokenizer.all_special_tokens) | set(getattr(tokenizer, "additional_special_tokens", ()) or ())
    vocabulary = tokenizer.get_vocab()
    for token in (source.language, f"__{source.language}__"):
        if token in vocabulary and (token in known or token in tokenizer.get_added_vocab()):
            return int(vocabulary[token])
    some = ", ".join(sorted(token for token in tokenizer.get_added_vocab() if "_" in token)[:8]) or "none"
    where = f"model {source.model} has no target language {source.language!r} {source.named_in}"
    raise UserError(f"{where}; name one that it has, such as {some}")


def load_lexicon(name: str, source: ModelSource) -> Lexicon:
    """A model's tokenizer and input embeddings as its files have them.

    Of the weights only the embeddings are read where the name of their tensor is plain. UserError if they cannot be
    had.
    """
    folder = model_folder(source.model, source.revision, source.named_in)
    with loading(f"model {source.model} of a fusion", source.named_in):
        return Lexicon(name, _tokenizer(folder, source), _embeddings(folder, source))


def _embeddings(folder: Path, source: ModelSource) -> torch.Tensor:
    kind, config = _kind(folder, source)
    with torch.device("meta"):
        shell = kind.from_config(config, trust_remote_code=source.trusted)
    wanted = shell.get_input_embeddings().weight
    names = [name for name, own in shell.named_parameters(remove_duplicate=False) if own is wanted]
    # a file of the bare model has names without what the head's model puts before them
    names += [name.removeprefix(f"{shell.base_model_prefix}.") for name in names]
    files = index_of(folder) or {name: weight_files(folder)[0] for name in names}
    for name in names:
        if name in files:
            with safe_open(folder / files[name], framework="pt") as file:
                if name in file.keys() and file.get_slice(name).get_shape() == list(wanted.shape):  # noqa: SIM118
                    tensor: torch.Tensor = file.get_tensor(name)
                    return tensor
    options = {"trust_remote_code": source.trusted, "use_safetensors": True}
    model = kind.from_pretrained(folder, config=config, dtype="auto", **options)
    read: torch.Tensor = model.get_input_embeddings().weight.detach()
    return read


def _kind(folder: Path, source: ModelSource) -> tuple[Any, Any]:
    """The class that a model is loaded with, and its config."""
    config = AutoConfig.from_pretrained(folder, trust_remote_code=source.trusted)
    return (AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM), config


def _tokenizer(folder: Path, source: ModelSource) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=source.trusted)
    read_whole(tokenizer)
    return tokenizer
