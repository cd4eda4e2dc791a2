"""Whether two experts can be combined: the same tensors, and the same of what else decides a model's answers."""

from pathlib import Path
from typing import Any

import torch

from swarm.errors import UserError
from swarm.weights.adapters import SCALE_FIELDS, Adapter
from swarm.weights.full_model import FORMATS, FullModel, read_model_config, vocabulary_digests

# fields of config.json that change no logit; shapes are compared as such, and how it generates is up to the first model
WITHOUT_EFFECT = (
    "_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version", "use_cache", "initializer_range",
    "max_position_embeddings", "id2label", "label2id", "problem_type",
)  # fmt: skip


def check_adapters_fit(first: Adapter, other: Adapter) -> None:
    """Raises UserError naming the first way in which two adapters cannot be combined."""
    for field in SCALE_FIELDS:
        mine, theirs = (adapter.config.get(field) or None for adapter in (first, other))
        if mine != theirs:
            raise UserError(
                f"{other.folder}: {field} is {theirs}, but {mine} in {first.folder}; experts that are combined must "
                "agree in it. Remove one or train it again"
            )
    _check_tensors(first, other)


def check_models_fit(first: FullModel, other: FullModel) -> None:
    """Raises UserError naming the first way in which two full models cannot be combined."""
    kind, others_kind = first.config["model_type"], other.config["model_type"]
    if kind != others_kind:
        raise UserError(
            f"{other.folder} is a {others_kind} model, but {first.folder} a {kind}; experts must have one "
            "architecture. Put them into separate folders"
        )
    _check_vocabulary(first, other)
    _check_tensors(first, other)
    mine, theirs = (_decisive(model.folder, model.config) for model in (first, other))
    for field in sorted({*mine, *theirs}):
        if mine.get(field) != theirs.get(field):
            raise UserError(
                f"{other.folder}: {field} in config.json is {theirs.get(field)}, but {mine.get(field)} in "
                f"{first.folder}; experts that are combined must agree in it. Remove one"
            )
    _check_whole_numbers(first, other)


def check_base_fits(model: FullModel, base: Path) -> None:
    """Raises UserError if a base that full models are to run in reads other tokens or computes something else.

    It may untie what they tie.
    """
    config, vocabulary = read_model_config(base), vocabulary_digests(base)
    mine, theirs = _decisive(model.folder, model.config), _decisive(base, config)
    for field in sorted({*mine, *theirs} - {"tie_word_embeddings"}):
        if mine.get(field) != theirs.get(field):
            raise UserError(
                f"base model {base}: {field} in config.json is {theirs.get(field)}, but {mine.get(field)} in "
                f"{model.folder}; full models run in a base of their own architecture: name another with -b, or none"
            )
    for file in {*vocabulary} & {*model.vocabulary}:
        if vocabulary[file] != model.vocabulary[file]:
            raise UserError(
                f"base model {base}: {file} has another vocabulary than that of {model.folder}; name another with -b, "
                "or none"
            )


def _check_tensors(first: Adapter | FullModel, other: Adapter | FullModel) -> None:
    for name in sorted(set(first.shapes) ^ set(other.shapes)):
        lacking, having = (first, other) if name in other.shapes else (other, first)
        raise UserError(f"{lacking.folder} lacks tensor {name}, which {having.folder} has; experts must have the same")
    for name, (shape, dtype) in first.shapes.items():
        if other.shapes[name] != (shape, dtype):
            theirs_shape, theirs_dtype = other.shapes[name]
            raise UserError(
                f"{other.folder}: tensor {name} is {theirs_dtype}{list(theirs_shape)}, but {dtype}{list(shape)} in "
                f"{first.folder}; experts must have the same ranks, shapes and number formats"
            )


def _check_vocabulary(first: FullModel, other: FullModel) -> None:
    shared = [file for file in first.vocabulary if file in other.vocabulary]
    if not shared:
        lacking, having = (first, other) if other.vocabulary else (other, first)
        wanted = next(iter(having.vocabulary), "tokenizer.json")
        raise UserError(
            f"{lacking.folder} lacks {wanted}, so its vocabulary cannot be held to that of {having.folder}: put its "
            "tokenizer files into it"
        )
    if first.vocabulary[shared[0]] != other.vocabulary[shared[0]]:
        raise UserError(
            f"{other.folder}: {shared[0]} has another vocabulary than that of {first.folder}; experts that are "
            "combined must have the same. Remove one"
        )


def _check_whole_numbers(first: FullModel, other: FullModel) -> None:
    """Buffers such as position ids cannot be combined, so they must be equal."""
    mine, theirs = first.open(), other.open()
    for name, (_, number_format) in first.shapes.items():
        if number_format not in FORMATS and not torch.equal(mine.get_tensor(name), theirs.get_tensor(name)):
            raise UserError(
                f"{other.folder}: tensor {name} holds other whole numbers than in {first.folder}; such cannot be "
                "combined. Remove one"
            )


def _decisive(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    """The config's fields that can change a logit, as transformers reads them: its versions write them differently.

    Configs of models that bring their own code are taken as they are written.
    """
    from huggingface_hub.errors import StrictDataclassError
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    kind = config["model_type"]
    if kind in CONFIG_MAPPING and "auto_map" not in config:
        try:
            config = CONFIG_MAPPING[kind].from_dict(config).to_dict()
        except (StrictDataclassError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
            reason = " ".join(str(error).split())[:300]
            raise UserError(
                f"{folder / 'config.json'} is no config of a {kind} model ({reason}): fetch or save it again"
            ) from error
    return _without_effectless(config)


def _without_effectless(config: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_effectless(value) if isinstance(value, dict) else value
        for key, value in config.items()
        if key not in WITHOUT_EFFECT and not key.endswith(("_token_id", "dropout", "_pdrop"))
    }
