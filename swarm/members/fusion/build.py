"""Construction of token choosers from models and settings: vocabularies, anchors, relative rows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from swarm.maths.relative import embedding_mean, self_mass
from swarm.members.fusion.anchors import Anchors, common_anchors, select_anchors
from swarm.members.fusion.fused_step import FusedStep
from swarm.members.fusion.fusion_artefact import FusionArtefact, load_artefact, member_facts, saved_rule
from swarm.members.fusion.fusion_settings import FusionSettings
from swarm.members.fusion.kept_rows import KeptRows, open_kept_rows
from swarm.members.fusion.recognition import recognised_shares, warn_of_unrecognised
from swarm.members.fusion.row_memory import LEAST, row_memory
from swarm.members.fusion.rows import DenseRows, LazyRows, RelativeRows, RowSource
from swarm.members.fusion.token_choosers import MappedChooser, RelativeChooser, TokenChooser, UnionChooser
from swarm.members.fusion.unions import encoder_within, nearest_tokens
from swarm.members.fusion.vocabulary import Vocabulary, read_vocabulary

SMALL = LEAST  # bytes up to which a matrix of rows is kept in float32, be it whole or as rows are needed


class Tokens(Protocol):
    """The interface of a model's tokenizer and embeddings.

    Attributes:
      name: as messages say it.
      tokenizer: its own.
      embeddings: its input embeddings, (V, D); what is worked out on them is worked out where they are.
    """

    @property
    def name(self) -> str:
        """See above."""
        ...

    @property
    def tokenizer(self) -> Any:
        """See above."""
        ...

    @property
    def embeddings(self) -> torch.Tensor:
        """See above."""
        ...


def make_chooser(
    fusion_models: Sequence[Tokens], settings: FusionSettings, saved: Sequence[torch.Tensor] | None = None
) -> TokenChooser:
    """The token chooser of these models, the first of which is the main one.

    `saved` are their embeddings as their files have them, by which an artefact is checked, where those of the models
    are of another precision.

    Raises UserError if their vocabularies cannot be compared or have nothing in common, or for an artefact that was
    made for others.
    """
    rule = saved_rule(Path(settings.artefact)) if settings.artefact else settings.keys
    vocabularies = [read_vocabulary(fusion_model.tokenizer, fusion_model.name, rule) for fusion_model in fusion_models]
    if settings.space == "union":
        known = list(zip(fusion_models, vocabularies, strict=True)) if rule == "bytes" else []  # else keys are no text
        encoders = [encoder_within(fusion_model.tokenizer, own) for fusion_model, own in known]
        return UnionChooser(vocabularies, settings.top, settings.step.consistency, encoders)
    if settings.space == "mapped":
        return MappedChooser([nearest_tokens(own, vocabularies[0]) for own in vocabularies[1:]])
    embeddings = [fusion_model.embeddings for fusion_model in fusion_models]
    if settings.artefact:
        artefact = load_artefact(Path(settings.artefact), vocabularies, saved or embeddings)
    else:
        anchors = chosen_anchors(vocabularies, embeddings, settings)
        artefact = FusionArtefact(anchors, (), settings.centre, settings.normalise)
    rows = rows_of(embeddings, artefact, settings)
    if settings.step.inverse != "none":  # which needs no rows
        recognition(fusion_models, rows, artefact, settings)
    return RelativeChooser(FusedStep(rows, artefact.anchors.ids, settings.step))


def chosen_anchors(
    vocabularies: Sequence[Vocabulary], embeddings: Sequence[torch.Tensor], settings: FusionSettings
) -> Anchors:
    """The anchors that the settings ask for. Raises UserError if nothing is in common."""
    everything = common_anchors(vocabularies, [len(own) for own in embeddings])
    generator = np.random.default_rng(settings.anchor_seed)
    return select_anchors(everything, settings.anchors, settings.anchor_count, generator, embeddings)


def make_rows(
    embeddings: torch.Tensor,
    anchors: torch.Tensor,
    settings: FusionSettings,
    normalise: bool,
    centre: bool,
    models: int = 1,
    kept: KeptRows | None = None,
) -> RelativeRows:
    """A model's relative rows, all of them at once where that is allowed, they are few and fit into `row_memory`.

    So many `models` share the device. The numbers are the same whatever memory there is, and whether rows were `kept`.
    """
    source = _source(embeddings, anchors, normalise, centre)
    memory = row_memory(settings.row_memory, embeddings.device, models)
    small = _are_few(embeddings, anchors, settings)
    if settings.rows == "dense" or (small and 4 * len(embeddings) * len(anchors) <= memory.capacity):
        return DenseRows.build(source)
    return LazyRows(source, memory.capacity, "float32" if small else "bfloat16", memory.may_grow, kept)


def rows_of(
    embeddings: Sequence[torch.Tensor], artefact: FusionArtefact, settings: FusionSettings
) -> list[RelativeRows]:
    """Every model's relative rows, those of the artefact where it has them, else with those that were kept on the disk.

    Kept are rows that are not few and are worked out beside a processor, where each of them takes its time.
    """
    if artefact.rows:
        return [DenseRows.of(rows.to(own.device)) for rows, own in zip(artefact.rows, embeddings, strict=True)]
    pairs = list(zip(embeddings, artefact.anchors.ids, strict=True))
    devices = [own.device for own in embeddings]
    how = artefact.normalised, artefact.centred
    worth = [
        settings.rows != "dense" and own.device.type == "cpu" and not _are_few(own, ids, settings) for own, ids in pairs
    ]
    kept = open_kept_rows(
        [pair if asked else None for pair, asked in zip(pairs, worth, strict=True)], *how, settings.row_disk
    )
    return [
        make_rows(own, ids, settings, *how, models=devices.count(own.device), kept=before)
        for (own, ids), before in zip(pairs, kept, strict=True)
    ]


def _are_few(embeddings: torch.Tensor, anchors: torch.Tensor, settings: FusionSettings) -> bool:
    """Whether all of a model's rows take so little that they are kept in float32."""
    return settings.rows == "auto" and 4 * len(embeddings) * len(anchors) <= SMALL


