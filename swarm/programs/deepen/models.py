"""The models of a config: which they are, where they run, and what is loaded of them."""

import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from swarm.engines.local.devices import (
    DTYPES,
    ON_CPU_ANYWHERE,
    card_at,
    check_kernels,
    number_format,
    usual_device,
    what_is_unusual,
)
from swarm.engines.local.plain_generate import end_tokens
from swarm.errors import UserError
from swarm.members.fusion.fusion_models import FusionModel
from swarm.members.fusion.loading import Lexicon, ModelSource, load_lexicon, load_stepped_model
from swarm.programs.deepen.published_config import ModelEntry
from swarm.weights.base_model import base_model_digest, model_folder

log = logging.getLogger(__name__)

NAMED_IN = "in the config's model_path or with --models"


def names_of(paths: Sequence[str]) -> list[str]:
    """What the models are called: the last part of each path or hub id."""
    return [Path(path).name or path for path in paths]


def joined_names(paths: Sequence[str]) -> str:
    """The name of the set of them, as the published program makes it."""
    return "_".join(names_of(paths))


def artefact_folder(models: Sequence[ModelEntry], config: Path) -> Path:
    """Where the artefact of a config's models lies.

    In the folder that the published program's matrices have in common, under the joined names of the models; beside
    the config where it names no matrices.
    """
    matrices = [model.matrix for model in models if model.matrix is not None]
    together = Path(config).parent
    if matrices:
        together = matrices[0].parent
        while not all(together in matrix.parents for matrix in matrices) and together != together.parent:
            together = together.parent
    return together / joined_names([model.path for model in models])


Placed = tuple[torch.device, ...]
"""Where a model lies: on one device, or its layers on several."""


def check_devices(devices: Sequence[str | None], step: str | None) -> tuple[list[Placed], torch.device]:
    """Every model's devices, CUDA where there is any unless they are named, and that of the step, else main's first.

    Raises UserError for one that this machine does not have or that torch cannot use.
    """
    found = [
        tuple(_checked(f"-d{index}", one) for one in (device or usual_device(ON_CPU_ANYWHERE)).split(","))
        for index, device in enumerate(devices)
    ]
    if step is None and found:
        return found, found[0][0]
    return found, _checked("-dp", step or usual_device(ON_CPU_ANYWHERE))


def _checked(flag: str, name: str) -> torch.device:
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if not count:
            usual_device(ON_CPU_ANYWHERE)  # says so where there is one that torch cannot use
        if (device.index or 0) >= count:
            there = f"cpu and {count} CUDA devices, cuda:0 to cuda:{count - 1}" if count else "cpu"
            raise UserError(f"{flag} is {name!r}; this machine has {there}: name one of them, or leave {flag} out")
        place = torch.device("cuda", device.index or 0)
        if card := card_at(place):
            check_kernels(card, ON_CPU_ANYWHERE)
        return place
    if device.type != "cpu":
        raise UserError(f"{flag} is {name!r}; wanted cpu or cuda:<number>")
    return device


def dtype_on(devices: Placed, given: str | None) -> torch.dtype:
    """The number format of a model; UserError for one that is not known, or that a device lacks."""
    if given is not None and given not in DTYPES:
        raise UserError(f"--dtype is {given!r}; wanted one of {', '.join(DTYPES)}")
    formats = {number_format(card_at(device), device, given) for device in devices}
    return formats.pop() if len(formats) == 1 else torch.float32


def check_model_folders(paths: Sequence[str]) -> None:
    """Raises UserError for a model that is named as a folder and is none, or is no model's folder."""
    for path in paths:
        place = Path(path)
        if place.is_dir() and not (place / "config.json").is_file():
            raise UserError(f"model {path} has no config.json; wanted a folder as save_pretrained writes it {NAMED_IN}")
        if not place.is_dir() and (place.is_absolute() or path.startswith((".", "~")) or path.count("/") > 1):
            raise UserError(f"model {path} is not there; wanted a model's folder, or its id at the hub, {NAMED_IN}")


def load_fusion_models(
    paths: Sequence[str],
    devices: Sequence[Placed],
    dtype: str | None,
    trusted: bool,
    languages: Sequence[str] = (),
) -> list[FusionModel]:
    """The models, ready to be stepped, each on its devices; encoder-decoders write in their target languages."""
    fusion_models = []
    for place in dict.fromkeys(devices):
        if unusual := what_is_unusual(place[0], dtype_on(place, dtype), dtype):
            log.warning("%s", unusual)
    languages = languages or [""] * len(paths)
    for path, name, place, language in zip(paths, names_of(paths), devices, languages, strict=False):
        source = ModelSource(path, None, trusted, NAMED_IN, language)
        loaded = load_stepped_model(source, place, dtype_on(place, dtype))
        ends = end_tokens(loaded.model.generation_config) | {loaded.tokenizer.eos_token_id}
        embeddings = loaded.model.get_input_embeddings().weight.detach()
        ending = frozenset(token for token in ends if token is not None)
        fusion_models.append(FusionModel(name, loaded.tokenizer, loaded.stepper, -1, embeddings, ending))
    return fusion_models


def languages_of(models: Sequence[ModelEntry]) -> list[str]:
    """The models' target languages."""
    return [model.language for model in models]


def named_languages(models: Sequence[ModelEntry]) -> dict[str, list[str]]:
    """The same for a recipe, which has none where no model has one."""
    return {"languages": languages_of(models)} if any(languages_of(models)) else {}


def load_lexicons(paths: Sequence[str], trusted: bool) -> list[Lexicon]:
    """The models' tokenizers and input embeddings."""
    return [
        load_lexicon(name, ModelSource(path, None, trusted, NAMED_IN))
        for path, name in zip(paths, names_of(paths), strict=True)
    ]


def model_contents(paths: Sequence[str], trusted: bool) -> dict[str, str]:
    """Digests of the models' configs, weights and tokenizers by path, with the code that comes along if it is run.

    A model at the hub is fetched if need be.
    """
    return {path: base_model_digest(model_folder(path, None, NAMED_IN), trusted) for path in paths}


def read_embeddings(path: str, trusted: bool) -> torch.Tensor:
    """A model's input embeddings as its files have them, by which an artefact knows it."""
    return load_lexicon(path, ModelSource(path, None, trusted, NAMED_IN)).embeddings
