"""The table of classifiers: their settings and readers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swarm.members.routing.encoder import EncoderSettings, read_encoder
from swarm.members.routing.interfaces import Classifier, ClassifierSettings
from swarm.members.routing.kinds import Kind, settings_by_name
from swarm.members.routing.knn import KnnSettings, read_knn
from swarm.members.routing.logistic import LogisticSettings, read_logistic
from swarm.members.routing.mlp import MlpSettings, read_mlp
from swarm.members.routing.quality import QualitySettings, read_quality

CLASSIFIERS: dict[str, Kind] = {
    "knn": Kind(KnnSettings, read_knn),
    "logistic": Kind(LogisticSettings, read_logistic),
    "quality": Kind(QualitySettings, read_quality),
    "mlp": Kind(MlpSettings, read_mlp),
    "encoder": Kind(EncoderSettings, read_encoder),
}


def classifier_settings(kind: str, options: Mapping[str, Any] | None = None) -> ClassifierSettings:
    """Settings of a classifier by name; raises UserError for a name or an option that there is not."""
    settings: ClassifierSettings = settings_by_name("classifier", CLASSIFIERS, kind, options or {})
    return settings


def read_classifier(kind: str, folder: Path) -> Classifier:
    """A fitted classifier from its folder."""
    classifier: Classifier = CLASSIFIERS[kind].read(folder)
    return classifier