def _source(embeddings: torch.Tensor, anchors: torch.Tensor, normalise: bool, centre: bool) -> RowSource:
    mean = embedding_mean(embeddings) if centre else None
    return RowSource(embeddings, anchors.to(embeddings.device), normalise, mean)


def recognition(
    fusion_models: Sequence[Tokens], rows: Sequence[RelativeRows], artefact: FusionArtefact, settings: FusionSettings
) -> list[float]:
    """The share of each other model's tokens that the main model recognises; a low one is warned of."""
    shares = recognised_shares(rows, artefact.anchors.ids, settings.step)
    for fusion_model, share in zip(fusion_models[1:], shares, strict=True):
        warn_of_unrecognised(fusion_models[0].name, fusion_model.name, share, artefact.centred)
    return shares


def make_artefact(fusion_models: Sequence[Tokens], settings: FusionSettings, dense: bool) -> FusionArtefact:
    """The artefact that `h-swarm deepen matrix` saves: anchors with digests of their models; all rows if `dense`."""
    vocabularies = [
        read_vocabulary(fusion_model.tokenizer, fusion_model.name, settings.keys) for fusion_model in fusion_models
    ]
    embeddings = [fusion_model.embeddings for fusion_model in fusion_models]
    anchors = chosen_anchors(vocabularies, embeddings, settings)
    facts, rows = [], []
    for vocabulary, own, ids in zip(vocabularies, embeddings, anchors.ids, strict=True):
        source = _source(own, ids, settings.normalise, settings.centre)
        mass = self_mass(own, source.anchors, settings.normalise, source.centre)
        facts.append(member_facts(vocabulary, own, mass))
        if dense:
            rows.append(DenseRows.build(source).all())
    return FusionArtefact(anchors, tuple(facts), settings.centre, settings.normalise, tuple(rows))
