"""The table of classifiers: how each is set up, and read again."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swarm.routing.base import Classifier, ClassifierSettings
from swarm.routing.encoder import EncoderSettings, read_encoder
from swarm.routing.knn import KnnSettings, read_knn
from swarm.routing.logistic import LogisticSettings, read_logistic
from swarm.routing.mlp import MlpSettings, read_mlp
from swarm.routing.quality import QualitySettings, read_quality
from swarm.routing.tables import Kind, settings_by_name

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
