"""The base models of a recipe: what of them can be checked before their weights are loaded."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from swarm.engines.local.devices import ON_CPU_ANYWHERE, usual_device_and_dtype
from swarm.engines.local.pretrained import loading, read_whole
from swarm.errors import UserError
from swarm.training.recipe import ExpertRecipe
from swarm.weights.base_model import base_folder, base_model_digest, model_folder

USUAL_LENGTH = 1024


@dataclass(frozen=True)
class Base:
    """A base model without its weights.

    Attributes:
      name, revision: as the recipe names it.
      config: transformers' configuration.
      tokenizer: its own, which neither cuts nor fills up.
      modules: names of the linear layers that an adapter can change.
    """

    name: str
    revision: str | None
    config: Any
    tokenizer: Any
    modules: tuple[str, ...]

    def folder(self) -> Path:
        """Where it lies with its weights, which are fetched if need be."""
        return model_folder(self.name, self.revision, "as base in the recipe")

    def digest(self) -> str:
        """Hash of config, weights and tokenizer."""
        return base_model_digest(self.folder())


def read_base(expert: ExpertRecipe) -> Base:
    """The base of an expert; raises UserError if it is not to be had, or no causal language model."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    named = "as base in the recipe"
    if expert.revision is not None and Path(expert.base).is_dir():
        raise UserError(f"{expert.place}: revision is for bases of the hub, and {expert.base} is a folder: drop it")
    base_folder(expert.base, expert.revision, named)
    with loading(f"{expert.place}: base model {expert.base}", named):
        config = AutoConfig.from_pretrained(expert.base, revision=expert.revision)
        tokenizer = AutoTokenizer.from_pretrained(expert.base, revision=expert.revision)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
    read_whole(tokenizer)
    outputs = model.get_output_embeddings()
    kinds = ("Linear", "Conv1D")
    modules = (name for name, each in model.named_modules() if type(each).__name__ in kinds and each is not outputs)
    return Base(expert.base, expert.revision, config, tokenizer, tuple(modules))


def check_lora(expert: ExpertRecipe, base: Base) -> None:
    """Raises UserError if the base has no layer that one of the target modules names."""
    last_parts = sorted({name.rpartition(".")[2] for name in base.modules})
    for target in expert.lora.target_modules:
        if not any(name == target or name.endswith(f".{target}") for name in base.modules):
            raise UserError(
                f"{expert.place}: lora: target_modules has {target}, and {expert.base} has only "
                f"{', '.join(last_parts) or 'no linear layers'}: name some of these"
            )


def length_of(expert: ExpertRecipe, base: Base) -> int:
    """The most tokens of a row; raises UserError where that is more than the base has positions."""
    most = getattr(base.config.get_text_config(), "max_position_embeddings", None)
    if expert.max_length is None:
        return min(USUAL_LENGTH, most or USUAL_LENGTH)
    if most is not None and expert.max_length > most:
        raise UserError(
            f"{expert.place}: max_length is {expert.max_length}, but {expert.base} reads {most} tokens: give no more"
        )
    return expert.max_length


def in_chat_form(expert: ExpertRecipe, base: Base) -> bool:
    """Whether rows are put into the chat template; raises UserError where it is asked for and there is none."""
    there = bool(base.tokenizer.chat_template)
    if expert.chat and not there:
        raise UserError(
            f"{expert.place}: chat is true, but {expert.base} has no chat template: drop it, or change base"
        )
    return there if expert.chat is None else expert.chat


def training_format(expert: ExpertRecipe) -> torch.dtype:
    """The base's number format; raises UserError for one that the device cannot train in, or for no device to use."""
    device, dtype = usual_device_and_dtype(None, expert.dtype, ON_CPU_ANYWHERE, f"{expert.place}: dtype")
    if dtype is torch.float16 and device.type == "cpu":
        raise UserError(f"{expert.place}: dtype is float16, which needs a GPU, and there is none: give float32")
    return dtype
