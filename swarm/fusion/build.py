"""From voices and settings to what chooses their tokens: vocabularies, anchors, relative rows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from swarm.fusion.anchors import Anchors, common_anchors, select_anchors
from swarm.fusion.artefact import FusionArtefact, load_artefact, member_facts, saved_rule, warn_of_low_self_mass
from swarm.fusion.choosers import Chooser, MappedChooser, RelativeChooser, UnionChooser
from swarm.fusion.rows import DenseRows, LazyRows, Rows, RowSource
from swarm.fusion.settings import FusionSettings
from swarm.fusion.step import FusedStep
from swarm.fusion.unions import encoder_within, nearest_tokens
from swarm.fusion.vocabulary import Vocabulary, read_vocabulary
from swarm.maths.relative import embedding_mean, self_mass

MEGABYTE = 1_000_000


class Tokens(Protocol):
    """A model as far as its tokens go.

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
    voices: Sequence[Tokens], settings: FusionSettings, saved: Sequence[torch.Tensor] | None = None
) -> Chooser:
    """What chooses the tokens of these models, the first of which is the main one.

    `saved` are their embeddings as their files have them, by which an artefact is checked, where those of the models
    are of another precision.

    Raises UserError if their vocabularies cannot be compared or have nothing in common, or for an artefact that was
    made for others.
    """
    rule = saved_rule(Path(settings.artefact)) if settings.artefact else settings.keys
    vocabularies = [read_vocabulary(voice.tokenizer, voice.name, rule) for voice in voices]
    if settings.space == "union":
        known = list(zip(voices, vocabularies, strict=True)) if rule == "bytes" else []  # else keys are no text
        encoders = [encoder_within(voice.tokenizer, own) for voice, own in known]
        return UnionChooser(vocabularies, settings.top, settings.step.consistency, encoders)
    if settings.space == "mapped":
        return MappedChooser([nearest_tokens(own, vocabularies[0]) for own in vocabularies[1:]])
    embeddings = [voice.embeddings for voice in voices]
    if settings.artefact:
        artefact = load_artefact(Path(settings.artefact), vocabularies, saved or embeddings)
        rows = [
            DenseRows.of(artefact.rows[index].to(own.device))
            if artefact.rows
            else make_rows(own, artefact.anchors.ids[index], settings, artefact.normalised, artefact.centred)
            for index, own in enumerate(embeddings)
        ]
        return RelativeChooser(FusedStep(rows, artefact.anchors.ids, settings.step))
    anchors = chosen_anchors(vocabularies, embeddings, settings)
    rows = []
    for voice, ids in zip(voices, anchors.ids, strict=True):
        rows.append(make_rows(voice.embeddings, ids, settings, settings.normalise, settings.centre))
        warn_of_low_self_mass(voice.name, anchors_self_mass(voice.embeddings, ids, settings), settings.centre)
    return RelativeChooser(FusedStep(rows, anchors.ids, settings.step))


def chosen_anchors(
    vocabularies: Sequence[Vocabulary], embeddings: Sequence[torch.Tensor], settings: FusionSettings
) -> Anchors:
    """The anchors that the settings ask for. Raises UserError if nothing is in common."""
    everything = common_anchors(vocabularies, [len(own) for own in embeddings])
    generator = np.random.default_rng(settings.anchor_seed)
    return select_anchors(everything, settings.anchors, settings.anchor_count, generator, embeddings)


def make_rows(
    embeddings: torch.Tensor, anchors: torch.Tensor, settings: FusionSettings, normalise: bool, centre: bool
) -> Rows:
    """A model's relative rows, all of them at once where that is allowed and fits into `row_memory`."""
    source = _source(embeddings, anchors, normalise, centre)
    capacity = settings.row_memory * MEGABYTE
    if settings.rows == "dense" or (settings.rows == "auto" and 4 * len(embeddings) * len(anchors) <= capacity):
        return DenseRows.build(source)
    return LazyRows(source, capacity)


def _source(embeddings: torch.Tensor, anchors: torch.Tensor, normalise: bool, centre: bool) -> RowSource:
    mean = embedding_mean(embeddings) if centre else None
    return RowSource(embeddings, anchors.to(embeddings.device), normalise, mean)


def anchors_self_mass(embeddings: torch.Tensor, anchors: torch.Tensor, settings: FusionSettings) -> float:
    """A model's self-mass under the settings."""
    mean = embedding_mean(embeddings) if settings.centre else None
    return self_mass(embeddings, anchors.to(embeddings.device), settings.normalise, mean)


def make_artefact(voices: Sequence[Tokens], settings: FusionSettings, dense: bool) -> FusionArtefact:
    """What `scripts/deepen.py matrix` saves: anchors, digests, self-mass; with all relative rows if `dense`."""
    vocabularies = [read_vocabulary(voice.tokenizer, voice.name, settings.keys) for voice in voices]
    embeddings = [voice.embeddings for voice in voices]
    anchors = chosen_anchors(vocabularies, embeddings, settings)
    facts, rows = [], []
    for vocabulary, own, ids in zip(vocabularies, embeddings, anchors.ids, strict=True):
        facts.append(member_facts(vocabulary, own, anchors_self_mass(own, ids, settings), settings.centre))
        if dense:
            rows.append(DenseRows.build(_source(own, ids, settings.normalise, settings.centre)).all())
    return FusionArtefact(anchors, tuple(facts), settings.centre, settings.normalise, tuple(rows))
