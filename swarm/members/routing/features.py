"""The table of features: their settings and readers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swarm.members.routing.hidden_states import HiddenSettings, read_hidden
from swarm.members.routing.interfaces import Features, FeatureSettings, LanguageModel
from swarm.members.routing.kinds import Kind, settings_by_name
from swarm.members.routing.sentence_embeddings import SentenceSettings, read_sentence
from swarm.members.routing.tfidf import TfidfSettings, read_tfidf

FEATURES: dict[str, Kind] = {
    "tfidf": Kind(TfidfSettings, read_tfidf),
    "hidden": Kind(HiddenSettings, read_hidden),
    "sentence": Kind(SentenceSettings, read_sentence),
}


def feature_settings(kind: str, options: Mapping[str, Any] | None = None) -> FeatureSettings:
    """Settings of features by name; raises UserError for a name or an option that there is not."""
    settings: FeatureSettings = settings_by_name("features", FEATURES, kind, options or {})
    return settings


def read_features(kind: str, folder: Path, language_model: LanguageModel | None = None) -> Features:
    """Fitted features from their folder; raises UserError for another language model than they were fitted with."""
    features: Features = FEATURES[kind].read(folder, language_model)
    return features
